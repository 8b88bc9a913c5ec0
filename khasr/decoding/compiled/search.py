"""Compiled prefix beam search with the interface and the results of pyctcdecode's decoder; language model by KenLM."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from queue import Empty, SimpleQueue
from typing import Any

import kenlm
import numpy as np
from numpy.typing import NDArray

from khasr.decoding.compiled import kernel, layout, tables
from khasr.lm.spelling import BEGIN, Spelling

# The start of a word in labels of a symbol-level language model, as in sentencepiece.
_WORD_START = "▁"


# Upper bounds on what a workspace keeps between utterances: parts and answers (about 300 MB), and texts, whose number
# grows with the length of a recording.
_MOST_KEPT, _MOST_TEXTS = 2_000_000, 1 << 17


# Initial size of tables, a power of 2.
_SMALLEST = 1 << 12


_32_BITS = 0xFFFFFFFF


_END = layout.SENTENCE_END & _32_BITS


class CompiledSearch:
    """Beam search with the results of pyctcdecode: the same texts and frames, and the same scores up to rounding.

    Threads can share one object: the search releases the interpreter's lock, and each call has its own workspace.
    """

    def __init__(
        self,
        labels: Sequence[str],
        kenlm_model_path: str | None = None,
        unigrams: Sequence[str] | None = None,
        alpha: float = 0.5,
        beta: float = 1.5,
        unk_score_offset: float = -10.0,
        symbol_words: bool = False,
        closed: bool = False,
        spelling: Spelling | None = None,
        spelling_weight: float = 0.0,
        spelling_bonus: float = 0.0,
    ) -> None:
        """Prepares a search over labels; the first is the blank, " " is the space.

        Args:
            symbol_words: each label except the blank is a word for the language model, and starts with "▁".
            closed: the unigrams are all words of the language model, so that it is not queried for others.
            spelling: an n-gram of characters, which replaces unk_score_offset. pyctcdecode has none; the results with a
                `spelling_weight` of 0 are its results.
            spelling_weight: multiplies ln P of the letters, to each of which `spelling_bonus` is added.

        Raises:
            OSError: the file is not a KenLM model.
            ValueError: a weight is not finite.
        """
        self._spelling = None
        if spelling is not None:
            self._spelling = (tables.letter_slots(spelling.letters), spelling.contexts)
        self.reset_params(
            alpha=float(alpha), beta=float(beta), unk_score_offset=float(unk_score_offset),
            spelling_weight=float(spelling_weight), spelling_bonus=float(spelling_bonus),
        )  # fmt: skip
        self._labels = [label.strip(_WORD_START) if symbol_words else label for label in labels]
        kinds = [layout.BLANK] + [
            layout.WORD if symbol_words else layout.SPACE if x == " " else layout.LETTER for x in self._labels[1:]
        ]
        self._kinds = np.array(kinds, np.int8)
        self._points, self._ends = _code_points(self._labels)
        self._model = None if kenlm_model_path is None else kenlm.Model(kenlm_model_path)
        self._unigrams = frozenset(w for w in unigrams or () if self._model is not None and w in self._model)
        self._listed = unigrams is not None
        self._prefixes, self._whole = tables.prefix_keys(*_code_points(list(self._unigrams)))
        self._closed = closed and self._listed and len(self._unigrams) == len(set(unigrams or ()))
        self._history = 1 if self._model is None else max(1, self._model.order - 1)
        self._workspaces: SimpleQueue[_Workspace] = SimpleQueue()

    def reset_params(
        self,
        *,
        alpha: float,
        beta: float,
        unk_score_offset: float,
        spelling_weight: float = 0.0,
        spelling_bonus: float = 0.0,
    ) -> None:
        """Sets the weights of the following searches.

        Raises:
            ValueError: one is not finite.
        """
        weights = {
            "alpha": alpha, "beta": beta, "unk_score_offset": unk_score_offset, "spelling": spelling_weight,
            "spelling_bonus": spelling_bonus,
        }  # fmt: skip
        for name, weight in weights.items():
            if not math.isfinite(weight):
                raise ValueError(f"{name}={weight}: expected a finite number.")
        self._spells = spelling_weight > 0 and self._spelling is not None
        spelled = (0.0, spelling_weight, spelling_bonus) if self._spells else (unk_score_offset, 0.0, 0.0)
        self._weights = tuple(map(float, (alpha, beta, *spelled)))

    def decode(self, log_probs: NDArray[np.float32], **pruning: Any) -> str:
        """The best text of one utterance, (frames, vocab).

        Raises:
            ValueError: the shape does not match the labels, or a log-probability is NaN.
        """
        with self._searched(log_probs, True, **pruning) as (workspace, order):
            return " ".join(self._words(workspace, order[0]))

    def decode_beams(
        self, log_probs: NDArray[np.float32], prune_history: bool = False, **pruning: Any
    ) -> list[tuple[str, None, list[tuple[str, tuple[int, int]]], float, float]]:
        """The beams of one utterance, best first: text, None, words with their frames, CTC score, total score.

        Raises:
            ValueError: as `decode`.
        """
        with self._searched(log_probs, prune_history, **pruning) as (workspace, order):
            return [
                (" ".join(words := self._words(workspace, i)), None, list(zip(words, workspace.frames(i), strict=True)),
                 float(workspace.candidates[i]["ctc"]), float(workspace.candidates[i]["score"]))
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
    ) -> "Iterator[tuple[_Workspace, list[int]]]":
        """The workspace of the finished search, and the indices of its final `candidates`, best first."""
        if not beam_prune_logp <= 0 or math.isnan(token_min_logp):
            raise ValueError(f"beam_prune_logp={beam_prune_logp}, token_min_logp={token_min_logp}: expected 0 or less.")
        rows = np.ascontiguousarray(log_probs, np.float32)
        if rows.ndim != 2 or rows.shape[1] != len(self._labels):
            raise ValueError(f"Log-probabilities of shape {rows.shape}; expected (frames, {len(self._labels)}).")
        if np.isnan(rows).any():
            raise ValueError("Some log-probabilities are not numbers (NaN). The model that computed them has diverged.")
        try:
            work = self._workspaces.get_nowait()
        except Empty:
            work = _Workspace(self._model)
        work.begin(beam_width)
        spelling = (self._spelling if self._spells else None) or (None, None)
        while status := kernel.search(
            rows, self._kinds, self._points, self._ends, self._prefixes, self._whole, self._listed, self._closed,
            self._weights, *spelling, self._history, beam_width, beam_prune_logp, token_min_logp, prune_history,
            work.at, work.parts, work.part_slots, work.texts, work.text_slots, work.answers, work.queries, work.spans,
            work.beams, work.candidates, work.slots, work.scores,
        ):  # fmt: skip
            self._serve(work, status)
        while status := kernel.finish(
            self._weights, *spelling, self._history, work.at, work.parts, work.texts, work.text_slots,
            work.answers, work.queries, work.spans, work.beams, work.candidates, work.slots,
        ):  # fmt: skip
            self._serve(work, status)
        scores = work.candidates["score"][: work.at[layout.NEED]]
        order = np.argsort(-scores, kind="stable")[:beam_width]
        yield work, order[scores[order] >= scores.max() + beam_prune_logp].tolist()
        self._workspaces.put(work)

    def _serve(self, workspace: "_Workspace", status: int) -> None:
        if status == layout.GROW:
            workspace.grow()
            return
        assert self._model is not None
        queries = workspace.queries[: workspace.at[layout.QUERIES]]
        for key, letters in zip(queries.tolist(), self._spell(workspace, queries), strict=True):
            number, part = key >> 32, key & _32_BITS
            if part == _END:
                workspace.query(number, layout.SENTENCE_END, "</s>")
                continue
            if part not in workspace.word_of:
                known = letters in self._model
                workspace.set_word(part, known, not known or (bool(self._unigrams) and letters not in self._unigrams))
            workspace.query(number, workspace.word_of[part], letters)
        workspace.insert_answers()

    def _words(self, workspace: "_Workspace", found: int) -> list[str]:
        """The words of a candidate."""
        return self._spell(workspace, np.array(workspace.words(found), np.uint64))

    def _spell(self, workspace: "_Workspace", parts: NDArray[np.uint64]) -> list[str]:
        """The letters of parts, which are the lowest 32 bits of the keys."""
        letters: NDArray[np.uint32] = tables.spell(parts, workspace.parts, self._points, self._ends)
        return letters.tobytes().decode("utf-32-le").split("\n")[:-1]


def _code_points(words: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """The code points of the words, concatenated, and the end of each word."""
    return np.frombuffer("".join(words).encode("utf-32-le"), np.uint32), np.cumsum([0, *map(len, words)])[1:]


class _Workspace:
    """The arrays of one search; parts and the language model's answers are kept between utterances."""

    def __init__(self, model: Any) -> None:
        self.at = np.zeros(layout.COUNTERS, np.int64)
        self._allocate_beams(1)
        self._allocate_texts()
        self._model = model
        self._clear()

    def _allocate_beams(self, beams: int) -> None:
        self.beams = np.zeros(beams, layout.BEAM)
        self._allocate_candidates(beams)

    def _allocate_texts(self) -> None:
        self.texts = np.zeros(_SMALLEST, layout.TEXT)
        self.text_slots = np.zeros(2 * _SMALLEST, layout.TEXT_SLOT)
        self.spans = np.zeros(_SMALLEST, layout.SPAN)

    def _allocate_candidates(self, most: int) -> None:
        size = _power_of_2(most)
        self.candidates = np.zeros(size, layout.BEAM)
        self.scores = np.zeros(size)
        self.queries = np.zeros(2 * size, np.uint64)
        self.slots = np.zeros(2 * size, layout.BEAM_SLOT)

    def _clear(self) -> None:
        self.parts = np.zeros(_SMALLEST, layout.PART)
        self.part_slots = np.full(2 * _SMALLEST, -1, layout.PART_SLOT)
        self.at[layout.PARTS] = 1  # the empty part
        self.parts[0]["word"] = layout.NEW
        self.word_of: dict[int, int] = {}
        self._words_status: list[tuple[int, int, bool]] = []
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
        """Resets the arrays for an utterance."""
        if beam_width > len(self.beams):
            self._allocate_beams(beam_width)
        if len(self.texts) > _MOST_TEXTS:
            self._allocate_texts()
        if self.at[layout.PARTS] + len(self._answered) > _MOST_KEPT:
            self._clear()
        self.at[[layout.FRAME, layout.SPANS]] = 0
        self.at[[layout.BEAMS, layout.TEXTS]] = 1
        self.at[layout.UTTERANCE] += 1
        self.texts[0] = 0
        self.texts[0]["context"] = BEGIN
        self.beams[0] = 0
        self.beams[0]["last"] = self.beams[0]["span"] = self.beams[0]["begin"] = self.beams[0]["end"] = -1

    def grow(self) -> None:
        """Enlarges the arrays by at[NEED] entries."""
        need = int(self.at[layout.NEED])
        if need > len(self.candidates):
            self._allocate_candidates(need)
        if self.at[layout.PARTS] + need > len(self.parts):
            self.parts = _longer(self.parts, need)
            self.part_slots = np.full(2 * len(self.parts), -1, layout.PART_SLOT)
            tables.insert_parts(self.part_slots, self.parts, self.at[layout.PARTS])
        if self.at[layout.TEXTS] + need > len(self.texts):
            self.texts = _longer(self.texts, need)
            self.text_slots = np.zeros(2 * len(self.texts), layout.TEXT_SLOT)
            tables.insert_texts(self.text_slots, self.texts, self.at[layout.TEXTS], self.at[layout.UTTERANCE])
        if self.at[layout.SPANS] + need > len(self.spans):
            self.spans = _longer(self.spans, need)

    def set_word(self, part: int, known: bool, penalty: bool) -> None:
        """Records whether a part is a word of the language model, and whether it counts as unknown."""
        self.word_of[part] = part if known else layout.UNKNOWN
        self._words_status.append((part, self.word_of[part], penalty))

    def query(self, number: int, word: int, letters: str) -> None:
        """Queries the language model for a word in a state, once."""
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

    def insert_answers(self) -> None:
        """Writes the new words and answers to the arrays of the kernel."""
        if self._words_status:
            tables.set_word_status(self.parts, np.array(self._words_status, layout.WORD_STATUS))
        if 2 * len(self._answered) > len(self.answers):
            old = self.answers[self.answers["key"] != layout.NOTHING]
            self.answers = np.zeros(_power_of_2(4 * len(self._answered)), layout.WORD_SLOT)
            self.answers["key"] = layout.NOTHING
            tables.insert_words(self.answers, old)
        if self._new:
            tables.insert_words(self.answers, np.array(self._new, layout.WORD_SLOT))
        self._words_status, self._new = [], []

    def words(self, found: int) -> list[int]:
        """The words of a candidate, as parts."""
        text, words = int(self.candidates[found]["text"]), []
        while text:
            words.append(int(self.texts[text]["part"]))
            text = int(self.texts[text]["before"])
        return words[::-1]

    def frames(self, found: int) -> list[tuple[int, int]]:
        """The frames [begin, end) of each word of a candidate."""
        span, frames = int(self.candidates[found]["span"]), []
        while span >= 0:
            begin, end, span = self.spans[span].item()
            frames.append((begin, end))
        return frames[::-1]


def _longer(array: NDArray[Any], need: int) -> NDArray[Any]:
    size = _power_of_2(max(2 * len(array), len(array) + need))
    return np.concatenate([array, np.zeros(size - len(array), array.dtype)])


def _power_of_2(least: int) -> int:
    return 1 << (least - 1).bit_length()
