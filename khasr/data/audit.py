"""An audit of a corpus before training: sizes, overlap of the parts, text and audio, as numbers and as Markdown."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from khasr.config import TextConfig
from khasr.data.audio import SAMPLE_RATE
from khasr.data.audited import Audited
from khasr.data.corpora import Fault
from khasr.data.splits import PARTS
from khasr.data.text_audit import audit_text, describe_text, grouped, name_symbol
from khasr.text.counting import counted
from khasr.text.syllables import split_clusters
from khasr.text.terminal import printable

# Below 0.001 of full scale nothing is audible; 0.1 % of samples in flat tops is audible as clipping; a recording
# that is as loud at its edge as on average was cut during speech.
_SILENT_LEVEL, _CLIPPED_SHARE, _CUT_EDGE = 1e-3, 1e-3, 1.0

# The feature encoder of wav2vec 2.0 (Baevski 2020): kernels and strides in samples of each layer's input.
_CONVOLUTIONS = [(10, 5), (3, 2), (3, 2), (3, 2), (3, 2), (2, 2), (2, 2)]

_SHOWN = 10


def count_frames(samples: int) -> int:
    """The number of 20 ms frames that a wav2vec 2.0 encoder computes from that many samples at 16 kHz."""
    for kernel, stride in _CONVOLUTIONS:
        samples = (samples - kernel) // stride + 1
    return max(samples, 0)


def count_needed_frames(symbols: Sequence[str]) -> int:
    """The fewest frames for a CTC alignment: one per symbol, and a blank between equal ones (Graves 2006, sec. 3)."""
    return len(symbols) + sum(a == b for a, b in pairwise(symbols))


def audit(
    name: str, utterances: Sequence[Audited], faults: Iterable[Fault] = (), options: TextConfig | None = None
) -> dict[str, Any]:
    """All that `describe` reports, as plain numbers and lists.

    Args:
        options: those by which the texts were normalised.
    """
    options = options or TextConfig()
    split: Callable[[str], list[str]] = split_clusters if options.units == "clusters" else list
    found: dict[str, Any] = {
        "corpus": name,
        "all": _size(utterances),
        "parts": {part: _size([u for u in utterances if u.part == part]) for part in PARTS},
        "overlap": _overlap(utterances),
        "text": audit_text(utterances, options, split),
        "left_out": _left_out(faults),
    }
    if utterances and utterances[0].seconds is not None:
        found["audio"] = _audio(utterances, split)
    return found


def _size(utterances: Sequence[Audited]) -> dict[str, Any]:
    words = Counter(word for u in utterances for word in u.text.split())
    return {
        "utterances": len(utterances),
        "hours": sum(u.seconds or 0 for u in utterances) / 3600,
        "speakers": len({u.speaker for u in utterances if u.speaker}),
        "tokens": words.total(),
        "types": len(words),
        "sentences": len({u.text for u in utterances}),
    }


def _overlap(utterances: Sequence[Audited]) -> dict[str, Any]:
    of = {part: [u for u in utterances if u.part == part] for part in PARTS}
    words = {part: Counter(word for u in members for word in u.text.split()) for part, members in of.items()}
    found: dict[str, Any] = {}
    for part, others in (("val", ("train",)), ("test", ("train",)), ("test", ("train", "val"))):
        theirs = [u for other in others for u in of[other]]
        known: Counter[str] = sum((words[other] for other in others), Counter())
        sentences = {u.text for u in theirs}
        unknown = {word: n for word, n in words[part].items() if word not in known}
        found[f"{part} against {' and '.join(others)}"] = {
            "speakers": len({u.speaker for u in of[part]} & {u.speaker for u in theirs} - {""}),
            "sentences": sum(u.text in sentences for u in of[part]),
            "utterances": len(of[part]),
            "oov_tokens": sum(unknown.values()),
            "oov_types": len(unknown),
            "oov": sum(unknown.values()) / max(1, words[part].total()),
        }
    return found


def _audio(utterances: Sequence[Audited], split: Callable[[str], list[str]]) -> dict[str, Any]:
    seconds = np.array([u.seconds for u in utterances], dtype=float)
    alike = [group for group in grouped([u.id for u in utterances], _digest_of(utterances)) if len(group) > 1]

    def listed(is_so: Callable[[Audited], bool]) -> dict[str, Any]:
        ids = [u.id for u in utterances if is_so(u)]
        return {"utterances": len(ids), "first": ids[:_SHOWN]}

    return {
        "seconds": {f"{q:g} %": float(np.percentile(seconds, q)) for q in (0, 1, 25, 50, 75, 99, 100)},
        "rates": dict(Counter(u.rate for u in utterances).most_common()),
        "too_short_for_ctc": listed(
            lambda u: count_needed_frames(split(u.text)) > count_frames(round((u.seconds or 0) * SAMPLE_RATE))
        ),
        "silent": listed(lambda u: (u.level or 0) < _SILENT_LEVEL),
        "clipped": listed(lambda u: (u.clipped or 0) > _CLIPPED_SHARE),
        "cut_at_an_edge": listed(lambda u: (u.edge or 0) > _CUT_EDGE * (u.level or 1)),
        "same_audio": {"utterances": sum(map(len, alike)), "first": alike[:_SHOWN]},
    }


def _digest_of(utterances: Sequence[Audited]) -> Callable[[str], str]:
    return {u.id: u.digest or u.id for u in utterances}.__getitem__


def _left_out(faults: Iterable[Fault]) -> dict[str, Any]:
    groups: dict[str, list[Fault]] = defaultdict(list)
    for fault in faults:
        groups[fault.reason].append(fault)
    return {
        reason: {"utterances": len(members), "first": [fault.detail for fault in members[:_SHOWN]]}
        for reason, members in groups.items()
    }


def describe(found: dict[str, Any]) -> str:
    """The audit as Markdown."""
    text = found["text"]
    lines = [f"# Audit of {found['corpus']}", ""]
    lines += _table(
        ["part", "utterances", "hours", "speakers", "words", "word types", "distinct sentences"],
        [
            [part, *(f"{size[key]:,.2f}" if key == "hours" else f"{size[key]:,}" for key in size)]
            for part, size in [("all", found["all"]), *found["parts"].items()]
        ],
    )
    lines += ["## Overlap of the parts", ""]
    lines += _table(
        ["", "speakers", "sentences", "words unseen in training", "types"],
        [
            [
                name,
                f"{o['speakers']}",
                f"{o['sentences']:,} of {counted(o['utterances'], 'utterance')}",
                f"{o['oov_tokens']:,} ({100 * o['oov']:.1f} %)",
                f"{o['oov_types']:,}",
            ]
            for name, o in found["overlap"].items()
        ],
    )
    lines += describe_text(text, found["all"]["utterances"])
    if "audio" in found:
        lines += _describe_audio(found["audio"])
    lines += ["## Left out", ""]
    lines += [
        f"- {reason}: {counted(group['utterances'], 'utterance')} ({'; '.join(group['first'][:3])})"
        for reason, group in found["left_out"].items()
    ] or ["Nothing."]
    lines += ["", "## Symbols", ""]
    rows = [
        [name_symbol(c), f"{n:,}", ", ".join(map(printable, text["symbol_examples"][c]))]
        for c, n in text["symbols"].items()
    ]
    lines += _table(["symbol", "count", "utterances"], rows)
    return "\n".join(lines)


def _describe_audio(audio: dict[str, Any]) -> list[str]:
    lines = ["## Audio", ""]
    lines.append("- seconds: " + ", ".join(f"{q} {value:.2f}" for q, value in audio["seconds"].items()))
    lines.append("- rate of the source: " + ", ".join(f"{rate} Hz x {n:,}" for rate, n in audio["rates"].items()))
    for key, what in (
        (
            "too_short_for_ctc",
            "too short for CTC to align their text (a frame of 20 ms for each symbol and each repeat)",
        ),
        ("silent", f"silent (level below {_SILENT_LEVEL} of full scale)"),
        ("clipped", f"clipped (over {100 * _CLIPPED_SHARE:g} % of samples in flat tops at full scale)"),
        ("cut_at_an_edge", "as loud at an edge as on average, so possibly cut during speech"),
        ("same_audio", "with identical audio"),
    ):
        first = ", ".join(map(str, audio[key]["first"][:3]))
        lines.append(f"- {counted(audio[key]['utterances'], 'utterance')} {what}" + (f": {first}" if first else ""))
    return [*lines, ""]


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return [*(f"| {' | '.join(line)} |" for line in lines), ""]
