"""TODO."""

from typing import Any

import numba
import numpy as np

from khasr.decoding.compiled.layout import (
    NOTHING,
)


def _compiled(function: Any) -> Any:
    try:
        return numba.njit(function, nogil=True, cache=True, error_model="numpy")
    except RuntimeError:  # no folder that could keep what is compiled, as in a read-only container
        return numba.njit(function, nogil=True, error_model="numpy")


@_compiled
def _mix(key: int, value: int) -> int:
    """A key of a key and one more value (splitmix64's finaliser, Steele 2014)."""
    x = (np.uint64(key) ^ np.uint64(value)) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@_compiled
def _pair(one: int, other: int) -> int:
    return (np.uint64(np.uint32(one)) << np.uint64(32)) | np.uint64(np.uint32(other))


@_compiled
def beginnings(points: Any, ends: Any) -> Any:
    """The sorted keys of every beginning of every word, itself too, and of whole words; words as code points."""
    keys = np.empty(len(points), np.uint64)
    words = np.empty(len(ends), np.uint64)
    begin = 0
    for word, end in enumerate(ends):
        key = np.uint64(0)
        for i in range(begin, end):
            key = _mix(key, points[i])
            keys[i] = key
        words[word] = key
        begin = end
    return np.unique(keys), np.unique(words)


@_compiled
def spell(asked: Any, parts: Any, points: Any, ends: Any) -> Any:
    """The code points of the parts that were asked for, each with a line's end behind; none of SENTENCE_END."""
    count = len(asked)
    size = count
    for i in range(count):
        part = np.int32(asked[i])
        size += parts[part].length if part >= 0 else 0
    letters = np.empty(size, np.uint32)
    end = size
    for i in range(count - 1, -1, -1):
        end -= 1
        letters[end] = 10
        part = np.int32(asked[i])
        while part > 0:
            symbol = parts[part].symbol
            for at in range(ends[symbol] - 1, (ends[symbol - 1] if symbol else 0) - 1, -1):
                end -= 1
                letters[end] = points[at]
            part = parts[part].before
    return letters


@_compiled
def remember_told(parts: Any, told: Any) -> None:
    """Writes down what the language model takes parts for."""
    for i in range(len(told)):
        parts[told[i].part].word = told[i].word
        parts[told[i].part].penalty = told[i].penalty


@_compiled
def remember_words(slots: Any, answers: Any) -> None:
    """Puts answers of the language model into a table that has room for them."""
    mask = np.uint64(len(slots) - 1)
    for i in range(len(answers)):
        at = _mix(0, answers[i].key) & mask
        while slots[at].key != NOTHING:
            at = (at + np.uint64(1)) & mask
        slots[at] = answers[i]


@_compiled
def remember_parts(slots: Any, parts: Any, count: int) -> None:
    """Puts the first parts into an empty table that has room for them."""
    mask = np.uint64(len(slots) - 1)
    for part in range(count):
        at = parts[part].key & mask
        while slots[at].part >= 0:
            at = (at + np.uint64(1)) & mask
        slots[at].key = parts[part].key
        slots[at].part = part


@_compiled
def remember_texts(slots: Any, texts: Any, count: int, stamp: int) -> None:
    """Puts the first texts, but the empty one, into an empty table that has room for them."""
    mask = np.uint64(len(slots) - 1)
    for text in range(1, count):
        key = _pair(texts[text].before, texts[text].part)
        at = _mix(0, key) & mask
        while slots[at].stamp == stamp:
            at = (at + np.uint64(1)) & mask
        slots[at].key = key
        slots[at].text = text
        slots[at].stamp = stamp


@_compiled
def _word_slot(slots: Any, state: int, word: int) -> int:
    """Where the language model's answer is; -1 where it was not asked yet."""
    key = _pair(state, word)
    mask = np.uint64(len(slots) - 1)
    at = _mix(0, key) & mask
    while slots[at].key != key:
        if slots[at].key == NOTHING:
            return -1
        at = (at + np.uint64(1)) & mask
    return np.int64(at)


@_compiled
def _has(keys: Any, key: int) -> bool:
    place = np.searchsorted(keys, key)
    return place < len(keys) and keys[place] == key
