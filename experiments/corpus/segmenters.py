"""How well segmenters recover the spaces of OpenSLR 42: python segmenters.py line_index.tsv.

Requires khmercut; khmernltk and khmer-viterbi-segmenter are compared if they are installed.
"""

import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path

Segment = Callable[[str], list[str]]


def segmenters() -> dict[str, Segment]:
    """The installed segmenters, by name."""
    import khmercut

    found: dict[str, Segment] = {"khmercut 0.2.0": khmercut.tokenize}
    if find_spec("khmernltk"):
        from khmernltk import word_tokenize

        found["khmernltk 1.6"] = lambda text: word_tokenize(text, return_tokens=True)
    if find_spec("khmer_segmenter"):
        from khmer_segmenter import KhmerSegmenter

        found["khmer-viterbi-segmenter 0.3.2"] = KhmerSegmenter().segment
    return found


def main() -> None:
    """Prints a table."""
    lines = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
    references = [line.split("\t")[-1].split() for line in lines]
    print("| segmenter | precision | recall | F1 of boundaries | tokens | types | lines it altered | seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, segment in segmenters().items():
        start, counts, altered, types, tokens = time.perf_counter(), [0, 0, 0], 0, set(), 0
        for words in references:
            guess = [w for w in segment("".join(words)) if w.strip()]
            if "".join(guess) != "".join(words):
                altered += 1
                continue
            types.update(guess)
            tokens += len(guess)
            truth, found = (set(accumulate(map(len, w[:-1]))) for w in (words, guess))
            counts = [a + b for a, b in zip(counts, (len(truth & found), len(found), len(truth)), strict=True)]
        precision, recall = counts[0] / counts[1], counts[0] / counts[2]
        f1 = 2 * precision * recall / (precision + recall)
        print(
            f"| {name} | {precision:.3f} | {recall:.3f} | {f1:.3f} | {tokens:,} | {len(types):,} | {altered} "
            f"| {time.perf_counter() - start:.1f} |"
        )


if __name__ == "__main__":
    main()
