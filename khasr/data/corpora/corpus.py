"""The common form of all corpora: utterances, and a function that reads their audio."""

from collections.abc import Callable
from dataclasses import dataclass, field

from khasr.data.audio_file import Recording
from khasr.text.terminal import is_control, printable

# Names of the parts in datasets, tables and folders, and in khasr.
PART_NAMES = {
    "train": "train", "training": "train", "validation": "val", "valid": "val", "val": "val", "dev": "val",
    "test": "test", "testing": "test",
}  # fmt: skip

# Characters: 20 minutes of speech have fewer.
_LONGEST_TEXT = 50_000

_SHOWN = 80


@dataclass(frozen=True)
class Utterance:
    """One recording, its text as the corpus has it, its speaker.

    Attributes:
        source: a file, or a line of a table, for messages.
        own_part: train, val or test if the corpus has its own split (data.split=own), a different name for what is
            in none of them, and empty if the corpus names no parts.
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
        read_audio: the audio of an utterance; raises ValueError if it cannot be used, OSError if it cannot be read.
        fingerprint: changes whenever the audio or the texts may have changed.
        faults: utterances that cannot be used, as far as the corpus's tables show.
        notes: what a user should know of how the corpus was read, a sentence each.
    """

    name: str
    utterances: list[Utterance]
    read_audio: Callable[[Utterance], Recording]
    fingerprint: str
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class UtteranceList:
    """Collects the utterances of a corpus, and the faults of those that cannot be used."""

    def __init__(self) -> None:
        self.utterances: list[Utterance] = []
        self.faults: list[Fault] = []
        self._ids: set[str] = set()

    def add(self, utterance: Utterance, audio_fault: str = "") -> bool:
        """Adds the utterance, or a fault, and returns whether it can be used.

        Args:
            audio_fault: why the utterance has no audio; empty if it has.
        """
        reason, why = self._check(utterance, audio_fault)
        if reason:
            self.fault(utterance.id, reason, utterance.source, why)
            return False
        self._ids.add(utterance.id)
        self.utterances.append(utterance)
        return True

    def fault(self, id_: str, reason: str, source: str, why: str) -> None:
        """Adds a fault of a row or file."""
        shown = printable(id_, _SHOWN)
        self.faults.append(Fault(shown, reason, f"{printable(source, 300)}: {why}"))

    def _check(self, utterance: Utterance, audio_fault: str) -> tuple[str, str]:
        shown = printable(utterance.id, _SHOWN)
        # split.tsv and hypotheses.tsv hold ids and speakers, a record per line.
        if any(map(is_control, utterance.id)) or any(map(is_control, utterance.speaker)):
            of = (
                f"speaker {printable(utterance.speaker, _SHOWN)} of {shown}" if shown == utterance.id else f"id {shown}"
            )
            return "control characters in its id or speaker", f"the {of} contains control characters"
        if utterance.id in self._ids:
            return "its id occurs twice", f"{shown} occurs a second time"
        if audio_fault:
            return "no audio", audio_fault
        if not utterance.text:
            return "no text", f"{shown} has no text"
        if len(utterance.text) > _LONGEST_TEXT:
            return (
                "text too long",
                f"the text of {shown} has {len(utterance.text):,} characters, over {_LONGEST_TEXT:,}",
            )
        return "", ""
