"""The inner loop of the compiled beam search: CTC prefix search with words, as pyctcdecode's, in numba.

A beam is three numbers: its complete words (a text), the beginning of the current word (a part), and its last symbol.
pyctcdecode sorts its beams in each frame; here only which beams are kept, and whose frames they keep, is computed.

The kernel returns when the language model must be queried (MISSES) or an array must grow (GROW), and continues with the
same frame when it is called again.
"""

from typing import Any

import numpy as np

from khasr.decoding.compiled.layout import (
    BEAMS,
    BLANK,
    DONE,
    FRAME,
    GROW,
    LETTER,
    MISSES,
    NEED,
    PARTS,
    QUERIES,
    SENTENCE_END,
    SPANS,
    STAMP,
    TEXTS,
    WORD,
)
from khasr.decoding.compiled.tables import find_word, jit, mix, spell_letter
from khasr.decoding.compiled.trees import LN10, extend_part, extend_text, query, unique_queries, word_score
from khasr.lm.spelling import BETWEEN, LAST

# From pyctcdecode: the lowest log-probability.
_LOWEST = np.log(1e-15)


@jit
def _sum(one: float, other: float) -> float:
    """ln(exp(one) + exp(other))."""
    high, low = max(one, other), min(one, other)
    return high + np.log1p(np.exp(low - high)) if low - high > -40.0 else high


@jit
def _place(one: int, other: int, stamp: int, slots: Any) -> tuple[int, bool]:
    """The slot of a pair of keys, and whether the pair was in the table before."""
    mask = np.uint64(len(slots) - 1)
    at = mix(one, other) & mask
    while slots[at].stamp == stamp:
        if slots[at].one == one and slots[at].other == other:
            return np.int64(at), True
        at = (at + np.uint64(1)) & mask
    slots[at].one = one
    slots[at].other = other
    slots[at].stamp = stamp
    return np.int64(at), False


@jit
def _candidate(text: int, part: int, ctc: float, count: int, stamp: int, candidates: Any, slots: Any) -> int:
    """The candidate with this text and part, to which `ctc` is added; `count` if it is new."""
    place, found = _place(np.uint64(text), np.uint64(part), stamp, slots)
    if found:
        same = slots[place].beam
        candidates[same].ctc = _sum(candidates[same].ctc, ctc)
        return same
    slots[place].beam = count
    candidates[count].ctc = ctc
    candidates[count].text = text
    candidates[count].part = part
    candidates[count].source = np.inf
    return count


@jit
def _spell(
    to: int, beam: Any, symbol: int, points: Any, ends: Any, texts: Any, weights: Any, spelling: Any, contexts: Any,
    candidates: Any,
) -> None:  # fmt: skip
    """Sets the score and the state in the spelling model of a candidate whose part is that of a beam and a symbol.

    The space before a word is scored with its first letter, so that both depend only on the candidate's text and part.
    """
    spelt, context = beam.spelt, np.int64(beam.context)
    if beam.part == 0:
        spelt, context = 0.0, np.int64(texts[candidates[to].text].context)
        if candidates[to].text:
            spelt, context = spell_letter(context, BETWEEN, weights[4], spelling, contexts)
    for i in range(ends[symbol - 1], ends[symbol]):
        logp, context = spell_letter(context, np.int64(points[i]), weights[4], spelling, contexts)
        spelt += logp
    candidates[to].spelt, candidates[to].context = spelt, context


@jit
def _new_span(begin: int, end: int, before: int, at: Any, spans: Any) -> int:
    span = at[SPANS]
    at[SPANS] = span + 1
    spans[span].begin = begin
    spans[span].end = end
    spans[span].before = before
    return span


@jit
def _nth_highest(values: Any, count: int, nth: int) -> float:
    """The nth highest of the first `count` values, which are reordered (quickselect, Hoare 1961)."""
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


