"""The compiled beam search: pyctcdecode's, over numbers in place of strings; the language model is KenLM's."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Any

import kenlm
import numpy as np
from numpy.typing import NDArray

from khasr.decoding.compiled import kernel, layout, tables

# A word of its own, as sentencepiece writes it.
_OWN_WORD = "▁"


# Parts and answers that each thread keeps from one utterance to the next, at most: about 300 MB. And the texts that
# there is room for: a long recording leaves no more behind.
_MOST_KEPT, _MOST_TEXTS = 2_000_000, 1 << 17


# Places in the smallest tables, a power of 2.
_SMALLEST = 1 << 12


_32_BITS = 0xFFFFFFFF


_END = layout.SENTENCE_END & _32_BITS


class CompiledSearch:
    """A search that answers as pyctcdecode's does: the same texts and frames, the same scores but for rounding.

    Threads may share it: it works without the interpreter's lock, and each has room of its own meanwhile.
    """

    def __init__(
        self,
        labels: Sequence[str],
        kenlm_model_path: str | None = None,
        unigrams: Sequence[str] | None = None,
        alpha: float = 0.5,
        beta: float = 1.5,
        unk_score_offset: float = -10.0,
        own_words: bool = False,
        closed: bool = False,
    ) -> None:
        """A search over labels, the first of them the blank, " " the space.

        With `own_words` each label but the blank is a word of its own, with "▁" before it.

        With `closed` the unigrams are all words that the language model knows, and it is not asked for others.

        Raises:
            OSError: the language model is none.
            ValueError: weights that are not finite.
        """
        self.reset_params(alpha=float(alpha), beta=float(beta), unk_score_offset=float(unk_score_offset))
        self._labels = [label.strip(_OWN_WORD) if own_words else label for label in labels]
        kinds = [layout.BLANK] + [
            layout.WORD if own_words else layout.SPACE if x == " " else layout.LETTER for x in self._labels[1:]
        ]
        self._kinds = np.array(kinds, np.int8)
        self._points, self._ends = _code_points(self._labels)
        self._model = None if kenlm_model_path is None else kenlm.Model(kenlm_model_path)
        self._unigrams = frozenset(w for w in unigrams or () if self._model is not None and w in self._model)
        self._listed = unigrams is not None
        self._begun, self._whole = tables.beginnings(*_code_points(list(self._unigrams)))
        self._closed = closed and self._listed and len(self._unigrams) == len(set(unigrams or ()))
        self._history = 1 if self._model is None else max(1, self._model.order - 1)
        self._idle: SimpleQueue[_Room] = SimpleQueue()

    def reset_params(self, *, alpha: float, beta: float, unk_score_offset: float) -> None:
        """Searches by other weights from now on.

        Raises:
            ValueError: one is not finite.
        """
        for name, weight in (("alpha", alpha), ("beta", beta), ("unk_score_offset", unk_score_offset)):
            if not math.isfinite(weight):
                raise ValueError(f"{name}={weight}: expected a finite number.")
        self._weights = (alpha, beta, unk_score_offset)

    def decode(self, log_probs: NDArray[np.float32], **pruning: Any) -> str:
        """The best text of one utterance, (frames, vocab).

        Raises:
            ValueError: another vocabulary, or log-probabilities that are not numbers.
        """
        with self._searched(log_probs, True, **pruning) as (room, order):
            return " ".join(self._words(room, order[0]))

    def decode_beams(
        self, log_probs: NDArray[np.float32], prune_history: bool = False, **pruning: Any
    ) -> list[tuple[str, None, list[tuple[str, tuple[int, int]]], float, float]]:
        """The beams of one utterance, best first: text, None, words with their frames, score of symbols, and of all.

        Raises:
            ValueError: as `decode`.
        """
        with self._searched(log_probs, prune_history, **pruning) as (room, order):
            return [
                (" ".join(words := self._words(room, i)), None, list(zip(words, room.frames(i), strict=True)),
                 float(room.grown[i]["heard"]), float(room.grown[i]["score"]))
                for i in order
            ]  # fmt: skip

    @contextmanager
    def _searched(
        self,
        log_probs: NDArray[np.float32],
        prune_history: bool,
        *,
        beam_width: int,
        beam_prune_logp: float,
        token_min_logp: float,
    ) -> "Iterator[tuple[_Room, list[int]]]":
        """The room in which the utterance was searched, and which of its `grown` were found, best first."""
        if not beam_prune_logp <= 0 or math.isnan(token_min_logp):
            raise ValueError(f"beam_prune_logp={beam_prune_logp}, token_min_logp={token_min_logp}: expected 0 or less.")
        rows = np.ascontiguousarray(log_probs, np.float32)
        if rows.ndim != 2 or rows.shape[1] != len(self._labels):
            raise ValueError(f"log-probabilities of shape {rows.shape}: expected (frames, {len(self._labels)}).")
        if np.isnan(rows).any():
            raise ValueError("Some log-probabilities are not numbers (NaN): the model that gave them has diverged.")
        try:
            room = self._idle.get_nowait()
        except Empty:
            room = _Room(self._model)
        room.begin(beam_width)
        while status := kernel.search(
            rows, self._kinds, self._points, self._ends, self._begun, self._whole, self._listed, self._closed,
            self._weights, self._history, beam_width, beam_prune_logp, token_min_logp, prune_history, room.at,
            room.parts, room.part_slots, room.texts, room.text_slots, room.answers, room.asked, room.spans, room.beams,
            room.grown, room.slots, room.scores,
        ):  # fmt: skip
            self._help(room, status)
        while status := kernel.finish(
            self._weights, self._history, room.at, room.parts, room.texts, room.text_slots, room.answers, room.asked,
            room.spans, room.beams, room.grown, room.slots,
        ):  # fmt: skip
            self._help(room, status)
        scores = room.grown["score"][: room.at[kernel.NEED]]
        order = np.argsort(-scores, kind="stable")[:beam_width]
        yield room, order[scores[order] >= scores.max() + beam_prune_logp].tolist()
        self._idle.put(room)

    def _help(self, room: "_Room", status: int) -> None:
        if status == layout.GROW:
            room.grow()
            return
        assert self._model is not None
        asked = room.asked[: room.at[kernel.ASKED]]
        for key, letters in zip(asked.tolist(), self._spelled(room, asked), strict=True):
            number, part = key >> 32, key & _32_BITS
            if part == _END:
                room.ask(number, layout.SENTENCE_END, "</s>")
                continue
            if part not in room.word_of:
                known = letters in self._model
                room.tell(part, known, not known or (bool(self._unigrams) and letters not in self._unigrams))
            room.ask(number, room.word_of[part], letters)
        room.remember()

    def _words(self, room: "_Room", found: int) -> list[str]:
        """The words of one of the room's `grown`."""
        return self._spelled(room, np.array(room.words(found), np.uint64))

    def _spelled(self, room: "_Room", parts: NDArray[np.uint64]) -> list[str]:
        """The letters of parts; what stands above the lowest 32 bits is not looked at."""
        letters: NDArray[np.uint32] = tables.spell(parts, room.parts, self._points, self._ends)
        return letters.tobytes().decode("utf-32-le").split("\n")[:-1]


