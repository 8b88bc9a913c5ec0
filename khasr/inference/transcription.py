"""Transcription of audio files to text, JSON with word times, or subtitles."""

import json
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from khasr.decoding.decoded import Decoded, Word
from khasr.inference.audio_blocks import AudioBlocks, AudioError
from khasr.inference.audio_files import STDIN, AudioFiles, find_audio
from khasr.inference.pseudo_labels import PseudoLabels
from khasr.inference.subtitles import subtitles
from khasr.inference.transcriber import joined, load_transcriber
from khasr.run.folder import RunFolder
from khasr.text.counting import counted
from khasr.text.terminal import printable

# More than the beam of any decoder here holds.
_MOST_HYPOTHESES = 1000

_ENDINGS = {"text": "txt", "json": "json", "srt": "srt"}


def transcribe(arguments: Namespace) -> int:
    """Transcribes the files of the command line; returns the number of files that are not transcribed completely.

    They are named on standard error with the reason: files that cannot be decoded, and files that are cut short, whose
    transcript covers what is there. With --to-corpus, the transcripts of complete files become a corpus.

    Raises:
        FileNotFoundError, ValueError: a run or language model that cannot be used, or no audio files.
    """
    if not 1 <= arguments.n_best <= _MOST_HYPOTHESES:
        raise ValueError(f"--n-best {arguments.n_best}: expected a number from 1 to {_MOST_HYPOTHESES:,}.")
    labels = None if arguments.to_corpus is None else PseudoLabels(arguments.to_corpus, arguments.min_confidence)
    files = find_audio(arguments.files)
    if labels and STDIN in files.paths:
        raise ValueError("--to-corpus needs audio in files, which the corpus names; standard input is none.")
    transcriber = load_transcriber(
        arguments.run, arguments.decoder, arguments.lm, arguments.n_best, arguments.chunk_seconds,
        arguments.stride_seconds,
    )  # fmt: skip
    if transcriber.confidence is None and arguments.format != "text":
        effect = "JSON has posteriors, which are too high." if arguments.format == "json" else "no word is marked."
        fit = f" python -m khasr.evaluate run={arguments.run} part=val with the same decoder fits them."
        how = fit if RunFolder.at(arguments.run).is_run else ""
        _warn(f"Note: {arguments.run} has no confidences that were fitted for this decoder: {effect}{how}")
    failed = [*files.left_out]
    incomplete = 0
    for path, reason in failed:
        _warn(f"{path}: {reason}")
    pairs = list(zip(files.paths, files.outputs, strict=True))
    for path, output in tqdm(pairs, "transcribing", unit=" files", disable=None, leave=False):
        name = "standard input" if path == STDIN else path
        try:
            audio = AudioBlocks(path)
            pieces = transcriber.pieces(audio)
        except AudioError as error:
            failed.append((path, str(error)))
            _warn(f"{name}: {error}")
            continue
        if audio.problem:
            incomplete += 1
            _warn(f"{name}: {audio.problem}; the transcript covers what could be decoded")
        if labels is not None:
            labels.add(path, audio.seconds, pieces, audio.problem)
            continue
        transcript = _format(path, pieces, arguments.format, transcriber.vocabulary.between_words)
        _write(arguments, path, output, transcript, several=len(pairs) > 1)
    _summarise(files, failed, incomplete)
    for line in labels.write() if labels is not None else []:
        print(printable(line))
    return len(failed) + incomplete


def _write(arguments: Namespace, path: str, output: Path, transcript: str, several: bool) -> None:
    """Writes a transcript below the folder of the outputs, or prints it."""
    if arguments.out is None:
        prefix = f"{printable(path)}\t" if arguments.format == "text" and several else ""
        lines = "\n".join(map(printable, transcript.split("\n")))
        after = "\n" if arguments.format == "srt" else ""  # subtitles end with an empty line
        print(f"{prefix}{lines}{after}", flush=True)
        return
    file: Path = arguments.out / output.with_name(f"{output.name}.{_ENDINGS[arguments.format]}")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{transcript}\n", encoding="utf-8")


def _summarise(files: AudioFiles, failed: Sequence[tuple[str, str]], incomplete: int) -> None:
    total = len(files.paths) + len(files.left_out)
    if failed:
        _warn(f"Not transcribed: {len(failed)} of {counted(total, 'file')}.")
    if incomplete:
        _warn(f"Transcribed in part: {incomplete} of {counted(total, 'file')}.")
    if files.other:
        endings = ", ".join(f"{count} {ending}" for ending, count in files.other.most_common())
        _warn(f"Not audio by name, in the folders: {counted(files.other.total(), 'file')} ({endings}).")


def _warn(message: str) -> None:
    tqdm.write(printable(message), file=sys.stderr)


def _format(name: str, pieces: Sequence[tuple[float, list[Decoded]]], format_: str, between: str) -> str:
    text, words = joined(pieces, between)
    if format_ == "srt":
        return subtitles(words, between)
    if format_ == "text":
        return text
    found: dict[str, Any] = {"file": name, "text": text, "words": [_rounded(w) for w in words]}
    found["pieces"] = [
        {"start": round(start, 2),
         "n_best": [
             {"text": d.text, "score": round(d.score, 3), **_certainty(d)} for d in decoded]}
        for start, decoded in pieces
    ]  # fmt: skip
    return json.dumps(found, ensure_ascii=False)


def _rounded(word: Word) -> dict[str, Any]:
    return {
        "text": word.text,
        "start": round(word.start, 2),
        "end": round(word.end, 2),
        **_certainty(word),
    }


def _certainty(found: Word | Decoded) -> dict[str, float]:
    """The fitted confidence, or the posterior, under its own name."""
    if found.confidence is None:
        return {"posterior": round(found.posterior, 4)}
    return {"confidence": round(found.confidence, 4)}
