"""Prefix beam search with or without an n-gram, by pyctcdecode or by the compiled search with the same results."""

import functools
import json
import math
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from khasr.config import DecoderConfig
from khasr.data.tables import decode_text
from khasr.decoding.decoded import FRAME_SECONDS, Decoded, Word, posteriors, word_confidences
from khasr.lm.arpa import arpa_words
from khasr.lm.kenlm import file_digest
from khasr.lm.spelling import SPELLING, read_spelling
from khasr.text.vocabulary import UNKNOWN, Vocabulary

# pyctcdecode's label of the unknown symbol, which is removed from the text. Its label of the blank is "".
_UNKNOWN_LABEL = "⁇"

# In labels of a symbol-level language model: the start of each word, as in sentencepiece, and the space.
_WORD_START, _SPACE = "▁", "|"

_REBUILD = "Restore the folder, or build it again with python -m khasr.build_lm."


def check_decoder(options: DecoderConfig) -> None:
    """Checks that the options are consistent and that the language model exists.

    Raises:
        FileNotFoundError: decoder.lm does not exist.
        ValueError: a language model without beam_lm or the reverse, or a weight or threshold out of range.
    """
    for name in ("alpha", "beta", "unk_score_offset", "spelling", "spelling_bonus"):
        if not math.isfinite(getattr(options, name)):
            raise ValueError(f"decoder.{name}={getattr(options, name)}: expected a finite number.")
    for name in ("beam_prune_logp", "token_min_logp"):
        if not getattr(options, name) <= 0:
            raise ValueError(f"decoder.{name}={getattr(options, name)}: expected 0 or less, a logarithm.")
    if (options.name == "beam_lm") != (options.lm is not None):
        raise ValueError(
            f"decoder={options.name} with decoder.lm={options.lm}: decoder=beam_lm and a language model must be set "
            "together."
        )
    if options.lm is not None:
        lm_file(options.lm)


def lm_file(lm: str) -> Path:
    """The KenLM file of decoder.lm, which is the file or a folder of build_lm.

    Raises:
        FileNotFoundError: it does not exist.
    """
    path = Path(lm).expanduser()
    if path.is_dir():
        path /= "lm.binary"
    if not path.is_file():
        raise FileNotFoundError(
            f"decoder.lm={lm}: {path} does not exist; expected a folder of python -m khasr.build_lm, or a KenLM "
            "model (ARPA or binary)."
        )
    return path


def read_unigrams(lm: Path) -> frozenset[str] | None:
    """The words of unigrams.txt beside a language model; None if the file is missing or empty.

    Raises:
        ValueError: the file is not UTF-8, or it is missing from a folder of build_lm.
    """
    path = lm.parent / "unigrams.txt"
    if path.is_file():
        return frozenset(decode_text(path.read_bytes(), str(path)).split()) or None
    if lm.suffix != ".arpa" and "words" in describe_lm(lm):
        raise ValueError(f"{path} is missing; python -m khasr.build_lm wrote it with {lm}. {_REBUILD}")
    return None


