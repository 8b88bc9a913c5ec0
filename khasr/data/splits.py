"""The split of a corpus into train, val and test, optionally without a common speaker or sentence."""

import math
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from khasr.config import DataConfig, TextConfig
from khasr.data.tables import read_lines
from khasr.text.counting import counted
from khasr.text.normalise import normalise
from khasr.text.terminal import guard_cell, printable, unguard_cell

PARTS = ("train", "val", "test")

SPLITS = (
    "random",
    "hf_seed42",
    "speaker",
    "text",
    "speaker_text",
    "speaker_fold=K/N",
    "own",
    "auto",
    "train",
    "a manifest's path",
)

# Differences that a reader does not see: spaces, punctuation, look-alike spellings.
_SAME = TextConfig(
    zero_width="delete", syllable_order=True, join_vowels=True, coeng_da="ta", punctuation="space", spaces="delete"
)


@dataclass
class Row:
    """What a split depends on: an utterance's id, speaker, normalised text, and its part in the corpus's own split."""

    id: str
    speaker: str = ""
    text: str = ""
    own_part: str = ""


Parts = dict[str, list[str]]


def split(rows: Sequence[Row], options: DataConfig, needed: Sequence[str] = PARTS) -> Parts:
    """The ids of each part, in the corpus's order; the same for the same utterances and `data.split_seed`.

    - `random`: the published card's. Test is a share of all, val a share of the rest, both rounded up: 2,353, 262 and
      291 of OpenSLR 42's 2,906.
    - `hf_seed42`: test is that of datasets' train_test_split(test_size, seed=42) on the sorted ids, which the
      published w2v-BERT 2.0 result used; val follows in the same permutation.
    - `speaker`: no speaker in two parts. `text`: no sentence in two parts, as compared by `same_sentence`.
    - `speaker_text`: by speaker; in addition, an utterance is dropped from train if val or test has its sentence, and
      from val if test has it.
    - `speaker_fold=K/N`: speakers in N folds of similar size; test is fold K and val the next one, so that N runs test
      each speaker once.
    - `own`: the corpus's own (Hugging Face's train, validation, test). Parts that it does not have are drawn from its
      train at random.
    - `train`: every utterance in train, for a corpus of a mix.
    - `auto`: `own` if the corpus names the part of every utterance, else `random`.
    - a path: a manifest in the format of `manifest`. Utterances that it does not name are in no part.

    Args:
        needed: the parts that may not be empty.

    Raises:
        ValueError: unknown split, invalid shares, or too few utterances or speakers for the needed parts.
        FileNotFoundError: the manifest does not exist.
    """
    if not (0 < options.test_share < 1 and 0 < options.val_share < 1):
        raise ValueError(
            f"data.test_share={options.test_share} data.val_share={options.val_share}: expected shares greater than 0 "
            "and less than 1."
        )
    # Sorted, so that the order of the corpus's listing does not matter.
    ordered = sorted(rows, key=lambda row: row.id)
    kind = resolve_auto(options.split, rows)
    if kind in _KINDS:
        part_of = _KINDS[kind](ordered, options)
    elif kind.startswith("speaker_fold="):
        part_of = _by_fold(ordered, kind.removeprefix("speaker_fold="), options.split_seed)
    elif is_manifest(kind):
        part_of = read_manifest(Path(kind).expanduser())
        if not part_of.keys() & {row.id for row in rows}:
            raise ValueError(
                f"{kind} names none of the corpus's {len(rows):,} utterances. Expected a manifest of this corpus."
            )
    else:
        raise ValueError(f"data.split={kind} is unknown. Expected one of {', '.join(SPLITS)}.")
    parts = {part: [row.id for row in rows if part_of.get(row.id) == part] for part in PARTS}
    check_parts(parts, rows, options, needed)
    return parts


def check_parts(parts: Parts, rows: Sequence[Row], options: DataConfig, needed: Sequence[str]) -> None:
    """Raises ValueError if a needed part is empty."""
    empty = [part for part in needed if not parts[part]]
    if empty:
        there = f"{counted(len(rows), 'utterance')} of {counted(len({r.speaker for r in rows}), 'speaker')}"
        raise ValueError(
            f"data.split={resolve_auto(options.split, rows)}: {there} are too few for train, val and test with "
            f"data.test_share={options.test_share} data.val_share={options.val_share}: {' and '.join(empty)} would be "
            "empty."
        )


