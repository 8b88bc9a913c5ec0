"""How many sentences does the rule for held-out text find, in changed forms, and how many others?

python experiments/decoding/held_out_text.py TRANSCRIPTS TEXT [TEXT ...]

TRANSCRIPTS is the line_index.tsv of OpenSLR 42; 560 of its distinct sentences are held out (seed 0). The others, and
the lines of each TEXT, which do not contain them, count as false positives when they are found.
"""

import random
import sys
from collections.abc import Callable
from pathlib import Path

from khasr.lm.held_out import HeldOut

_LOOK_ALIKE = [("\u17d2\u178f", "\u17d2\u178a"), ("\u17c4", "\u17c1\u17b6"), ("\u17be", "\u17c1\u17b8"), ("ឱ្យ", "ឲ្យ")]


def look_alike(sentence: str) -> str:
    """The sentence with coeng-DA for coeng-TA, vowels in two parts, and zero-width spaces for spaces."""
    for one, other in _LOOK_ALIKE:
        sentence = sentence.replace(one, other)
    return sentence.replace(" ", "\u200b")


def half(sentence: str) -> str:
    """The first half of the words."""
    words = sentence.split()
    return " ".join(words[: (len(words) + 1) // 2])


draw = random.Random(0)
lines = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
sentences = sorted({line.split("\t")[-1].strip() for line in lines})
draw.shuffle(sentences)
held, rest = sentences[:560], sentences[560:]
texts = {Path(name).name: [line for line in Path(name).read_text(encoding="utf-8").splitlines() if line.strip()]
         for name in sys.argv[2:]}  # fmt: skip
around = next(iter(texts.values()))
index = HeldOut({"test": held})
changes: dict[str, Callable[[str], str]] = {
    "as it is": lambda s: s,
    "without spaces": lambda s: s.replace(" ", ""),
    "look-alike spelling, zero-width spaces": look_alike,
    "between two lines of text": lambda s: f"{draw.choice(around)} {s} {draw.choice(around)}",
    "the same, look-alike": lambda s: f"{draw.choice(around)}{look_alike(s)}{draw.choice(around)}",
    "joined with a second sentence": lambda s: s + draw.choice(held),
    "the first half of its words": half,
}
print("| held-out sentences | found |\n| --- | ---: |")
for name, change in changes.items():
    print(f"| {name} | {sum(bool(index.parts_in(change(s))) for s in held)} of {len(held)} |")
print("\n| other text | lines | left out |\n| --- | ---: | ---: |")
for name, others in {"other sentences of OpenSLR 42": rest, **texts}.items():
    print(f"| {name} | {len(others):,} | {sum(bool(index.parts_in(line)) for line in others)} |")
