"""The inner loop of the compiled beam search: CTC prefix search with words, as pyctcdecode does it, in numba.

A beam is three numbers: its words (a text), the piece of a word that is begun (a part), and its last symbol. Texts and
parts are nodes of trees, so that beams are told apart and grown without a string. What pyctcdecode sorts is not sorted
here: of what it does with the order, only who is kept and whose frames are kept is an answer.

The search stops where it needs what it has not: scores of words that the language model was not asked for yet
(MISSES), or room (GROW); it goes on with the same frame when it is called again.
"""

from typing import Any

import numpy as np

from khasr.decoding.compiled.layout import (
    BLANK,
    DONE,
    GROW,
    LETTER,
    MISSES,
    NEW,
    SENTENCE_END,
    UNKNOWN,
    WORD,
)
from khasr.decoding.compiled.tables import (
    _compiled,
    _has,
    _mix,
    _pair,
    _word_slot,
)

# Places in `at`, the search's counters: the frame, how many there are of each, the most candidates that the frame can
# have, and the stamps: of the utterance's texts, and of the candidates of a symbol.
FRAME, BEAMS, PARTS, TEXTS, SPANS, ASKED, NEED, UTTERANCE, STAMP = range(9)


# pyctcdecode's: log-probabilities are no lower than ln 1e-15; letters above which an unknown piece costs more.
_LOWEST, _LONG = np.log(1e-15), 6


_LN10 = np.log(10.0)


@_compiled
def _grown_part(
    before: int, symbol: int, points: Any, ends: Any, begun: Any, whole: Any, listed: bool, closed: bool, at: Any,
    parts: Any, slots: Any,
) -> int:  # fmt: skip
    """The part that a symbol makes of one."""
    key = parts[before].key
    first = ends[symbol - 1] if symbol else 0
    for i in range(first, ends[symbol]):
        key = _mix(key, points[i])
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
    parts[new].unknown = 0.0 if listed and _has(begun, key) else max(1.0, length / _LONG)
    parts[new].word = NEW
    if closed and not _has(whole, key):
        parts[new].word, parts[new].penalty = UNKNOWN, 1
    return new


@_compiled
def _ask(state: int, part: int, at: Any, asked: Any) -> None:
    asked[at[ASKED]] = _pair(state, part)
    at[ASKED] += 1


@_compiled
def _ask_once(at: Any, asked: Any) -> None:
    """Leaves each question once; beams of many texts in one state ask the same."""
    asked[: at[ASKED]].sort()
    count = 0
    for i in range(at[ASKED]):
        if i == 0 or asked[i] != asked[i - 1]:
            asked[count] = asked[i]
            count += 1
    at[ASKED] = count


@_compiled
def _grown_text(
    before: int, part: int, weights: Any, history: int, at: Any, parts: Any, texts: Any, slots: Any, words: Any,
    asked: Any,
) -> int:  # fmt: skip
    """The text with one more word; -1 where the language model has to be asked first."""
    key = _pair(before, part)
    mask = np.uint64(len(slots) - 1)
    place = _mix(0, key) & mask
    while slots[place].stamp == at[UTTERANCE]:
        if slots[place].key == key:
            return slots[place].text
        place = (place + np.uint64(1)) & mask
    score, state = 0.0, -1
    if len(words):
        found = _word_slot(words, texts[before].state, parts[part].word)
        if found < 0:
            _ask(texts[before].state, part, at, asked)
            return -1
        score = _word_score(words[found].logp, parts[part].penalty, weights)
        state = words[found].state
    new = at[TEXTS]
    at[TEXTS] = new + 1
    slots[place].key = key
    slots[place].text = new
    slots[place].stamp = at[UTTERANCE]
    texts[new].score = texts[before].score + score
    texts[new].before = before
    texts[new].part = part
    texts[new].state = state
    # Of the last words, the newest first; the empty text has none before it.
    seen, node = np.uint64(0), new
    for _ in range(history):
        if node == 0:
            break
        seen = _mix(seen, texts[node].part + 1)
        node = texts[node].before
    texts[new].history = seen
    return new


@_compiled
def _word_score(logp: float, penalty: int, weights: Any) -> float:
    alpha, beta, offset = weights
    return alpha * (logp + penalty * offset) * _LN10 + beta


@_compiled
def _sum(one: float, other: float) -> float:
    """ln(exp(one) + exp(other))."""
    high, low = max(one, other), min(one, other)
    return high + np.log1p(np.exp(low - high)) if low - high > -40.0 else high


@_compiled
def _place(one: int, other: int, stamp: int, slots: Any) -> tuple[int, bool]:
    """Where the entry of two keys is or goes, and whether it is there."""
    mask = np.uint64(len(slots) - 1)
    at = _mix(one, other) & mask
    while slots[at].stamp == stamp:
        if slots[at].one == one and slots[at].other == other:
            return np.int64(at), True
        at = (at + np.uint64(1)) & mask
    slots[at].one = one
    slots[at].other = other
    slots[at].stamp = stamp
    return np.int64(at), False