def _counts(total: int, options: DataConfig) -> tuple[int, int]:
    test = math.ceil(options.test_share * total)
    return test, math.ceil(options.val_share * (total - test))


def _in_order(ids: Sequence[str], options: DataConfig) -> dict[str, str]:
    """The first ids to test, the next to val, the rest to train."""
    test, val = _counts(len(ids), options)
    return {id_: PARTS[2 - (i >= test) - (i >= test + val)] for i, id_ in enumerate(ids)}


def _at_random(rows: Sequence[Row], options: DataConfig) -> dict[str, str]:
    ids = [row.id for row in rows]
    random.Random(options.split_seed).shuffle(ids)
    return _in_order(ids, options)


def _hf_seed42(rows: Sequence[Row], options: DataConfig) -> dict[str, str]:
    # datasets' train_test_split takes test from the start of this permutation (arrow_dataset.py; a test compares).
    return _in_order([rows[i].id for i in np.random.default_rng(42).permutation(len(rows))], options)


def _by_group(rows: Sequence[Row], options: DataConfig, key: Callable[[Row], str]) -> dict[str, str]:
    """Whole groups to test, then to val, in random order, each if it brings the part closer to its size."""
    groups: dict[str, list[str]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row.id)
    waiting = [groups[name] for name in sorted(groups)]
    random.Random(options.split_seed).shuffle(waiting)
    part_of: dict[str, str] = {}
    for part, size in zip(("test", "val"), _counts(len(rows), options), strict=True):
        taken, left = 0, []
        for group in waiting:
            if abs(taken + len(group) - size) < abs(taken - size) or (taken == 0 and group is waiting[-1]):
                part_of |= dict.fromkeys(group, part)
                taken += len(group)
            else:
                left.append(group)
        waiting = left
    return part_of | {id_: "train" for group in waiting for id_ in group}


def _by_speaker(rows: Sequence[Row], options: DataConfig) -> dict[str, str]:
    _need_speakers(rows)
    return _by_group(rows, options, lambda row: row.speaker)


def same_sentence(text: str) -> str:
    """A form of the text that is equal for texts that a reader sees as the same sentence."""
    return normalise(text, _SAME)


def _by_text(rows: Sequence[Row], options: DataConfig) -> dict[str, str]:
    return _by_group(rows, options, lambda row: same_sentence(row.text))


def _by_speaker_and_text(rows: Sequence[Row], options: DataConfig) -> dict[str, str]:
    part_of = _by_speaker(rows, options)
    seen: set[str] = set()
    for part in ("test", "val", "train"):
        here = {row.id: same_sentence(row.text) for row in rows if part_of.get(row.id) == part}
        for id_, sentence in here.items():
            if sentence in seen:
                del part_of[id_]
        seen |= set(here.values())
    return part_of


def _by_fold(rows: Sequence[Row], fold: str, seed: int) -> dict[str, str]:
    _need_speakers(rows)
    speakers = sorted({row.speaker for row in rows})
    try:
        k, n = (int(number) for number in fold.split("/"))
    except ValueError:
        k = n = 0
    if not (1 <= k <= n and 3 <= n <= len(speakers)):
        raise ValueError(
            f"data.split=speaker_fold={fold}: expected K/N with K from 1 to N, and N from 3 to the number of speakers, "
            f"{len(speakers)}."
        )
    random.Random(seed).shuffle(speakers)
    sizes = {speaker: sum(row.speaker == speaker for row in rows) for speaker in speakers}
    folds: list[list[str]] = [[] for _ in range(n)]
    for speaker in sorted(speakers, key=lambda name: -sizes[name]):  # the largest first, each into the smallest fold
        min(folds, key=lambda members: sum(sizes[m] for m in members)).append(speaker)
    part_of_speaker = dict.fromkeys(folds[k - 1], "test") | dict.fromkeys(folds[k % n], "val")
    return {row.id: part_of_speaker.get(row.speaker, "train") for row in rows}


def _need_speakers(rows: Sequence[Row]) -> None:
    nameless = [row.id for row in rows if not row.speaker]
    if nameless:
        raise ValueError(
            f"{len(nameless):,} of {len(rows):,} utterances have no speaker (the first is {nameless[0]}), so they "
            "cannot be split by speaker. data.split=text splits by sentence."
        )


