"""The common form of all corpora: utterances, and a function that reads their audio."""

from collections.abc import Callable
from dataclasses import dataclass, field

from khasr.data.corpora.files import Audio


@dataclass(frozen=True)
class Utterance:
    """One recording, its text as the corpus has it, its speaker.

    Attributes:
        source: a file, or a line of a table, for messages.
        own_part: train, val or test if the corpus has its own split (data.split=own), else empty.
    """

    id: str
    text: str
    speaker: str
    source: str
    own_part: str = ""


@dataclass(frozen=True)
class Fault:
    """Why an utterance cannot be used; equal `reason`s are counted together, `detail` is the message."""

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
        faults: utterances that cannot be used, as far as the corpus's tables show.
    """

    name: str
    utterances: list[Utterance]
    read_audio: Callable[[Utterance], Audio]
    fingerprint: str
    faults: list[Fault] = field(default_factory=list)