@jit
def _keep(
    count: int, width: int, beam_prune_logp: float, prune_history: bool, at: Any, texts: Any, beams: Any,
    candidates: Any, slots: Any, scores: Any,
) -> None:  # fmt: skip
    """Selects at most `width` candidates within beam_prune_logp of the best one as the next beams.

    With prune_history only the best of candidates with equal history, part and last symbol is kept.
    """
    best = -np.inf
    for i in range(count):
        best = max(best, candidates[i].score)
    least, near = best + beam_prune_logp, 0
    for i in range(count):
        if candidates[i].score >= least:
            scores[near] = candidates[i].score
            near += 1
    ties = count
    if near > width:
        least, ties = _nth_highest(scores, near, width), width
        for i in range(near):
            ties -= scores[i] > least
    at[STAMP] += 1
    kept = 0
    for i in range(count):
        if not candidates[i].score >= least or kept == len(beams):
            continue
        if candidates[i].score == least:
            if ties == 0:
                continue
            ties -= 1
        to = kept
        if prune_history:
            of = mix(texts[candidates[i].text].history, np.uint64(candidates[i].last + 1))
            place, found = _place(of, np.uint64(candidates[i].part), at[STAMP], slots)
            if found:
                to = slots[place].beam
                if candidates[i].score <= beams[to].score:
                    continue
            else:
                slots[place].beam = kept
        beams[to] = candidates[i]
        kept += to == kept
    at[BEAMS] = kept


@jit
def search(
    rows: Any, kinds: Any, points: Any, ends: Any, prefixes: Any, whole: Any, listed: bool, closed: bool, weights: Any,
    spelling: Any, contexts: Any, history: int, width: int, beam_prune_logp: float, token_min_logp: float,
    prune_history: bool, at: Any, parts: Any, part_slots: Any, texts: Any, text_slots: Any, words: Any, queries: Any,
    spans: Any, beams: Any, candidates: Any, slots: Any, scores: Any,
) -> int:  # fmt: skip
    """Searches from frame at[FRAME] to the end; the result is the first at[BEAMS] of `beams`.

    Args:
        rows: (frames, symbols) float32 log-probabilities.
        kinds: (symbols,) the kind of each symbol.
        points, ends: code points of all symbols, concatenated, and the end of each symbol.
        prefixes, whole: sorted keys of the prefixes of the unigram list's words, and of the words.
        listed, closed: whether there is a list, and whether it has all words of the language model.
        weights: alpha, beta, unk_score_offset, that of the spelling, and the bonus of a letter.
        spelling, contexts: the spelling model; None without one, for which numba compiles a separate function.
        history: the number of last words that distinguish beams with prune_history.
        words: the language model's answers so far; of length 0 without a model.

    Returns:
        DONE; MISSES if queries[:at[QUERIES]] must be answered; GROW if at[NEED] candidates do not fit.
    """
    symbols = np.empty(rows.shape[1], np.int32)
    penalty = weights[2] if len(words) else 0.0
    all_blank = False  # each beam's last symbol is the blank
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
            need > len(candidates) or at[PARTS] + need > len(parts) or at[TEXTS] + need > len(texts)
            or at[SPANS] + need > len(spans)
        ):  # fmt: skip
            return GROW
        only_blank = tried == 1 and kinds[best] == BLANK
        if only_blank and all_blank:
            # It adds the same to every beam, and no two beams become equal.
            logp = max(np.float64(rows[frame, best]), _LOWEST)
            for b in range(present):
                beams[b].ctc += logp
                beams[b].score += logp
            continue
        count, spans_before = 0, at[SPANS]
        at[QUERIES] = 0
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
                    part = extend_part(
                        part, symbol, points, ends, prefixes, whole, listed, closed, at, parts, part_slots
                    )
                else:
                    if part:
                        text = extend_text(
                            text, part, beam.spelt, beam.context, weights, history, at, parts, texts, text_slots, words,
                            queries,
                        )  # fmt: skip
                        if text < 0:
                            continue
                    part = 0
                    if kind == WORD:
                        part = extend_part(
                            0, symbol, points, ends, prefixes, whole, listed, closed, at, parts, part_slots
                        )
                to = _candidate(text, part, beam.ctc + logp, count, at[STAMP], candidates, slots)
                if spelling is not None:  # noqa: SIM102 (numba leaves out the branch of this condition only)
                    if to == count:
                        candidates[to].spelt = beam.spelt if part else 0.0
                        candidates[to].context = beam.context
                        if kind == LETTER and not again:
                            _spell(to, beam, symbol, points, ends, texts, weights, spelling, contexts, candidates)
                count += to == count
                # Where beams become equal pyctcdecode keeps the frames of the last one, which has the lowest score.
                if beam.score > candidates[to].source:
                    continue
                candidates[to].source = beam.score
                candidates[to].last = symbol
                candidates[to].span, candidates[to].begin, candidates[to].end = beam.span, beam.begin, beam.end
                if again:
                    if kind != BLANK:
                        candidates[to].end = frame + 1
                elif kind == LETTER:
                    if beam.begin < 0:
                        candidates[to].begin = frame
                    candidates[to].end = frame + 1
                else:
                    if beam.part:
                        candidates[to].span = _new_span(beam.begin, beam.end, beam.span, at, spans)
                    candidates[to].begin = frame if kind == WORD else -1
                    candidates[to].end = frame + 1 if kind == WORD else -1
        if at[QUERIES]:
            at[SPANS] = spans_before
            unique_queries(at, queries)
            return MISSES
        for i in range(count):
            found = texts[candidates[i].text].score
            if spelling is not None:
                found += weights[3] * candidates[i].spelt
            else:
                found += penalty * parts[candidates[i].part].unknown
            candidates[i].score = candidates[i].ctc + found
        _keep(count, width, beam_prune_logp, prune_history, at, texts, beams, candidates, slots, scores)
        all_blank = only_blank
    at[FRAME] = len(rows)
    return DONE