def _own(rows: Sequence[Row], options: DataConfig) -> dict[str, str]:
    nameless = [row for row in rows if not row.own_part]
    if nameless or not any(row.own_part in PARTS for row in rows):
        first = nameless[0].id if nameless else rows[0].id if rows else "no utterance"
        raise ValueError(
            f"data.split=own: {first} is in no train, validation or test part of the corpus. Choose a different "
            f"data.split: {', '.join(SPLITS)}."
        )
    part_of = {row.id: row.own_part for row in rows if row.own_part in PARTS}
    train = [id_ for id_, part in part_of.items() if part == "train"]
    random.Random(options.split_seed).shuffle(train)
    for part, share in (("test", options.test_share), ("val", options.val_share)):
        if part not in part_of.values() and len(train) > 1:
            count = math.ceil(share * len(train))
            part_of |= dict.fromkeys(train[:count], part)
            train = train[count:]
    return part_of


def resolve_auto(kind: str, rows: Sequence[Row]) -> str:
    """The split that `kind` is, where `auto` depends on the corpus."""
    if kind != "auto":
        return kind
    return "own" if all(row.own_part for row in rows) and any(row.own_part in PARTS for row in rows) else "random"


def describe_own(rows: Sequence[Row], parts: Parts, options: DataConfig) -> list[str]:
    """What a user should know of a split by the corpus's own parts, a sentence each."""
    if resolve_auto(options.split, rows) != "own":
        unknown = sorted({row.own_part for row in rows} - {"", *PARTS}) if options.split == "auto" else []
        if not unknown:
            return []
        shown = ", ".join(printable(name, 40) for name in unknown[:8])
        return [f"The corpus names the parts {shown}, not train, dev and test, and is split at random (data.split)."]
    notes = []
    if options.split == "auto":
        notes.append("The split is the corpus's own (data.split=own); data.split=random or speaker splits differently.")
    own = {row.own_part for row in rows}
    drawn = [f"{len(parts[part]):,} for {part}" for part in ("test", "val") if part not in own and parts[part]]
    if drawn:
        notes.append(
            f"The corpus has no {' and no '.join(part for part in ('test', 'val') if part not in own)} part: "
            f"{' and '.join(drawn)} were drawn at random from its train part, with data.split_seed."
        )
    return notes


_KINDS = {
    "random": _at_random,
    "hf_seed42": _hf_seed42,
    "speaker": _by_speaker,
    "text": _by_text,
    "speaker_text": _by_speaker_and_text,
    "own": _own,
    "train": lambda rows, options: {row.id: "train" for row in rows},
}


# ----------------------------------------------------------------------------------------------------------- manifests


def manifest(parts: Parts) -> str:
    """A split as a tab-separated table of id and part, which data.split=PATH reads back.

    Ids that a spreadsheet would run as formulas have an apostrophe before them.
    """
    lines = ["id\tpart", *(f"{guard_cell(id_)}\t{part}" for part in PARTS for id_ in parts[part])]
    return "\n".join(lines) + "\n"


def is_manifest(kind: str) -> bool:
    """Whether data.split is the path of a manifest."""
    return kind not in ("auto", *_KINDS) and not kind.startswith("speaker_fold=") and ("/" in kind or "." in kind)


def read_manifest(path: Path) -> dict[str, str]:
    """The part of each id in a manifest.

    Raises:
        FileNotFoundError: it does not exist.
        ValueError: a line that is not id and part, or an id in two parts.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"data.split={path} is not a file. Expected a manifest (columns id and part) or one of {', '.join(SPLITS)}."
        )
    part_of: dict[str, str] = {}
    for number, line in enumerate(read_lines(path.read_bytes(), str(path)), 1):
        fields = line.split("\t")
        if not line or fields == ["id", "part"]:
            continue
        if len(fields) != 2 or fields[1] not in PARTS:
            found = printable(line, 80)
            raise ValueError(f"{path}:{number}: expected id, tab, and train, val or test; found {found!r}.")
        id_, part = unguard_cell(fields[0]), fields[1]
        if part_of.setdefault(id_, part) != part:
            raise ValueError(f"{path}:{number}: {printable(id_, 80)} is in two parts, {part_of[id_]} and {part}.")
    return part_of
