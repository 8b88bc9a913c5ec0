"""A long recording with its text as a corpus: sentences found in the audio, cut out, with a confidence."""

import math
import re
import tempfile
from argparse import Namespace
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import soundfile
from numpy.typing import NDArray
from tqdm import tqdm

from khasr.config import TextConfig
from khasr.data.audio import FRAME_STRIDE, SAMPLE_RATE
from khasr.data.tables import decode_text
from khasr.decoding.alignment import Found, SentenceAligner, seconds, symbol_times
from khasr.inference.audio_blocks import AudioBlocks, AudioError
from khasr.inference.audio_files import STDIN
from khasr.inference.long_audio import ForwardAudio, long_log_probs
from khasr.inference.pseudo_labels import TABLE, wrong_length
from khasr.inference.recogniser import Recogniser, load_recogniser
from khasr.run.folder import write_whole
from khasr.text.counting import counted
from khasr.text.normalise import transcript
from khasr.text.terminal import guard_cell, printable
from khasr.text.vocabulary import Vocabulary

LEFT_OUT = "left_out.tsv"

# Sentences end after these signs.
_ENDS = re.compile(r"(?<=[។៕!?…])\s*|(?<=\.)\s+")

# A sentence with more symbols, about 15 s, is cut between words.
_LONGEST_SENTENCE = 200

# Audio before and after a sentence that is cut out with it, at most half of the pause, in seconds.
_MARGIN = 0.3

# As of khasr.transcribe.
_CHUNK_SECONDS, _STRIDE_SECONDS = 30.0, 5.0


class Sentence(NamedTuple):
    """A sentence of the text, or a part of a long one, with its line and its label ids."""

    text: str
    line: int
    symbols: list[int]


@dataclass
class Aligned:
    """A sentence in the recording.

    Attributes:
        begin, end: in seconds; where it is cut out.
        confidence: geometric mean of the probabilities of its symbols, from 0 to 1.
    """

    sentence: Sentence
    begin: float
    end: float
    confidence: float


@dataclass
class Alignment:
    """All sentences of a text.

    Attributes:
        found: in order.
        missing: sentences that are not in the recording, or have no symbol that the model knows.
        seconds: length of the recording.
        problem: why the recording is not complete; empty if it is.
    """

    found: list[Aligned] = field(default_factory=list)
    missing: list[tuple[Sentence, str]] = field(default_factory=list)
    seconds: float = 0.0
    problem: str = ""


def align(arguments: Namespace) -> int:
    """Aligns the files of the command line and writes the corpus; returns 1 if the recording is cut short.

    Raises:
        FileNotFoundError, ValueError: files or a run that cannot be used, or no sentence found.
    """
    if not 0 <= arguments.min_confidence <= 1:
        raise ValueError(f"--min-confidence {arguments.min_confidence:g}: expected a number from 0 to 1.")
    if arguments.audio == STDIN:
        raise ValueError("Standard input can be read once, and alignment reads the audio twice: pass a file.")
    if not arguments.text.is_file():
        raise FileNotFoundError(
            f"{arguments.text} does not exist, or is not a file; expected the text of the recording."
        )
    if (arguments.out / TABLE).exists():
        raise ValueError(f"--out {arguments.out} has a {TABLE} already; choose a new folder.")
    text = decode_text(arguments.text.read_bytes(), str(arguments.text))
    recogniser = load_recogniser(arguments.run)
    sentences = read_sentences(text, recogniser)
    if not any(sentence.symbols for sentence in sentences):
        raise ValueError(f"{arguments.text} has no symbol that {arguments.run} was trained on; expected its text.")
    try:
        found = align_recording(recogniser, arguments.audio, sentences)
        rows = _write(found, arguments)
    except AudioError as error:
        raise ValueError(f"{arguments.audio}: {error}") from error
    for line in _describe(found, rows, arguments):
        print(printable(line))
    return 1 if found.problem else 0


