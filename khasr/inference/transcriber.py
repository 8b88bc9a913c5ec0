"""A trained model with its decoder, from audio to text with word times: what `khasr.load` returns."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from khasr.config import DecoderConfig
from khasr.data.audio import SAMPLE_RATE, Resampler
from khasr.decoding.beam import check_decoder
from khasr.decoding.confidence import Confidence, build_features
from khasr.decoding.confidence_file import read_confidence
from khasr.decoding.decoded import FRAME_SECONDS, Decoded, Word
from khasr.decoding.decoder import n_best
from khasr.inference.audio_blocks import AudioBlocks, AudioError
from khasr.inference.long_audio import long_log_probs, pieces_at_pauses
from khasr.inference.recogniser import Recogniser, load_recogniser
from khasr.run.folder import RunFolder


@dataclass(frozen=True)
class Transcript:
    """The text of a recording.

    Attributes:
        words: with start and end in seconds, a posterior, and the probability that the word is right (`confidence`), or
            None if it was not fitted for the decoder.
        problem: why the audio is not complete, if the file is cut short; the text covers what is there. Else empty.
    """

    text: str
    words: list[Word]
    problem: str = ""


# More than the n-best list of any decoder has.
_ALL = 1_000_000


class Transcriber:
    """A model with its decoder. `transcribe` may be called any number of times.

    Attributes:
        confidence: what the words' confidences are computed with; None if it was not fitted for the decoder.
    """

    def __init__(
        self,
        recogniser: Recogniser,
        decoder: DecoderConfig,
        hypotheses: int = 1,
        chunk_seconds: float = 30.0,
        stride_seconds: float = 5.0,
        confidence: Confidence | None = None,
    ) -> None:
        self.confidence = confidence
        self.vocabulary = recogniser.vocabulary
        self._recogniser = recogniser
        self._hypotheses = hypotheses
        # Confidences are computed from the whole list.
        self._search = n_best(decoder, recogniser.vocabulary, hypotheses if confidence is None else _ALL)
        self._features = None if confidence is None else build_features(decoder, recogniser.vocabulary)
        self._seconds = (chunk_seconds, stride_seconds)

    def pieces(self, blocks: Iterable[NDArray[np.float32]]) -> list[tuple[float, list[Decoded]]]:
        """The hypotheses of each piece of a recording between pauses, best first, with the piece's start in seconds.

        Args:
            blocks: consecutive parts of the recording, (samples,) at 16 kHz, full scale at 1.
        """
        rows = long_log_probs(self._recogniser, blocks, *self._seconds)
        pieces = pieces_at_pauses(rows, self.vocabulary)
        return [(start * FRAME_SECONDS, self._decode(piece)) for start, piece in pieces]

    def _decode(self, rows: NDArray[np.float32]) -> list[Decoded]:
        hypotheses = self._search(rows)
        if self.confidence is not None and self._features is not None:
            hypotheses = self.confidence.rate(hypotheses, self._features(rows, hypotheses))
        return hypotheses[: self._hypotheses]

    def transcribe(self, audio: str | os.PathLike[str] | ArrayLike, rate: int = SAMPLE_RATE) -> Transcript:
        """The text of a recording of any length.

        Args:
            audio: the path of an audio file, or samples as soundfile.read returns them: (samples,) or (samples,
                channels), floats with full scale at 1 or 16-bit integers.
            rate: samples per second, if `audio` is samples.

        Raises:
            ValueError: the file cannot be decoded, or the samples are not audio.
        """
        blocks = AudioBlocks(os.fspath(audio)) if isinstance(audio, str | os.PathLike) else _of_samples(audio, rate)
        try:
            pieces = self.pieces(blocks)
        except AudioError as error:
            raise ValueError(f"{audio!s}: {error}") from error
        text, words = joined(pieces, self.vocabulary.between_words)
        return Transcript(text, words, blocks.problem if isinstance(blocks, AudioBlocks) else "")


def joined(pieces: Iterable[tuple[float, list[Decoded]]], between: str) -> tuple[str, list[Word]]:
    """The text and the words of the best hypothesis of each piece, with times in the recording.

    Args:
        between: separator of the pieces' texts.
    """
    best = [(start, decoded[0]) for start, decoded in pieces]
    words = [Word(w.text, w.start + at, w.end + at, *w[3:]) for at, decoded in best for w in decoded.words]
    return between.join(decoded.text for _, decoded in best if decoded.text), words


def load_transcriber(
    model: str | os.PathLike[str],
    decoder: str | None = None,
    lm: str | os.PathLike[str] | None = None,
    hypotheses: int = 1,
    chunk_seconds: float = 30.0,
    stride_seconds: float = 5.0,
) -> Transcriber:
    """A khasr run, an exported folder, or a Hugging Face CTC model, with a decoder.

    Args:
        model: the folder, or an id on the Hugging Face hub.
        decoder: greedy, beam or beam_lm; the run's tuned decoder if None, else greedy.
        lm: language model of beam_lm: a folder written by build_lm, or a KenLM file.
        hypotheses: number of hypotheses of each piece.
        chunk_seconds, stride_seconds: as `long_log_probs`.

    Raises:
        FileNotFoundError, ValueError: a model, decoder or language model that cannot be used.
    """
    options = (RunFolder.at(os.fspath(model)).read_decoder() if decoder is None else None) or DecoderConfig()
    if decoder is not None:
        if decoder not in ("greedy", "beam", "beam_lm"):
            raise ValueError(f"decoder={decoder!r}: expected greedy, beam or beam_lm.")
        options.name = cast(Literal["greedy", "beam", "beam_lm"], decoder)
    if lm is not None:
        options.lm = os.fspath(lm)
    check_decoder(options)
    recogniser = load_recogniser(os.fspath(model))
    confidence = read_confidence(RunFolder.at(os.fspath(model)), options)
    return Transcriber(recogniser, options, hypotheses, chunk_seconds, stride_seconds, confidence)


def _of_samples(audio: ArrayLike, rate: int) -> list[NDArray[np.float32]]:
    """Samples as one block at 16 kHz, full scale at 1."""
    samples = np.asarray(audio)
    if samples.dtype == np.int16:
        samples = samples.astype(np.float32) / 32768
    if samples.ndim not in (1, 2) or not samples.size or not np.issubdtype(samples.dtype, np.floating):
        raise ValueError(
            f"samples of shape {samples.shape} and type {samples.dtype}: expected (samples,) or (samples, channels), "
            "as floats with full scale at 1 or 16-bit integers."
        )
    return [Resampler(rate).convert(samples.astype(np.float32), last=True).astype(np.float32) / 32768]
