"""The spelling model: an n-gram of characters of any order as an automaton, with which the beam search scores letters.

KenLM's packages are built for orders of at most 6 and are queried through Python. The automaton is read by compiled
code.
"""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from khasr.lm.sources import SPACE

SPELLING = "spelling.npz"

# ln P of a code point in a state, and the next state. A state is a context; code points that it does not have are
# looked up in the `shorter` context, at the cost of `backoff`.
LETTER = np.dtype([("key", "u8"), ("logp", "f4"), ("state", "i4")], align=True)
CONTEXT = np.dtype([("backoff", "f4"), ("shorter", "i4")], align=True)

# The states of the empty context, whose `backoff` is ln P of any other code point, and of the beginning of a sentence.
EMPTY, BEGIN = 0, 1

# Code points of the space between words, and of the end of a sentence, which is none.
BETWEEN, LAST = 0x20, 0x110000

_LN10 = float(np.log(10.0))


class Spelling(NamedTuple):
    """An automaton. The keys of letters are state << 32 | code point."""

    letters: NDArray[Any]
    contexts: NDArray[Any]


def read_spelling(path: Path) -> Spelling:
    """The automaton in a file of `write_spelling`.

    Raises:
        ValueError: the file is damaged.
    """
    try:
        with np.load(path) as arrays:
            spelling = Spelling(arrays["letters"], arrays["contexts"])
        if spelling.letters.dtype != LETTER or spelling.contexts.dtype != CONTEXT:
            raise ValueError(f"its arrays are {spelling.letters.dtype} and {spelling.contexts.dtype}")
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a spelling model of python -m khasr.build_lm ({error}).") from error
    return spelling


def write_spelling(spelling: Spelling, path: Path) -> None:
    """Writes an automaton."""
    np.savez(path, letters=spelling.letters, contexts=spelling.contexts)


def spelling_of(arpa: Path) -> Spelling:
    """The automaton of an ARPA file whose words are characters, with `|` for the space."""
    states = {"": EMPTY, "<s>": BEGIN}
    contexts: list[tuple[float, int]] = [(0.0, EMPTY), (0.0, EMPTY)]
    letters: list[tuple[int, float, int]] = []
    with arpa.open(encoding="utf-8") as lines:
        for line in lines:
            fields = line.rstrip("\n").split("\t")
            if len(fields) < 2:
                continue
            logp, ngram = _LN10 * float(fields[0]), fields[1]
            backoff = _LN10 * float(fields[2]) if len(fields) > 2 else 0.0
            before, _, last = ngram.rpartition(" ")
            if ngram == "<unk>":
                contexts[EMPTY] = (logp, EMPTY)
            elif ngram == "<s>":
                contexts[BEGIN] = (backoff, EMPTY)
            elif last == "</s>":
                letters.append((states[before] << 32 | LAST, logp, EMPTY))
            else:
                state = _shorter(ngram, states)
                if len(fields) > 2:  # the context of longer n-grams
                    contexts.append((backoff, state))
                    state = states[ngram] = len(states)
                letters.append((states[before] << 32 | (BETWEEN if last == SPACE else ord(last)), logp, state))
    return Spelling(np.array(letters, LETTER), np.array(contexts, CONTEXT))


def _shorter(ngram: str, states: dict[str, int]) -> int:
    """The state of the longest context that an n-gram ends with, other than itself."""
    while True:
        ngram = ngram.partition(" ")[2]
        state = states.get(ngram)
        if state is not None:
            return state