def read_sentences(text: str, recogniser: Recogniser) -> list[Sentence]:
    """The sentences of a text: its lines, cut at the ends of sentences, and long ones between words.

    Symbols that the model was not trained on, such as punctuation, are not aligned; they stay in the text.
    """
    options = recogniser.text or TextConfig()
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        for sentence in filter(None, (part.strip() for part in _ENDS.split(line))):
            for part in _parts(sentence):
                found.append(Sentence(part, number, _symbols(transcript(part, options), recogniser.vocabulary)))
    return found


def _symbols(spoken: str, vocabulary: Vocabulary) -> list[int]:
    """The label ids that the model knows, with a space only between others."""
    ids: list[int] = []
    between = True
    for i in vocabulary.encode(spoken):
        symbol = vocabulary.decode([i])
        if symbol and not (symbol == " " and between):
            ids.append(i)
            between = symbol == " "
    return ids[:-1] if ids and between else ids


def _parts(sentence: str) -> Iterator[str]:
    """A sentence, or parts of similar length of a long one, cut at spaces, also of zero width."""
    words = re.findall(r"[^ \u200b]+[ \u200b]*|[ \u200b]+", sentence)
    count = min(len(words), math.ceil(len(sentence) / _LONGEST_SENTENCE))
    if count < 2:
        yield sentence
        return
    ends = np.cumsum([len(word) for word in words])
    part = np.minimum((ends - 1) * count // ends[-1], count - 1).tolist()
    for number in range(count):
        if chosen := [word for word, of in zip(words, part, strict=True) if of == number]:
            yield "".join(chosen).strip(" \u200b")


def align_recording(recogniser: Recogniser, audio: str, sentences: Sequence[Sentence]) -> Alignment:
    """The sentences in a recording. The log-probabilities are kept in a temporary file, not in memory.

    Raises:
        AudioError: the recording cannot be decoded.
    """
    alignment = Alignment()
    spoken = [i for i, sentence in enumerate(sentences) if sentence.symbols]
    symbols = [sentences[i].symbols for i in spoken]
    silent = [0, *(i for i, symbol in enumerate(recogniser.vocabulary.symbols) if symbol == " ")]
    aligner = SentenceAligner(symbols, silent)
    blocks = AudioBlocks(audio)
    with tempfile.TemporaryFile() as file:
        progress = tqdm(desc="aligning", unit=" s", disable=None, leave=False)
        for rows in long_log_probs(recogniser, blocks, _CHUNK_SECONDS, _STRIDE_SECONDS):
            aligner.add(rows)
            file.write(np.ascontiguousarray(rows, np.float32).tobytes())
            alignment.seconds += seconds(len(rows))
            progress.update(round(seconds(len(rows))))
        progress.close()
        found = aligner.finish()
        confidences = [
            math.exp(symbol_times(_read_rows(file, span, len(recogniser.vocabulary)), symbols[span.sentence])[1].mean())
            for span in found
        ]
    for span, confidence, (begin, end) in zip(found, confidences, cut_times(found, alignment.seconds), strict=True):
        sentence = sentences[spoken[span.sentence]]
        if reason := wrong_length(end - begin):
            alignment.missing.append((sentence, reason))
        else:
            alignment.found.append(Aligned(sentence, begin, end, confidence))
    alignment.problem = blocks.problem
    there = {spoken[span.sentence] for span in found}
    for number, sentence in enumerate(sentences):
        if number not in there:
            reason = "not found in the recording" if sentence.symbols else "no symbol that the model knows"
            alignment.missing.append((sentence, reason))
    return alignment


def _read_rows(file: BinaryIO, span: Found, symbols: int) -> NDArray[np.float32]:
    file.seek(4 * symbols * span.begin)
    data = file.read(4 * symbols * (span.end - span.begin))
    return np.frombuffer(data, np.float32).reshape(-1, symbols).copy()


def cut_times(found: Sequence[Found], total: float) -> list[tuple[float, float]]:
    """Where the sentences are cut out: in the middle of a pause, or where a longer pause has lasted for the margin."""
    begins, ends = [seconds(span.begin) for span in found], [seconds(span.end) for span in found]
    cuts = []
    for i in range(len(found)):
        before = begins[i] - (ends[i - 1] if i else 0.0)
        after = (begins[i + 1] if i + 1 < len(found) else total) - ends[i]
        cuts.append((begins[i] - min(_MARGIN, before / 2), ends[i] + min(_MARGIN, after / 2)))
    return cuts


# ------------------------------------------------------------------------------------------------------------- writing


def _write(alignment: Alignment, arguments: Namespace) -> list[Aligned]:
    """Writes the audio of confident sentences, their table and that of the others; returns the confident ones."""
    kept = [a for a in alignment.found if a.confidence >= arguments.min_confidence]
    if not kept:
        count = counted(len(alignment.found) + len(alignment.missing), "sentence")
        raise ValueError(
            f"None of {count} of {arguments.text} was found in {arguments.audio} with a confidence of at least "
            f"--min-confidence {arguments.min_confidence:g}. Expected the text that is spoken in the recording."
        )
    (arguments.out / "audio").mkdir(parents=True, exist_ok=True)
    audio = ForwardAudio(AudioBlocks(arguments.audio))
    name = re.sub(r"\W+", "_", Path(arguments.audio).stem) or "recording"
    table = ["audio\ttext\tbegin\tend\tconfidence"]
    for number, a in enumerate(kept, 1):
        begin, end = (round(time * SAMPLE_RATE) // FRAME_STRIDE * FRAME_STRIDE for time in (a.begin, a.end))
        file = Path("audio") / f"{name}_{number:05d}.flac"
        soundfile.write(arguments.out / file, np.rint(audio.read(begin, end) * 32768).astype(np.int16), SAMPLE_RATE)
        table.append("\t".join([str(file), _cell(a.sentence.text), *_numbers(a)]))
    others = ["line\ttext\tbegin\tend\tconfidence\treason"]
    low = f"confidence below {arguments.min_confidence:g}"
    rows = [
        (a.sentence.line, [guard_cell(_cell(a.sentence.text)), *_numbers(a), low])
        for a in alignment.found
        if a.confidence < arguments.min_confidence
    ]
    rows += [(s.line, [guard_cell(_cell(s.text)), "", "", "", reason]) for s, reason in alignment.missing]
    others += ["\t".join([str(line), *cells]) for line, cells in sorted(rows, key=lambda row: row[0])]
    write_whole(arguments.out / LEFT_OUT, "\n".join([*others, ""]))
    write_whole(arguments.out / TABLE, "\n".join([*table, ""]))
    return kept


def _numbers(a: Aligned) -> list[str]:
    return [f"{a.begin:.2f}", f"{a.end:.2f}", f"{a.confidence:.4f}"]


def _cell(text: str) -> str:
    return text.replace("\t", " ")


def _describe(alignment: Alignment, kept: Sequence[Aligned], arguments: Namespace) -> list[str]:
    count = len(alignment.found) + len(alignment.missing)
    minutes = sum(a.end - a.begin for a in kept) / 60
    lines = [
        f"{len(kept):,} of {counted(count, 'sentence')}, {minutes:.1f} of {alignment.seconds / 60:.1f} min, with a "
        f"confidence of at least {arguments.min_confidence:g}"
    ]
    reasons = Counter(reason for _, reason in alignment.missing)
    if len(kept) < len(alignment.found):
        reasons[f"confidence below {arguments.min_confidence:g}"] = len(alignment.found) - len(kept)
    if reasons:
        lines.append("left out: " + ", ".join(f"{n:,} {reason}" for reason, n in reasons.most_common()))
    low, middle, high = np.quantile([a.confidence for a in alignment.found], [0.1, 0.5, 0.9])
    lines.append(
        f"confidences: {low:.2f} or less for 10 % of the sentences found, {middle:.2f} for half, {high:.2f} for 90 %"
    )
    if alignment.problem:
        lines.append(f"{arguments.audio}: {alignment.problem}; the sentences are those of what could be decoded")
    lines += [f"  {arguments.out / TABLE}", f"  {arguments.out / LEFT_OUT}"]
    return [*lines, f"Train on them with data=folder data.root={arguments.out}"]
