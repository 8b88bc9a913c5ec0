"""What every corpus is once it has been read: utterances, and a way to their audio."""

from collections.abc import Callable
from dataclasses import dataclass, field

from khasr.data.corpora.files import Audio


@dataclass(frozen=True)
class Utterance:
    """One audio, its text as the corpus has it, its speaker.

    Attributes:
        source: where the audio is, for messages: a file, or a line of a table.
        own_part: train, val or test, where the corpus has parts of its own (data.split=own).
    """

    id: str
    text: str
    speaker: str
    source: str
    own_part: str = ""


@dataclass(frozen=True)
class Fault:
    """Why an utterance cannot be used; `reason` is the same for all of a kind, so that they can be counted."""

    id: str
    reason: str
    detail: str


@dataclass
class Corpus:
    """Utterances in the corpus's own order.

    Attributes:
        read_audio: the waveform of an utterance, (samples, channels) or (samples,), and its rate in Hz; raises
            ValueError or OSError where there is none to be had.
        fingerprint: changes whenever the audio or the texts may have changed.
        faults: utterances that the corpus names but that cannot be used, found while reading it.
    """

    name: str
    utterances: list[Utterance]
    read_audio: Callable[[Utterance], Audio]
    fingerprint: str
    faults: list[Fault] = field(default_factory=list)
