"""Compares what libraries and khasr change in real Khmer text: python normalisers.py line_index.tsv lm_text/.

Wants khmernormalizer (with ftfy, emoji) and khmerspell for syllables, khmernorm and khmerspeech for figures, and prints
which of them is missing.
"""

import re
import sys
import time
from collections import Counter
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from khasr.config import TextConfig
from khasr.text.normalise import normalise

Step = Callable[[str], str]
# Letters and signs that are read aloud, which a normaliser should not remove.
SIGNS = re.compile("[\u17b6-\u17d2\u17dd]")


def syllable_steps() -> dict[str, Step]:
    """Syllable order and look-alike spellings: a function per installed library, and khasr's."""
    ours = TextConfig(syllable_order=True, join_vowels=True, coeng_da="ta")
    steps: dict[str, Step] = {"khasr": lambda text: normalise(text, ours)}
    if find_spec("khmerspell"):
        from khmerspell.khnormal import khnormal

        steps["khmerspell 0.1.1"] = khnormal
    if find_spec("khmernormalizer"):
        from khmernormalizer import normalize

        steps["khmernormalizer 0.0.4"] = normalize
    return steps


def number_steps() -> dict[str, Step]:
    """Numbers to words: a function per installed library, and khasr's."""
    ours = TextConfig(numbers="words")
    steps: dict[str, Step] = {"khasr": lambda text: normalise(text, ours)}
    if find_spec("khmer_normalizer"):
        import khmer_normalizer

        steps["khmernorm 0.1.0"] = khmer_normalizer.normalize
    if find_spec("khmerspeech"):
        from khmerspeech.text_normalization import cardinals, datetime

        steps["khmerspeech 0.2.0"] = lambda text: cardinals.processor(
            datetime.time_processor(datetime.date_processor(text))
        ).replace("▁", " ")
    return steps


def compare(title: str, steps: dict[str, Step], texts: dict[str, list[str]]) -> None:
    """Prints, for each text and step, the number of lines that change, lose signs, or change again if repeated."""
    print(f"\n## {title}\n")
    print("| text | lines | step | changed | fewer signs than khasr's | changed again | unlike khasr's | seconds |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    examples: list[str] = []
    for name, lines in texts.items():
        own = [" ".join(steps["khasr"](line).split()) for line in lines]
        for step_name, step in steps.items():
            start = time.perf_counter()
            done = [" ".join(step(line).split()) for line in lines]
            seconds = time.perf_counter() - start
            plain = [" ".join(line.split()) for line in lines]
            changed = sum(a != b for a, b in zip(plain, done, strict=True))
            lost = sum(
                bool(Counter(SIGNS.findall(a)) - Counter(SIGNS.findall(b))) for a, b in zip(own, done, strict=True)
            )
            again = sum(" ".join(step(line).split()) != line for line in done)
            unlike = [(o, d) for o, d in zip(own, done, strict=True) if o != d]
            print(
                f"| {name} | {len(lines):,} | {step_name} | {changed:,} | {lost:,} | {again:,} | {len(unlike):,} "
                f"| {seconds:.2f} |"
            )
            examples += [f"{name}, {step_name}: {difference(o, d)}" for o, d in unlike[:4]]
    print("\n" + "\n".join(f"- {example}" for example in examples))


def difference(own: str, other: str) -> str:
    """The first words in which two texts differ."""
    ours, theirs = own.split(), other.split()
    at = next((i for i, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
    return (
        f"khasr {' '.join(ours[at : at + 3])!a} | {' '.join(ours[at : at + 3])} against {' '.join(theirs[at : at + 3])}"
    )


def main() -> None:
    """Prints both comparisons."""
    transcripts = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
    texts = {"OpenSLR 42": [line.split("\t")[-1] for line in transcripts]}
    for path in sorted(Path(sys.argv[2]).glob("*")):
        texts[path.name] = path.read_text(encoding="utf-8").splitlines()
    compare("Syllables", syllable_steps(), texts)
    with_figures = {name: [x for x in lines if re.search("[0-9០-៩]", x)] for name, lines in texts.items()}
    compare("Figures", number_steps(), {name: lines for name, lines in with_figures.items() if lines})


if __name__ == "__main__":
    main()
