"""Hash tables of the compiled search, and the keys of words and parts."""

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from khasr.decoding.compiled.layout import NOTHING, WORD_SLOT
from khasr.lm.spelling import EMPTY


def jit(function: Any) -> Any:
    """The function compiled by numba, without the interpreter's lock; cached on disk if that is possible.

    The cache does not detect changes of functions that are called from a different file: after editing this file or
    `trees`, touch `kernel`.
    """
    try:
        return numba.njit(function, nogil=True, cache=True, error_model="numpy")
    except RuntimeError:  # no writable cache folder, for example in a read-only container
        return numba.njit(function, nogil=True, error_model="numpy")


@jit
def mix(key: int, value: int) -> int:
    """The hash of a key and a value (the finaliser of splitmix64, Steele 2014)."""
    x = (np.uint64(key) ^ np.uint64(value)) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@jit
def pair(one: int, other: int) -> int:
    """Two 32-bit numbers as one key."""
    return (np.uint64(np.uint32(one)) << np.uint64(32)) | np.uint64(np.uint32(other))


@jit
def prefix_keys(points: Any, ends: Any) -> Any:
    """The sorted keys of all prefixes of the words, and those of the words themselves.

    Args:
        points: code points of all words, concatenated.
        ends: the end of each word in `points`.
    """
    keys = np.empty(len(points), np.uint64)
    words = np.empty(len(ends), np.uint64)
    begin = 0
    for word, end in enumerate(ends):
        key = np.uint64(0)
        for i in range(begin, end):
            key = mix(key, points[i])
            keys[i] = key
        words[word] = key
        begin = end
    return np.unique(keys), np.unique(words)


@jit
def spell(wanted: Any, parts: Any, points: Any, ends: Any) -> Any:
    """The code points of the wanted parts, each followed by a line feed; SENTENCE_END has none."""
    count = len(wanted)
    size = count
    for i in range(count):
        part = np.int32(wanted[i])
        size += parts[part].length if part >= 0 else 0
    letters = np.empty(size, np.uint32)
    end = size
    for i in range(count - 1, -1, -1):
        end -= 1
        letters[end] = 10
        part = np.int32(wanted[i])
        while part > 0:
            symbol = parts[part].symbol
            for at in range(ends[symbol] - 1, (ends[symbol - 1] if symbol else 0) - 1, -1):
                end -= 1
                letters[end] = points[at]
            part = parts[part].before
    return letters


@jit
def set_word_status(parts: Any, status: Any) -> None:
    """Sets `word` and `penalty` of parts."""
    for i in range(len(status)):
        parts[status[i].part].word = status[i].word
        parts[status[i].part].penalty = status[i].penalty


@jit
def insert_words(slots: Any, answers: Any) -> None:
    """Inserts answers of the language model; the table has enough free slots."""
    mask = np.uint64(len(slots) - 1)
    for i in range(len(answers)):
        at = mix(0, answers[i].key) & mask
        while slots[at].key != NOTHING:
            at = (at + np.uint64(1)) & mask
        slots[at] = answers[i]


def letter_slots(letters: NDArray[Any]) -> NDArray[Any]:
    """The hash table of a spelling model's letters."""
    slots = np.zeros(1 << (2 * len(letters)).bit_length(), WORD_SLOT)
    slots["key"] = NOTHING
    insert_words(slots, letters.astype(WORD_SLOT))
    return slots


@jit
def insert_parts(slots: Any, parts: Any, count: int) -> None:
    """Inserts the first `count` parts into an empty table with enough slots."""
    mask = np.uint64(len(slots) - 1)
    for part in range(count):
        at = parts[part].key & mask
        while slots[at].part >= 0:
            at = (at + np.uint64(1)) & mask
        slots[at].key = parts[part].key
        slots[at].part = part


@jit
def insert_texts(slots: Any, texts: Any, count: int, stamp: int) -> None:
    """Inserts the first `count` texts, except the empty one, into an empty table with enough slots."""
    mask = np.uint64(len(slots) - 1)
    for text in range(1, count):
        key = pair(texts[text].before, texts[text].part)
        at = mix(0, key) & mask
        while slots[at].stamp == stamp:
            at = (at + np.uint64(1)) & mask
        slots[at].key = key
        slots[at].text = text
        slots[at].stamp = stamp


@jit
def find_word(slots: Any, state: int, word: int) -> int:
    """The slot of the language model's answer to (state, word); -1 if there is none yet."""
    key = pair(state, word)
    mask = np.uint64(len(slots) - 1)
    at = mix(0, key) & mask
    while slots[at].key != key:
        if slots[at].key == NOTHING:
            return -1
        at = (at + np.uint64(1)) & mask
    return np.int64(at)


@jit
def contains(keys: Any, key: int) -> bool:
    """Whether the sorted keys contain a key."""
    place = np.searchsorted(keys, key)
    return place < len(keys) and keys[place] == key


@jit
def spell_letter(context: int, point: int, bonus: float, spelling: Any, contexts: Any) -> tuple[float, int]:
    """ln P of a code point in a state of the spelling model, plus a bonus, and the next state."""
    logp, state = bonus, np.int64(context)
    while True:
        place = find_word(spelling, state, point)
        if place >= 0:
            return logp + spelling[place].logp, np.int64(spelling[place].state)
        logp += contexts[state].backoff
        if state == EMPTY:
            return logp, state
        state = np.int64(contexts[state].shorter)
