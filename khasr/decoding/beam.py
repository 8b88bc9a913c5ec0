"""Prefix beam search, with or without an n-gram: pyctcdecode's, or the same compiled."""

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
from khasr.decoding.decoded import FRAME_SECONDS, Decoded, Word, posteriors, word_confidences
from khasr.lm.arpa import arpa_words
from khasr.text.vocabulary import UNKNOWN, Vocabulary

# pyctcdecode guesses what is not told: "" is its blank, and U+2047 its unknown word, which must not be said.
_NOTHING = "⁇"


# It starts a symbol that is a word of its own, for models that count symbols; as sentencepiece writes it.
_OWN_WORD, _SPACE = "▁", "|"


def check_decoder(options: DecoderConfig) -> None:
    """Looks whether the options go together and the language model is there.

    Raises:
        FileNotFoundError: decoder.lm is not there.
        ValueError: a language model without beam_lm, beam_lm without one, or a weight that is no number.
    """
    for name in ("alpha", "beta", "unk_score_offset"):
        if not math.isfinite(getattr(options, name)):
            raise ValueError(f"decoder.{name}={getattr(options, name)}: expected a finite number.")
    for name in ("beam_prune_logp", "token_min_logp"):
        if not getattr(options, name) <= 0:
            raise ValueError(f"decoder.{name}={getattr(options, name)}: expected 0 or less, a logarithm.")
    if (options.name == "beam_lm") != (options.lm is not None):
        raise ValueError(
            f"decoder={options.name} with decoder.lm={options.lm}: a language model and decoder=beam_lm go together."
        )
    if options.lm is not None:
        lm_file(options.lm)


def lm_file(lm: str) -> Path:
    """The KenLM file that decoder.lm names: itself, or the binary in a folder of build_lm's.

    Raises:
        FileNotFoundError: there is none.
    """
    path = Path(lm).expanduser()
    if path.is_dir():
        path /= "lm.binary"
    if not path.is_file():
        raise FileNotFoundError(
            f"decoder.lm={lm} is not there; expected a folder that `python -m khasr.build_lm` wrote, or a KenLM model "
            "(ARPA or binary)."
        )
    return path


def read_unigrams(lm: Path) -> frozenset[str] | None:
    """The words in unigrams.txt beside a language model; None where there is no such file, or no word in it."""
    path = lm.parent / "unigrams.txt"
    return (frozenset(path.read_text(encoding="utf-8").split()) or None) if path.is_file() else None


