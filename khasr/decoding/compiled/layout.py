"""Records and codes of the arrays of the compiled search."""

import numpy as np

# Return codes of a call of the kernel: finished, the language model must be queried, the arrays must grow.
DONE, MISSES, GROW = 0, 1, 2

# Kinds of symbol: the CTC blank, the end of a word, a complete word, a letter of a word.
BLANK, SPACE, WORD, LETTER = 0, 1, 2, 3

# Values of a part's `word` that are not the id of a part: the end of the sentence, a word that the language model does
# not know, and a part that has not been looked up yet.
SENTENCE_END, UNKNOWN, NEW = -1, -2, -3

# Indices of the array of counters, `at`: the frame, the number of beams, parts, texts, spans and queries, the number of
# candidates to allocate for, and the stamps of the utterance's texts and of a symbol's candidates.
COUNTERS = 9
FRAME, BEAMS, PARTS, TEXTS, SPANS, QUERIES, NEED, UTTERANCE, STAMP = range(COUNTERS)

# A part: the beginning of a word, or all of it. Two sequences of symbols with the same code points are one part.
# `unknown` is 0 for the beginning of a word in the unigram list, else the factor of its penalty. `word` and `penalty`
# describe the part as a complete word: its id in the language model, and whether it counts as unknown.
PART = np.dtype(
    [("key", "u8"), ("unknown", "f8"), ("before", "i4"), ("symbol", "i4"), ("length", "i4"), ("word", "i4"),
     ("penalty", "i4")],
    align=True,
)  # fmt: skip

# A text: the complete words so far. `state` is the language model's; `history` is a key of the words in its context;
# `context` is the state of the spelling model after the last letter.
TEXT = np.dtype(
    [("score", "f8"), ("history", "u8"), ("before", "i4"), ("part", "i4"), ("state", "i4"), ("context", "i4")],
    align=True,
)  # fmt: skip

# The frames [begin, end) of a complete word, and the span of the word before it.
SPAN = np.dtype([("begin", "i4"), ("end", "i4"), ("before", "i4")], align=True)

# A beam. `ctc` is ln P of the symbols; `score` includes the language model; `source` is the score of the beam that the
# frames come from. `spelt` is ln P of the part in the spelling model, and `context` the state after it.
BEAM = np.dtype(
    [("ctc", "f8"), ("score", "f8"), ("source", "f8"), ("spelt", "f8"), ("text", "i4"), ("part", "i4"), ("last", "i4"),
     ("span", "i4"), ("begin", "i4"), ("end", "i4"), ("context", "i4")],
    align=True,
)  # fmt: skip

# Slots of hash tables with open addressing. A slot with an older stamp is empty.
PART_SLOT = np.dtype([("key", "u8"), ("part", "i4")], align=True)
TEXT_SLOT = np.dtype([("key", "u8"), ("text", "i4"), ("stamp", "i4")], align=True)
BEAM_SLOT = np.dtype([("one", "u8"), ("other", "u8"), ("beam", "i4"), ("stamp", "i8")], align=True)

# The language model's answer to (state, word): log10 P and the next state. Empty slots have the key NOTHING.
WORD_SLOT = np.dtype([("key", "u8"), ("logp", "f4"), ("state", "i4")], align=True)
NOTHING = np.uint64(0xFFFFFFFFFFFFFFFF)

# An update of a part's `word` and `penalty`.
WORD_STATUS = np.dtype([("part", "i4"), ("word", "i4"), ("penalty", "i4")], align=True)
