"""The utterances of a corpus as the audit sees them: texts, parts and measurements of the audio."""

from dataclasses import dataclass

from khasr.data.audio import SAMPLE_RATE
from khasr.data.datamodule import CorpusDataModule


@dataclass
class Audited:
    """An utterance with what the audit needs; the fields of its audio are None if only text is audited.

    Attributes:
        text: normalised.
        raw: as the corpus has it.
    """

    id: str
    speaker: str
    text: str
    part: str
    raw: str = ""
    seconds: float | None = None
    digest: str | None = None
    peak: float | None = None
    level: float | None = None
    clipped: float | None = None
    edge: float | None = None
    rate: int | None = None


def audited(data: CorpusDataModule) -> list[Audited]:
    """The utterances of all parts, with the measurements of the audio cache."""
    columns = ["id", "speaker", "text", "digest", "peak", "level", "clipped", "edge", "rate"]
    return [
        Audited(part=part.name, text=text, raw=about.pop("text"), seconds=length / SAMPLE_RATE, **about)
        for part in data.parts.values()
        for text, length, about in zip(
            part.texts, part.lengths, part.audio.with_format(None).select_columns(columns).to_list(), strict=True
        )
    ]
