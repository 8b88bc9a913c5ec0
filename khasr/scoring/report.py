"""TODO."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from khasr.scoring.alignments import error_segments
from khasr.scoring.breakdown import Row, by_duration, by_frequency, by_oov, by_speaker
from khasr.scoring.error_rates import RATES, Edits, confusions, count_edits
from khasr.scoring.hypotheses import Hypothesis
from khasr.scoring.significance import matched_pairs, paired_difference, rate_interval

_SHOWN = 10


# ------------------------------------------------------------------------------------------------------------- numbers


def describe(scored: Sequence[Hypothesis], trained: Counter[str] | None, resamples: int) -> dict[str, Any]:
    """Rates with intervals, breakdowns and confusions of what was heard.

    Args:
        trained: how often each word is in the training transcripts; None where that is not known.
    """
    rates = {}
    for name, unit in RATES.items():
        counted = [count_edits(unit(s.reference), unit(s.hypothesis)) for s in scored]
        rates[name] = rate(counted, [s.speaker for s in scored], resamples)
    pairs, alike = confusions((s.reference, s.hypothesis) for s in scored)
    tables: dict[str, list[Row]] = {"speaker": by_speaker(scored), "duration": by_duration(scored)}
    if trained:
        tables |= {"new words": by_oov(scored, trained), "times in training": by_frequency(scored, trained)}
    return {
        "utterances": len(scored),
        "speakers": len({s.speaker for s in scored}),
        "seconds": sum(s.seconds for s in scored),
        "rates": rates,
        "look_alike_substitutions": alike,
        "confusions": [{"reference": a, "hypothesis": b, "count": n} for (a, b), n in pairs.most_common(50)],
        "by": {name: [asdict(r) | {"rate": r.rate} for r in rows] for name, rows in tables.items()},
    }


def rate(counted: Sequence[Edits], speakers: Sequence[str], resamples: int) -> dict[str, Any]:
    """A corpus-level rate, its substitutions, deletions and insertions, with intervals over utterances and speakers."""
    units = [c.units for c in counted]
    found: dict[str, Any] = {"units": sum(units), "edits": sum(c.total for c in counted)}
    kinds = {
        "all": [c.total for c in counted],
        "substitutions": [c.substitutions for c in counted],
        "deletions": [c.deletions for c in counted],
        "insertions": [c.insertions for c in counted],
    }
    for name, edits in kinds.items():
        here: dict[str, Any] = {"count": sum(edits), "rate": sum(edits) / sum(units) if sum(units) else float("nan")}
        for over, groups in (("utterances", None), ("speakers", speakers)):
            try:
                here[over] = list(rate_interval(edits, units, groups=groups, resamples=resamples)[1:])
            except ValueError as refused:
                here[over] = str(refused)
        found |= here if name == "all" else {name: here}
    return found


def compare(scored: Sequence[Hypothesis], against: Sequence[Hypothesis], resamples: int) -> dict[str, Any]:
    """The difference of two runs on the same utterances: intervals, p-values, and the utterances that changed.

    Raises:
        ValueError: they are not the same utterances.
    """
    if [(s.id, s.reference) for s in scored] != [(s.id, s.reference) for s in against]:
        raise ValueError(
            "The two runs were not scored on the same utterances and references; their text options differ."
        )
    speakers = [s.speaker for s in scored]
    found: dict[str, Any] = {}
    for name, unit in RATES.items():
        ours = [count_edits(unit(s.reference), unit(s.hypothesis)) for s in scored]
        theirs = [count_edits(unit(s.reference), unit(s.hypothesis)) for s in against]
        edits = ([e.total for e in ours], [e.total for e in theirs], [e.units for e in ours])
        found[name] = {"rate": sum(edits[1]) / sum(edits[2])}
        for over, groups in (("utterances", None), ("speakers", speakers)):
            try:
                found[name][over] = paired_difference(*edits, groups=groups, resamples=resamples)._asdict()
            except ValueError as refused:
                found[name][over] = str(refused)
    segments = [
        x for a, b in zip(scored, against, strict=True) for x in error_segments(a.reference, a.hypothesis, b.hypothesis)
    ]
    found["matched_pairs"] = matched_pairs([a for a, _ in segments], [b for _, b in segments])._asdict()
    changed = [(a, b) for a, b in zip(scored, against, strict=True) if a.hypothesis != b.hypothesis]
    found["changed"] = [
        {"id": a.id, "reference": a.reference, "hypothesis": a.hypothesis, "against": b.hypothesis,
         "edits": _word_errors(a), "edits_against": _word_errors(b)}
        for a, b in changed
    ]  # fmt: skip
    return found


def _word_errors(scored: Hypothesis) -> int:
    return count_edits(scored.reference.split(), scored.hypothesis.split()).total


# -------------------------------------------------------------------------------------------------------------- tables


def tell(results: dict[str, Any], folder: Path) -> str:
    """What is printed: rates with intervals, breakdowns, confusions, and the difference."""
    lines = [f"{results['run']} on {results['part']} of {results['data']}, decoder {results['decoder']['name']}: "
             f"{results['utterances']:,} utterances, {results['speakers']} speakers, "
             f"{results['seconds'] / 60:.1f} min", ""]  # fmt: skip
    lines.append(
        f"{'%':16s}{'rate':>8s}  {'95 % over utterances':>20s}  {'over speakers':>16s}  {'S':>6s}{'D':>6s}{'I':>6s}"
    )
    for name, found in results["rates"].items():
        kinds = "".join(f"{100 * found[k]['rate']:6.2f}" for k in ("substitutions", "deletions", "insertions"))
        lines.append(f"{name:16s}{100 * found['rate']:8.2f}  {_interval(found['utterances']):>20s}  "
                     f"{_interval(found['speakers']):>16s}  {kinds}")  # fmt: skip
    refused = results["rates"]["wer"]["speakers"]
    if isinstance(refused, str):
        lines.append(f"over speakers: {refused}")
    lines.append(f"substitutions between spellings that look alike: {results['look_alike_substitutions']}")
    for name, rows in results["by"].items():
        lines += ["", f"WER by {name}"]
        lines += [f"  {r['name']:22s}{100 * r['rate']:8.2f} %  of {r['words']:,} words" for r in rows[:20]]
    lines += ["", "Most frequent confusions (reference > hypothesis)"]
    for c in results["confusions"][:_SHOWN]:
        lines.append(f"  {c['count']:4d}  {c['reference'] or '(nothing)'} > {c['hypothesis'] or '(nothing)'}")
    if "against" in results:
        lines += ["", *_tell_difference(results)]
    written = [folder / n for n in ("evaluation.json", "hypotheses.tsv", "n_best.jsonl") if (folder / n).is_file()]
    return "\n".join([*lines, "", *(f"  {path}" for path in written)])


def _interval(found: list[float] | str) -> str:
    return "-" if isinstance(found, str) else f"{100 * found[0]:.2f} to {100 * found[1]:.2f}"


def _p(value: float) -> str:
    return "p < 0.0001" if value < 0.0001 else f"p {value:.4f}"


def _tell_difference(results: dict[str, Any]) -> list[str]:
    against = results["against"]
    lines = [f"Against {against['run']} (this run minus that, points)"]
    for name in RATES:
        found = against[name]["utterances"]
        if isinstance(found, dict):
            lines.append(f"  {name:16s}{100 * found['value']:+8.2f}  {100 * found['low']:+.2f} to "
                         f"{100 * found['high']:+.2f}  "
                         f"{_p(found['p'])} (paired bootstrap)")  # fmt: skip
    pairs = against["matched_pairs"]
    lines.append(f"  matched pairs (MAPSSWE): z {pairs['z']:+.2f}, {_p(pairs['p'])}, {pairs['segments']} segments")
    lines.append(f"{len(against['changed'])} utterances changed; the most:")
    most = sorted(against["changed"], key=lambda c: -abs(c["edits"] - c["edits_against"]))[:5]
    for c in most:
        lines += [f"  {c['id']}  {c['edits_against']} > {c['edits']} edits", f"    reference {c['reference']}",
                  f"    that      {c['against']}", f"    this      {c['hypothesis']}"]  # fmt: skip
    return lines
