"""The text that a run prints at its start and at its end."""

import math
from collections import Counter
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from khasr.config import Config, ScheduleConfig
from khasr.data.datamodule import CorpusDataModule
from khasr.optim.schedules import in_steps, lr_scale
from khasr.run.folder import RunFolder
from khasr.run.outcome import flat_options
from khasr.scoring.alignments import mark_differences
from khasr.scoring.hypotheses import Hypothesis, sample_evenly
from khasr.text.counting import counted
from khasr.text.vocabulary import describe_symbol

_PAIRS = 5


def describe_data(data: CorpusDataModule, score_test: bool) -> str:
    """The sizes of the parts, the vocabulary, and the utterances that were left out, by reason.

    Args:
        score_test: whether the run scores the test part.
    """
    lines = []
    for part in data.parts.values():
        line = f"{part.name}: {counted(len(part), 'utterance')}, {60 * part.hours:.1f} min"
        if part.name == "test":
            line += "; scored once, at the end of the run" if score_test else "; not read"
            line += f" (score_test={str(score_test).lower()})"
        unknown = data.unknown.get(part.name)
        if unknown:
            symbols = ", ".join(f"{describe_symbol(s)} x {n}" for s, n in unknown.most_common())
            line += f" (symbols absent from the training part, mapped to <unk>: {symbols})"
        lines.append(line)
    lines.append(f"vocabulary: {counted(len(data.vocabulary), 'symbol')} from the training part")
    for reason, count in Counter(fault.reason for fault in data.faults).most_common():
        first = next(fault for fault in data.faults if fault.reason == reason)
        lines.append(f"left out: {counted(count, 'utterance')}, {reason} (the first: {first.detail})")
    return "\n".join(lines)


def describe_length(options: ScheduleConfig, total_steps: int, steps_per_epoch: int, frozen_steps: int) -> str:
    """The length of the run, its warm-up and frozen steps, and a warning if the warm-up is as long as the run."""
    warmup = in_steps(options.warmup, total_steps)
    line = f"{counted(total_steps, 'step')}, {total_steps / steps_per_epoch:.1f} epochs; "
    line += f"warm-up of {counted(warmup, 'step')}" if warmup else "no warm-up"
    if options.warmup and not warmup:
        line += f" (schedule.warmup={options.warmup:g} of {counted(total_steps, 'step')} is less than half a step)"
    if frozen_steps:
        line += f"; the encoder is frozen for the first {min(frozen_steps, total_steps):,}"
    if warmup >= total_steps:
        line += (
            f"\nThe warm-up of {warmup:,} steps is not shorter than the run: lr ends at "
            f"{total_steps / warmup:.0%} of its peak. schedule.warmup=0.1 is 10% of a run of any length."
        )
    return line


def describe_resume(
    folder: Path, step: int, total_steps: int, before: Config, config: Config, planned_before: int | None
) -> str:
    """That a run is resumed, from which step, the options that differ from before, and what they do to the lr.

    Args:
        step: optimizer steps that were taken.
        total_steps: of the whole run.
        before: the options that the run had.
        planned_before: the length that the run had, in steps; None if it is not known.
    """
    lines = [f"Resuming {folder} at step {step:,} of {total_steps:,}."]
    if step >= total_steps:
        lines[0] += " Training is complete; the best checkpoint is scored again."
    there, here = flat_options(before), flat_options(config)
    changed = [key for key in here if here[key] != there.get(key) and key != "resume"]
    if changed:
        lines.append("Changed: " + "; ".join(f"{key} from {there.get(key)} to {here[key]}" for key in changed) + ".")
    if planned_before is not None and planned_before != total_steps and step < total_steps:
        old, new = (
            options.optimizer.lr * lr_scale(options.schedule, length)(min(step, length))
            for options, length in ((before, planned_before), (config, total_steps))
        )
        lines.append(
            f"The schedule is recomputed for {total_steps:,} steps instead of {planned_before:,}: "
            + (f"the lr stays at {new:.3g}." if math.isclose(old, new, rel_tol=1e-6) else
               f"at step {step:,} the lr jumps from {old:.3g} to {new:.3g}.")
        )  # fmt: skip
    return "\n".join(lines)


def title(results: dict[str, Any]) -> str:
    """The title of a run: model, data and seed."""
    return f"{results['model']} on {results['data']}, seed {results['seed']}"


def print_summary(results: dict[str, Any], folder: RunFolder, hypotheses: list[Hypothesis], console: Console) -> None:
    """Prints the scores, five utterances with the words that differ in [brackets], and the paths of the files."""
    table = Table(
        title=title(results),
        title_justify="left",
        box=box.SIMPLE_HEAD,
    )
    for column in ("part", "WER, %", "CER, %", "utterances"):
        table.add_column(column, justify="left" if column == "part" else "right")
    for part in ("val", "test"):
        if results[part] is not None:
            scores = results[part]
            table.add_row(part, f"{100 * scores['wer']:.2f}", f"{100 * scores['cer']:.2f}", f"{scores['utterances']:,}")
    console.print(table)
    if results["test"] is None:
        console.print("The test part was not read; score_test=true scores it.")
    console.print("\nReferences and hypotheses; words that differ are in [brackets]:")
    for hypothesis in sample_evenly(hypotheses, _PAIRS):
        reference, recognised = mark_differences(hypothesis.reference, hypothesis.hypothesis)
        for label, text in (("reference ", reference), ("hypothesis", recognised)):
            line = Text(f"  {label} {text}")
            line.highlight_regex(r"\[[^\]]*\]", "bold red")
            console.print(line, soft_wrap=True)
        console.print()
    train = results["train"]
    console.print(
        f"{counted(train['steps'], 'step')}, {train['epochs']:.1f} epochs, {train['seconds']:.0f} s of training, "
        f"{train['audio_seconds_per_second']:.0f} s of audio/s, {train['peak_memory_gib']:.1f} GiB at the peak\n",
        soft_wrap=True,
    )
    if results["trouble"]:
        console.print(f"{results['trouble']}\n", soft_wrap=True)
    written = [folder.results, folder.hypotheses, folder.metrics, folder.learning_curve, folder.config, folder.best]
    for path in [*written, folder.last]:
        if path.exists():
            console.print(f"  {path}", soft_wrap=True, highlight=False)
