"""TODO."""

import numpy as np

# How a call ended.
DONE, MISSES, GROW = 0, 1, 2


# What a symbol does: nothing, ends the word, ends it and begins one of its own, goes on with it.
BLANK, SPACE, WORD, LETTER = 0, 1, 2, 3


# In place of a part, for the language model: the end of the sentence, a word that it does not know, and a word of which
# that is not known yet.
SENTENCE_END, UNKNOWN, NEW = -1, -2, -3


COUNTERS = 9


# A piece of a word; two spellings in symbols of the same piece are one. `unknown` is 0 for the beginning of a word of
# the unigram list, else what its penalty is multiplied by. As a whole word: what the language model takes it for, and
# whether it is unknown there or to the list.
PART = np.dtype(
    [("key", "u8"), ("unknown", "f8"), ("before", "i4"), ("symbol", "i4"), ("length", "i4"), ("word", "i4"),
     ("penalty", "i4")],
    align=True,
)  # fmt: skip


# Words so far; `state` is the language model's, `history` a key of the words that it can still look at.
TEXT = np.dtype([("score", "f8"), ("history", "u8"), ("before", "i4"), ("part", "i4"), ("state", "i4")], align=True)


# The frames of a word that is complete, [begin, end), and the span before.
SPAN = np.dtype([("begin", "i4"), ("end", "i4"), ("before", "i4")], align=True)


# `heard` is log P of the symbols; `score` has the language model in it; `source` is the score of the beam that the
# frames are of.
BEAM = np.dtype(
    [("heard", "f8"), ("score", "f8"), ("source", "f8"), ("text", "i4"), ("part", "i4"), ("last", "i4"),
     ("span", "i4"), ("begin", "i4"), ("end", "i4")],
    align=True,
)  # fmt: skip


# Hash tables by open addressing. One whose entries are of an older stamp is empty.
PART_SLOT = np.dtype([("key", "u8"), ("part", "i4")], align=True)


TEXT_SLOT = np.dtype([("key", "u8"), ("text", "i4"), ("stamp", "i4")], align=True)


BEAM_SLOT = np.dtype([("one", "u8"), ("other", "u8"), ("beam", "i4"), ("stamp", "i8")], align=True)


# Of (state, word): log10 P and the state after it. No entry has the key NOTHING.
WORD_SLOT = np.dtype([("key", "u8"), ("logp", "f4"), ("state", "i4")], align=True)


NOTHING = np.uint64(0xFFFFFFFFFFFFFFFF)


# Of a part: its `word` and `penalty`.
TOLD = np.dtype([("part", "i4"), ("word", "i4"), ("penalty", "i4")], align=True)