def _code_points(words: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """The words' code points, one word after another, and where each word's end."""
    return np.frombuffer("".join(words).encode("utf-32-le"), np.uint32), np.cumsum([0, *map(len, words)])[1:]


class _Room:
    """What one search at a time works in; parts and the language model's answers stay from utterance to utterance."""

    def __init__(self, model: Any) -> None:
        self.at = np.zeros(layout.COUNTERS, np.int64)
        self._width(1)
        self._short()
        self._model = model
        self._forget()

    def _width(self, beams: int) -> None:
        self.beams = np.zeros(beams, layout.BEAM)
        self._candidates(beams)

    def _short(self) -> None:
        self.texts = np.zeros(_SMALLEST, layout.TEXT)
        self.text_slots = np.zeros(2 * _SMALLEST, layout.TEXT_SLOT)
        self.spans = np.zeros(_SMALLEST, layout.SPAN)

    def _candidates(self, most: int) -> None:
        size = _power_of_2(most)
        self.grown = np.zeros(size, layout.BEAM)
        self.scores = np.zeros(size)
        self.asked = np.zeros(2 * size, np.uint64)
        self.slots = np.zeros(2 * size, layout.BEAM_SLOT)

    def _forget(self) -> None:
        self.parts = np.zeros(_SMALLEST, layout.PART)
        self.part_slots = np.full(2 * _SMALLEST, -1, layout.PART_SLOT)
        self.at[kernel.PARTS] = 1  # the empty one
        self.parts[0]["word"] = layout.NEW
        self.word_of: dict[int, int] = {}
        self._told: list[tuple[int, int, bool]] = []
        self.answers = np.zeros(0 if self._model is None else _SMALLEST, layout.WORD_SLOT)
        self.answers["key"] = layout.NOTHING
        self._answered: set[int] = set()
        self._new: list[tuple[int, float, int]] = []
        self._states: list[Any] = []
        self._number: dict[Any, int] = {}
        if self._model is not None:
            start = kenlm.State()
            self._model.BeginSentenceWrite(start)
            self._state(start)

    def begin(self, beam_width: int) -> None:
        """Makes ready for an utterance."""
        if beam_width > len(self.beams):
            self._width(beam_width)
        if len(self.texts) > _MOST_TEXTS:
            self._short()
        if self.at[kernel.PARTS] + len(self._answered) > _MOST_KEPT:
            self._forget()
        self.at[[kernel.FRAME, kernel.SPANS]] = 0
        self.at[[kernel.BEAMS, kernel.TEXTS]] = 1
        self.at[kernel.UTTERANCE] += 1
        self.texts[0] = 0
        self.beams[0] = 0
        self.beams[0]["last"] = self.beams[0]["span"] = self.beams[0]["begin"] = self.beams[0]["end"] = -1

    def grow(self) -> None:
        """Makes room for at[NEED] more of everything."""
        need = int(self.at[kernel.NEED])
        if need > len(self.grown):
            self._candidates(need)
        if self.at[kernel.PARTS] + need > len(self.parts):
            self.parts = _longer(self.parts, need)
            self.part_slots = np.full(2 * len(self.parts), -1, layout.PART_SLOT)
            tables.remember_parts(self.part_slots, self.parts, self.at[kernel.PARTS])
        if self.at[kernel.TEXTS] + need > len(self.texts):
            self.texts = _longer(self.texts, need)
            self.text_slots = np.zeros(2 * len(self.texts), layout.TEXT_SLOT)
            tables.remember_texts(self.text_slots, self.texts, self.at[kernel.TEXTS], self.at[kernel.UTTERANCE])
        if self.at[kernel.SPANS] + need > len(self.spans):
            self.spans = _longer(self.spans, need)

    def tell(self, part: int, known: bool, penalty: bool) -> None:
        """Takes down whether the language model knows a part as a word, and whether its penalty is due."""
        self.word_of[part] = part if known else layout.UNKNOWN
        self._told.append((part, self.word_of[part], penalty))

    def ask(self, number: int, word: int, letters: str) -> None:
        """Asks the language model for a word in a state, if that was not asked before."""
        key = number << 32 | word & _32_BITS
        if key in self._answered:
            return
        self._answered.add(key)
        after = kenlm.State()
        logp = self._model.BaseScore(self._states[number], letters, after)
        self._new.append((key, logp, self._state(after)))

    def _state(self, state: Any) -> int:
        number = self._number.setdefault(state, len(self._states))
        if number == len(self._states):
            self._states.append(state)
        return number

    def remember(self) -> None:
        """Puts what was told and answered where the search finds it."""
        if self._told:
            tables.remember_told(self.parts, np.array(self._told, layout.TOLD))
        if 2 * len(self._answered) > len(self.answers):
            old = self.answers[self.answers["key"] != layout.NOTHING]
            self.answers = np.zeros(_power_of_2(4 * len(self._answered)), layout.WORD_SLOT)
            self.answers["key"] = layout.NOTHING
            tables.remember_words(self.answers, old)
        if self._new:
            tables.remember_words(self.answers, np.array(self._new, layout.WORD_SLOT))
        self._told, self._new = [], []

    def words(self, found: int) -> list[int]:
        """The words of one of `grown`, as parts."""
        text, words = int(self.grown[found]["text"]), []
        while text:
            words.append(int(self.texts[text]["part"]))
            text = int(self.texts[text]["before"])
        return words[::-1]

    def frames(self, found: int) -> list[tuple[int, int]]:
        """The frames of its words."""
        span, frames = int(self.grown[found]["span"]), []
        while span >= 0:
            begin, end, span = self.spans[span].item()
            frames.append((begin, end))
        return frames[::-1]


def _longer(array: NDArray[Any], need: int) -> NDArray[Any]:
    size = _power_of_2(max(2 * len(array), len(array) + need))
    return np.concatenate([array, np.zeros(size - len(array), array.dtype)])


def _power_of_2(least: int) -> int:
    return 1 << (least - 1).bit_length()