@_compiled
def _candidate(text: int, part: int, heard: float, count: int, stamp: int, grown: Any, slots: Any) -> int:
    """The candidate of this text and part, to which the beam's probability is added; `count` where it is new."""
    place, found = _place(np.uint64(text), np.uint64(part), stamp, slots)
    if found:
        same = slots[place].beam
        grown[same].heard = _sum(grown[same].heard, heard)
        return same
    slots[place].beam = count
    grown[count].heard = heard
    grown[count].text = text
    grown[count].part = part
    grown[count].source = np.inf
    return count


@_compiled
def _new_span(begin: int, end: int, before: int, at: Any, spans: Any) -> int:
    span = at[SPANS]
    at[SPANS] = span + 1
    spans[span].begin = begin
    spans[span].end = end
    spans[span].before = before
    return span


@_compiled
def _nth_highest(values: Any, count: int, nth: int) -> float:
    """The nth highest of the first values, whose order is lost (quickselect, Hoare 1961)."""
    low, high, nth = 0, count - 1, nth - 1
    while low < high:
        pivot = values[(low + high) // 2]
        i, j = low, high
        while i <= j:
            while values[i] > pivot:
                i += 1
            while values[j] < pivot:
                j -= 1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                i += 1
                j -= 1
        if nth <= j:
            high = j
        elif nth >= i:
            low = i
        else:
            break
    return values[nth]


@_compiled
def _keep(
    count: int, width: int, beam_prune_logp: float, prune_history: bool, at: Any, texts: Any, beams: Any, grown: Any,
    slots: Any, scores: Any,
) -> None:  # fmt: skip
    """Makes beams of the best candidates: `width` at most, none further behind than beam_prune_logp.

    With prune_history, of those that nothing to come can tell apart only the best.
    """
    best = -np.inf
    for i in range(count):
        best = max(best, grown[i].score)
    least, near = best + beam_prune_logp, 0
    for i in range(count):
        if grown[i].score >= least:
            scores[near] = grown[i].score
            near += 1
    ties = count
    if near > width:
        least, ties = _nth_highest(scores, near, width), width
        for i in range(near):
            ties -= scores[i] > least
    at[STAMP] += 1
    kept = 0
    for i in range(count):
        if not grown[i].score >= least or kept == len(beams):
            continue
        if grown[i].score == least:
            if ties == 0:
                continue
            ties -= 1
        to = kept
        if prune_history:
            of = _mix(texts[grown[i].text].history, np.uint64(grown[i].last + 1))
            place, found = _place(of, np.uint64(grown[i].part), at[STAMP], slots)
            if found:
                to = slots[place].beam
                if grown[i].score <= beams[to].score:
                    continue
            else:
                slots[place].beam = kept
        beams[to] = grown[i]
        kept += to == kept
    at[BEAMS] = kept


@_compiled
def search(
    rows: Any, kinds: Any, points: Any, ends: Any, begun: Any, whole: Any, listed: bool, closed: bool, weights: Any,
    history: int, width: int, beam_prune_logp: float, token_min_logp: float, prune_history: bool, at: Any, parts: Any,
    part_slots: Any, texts: Any, text_slots: Any, words: Any, asked: Any, spans: Any, beams: Any, grown: Any,
    slots: Any, scores: Any,
) -> int:  # fmt: skip
    """Searches from frame at[FRAME] to the end; then the first at[BEAMS] of `beams` are found.

    Args:
        rows: (frames, symbols) float32 log-probabilities.
        kinds: (symbols,) what each does.
        points, ends: code points of all symbols, one after another, and where each symbol's end.
        begun, whole: sorted keys of the beginnings of the unigram list's words, and of the words.
        listed, closed: whether there is a list, and whether the language model knows no word beyond it.
        weights: alpha, beta, unk_score_offset.
        history: how many last words tell beams apart with prune_history.
        words: the language model's answers so far; of length 0 where there is no model.

    Returns:
        DONE; MISSES where asked[:at[ASKED]] has to be answered; GROW where there is no room for at[NEED] candidates.
    """
    symbols = np.empty(rows.shape[1], np.int32)
    penalty = weights[2] if len(words) else 0.0
    resting = False  # each beam's last symbol is the blank
    for frame in range(at[FRAME], len(rows)):
        at[FRAME] = frame
        best = 0
        for symbol in range(1, rows.shape[1]):
            if rows[frame, symbol] > rows[frame, best]:
                best = symbol
        tried = 0
        for symbol in range(rows.shape[1]):
            if symbol == best or max(np.float64(rows[frame, symbol]), _LOWEST) >= token_min_logp:
                symbols[tried] = symbol
                tried += 1
        present = at[BEAMS]
        need = present * tried
        at[NEED] = need
        if (
            need > len(grown) or at[PARTS] + need > len(parts) or at[TEXTS] + need > len(texts)
            or at[SPANS] + need > len(spans)
        ):  # fmt: skip
            return GROW
        silent = tried == 1 and kinds[best] == BLANK
        if silent and resting:
            # It adds the same to every beam, and none falls together with another.
            logp = max(np.float64(rows[frame, best]), _LOWEST)
            for b in range(present):
                beams[b].heard += logp
                beams[b].score += logp
            continue
        count, spans_before = 0, at[SPANS]
        at[ASKED] = 0
        for i in range(tried):
            symbol, kind = symbols[i], kinds[symbols[i]]
            logp = max(np.float64(rows[frame, symbol]), _LOWEST)
            at[STAMP] += 1
            for b in range(present):
                beam = beams[b]
                again = kind == BLANK or beam.last == symbol
                text, part = beam.text, beam.part
                if again:
                    pass
                elif kind == LETTER:
                    part = _grown_part(part, symbol, points, ends, begun, whole, listed, closed, at, parts, part_slots)
                else:
                    if part:
                        text = _grown_text(text, part, weights, history, at, parts, texts, text_slots, words, asked)
                        if text < 0:
                            continue
                    part = 0
                    if kind == WORD:
                        part = _grown_part(0, symbol, points, ends, begun, whole, listed, closed, at, parts, part_slots)
                to = _candidate(text, part, beam.heard + logp, count, at[STAMP], grown, slots)
                count += to == count
                # Where beams fall together pyctcdecode keeps the frames of the one that came last, the worst.
                if beam.score > grown[to].source:
                    continue
                grown[to].source = beam.score
                grown[to].last = symbol
                grown[to].span, grown[to].begin, grown[to].end = beam.span, beam.begin, beam.end
                if again:
                    if kind != BLANK:
                        grown[to].end = frame + 1
                elif kind == LETTER:
                    if beam.begin < 0:
                        grown[to].begin = frame
                    grown[to].end = frame + 1
                else:
                    if beam.part:
                        grown[to].span = _new_span(beam.begin, beam.end, beam.span, at, spans)
                    grown[to].begin = frame if kind == WORD else -1
                    grown[to].end = frame + 1 if kind == WORD else -1
        if at[ASKED]:
            at[SPANS] = spans_before
            _ask_once(at, asked)
            return MISSES
        for i in range(count):
            found = texts[grown[i].text].score + penalty * parts[grown[i].part].unknown
            grown[i].score = grown[i].heard + found
        _keep(count, width, beam_prune_logp, prune_history, at, texts, beams, grown, slots, scores)
        resting = silent
    at[FRAME] = len(rows)
    return DONE


@_compiled
def finish(
    weights: Any, history: int, at: Any, parts: Any, texts: Any, text_slots: Any, words: Any, asked: Any, spans: Any,
    beams: Any, grown: Any, slots: Any,
) -> int:  # fmt: skip
    """Ends the word and the sentence of every beam; then the first at[NEED] of `grown` are what was found, unsorted.

    Returns:
        As `search`.
    """
    present = at[BEAMS]
    at[NEED] = present
    if at[TEXTS] + present > len(texts) or at[SPANS] + present > len(spans):
        return GROW
    count, spans_before = 0, at[SPANS]
    at[ASKED] = 0
    at[STAMP] += 1
    for b in range(present):
        beam = beams[b]
        text = beam.text
        if beam.part:
            text = _grown_text(text, beam.part, weights, history, at, parts, texts, text_slots, words, asked)
            if text < 0:
                continue
        to = _candidate(text, 0, beam.heard, count, at[STAMP], grown, slots)
        count += to == count
        if beam.score <= grown[to].source:
            grown[to].source = beam.score
            grown[to].last = beam.part
            grown[to].span = beam.span
            if beam.part:
                grown[to].span = _new_span(beam.begin, beam.end, beam.span, at, spans)
    for i in range(count):
        if len(words) == 0:
            grown[i].score = grown[i].heard
            continue
        score, state = texts[grown[i].text].score, texts[grown[i].text].state
        if grown[i].last == 0:
            # After a space pyctcdecode scores one more word, of no letters.
            found = _word_slot(words, state, parts[0].word)
            if found < 0:
                _ask(state, 0, at, asked)
                continue
            score += _word_score(words[found].logp, parts[0].penalty, weights)
            state = words[found].state
        found = _word_slot(words, state, SENTENCE_END)
        if found < 0:
            _ask(state, SENTENCE_END, at, asked)
            continue
        grown[i].score = grown[i].heard + score + weights[0] * words[found].logp * _LN10
    if at[ASKED]:
        at[SPANS] = spans_before
        _ask_once(at, asked)
        return MISSES
    at[NEED] = count
    return DONE