@jit
def finish(
    weights: Any, spelling: Any, contexts: Any, history: int, at: Any, parts: Any, texts: Any,
    text_slots: Any, words: Any, queries: Any, spans: Any, beams: Any, candidates: Any, slots: Any,
) -> int:  # fmt: skip
    """Ends the word and the sentence of every beam; the result is the first at[NEED] of `candidates`, unsorted.

    Returns:
        As `search`.
    """
    present = at[BEAMS]
    at[NEED] = present
    if at[TEXTS] + present > len(texts) or at[SPANS] + present > len(spans):
        return GROW
    count, spans_before = 0, at[SPANS]
    at[QUERIES] = 0
    at[STAMP] += 1
    for b in range(present):
        beam = beams[b]
        text = beam.text
        if beam.part:
            text = extend_text(
                text, beam.part, beam.spelt, beam.context, weights, history, at, parts, texts, text_slots, words,
                queries,
            )  # fmt: skip
            if text < 0:
                continue
        to = _candidate(text, 0, beam.ctc, count, at[STAMP], candidates, slots)
        count += to == count
        if beam.score <= candidates[to].source:
            candidates[to].source = beam.score
            candidates[to].last = beam.part
            candidates[to].span = beam.span
            if beam.part:
                candidates[to].span = _new_span(beam.begin, beam.end, beam.span, at, spans)
    for i in range(count):
        score, state = texts[candidates[i].text].score, texts[candidates[i].text].state
        if spelling is not None:
            logp, _ = spell_letter(np.int64(texts[candidates[i].text].context), LAST, weights[4], spelling, contexts)
            score += weights[3] * logp
        if len(words) == 0:
            candidates[i].score = candidates[i].ctc + score
            continue
        if candidates[i].last == 0 and spelling is None:
            # After a space pyctcdecode scores an additional, empty word.
            found = find_word(words, state, parts[0].word)
            if found < 0:
                query(state, 0, at, queries)
                continue
            score += word_score(words[found].logp, parts[0].penalty, weights)
            state = words[found].state
        found = find_word(words, state, SENTENCE_END)
        if found < 0:
            query(state, SENTENCE_END, at, queries)
            continue
        candidates[i].score = candidates[i].ctc + score + weights[0] * words[found].logp * LN10
    if at[QUERIES]:
        at[SPANS] = spans_before
        unique_queries(at, queries)
        return MISSES
    at[NEED] = count
    return DONE
