"""The page of `khasr.prepare run=RUN`: the most suspicious transcripts with their audio and the model's hypotheses."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from khasr.study.elements import Section, Table, columns_of, number_cell, percent_cell, text_cell
from khasr.study.overview import Overview
from khasr.study.page import Opening, render_page
from khasr.study.utterances import Shown, Side, align_words, recordings
from khasr.text.counting import counted

if TYPE_CHECKING:
    from khasr.inference.transcript_check import Checked

_READING = [
    "Listen from the top, and compare the transcript (above) with the hypothesis (below). Near the top are wrong "
    "transcripts and recordings that are cut, noisy or in a different language; further down, the model's own errors. "
    "Stop where most transcripts are right.",
    "The score is the natural logarithm of how many times the model's hypothesis is more probable than the transcript, "
    "per symbol of the transcript. It is inf for a transcript too long for its audio.",
    "A model that was trained for long on a wrong transcript has learned it, and its score is then low: an earlier or "
    "smaller model finds more of them in train. On val this does not happen.",
]


def transcript_page(checked: Sequence["Checked"], run: str, config: dict[str, Any], count: int) -> str:
    """The page as HTML.

    Args:
        checked: all utterances, the most suspicious first.
        config: the options of the corpus as in a config.yaml, for the audio.
        count: utterances that are shown with audio.
    """
    top = list(checked[:count])
    sounds, why_no_audio = recordings(config, [c.id for c in top]) if top else ({}, "no utterance is shown")
    shown = [
        Shown(
            f"{rank}. {c.id}, {c.part}, score {c.score:.2f}, loss {c.loss:.2f}", c.seconds, len(c.reference.split()),
            [Side("", _word_edits(c), align_words(c.reference, c.hypothesis))], sounds.get(c.id, ""),
        )
        for rank, c in enumerate(top, 1)
    ]  # fmt: skip
    rows = [
        [text_cell(c.id, "wide"), text_cell(c.part), text_cell(c.speaker), number_cell(c.seconds, 1),
         number_cell(c.score, 2), number_cell(c.loss, 2), percent_cell(c.cer), text_cell(c.reference, "km"),
         text_cell(c.hypothesis, "km")]
        for c in top
    ]  # fmt: skip
    columns = columns_of("id", "part", "speaker", "#seconds", "#score", "#loss", "#CER, %", "transcript", "hypothesis")
    overview = Overview(
        f"{counted(len(checked), 'utterance')} of train and val, ordered by how little their transcripts fit the "
        f"model of {run}; the first {len(top):,} are shown.",
        notes=_READING,
    )
    opening = Opening("Transcripts to check", "verdict", overview)
    sections = [
        Section("utterances", "Utterances", "The least fitting transcripts", utterances=[("By score", shown)]),
        Section("table", "Table", "The same as a table", tables=[Table("All are in transcripts.tsv", columns, rows)]),
    ]
    if not sounds:
        sections[0].words.append(f"No audio: {why_no_audio}.")
    return render_page("Transcripts to check", f"Model: {run}", opening, sections)


def _word_edits(checked: "Checked") -> int:
    return sum(cell.kind != "equal" for cell in align_words(checked.reference, checked.hypothesis))
