"""An evaluation in numbers, and as the text that is printed."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from khasr.scoring.alignments import error_segments
from khasr.scoring.breakdown import Row, by_duration, by_frequency, by_oov, by_speaker
from khasr.scoring.error_rates import RATES, Edits, confusions, count_edits, rates_of
from khasr.scoring.hypotheses import Hypothesis
from khasr.scoring.significance import matched_pairs, paired_difference, rate_interval
from khasr.text.counting import counted

# In simulations of runs that differ in their seed only, 9 to 21 % of such comparisons had p < 0.05.
_ONE_PAIR = (
    "This compares one pair of runs: intervals and p-values reflect the choice of utterances and speakers, but not the",
    "variation between training seeds. To compare recipes, train several seeds of each (python -m khasr.report).",
)

# Rows of a printed table: breakdowns, confusions, utterances whose hypotheses differ.
_BREAKDOWN_ROWS, _CONFUSION_ROWS, _CHANGED_ROWS = 20, 10, 5

# Longest name in a breakdown.
_NAME_WIDTH = 22


# ------------------------------------------------------------------------------------------------------------- numbers


def describe(
    hypotheses: Sequence[Hypothesis], trained: Counter[str] | None, resamples: int, language: str | None = None
) -> dict[str, Any]:
    """Error rates with intervals, breakdowns and confusions, as in evaluation.json.

    Args:
        trained: count of each word in the training transcripts; None if unknown.
        resamples: number of resamples of each bootstrap.
        language: data.text.language, for the lower case of `wer_normalised`.
    """
    speakers = [h.speaker for h in hypotheses]
    rates = {}
    for name, unit in rates_of(_texts(hypotheses), language).items():
        edits = [count_edits(unit(h.reference), unit(h.hypothesis)) for h in hypotheses]
        rates[name] = rate(edits, speakers, resamples)
    pairs, alike = confusions((h.reference, h.hypothesis) for h in hypotheses)
    tables: dict[str, list[Row]] = {"speaker": by_speaker(hypotheses)} if any(speakers) else {}
    tables |= {"duration": by_duration(hypotheses)}
    if trained:
        tables |= {"new words": by_oov(hypotheses, trained), "times in training": by_frequency(hypotheses, trained)}
    return {
        "utterances": len(hypotheses),
        "speakers": len(set(speakers) - {""}),
        "seconds": sum(h.seconds for h in hypotheses),
        "rates": rates,
        "look_alike_substitutions": alike,
        "confusions": [{"reference": a, "hypothesis": b, "count": n} for (a, b), n in pairs.most_common(50)],
        "by": {name: [asdict(r) | {"rate": r.rate} for r in rows] for name, rows in tables.items()},
    }


def _texts(hypotheses: Sequence[Hypothesis]) -> list[str]:
    return [text for h in hypotheses for text in (h.reference, h.hypothesis)]


def rate(edits: Sequence[Edits], speakers: Sequence[str], resamples: int) -> dict[str, Any]:
    """A corpus-level rate and its substitutions, deletions and insertions, with intervals over utterances and speakers.

    If an interval cannot be computed, it is replaced by the reason, as text.

    Args:
        speakers: the speaker of each utterance; empty if unknown.
    """
    units = [e.units for e in edits]
    found: dict[str, Any] = {"units": sum(units), "edits": sum(e.total for e in edits)}
    kinds = {
        "all": [e.total for e in edits],
        "substitutions": [e.substitutions for e in edits],
        "deletions": [e.deletions for e in edits],
        "insertions": [e.insertions for e in edits],
    }
    for name, counts in kinds.items():
        here: dict[str, Any] = {"count": sum(counts), "rate": sum(counts) / sum(units) if sum(units) else float("nan")}
        for over, groups in (("utterances", None), ("speakers", speakers)):
            try:
                _check_speakers(groups)
                here[over] = list(rate_interval(counts, units, groups=groups, resamples=resamples)[1:])
            except ValueError as refused:
                here[over] = str(refused)
        found |= here if name == "all" else {name: here}
    return found


def _check_speakers(speakers: Sequence[str] | None) -> None:
    if speakers is not None and "" in speakers:
        raise ValueError(f"{speakers.count(''):,} of {len(speakers):,} utterances have no speaker.")


def compare(
    hypotheses: Sequence[Hypothesis], against: Sequence[Hypothesis], resamples: int, language: str | None = None
) -> dict[str, Any]:
    """The difference of two systems on the same utterances: intervals, p-values, and the utterances that differ.

    Raises:
        ValueError: the ids or the references differ.
    """
    if [(h.id, h.reference) for h in hypotheses] != [(h.id, h.reference) for h in against]:
        raise ValueError("The two systems were not scored on the same utterances and references.")
    speakers = [h.speaker for h in hypotheses]
    found: dict[str, Any] = {}
    for name, unit in rates_of(_texts([*hypotheses, *against]), language).items():
        ours = [count_edits(unit(h.reference), unit(h.hypothesis)) for h in hypotheses]
        theirs = [count_edits(unit(h.reference), unit(h.hypothesis)) for h in against]
        edits = ([e.total for e in ours], [e.total for e in theirs], [e.units for e in ours])
        units = sum(edits[2]) or float("nan")
        found[name] = {"rate": sum(edits[1]) / units, "rate_of_run": sum(edits[0]) / units}
        for over, groups in (("utterances", None), ("speakers", speakers)):
            try:
                _check_speakers(groups)
                found[name][over] = paired_difference(*edits, groups=groups, resamples=resamples)._asdict()
            except ValueError as refused:
                found[name][over] = str(refused)
    pairs = list(zip(hypotheses, against, strict=True))
    segments = [s for a, b in pairs for s in error_segments(a.reference, a.hypothesis, b.hypothesis)]
    found["matched_pairs"] = matched_pairs([a for a, _ in segments], [b for _, b in segments])._asdict()
    found["changed"] = [
        {"id": a.id, "reference": a.reference, "hypothesis": a.hypothesis, "against": b.hypothesis,
         "edits": a.edits, "edits_against": b.edits}
        for a, b in pairs if a.hypothesis != b.hypothesis
    ]  # fmt: skip
    return found


# -------------------------------------------------------------------------------------------------------------- tables


def format_report(results: dict[str, Any], written: Sequence[Path]) -> str:
    """The printed report: notes, rates with intervals, breakdowns, confusions, difference, and the written files."""
    notes = results.get("notes", [])
    lines = [*(f"Note: {note}" for note in notes), *([""] if notes else [])]
    size = f"{counted(results['utterances'], 'utterance')}, "
    size += counted(results["speakers"], "speaker") if results["speakers"] else "speakers unknown"
    lines += [f"{results['run']} on {results['part']} of {results['data']}, decoder {results['decoder']['name']}: "
              f"{size}, {results['seconds'] / 60:.1f} min", ""]  # fmt: skip
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
    if "wer_normalised" in results["rates"]:
        lines.append("wer_normalised: in lower case, without punctuation and other differences that are not spoken")
    if "wer_resegmented" in results["rates"]:
        lines.append(f"substitutions between spellings that render alike: {results['look_alike_substitutions']}")
    for name, rows in results["by"].items():
        lines += ["", f"WER by {name}"]
        lines += [
            f"  {_cut(r['name']):22s}{100 * r['rate']:8.2f} %  of {r['words']:,} words" for r in rows[:_BREAKDOWN_ROWS]
        ]
        if len(rows) > _BREAKDOWN_ROWS:
            lines.append(f"  and {len(rows) - _BREAKDOWN_ROWS} more, in evaluation.json")
    lines += ["", "Most frequent confusions (reference > hypothesis)"]
    for c in results["confusions"][:_CONFUSION_ROWS]:
        lines.append(f"  {c['count']:4d}  {c['reference'] or '(nothing)'} > {c['hypothesis'] or '(nothing)'}")
    if "against" in results:
        lines += ["", *_difference(results["against"])]
    return "\n".join([*lines, "", *(f"  {path}" for path in written)])


def _difference(against: dict[str, Any]) -> list[str]:
    lines = [f"Difference from {against['run']} (this run minus the other, in points)"]
    for name in [name for name in RATES if name in against]:
        # Utterances of one speaker are not independent: over speakers where there are enough of them.
        over = next((o for o in ("speakers", "utterances") if isinstance(against[name][o], dict)), None)
        if over is None:
            lines.append(f"  {name:16s}{against[name]['utterances']}")
            continue
        found = against[name][over]
        lines.append(f"  {name:16s}{100 * found['value']:+8.2f}  {100 * found['low']:+.2f} to "
                     f"{100 * found['high']:+.2f}  {_p(found['p'])} (paired bootstrap over {over})")  # fmt: skip
    if isinstance(against["wer"]["speakers"], str):
        lines.append(f"  not over speakers: {against['wer']['speakers']}")
    pairs = against["matched_pairs"]
    lines.append(
        f"  matched pairs (MAPSSWE): z {pairs['z']:+.2f}, {_p(pairs['p'])}, {counted(pairs['segments'], 'segment')}"
    )
    lines += [f"  {line}" for line in _ONE_PAIR]
    changed = sorted(against["changed"], key=lambda c: -abs(c["edits"] - c["edits_against"]))
    differ = "differs" if len(changed) == 1 else "differ"
    lines.append(f"{counted(len(changed), 'utterance')} {differ}" + (", the largest differences:" if changed else ""))
    for c in changed[:_CHANGED_ROWS]:
        lines += [f"  {c['id']}  {c['edits_against']} > {c['edits']} edits", f"    reference {c['reference']}",
                  f"    other run {c['against']}", f"    this run  {c['hypothesis']}"]  # fmt: skip
    return lines


def _cut(name: str) -> str:
    """A name that fits its column: Common Voice's speakers have 128 characters."""
    return name if len(name) <= _NAME_WIDTH else f"{name[: _NAME_WIDTH - 3]}..."


def _interval(found: list[float] | str) -> str:
    return "-" if isinstance(found, str) else f"{100 * found[0]:.2f} to {100 * found[1]:.2f}"


def _p(value: float) -> str:
    return "p < 0.0001" if value < 0.0001 else f"p {value:.4f}"
