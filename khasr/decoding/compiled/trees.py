"""Trees of parts and texts, the nodes that beams of the compiled search consist of, and the queries they require.

A part is the beginning of a word, extended by a symbol; a text is a sequence of words, extended by a word. Beams are
therefore compared and extended without strings.
"""

from typing import Any

import numpy as np

from khasr.decoding.compiled.layout import NEW, PARTS, QUERIES, TEXTS, UNKNOWN, UTTERANCE
from khasr.decoding.compiled.tables import contains, find_word, jit, mix, pair

# From pyctcdecode: the length above which the penalty of an unknown part grows.
_LONG = 6

LN10 = np.log(10.0)


@jit
def extend_part(
    before: int, symbol: int, points: Any, ends: Any, prefixes: Any, whole: Any, listed: bool, closed: bool, at: Any,
    parts: Any, slots: Any,
) -> int:  # fmt: skip
    """The part extended by a symbol."""
    key = parts[before].key
    first = ends[symbol - 1] if symbol else 0
    for i in range(first, ends[symbol]):
        key = mix(key, points[i])
    mask = np.uint64(len(slots) - 1)
    place = key & mask
    while slots[place].part >= 0:
        if slots[place].key == key:
            return slots[place].part
        place = (place + np.uint64(1)) & mask
    new = at[PARTS]
    at[PARTS] = new + 1
    slots[place].key = key
    slots[place].part = new
    length = parts[before].length + ends[symbol] - first
    parts[new].key = key
    parts[new].before = before
    parts[new].symbol = symbol
    parts[new].length = length
    parts[new].unknown = 0.0 if listed and contains(prefixes, key) else max(1.0, length / _LONG)
    parts[new].word = NEW
    if closed and not contains(whole, key):
        parts[new].word, parts[new].penalty = UNKNOWN, 1
    return new


@jit
def query(state: int, part: int, at: Any, queries: Any) -> None:
    """Adds a query: the score of a part as the next word in a state of the language model."""
    queries[at[QUERIES]] = pair(state, part)
    at[QUERIES] += 1


@jit
def unique_queries(at: Any, queries: Any) -> None:
    """Removes duplicate queries, which come from texts with the same state."""
    queries[: at[QUERIES]].sort()
    count = 0
    for i in range(at[QUERIES]):
        if i == 0 or queries[i] != queries[i - 1]:
            queries[count] = queries[i]
            count += 1
    at[QUERIES] = count


@jit
def extend_text(
    before: int, part: int, spelt: float, context: int, weights: Any, history: int, at: Any, parts: Any, texts: Any,
    slots: Any, words: Any, queries: Any,
) -> int:  # fmt: skip
    """The text extended by a word; -1 if the language model must be queried first.

    Args:
        spelt, context: ln P of the word in the spelling model, and its state; 0 without one.
    """
    key = pair(before, part)
    mask = np.uint64(len(slots) - 1)
    place = mix(0, key) & mask
    while slots[place].stamp == at[UTTERANCE]:
        if slots[place].key == key:
            return slots[place].text
        place = (place + np.uint64(1)) & mask
    score, state = 0.0, -1
    if len(words):
        found = find_word(words, texts[before].state, parts[part].word)
        if found < 0:
            query(texts[before].state, part, at, queries)
            return -1
        score = word_score(words[found].logp, parts[part].penalty, weights)
        state = words[found].state
    elif weights[3] > 0:
        score = weights[1]
    score += weights[3] * spelt
    new = at[TEXTS]
    at[TEXTS] = new + 1
    slots[place].key = key
    slots[place].text = new
    slots[place].stamp = at[UTTERANCE]
    texts[new].score = texts[before].score + score
    texts[new].before = before
    texts[new].part = part
    texts[new].state = state
    texts[new].context = context
    # The newest word first; the empty text ends the chain.
    seen, node = np.uint64(0), new
    for _ in range(history):
        if node == 0:
            break
        seen = mix(seen, texts[node].part + 1)
        node = texts[node].before
    texts[new].history = seen
    return new


@jit
def word_score(logp: float, penalty: int, weights: Any) -> float:
    """The weighted score of a word, from log10 P of the language model."""
    return weights[0] * (logp + penalty * weights[2]) * LN10 + weights[1]