class BeamSearch:
    """Beam search for one vocabulary; the language model is loaded once."""

    def __init__(self, options: DecoderConfig, vocabulary: Vocabulary) -> None:
        """Loads the language model and prepares the search.

        Raises:
            FileNotFoundError, ValueError: as `check_decoder`, and if decoder.lm cannot be used.
        """
        check_decoder(options)
        self._options = options
        self._lm = lm_file(options.lm) if options.lm else None
        self._of_symbols = self._lm is not None and counts_symbols(self._lm, vocabulary)
        self._search = _build(options, _labels(vocabulary, self._of_symbols), self._lm, self._of_symbols)
        self.spells = self._lm is not None and options.backend == "compiled" and spelling_file(self._lm) is not None
        self.weigh(options)
        # The compiled search releases the interpreter's lock.
        self._threads = len(os.sched_getaffinity(0)) if options.backend == "compiled" else 1

    def weigh(self, options: DecoderConfig) -> None:
        """Sets the weights and the pruning of the following searches; cached language model scores are kept."""
        self._options = options
        weights = {name: float(getattr(options, name)) for name in ("alpha", "beta", "unk_score_offset")}
        if self.spells:
            weights |= {"spelling_weight": options.spelling, "spelling_bonus": options.spelling_bonus}
        self._search.reset_params(**weights)

    def texts(self, log_probs: Sequence[NDArray[np.float32]]) -> list[str]:
        """The best text of each utterance, (frames, vocab) each."""
        if self._threads == 1 or len(log_probs) < 2:
            return [self._best(rows) for rows in log_probs]
        with ThreadPoolExecutor(self._threads) as pool:
            return list(pool.map(self._best, log_probs))

    def beams(self, log_probs: NDArray[np.float32], most: int = 100) -> list[Decoded]:
        """The n-best list of one utterance, best first, with word times and confidences; `texts` gives the first."""
        # pyctcdecode's decode prunes histories too. Without it the lists are longer, but the first text is worse.
        found = self._search.decode_beams(np.ascontiguousarray(log_probs), prune_history=True, **self._pruning())
        found = found[:most]
        # Two beams can have the same text, where one has an <unk>, which is removed: the better one is kept.
        texts: dict[str, tuple[list[tuple[str, int, int]], float]] = {}
        for beam in found:
            words = self._words([(text, start, end) for text, (start, end) in beam[-3]])
            texts.setdefault(" ".join(word for word, _, _ in words), (words, float(beam[-1])))
        if not texts:
            return [Decoded("", [], 0.0, 1.0)]
        shares = posteriors([score for _, score in texts.values()])
        sure = word_confidences([[w for w, _, _ in words] for words, _ in texts.values()], shares)
        return [
            Decoded(
                text,
                [Word(w, s * FRAME_SECONDS, e * FRAME_SECONDS, c) for (w, s, e), c in zip(words, own, strict=True)],
                score,
                share,
            )
            for (text, (words, score)), share, own in zip(texts.items(), shares, sure, strict=True)
        ]  # fmt: skip

    def _best(self, rows: NDArray[np.float32]) -> str:
        return self._clean(self._search.decode(np.ascontiguousarray(rows), **self._pruning()))

    def _pruning(self) -> dict[str, Any]:
        options = self._options
        return {
            "beam_width": options.beam_width,
            "token_min_logp": options.token_min_logp,
            "beam_prune_logp": options.beam_prune_logp,
        }

    def _clean(self, text: str) -> str:
        if self._of_symbols:
            text = "".join(text.split()).replace(_SPACE, " ")
        return " ".join(text.replace(_UNKNOWN_LABEL, "").split())

    def _words(self, found: Sequence[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
        """Words with their frames; with a symbol-level language model the symbols between spaces are one word."""
        words: list[tuple[str, int, int]] = []
        new = True
        for text, start, end in found:
            letters = text.replace(_UNKNOWN_LABEL, "")
            if self._of_symbols and text == _SPACE:
                new = True
            elif letters and (new or not self._of_symbols):
                words.append((letters, start, end))
                new = False
            elif letters:
                words[-1] = (words[-1][0] + letters, words[-1][1], end)
        return words


def counts_symbols(lm: Path, vocabulary: Vocabulary) -> bool:
    """Whether the n-grams are of the vocabulary's symbols instead of words.

    Raises:
        ValueError: they are of a different kind of symbol.
    """
    unit = describe_lm(lm).get("unit", "word")
    if unit == "word":
        return False
    symbols = "cluster" if any(len(s) > 1 for s in vocabulary.symbols[2:]) else "character"
    if unit != symbols:
        raise ValueError(
            f"decoder.lm={lm.parent} has n-grams of {unit}s, and the acoustic model's symbols are {symbols}s. Build it "
            f"with --unit {symbols} or --unit word."
        )
    return True


def spelling_file(lm: Path) -> Path | None:
    """The spelling model beside a language model; None if it has none.

    Raises:
        ValueError: it is missing from a folder of build_lm.
    """
    file = lm.parent / SPELLING
    if lm.name == "lm.binary" and describe_lm(lm).get("spelling"):
        if not file.is_file():
            raise ValueError(f"{file} is missing; python -m khasr.build_lm wrote it with {lm}. {_REBUILD}")
        return file
    return None


def describe_lm(lm: Path) -> dict[str, Any]:
    """The lm.json beside a language model; empty if a different program built the model.

    Raises:
        ValueError: the file is damaged.
    """
    path = lm.parent / "lm.json"
    if not path.is_file():
        return {}
    try:
        described = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:  # json's and Unicode's
        raise ValueError(f"{path} is not complete ({error}). {_REBUILD}") from error
    if not isinstance(described, dict):
        raise ValueError(f"{path} contains {type(described).__name__}; expected an object. {_REBUILD}")
    return described


def _check_files(lm: Path) -> None:
    """Raises ValueError if files of build_lm are damaged: KenLM reads files whose end is missing, or crashes."""
    described = describe_lm(lm)
    size = described.get("bytes")
    found = lm.stat().st_size
    if lm.name == "lm.binary" and size not in (None, found):
        raise ValueError(
            f"{lm} is not a complete KenLM model: it has {found:,} bytes; lm.json records {size}. {_REBUILD}"
        )
    digests = described.get("xxh3")
    if lm.name != "lm.binary" or not isinstance(digests, dict):
        return
    for name in ("lm.binary", "unigrams.txt", SPELLING):
        file = lm.parent / name
        if file.is_file() and file_digest(file) != digests.get(name):
            raise ValueError(f"{file} was damaged or replaced: it is not the file that lm.json describes. {_REBUILD}")


def _labels(vocabulary: Vocabulary, of_symbols: bool) -> list[str]:
    unknown = f"{_WORD_START}{_UNKNOWN_LABEL}{_WORD_START}" if of_symbols else _UNKNOWN_LABEL
    labels = [unknown if s == UNKNOWN else (_WORD_START + (_SPACE if s == " " else s) if of_symbols else s)
              for s in vocabulary.symbols[1:]]  # fmt: skip
    if of_symbols and len(set(labels)) < len(labels):
        raise ValueError(
            f"The vocabulary has a space and {_SPACE!r}, which are one symbol in a language model of symbols. "
            "Build the language model with --unit word."
        )
    return ["", *labels]


def _build(options: DecoderConfig, labels: list[str], lm: Path | None, of_symbols: bool) -> Any:
    """The decoder object of the backend.

    Raises:
        ValueError: the language model cannot be read.
    """
    if lm is not None:
        _check_files(lm)
    unigrams = None if lm is None else read_unigrams(lm)
    if lm is not None and not options.unigrams:
        if lm.suffix == ".arpa":
            raise ValueError(f"decoder.unigrams=false with {lm}: an ARPA file lists its words; pass the binary.")
        unigrams = None
    elif lm is not None and unigrams is None and lm.suffix == ".arpa":
        unigrams = frozenset(arpa_words(lm))
    # Imported here because pyctcdecode takes 1 s and numba 0.5 s.
    build: Callable[..., Any]
    if options.backend == "compiled":
        from khasr.decoding.compiled.search import CompiledSearch

        # The list that build_lm writes has all words of the model; a list of a different length was edited.
        closed = lm is not None and unigrams is not None and len(unigrams) == describe_lm(lm).get("words")
        spelling = None if lm is None or (file := spelling_file(lm)) is None else read_spelling(file)
        build = functools.partial(CompiledSearch, closed=closed, symbol_words=of_symbols, spelling=spelling)
    else:
        from pyctcdecode import build_ctcdecoder

        if lm is not None and spelling_file(lm) is not None and options.spelling:
            raise ValueError(
                f"decoder.backend=pyctcdecode cannot use {spelling_file(lm)}; decoder.spelling=0 decodes without it."
            )
        build = build_ctcdecoder
    try:
        return build(
            labels, kenlm_model_path=None if lm is None else str(lm),
            unigrams=None if unigrams is None else sorted(unigrams),
            alpha=options.alpha, beta=options.beta, unk_score_offset=options.unk_score_offset,
        )  # fmt: skip
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"decoder.lm={options.lm} is not a complete KenLM model ({' '.join(str(error).split())}). {_REBUILD}"
        ) from error
