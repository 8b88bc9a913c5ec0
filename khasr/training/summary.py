"""The text that a run prints at its start and at its end."""

from collections import Counter
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from khasr.config import ScheduleConfig
from khasr.data.datamodule import CorpusDataModule
from khasr.optim.schedules import in_steps
from khasr.run.folder import RunFolder
from khasr.scoring.alignments import mark_differences
from khasr.scoring.hypotheses import Hypothesis, sample_evenly
from khasr.text.vocabulary import describe_symbol

_PAIRS = 5


def describe_data(data: CorpusDataModule) -> str:
    """The sizes of the parts, the vocabulary, and the utterances that were left out, by reason."""
    lines = []
    for part in data.parts.values():
        line = f"{part.name}: {len(part):,} utterances, {60 * part.hours:.1f} min"
        unknown = data.unknown.get(part.name)
        if unknown:
            symbols = ", ".join(f"{describe_symbol(s)} x {n}" for s, n in unknown.most_common())
            line += f" (symbols absent from the training part, mapped to <unk>: {symbols})"
        lines.append(line)
    lines.append(f"vocabulary: {len(data.vocabulary)} symbols from the training part")
    for reason, count in Counter(fault.reason for fault in data.faults).most_common():
        first = next(fault for fault in data.faults if fault.reason == reason)
        lines.append(f"left out: {count:,} utterances, {reason} (the first: {first.detail})")
    return "\n".join(lines)


def describe_length(options: ScheduleConfig, total_steps: int, steps_per_epoch: int, frozen_steps: int) -> str:
    """The length of the run, its warm-up and frozen steps, and a warning if the warm-up is as long as the run."""
    warmup = in_steps(options.warmup, total_steps)
    line = f"{total_steps:,} steps, {total_steps / steps_per_epoch:.1f} epochs; warm-up {warmup:,} steps"
    if frozen_steps:
        line += f"; the encoder is frozen for the first {min(frozen_steps, total_steps):,}"
    if warmup >= total_steps:
        line += (
            f"\nThe warm-up of {warmup:,} steps is not shorter than the run: lr ends at "
            f"{total_steps / warmup:.0%} of its peak. schedule.warmup=0.1 is 10% of a run of any length."
        )
    return line


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
        f"{train['steps']:,} steps, {train['epochs']:.1f} epochs, {train['seconds']:.0f} s of training, "
        f"{train['audio_seconds_per_second']:.0f} s of audio/s, {train['peak_memory_gib']:.1f} GiB at the peak\n",
        soft_wrap=True,
    )
    if results["trouble"]:
        console.print(f"{results['trouble']}\n", soft_wrap=True)
    written = [folder.results, folder.hypotheses, folder.metrics, folder.learning_curve, folder.config, folder.best]
    for path in [*written, folder.last]:
        if path.exists():
            console.print(f"  {path}", soft_wrap=True, highlight=False)
