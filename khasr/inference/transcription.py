"""Transcription of audio files to text, JSON with word times, or subtitles."""

import io
import json
import sys
from argparse import Namespace
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import soundfile
from numpy.typing import NDArray
from tqdm import tqdm

from khasr.config import DecoderConfig
from khasr.data.audio import SAMPLE_RATE, to_16k
from khasr.decoding.beam import check_decoder
from khasr.decoding.decoded import FRAME_SECONDS, Decoded, Word
from khasr.decoding.decoder import n_best
from khasr.inference.long_audio import long_log_probs, pieces_at_pauses
from khasr.inference.recogniser import Recogniser, load_recogniser
from khasr.run.folder import RunFolder

_ENDINGS = {f".{name.lower()}" for name in soundfile.available_formats()} | {".opus", ".oga", ".aif"}


# A subtitle ends before a pause of this length, and at this duration, in seconds.
_PAUSE, _LONGEST = 0.6, 5.0


def transcribe(arguments: Namespace) -> int:
    """Transcribes the files of the command line; returns the number that failed, which are named on standard error.

    Raises:
        FileNotFoundError, ValueError: a run or language model that cannot be used, or no audio files.
    """
    files = find_audio(arguments.files)
    decoder = _decoder(arguments)
    check_decoder(decoder)
    recogniser = load_recogniser(arguments.run)
    read = n_best(decoder, recogniser.vocabulary, max(1, arguments.n_best))
    if arguments.out is not None:
        arguments.out.mkdir(parents=True, exist_ok=True)
    failed = 0
    for name in tqdm(files, "transcribing", unit=" files", disable=None, leave=False):
        try:
            pieces = recognise_file(recogniser, name, arguments.chunk_seconds, arguments.stride_seconds)
            decoded = [(start, read(rows)) for start, rows in pieces]
            transcript = _format(name, decoded, arguments.format, recogniser.vocabulary.between_words)
        except (soundfile.LibsndfileError, OSError, _NoAudioError) as error:
            # libsndfile's message begins with the file, or with a buffer's address where it is standard input.
            why = error.error_string if isinstance(error, soundfile.LibsndfileError) else error
            print(f"{'standard input' if name == '-' else name}: {why}", file=sys.stderr)
            failed += 1
            continue
        if arguments.out is None:
            prefix = f"{name}\t" if arguments.format == "text" and len(files) > 1 else ""
            after = "\n" if arguments.format == "srt" else ""  # subtitles end with an empty line
            print(f"{prefix}{transcript}{after}", flush=True)
        else:
            ending = {"text": "txt", "json": "json", "srt": "srt"}[arguments.format]
            (arguments.out / f"{'stdin' if name == '-' else Path(name).name}.{ending}").write_text(
                f"{transcript}\n", encoding="utf-8"
            )
    if failed:
        print(f"{failed} of {len(files)} files could not be transcribed.", file=sys.stderr)
    return failed


class _NoAudioError(Exception):
    """A file without usable samples."""


def find_audio(names: Sequence[str]) -> list[str]:
    """The named files, and the audio files in the named folders, sorted.

    Raises:
        FileNotFoundError: a folder without audio files.
    """
    files: list[str] = []
    for name in names:
        path = Path(name).expanduser()
        if not path.is_dir():
            files.append(name if name == "-" else str(path))
            continue
        inside = sorted(str(p) for p in path.rglob("*") if p.suffix.lower() in _ENDINGS and p.is_file())
        if not inside:
            raise FileNotFoundError(
                f"{name} contains no audio files. Expected files that libsndfile reads (wav, flac, ogg, mp3)."
            )
        files += inside
    return files


def _decoder(arguments: Namespace) -> DecoderConfig:
    tuned = RunFolder.at(arguments.run).read_decoder() if arguments.decoder is None else None
    options = tuned or DecoderConfig()
    if arguments.decoder is not None:
        options.name = arguments.decoder
    if arguments.lm is not None:
        options.lm = arguments.lm
    return options


def recognise_file(
    recogniser: Recogniser, name: str, chunk_seconds: float, stride_seconds: float
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yields the log-probabilities of a file (`-`: standard input) in pieces, each with its first frame.

    The file is read while it is recognised, so memory does not grow with its length.
    """
    if name != "-" and not Path(name).is_file():
        raise _NoAudioError("the file does not exist")
    source: str | BinaryIO = io.BytesIO(sys.stdin.buffer.read()) if name == "-" else name
    with soundfile.SoundFile(source) as audio:
        samples = audio.frames * SAMPLE_RATE // audio.samplerate
        if samples <= 0:
            raise _NoAudioError("it has no samples")

        def read(start: int, end: int) -> NDArray[np.float32]:
            audio.seek(start * audio.samplerate // SAMPLE_RATE)
            found = audio.read((end - start) * audio.samplerate // SAMPLE_RATE, dtype="float32")
            try:
                return to_16k(found, audio.samplerate).astype(np.float32) / 32768
            except ValueError as error:
                raise _NoAudioError(str(error)) from error

        rows = long_log_probs(recogniser, read, samples, chunk_seconds, stride_seconds)
        yield from pieces_at_pauses(rows, recogniser.vocabulary)


def _format(name: str, pieces: Sequence[tuple[int, list[Decoded]]], format_: str, between: str) -> str:
    best = [(start * FRAME_SECONDS, decoded[0]) for start, decoded in pieces]
    words = [Word(w.text, w.start + at, w.end + at, w.confidence) for at, decoded in best for w in decoded.words]
    if format_ == "srt":
        return subtitles(words, between)
    text = between.join(decoded.text for _, decoded in best if decoded.text)
    if format_ == "text":
        return text
    found: dict[str, Any] = {"file": name, "text": text, "words": [_rounded(w) for w in words]}
    found["pieces"] = [
        {"start": round(start * FRAME_SECONDS, 2),
         "n_best": [
             {"text": d.text, "score": round(d.score, 3), "confidence": round(d.confidence, 4)} for d in decoded]}
        for start, decoded in pieces
    ]  # fmt: skip
    return json.dumps(found, ensure_ascii=False)


def _rounded(word: Word) -> dict[str, Any]:
    return {
        "text": word.text,
        "start": round(word.start, 2),
        "end": round(word.end, 2),
        "confidence": round(word.confidence, 4),
    }


def subtitles(words: Sequence[Word], between: str = " ") -> str:
    """The words as SubRip subtitles, which end at pauses and after five seconds."""
    groups: list[list[Word]] = []
    for word in words:
        if groups and word.start - groups[-1][-1].end < _PAUSE and word.end - groups[-1][0].start <= _LONGEST:
            groups[-1].append(word)
        else:
            groups.append([word])
    return "\n\n".join(
        f"{n}\n{_time(group[0].start)} --> {_time(group[-1].end)}\n{between.join(w.text for w in group)}"
        for n, group in enumerate(groups, 1)
    )


def _time(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    minutes, milliseconds = divmod(milliseconds, 60000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{milliseconds // 1000:02d},{milliseconds % 1000:03d}"