class BeamSearch:
    """Beam search by the options, over one vocabulary; the language model is loaded once."""

    def __init__(self, options: DecoderConfig, vocabulary: Vocabulary) -> None:
        """A search by the options.

        Raises:
            FileNotFoundError, ValueError: as `check_decoder`, and where decoder.lm cannot be used.
        """
        check_decoder(options)
        self._options = options
        self._lm = lm_file(options.lm) if options.lm else None
        self._of_symbols = self._lm is not None and _counts_symbols(self._lm, vocabulary)
        self._search = _build(options, _labels(vocabulary, self._of_symbols), self._lm, self._of_symbols)
        # The compiled search lets go of the interpreter while it works.
        self._threads = len(os.sched_getaffinity(0)) if options.backend == "compiled" else 1

    def weigh(self, options: DecoderConfig) -> None:
        """Searches by other weights and pruning from now on; what was learnt of the language model stays."""
        self._options = options
        self._search.reset_params(
            alpha=float(options.alpha), beta=float(options.beta), unk_score_offset=float(options.unk_score_offset)
        )

    def texts(self, log_probs: Sequence[NDArray[np.float32]]) -> list[str]:
        """The best text of each utterance, (frames, vocab) each."""
        if self._threads == 1 or len(log_probs) < 2:
            return [self._best(rows) for rows in log_probs]
        with ThreadPoolExecutor(self._threads) as pool:
            return list(pool.map(self._best, log_probs))

    def beams(self, log_probs: NDArray[np.float32], most: int = 100) -> list[Decoded]:
        """The n-best list of one utterance, best first, with word times and confidences."""
        found = self._search.decode_beams(np.ascontiguousarray(log_probs), prune_history=False, **self._pruning())[
            :most
        ]
        # Two beams may be the same text (one has a <unk> in it, which is not said): the better stands for both.
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
        return self._said(self._search.decode(np.ascontiguousarray(rows), **self._pruning()))

    def _pruning(self) -> dict[str, Any]:
        options = self._options
        return {
            "beam_width": options.beam_width,
            "token_min_logp": options.token_min_logp,
            "beam_prune_logp": options.beam_prune_logp,
        }

    def _said(self, text: str) -> str:
        if self._of_symbols:
            text = "".join(text.split()).replace(_SPACE, " ")
        return " ".join(text.replace(_NOTHING, "").split())

    def _words(self, found: Sequence[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
        """Words with their frames; where the search's words are symbols, symbols up to the next space are one."""
        words: list[tuple[str, int, int]] = []
        new = True
        for text, start, end in found:
            said = text.replace(_NOTHING, "")
            if self._of_symbols and text == _SPACE:
                new = True
            elif said and (new or not self._of_symbols):
                words.append((said, start, end))
                new = False
            elif said:
                words[-1] = (words[-1][0] + said, words[-1][1], end)
        return words


def _counts_symbols(lm: Path, vocabulary: Vocabulary) -> bool:
    """Whether the model's n-grams are of the vocabulary's symbols, not of words.

    Raises:
        ValueError: they are of symbols of another kind.
    """
    unit = _described(lm).get("unit", "word")
    if unit == "word":
        return False
    symbols = "cluster" if any(len(s) > 1 for s in vocabulary.symbols[2:]) else "character"
    if unit != symbols:
        raise ValueError(
            f"decoder.lm={lm.parent} counts {unit}s, and the model says {symbols}s. Build it with --unit {symbols}, or "
            "--unit word."
        )
    return True


def _described(lm: Path) -> dict[str, Any]:
    """What build_lm wrote of a language model; nothing where another program built it."""
    described = lm.parent / "lm.json"
    found: dict[str, Any] = json.loads(described.read_text(encoding="utf-8")) if described.is_file() else {}
    return found


def _labels(vocabulary: Vocabulary, of_symbols: bool) -> list[str]:
    unknown = f"{_OWN_WORD}{_NOTHING}{_OWN_WORD}" if of_symbols else _NOTHING
    said = [unknown if s == UNKNOWN else (_OWN_WORD + (_SPACE if s == " " else s) if of_symbols else s)
            for s in vocabulary.symbols[1:]]  # fmt: skip
    if of_symbols and len(set(said)) < len(said):
        raise ValueError(
            f"The vocabulary has a space and a {_SPACE!r}, which a language model of symbols writes "
            "alike. Build it with --unit word."
        )
    return ["", *said]


def _build(options: DecoderConfig, labels: list[str], lm: Path | None, of_symbols: bool) -> Any:
    """The library's decoder.

    Raises:
        ValueError: the language model is none.
    """
    unigrams = None if lm is None else read_unigrams(lm)
    if lm is not None and not options.unigrams:
        if lm.suffix == ".arpa":
            raise ValueError(f"decoder.unigrams=false with {lm}: an ARPA file tells its words; pass the binary.")
        unigrams = None
    elif lm is not None and unigrams is None and lm.suffix == ".arpa":
        unigrams = frozenset(arpa_words(lm))
    # Imported here: pyctcdecode takes a second, numba half of one.
    build: Callable[..., Any]
    if options.backend == "compiled":
        from khasr.decoding.compiled.search import CompiledSearch

        # build_lm's list has all words of its model, until somebody changes one of the two.
        closed = lm is not None and unigrams is not None and len(unigrams) == _described(lm).get("words")
        build = functools.partial(CompiledSearch, closed=closed, own_words=of_symbols)
    else:
        from pyctcdecode import build_ctcdecoder

        build = build_ctcdecoder
    try:
        return build(
            labels, kenlm_model_path=None if lm is None else str(lm),
            unigrams=None if unigrams is None else sorted(unigrams),
            alpha=options.alpha, beta=options.beta, unk_score_offset=options.unk_score_offset,
        )  # fmt: skip
    except (OSError, ValueError, RuntimeError) as error:
        raise ValueError(f"decoder.lm={options.lm} is not a KenLM model ({error}).") from error
