"""The symbols a CTC head can say, and the way from text to label ids and back."""

from collections import Counter
from collections.abc import Iterable, Sequence

from khasr.text.syllables import split_clusters

BLANK = "<blank>"


UNKNOWN = "<unk>"


_SPECIAL = (BLANK, UNKNOWN)


class Vocabulary:
    """Symbols by label id: the blank is 0, `<unk>` is 1, then code points, or Khmer character clusters, in order.

    Attributes:
        symbols: all of them, specials first; the space between words is a symbol like the others. Clusters are what
            the symbols are where any is longer than a code point.
    """

    def __init__(self, symbols: Sequence[str]) -> None:
        if tuple(symbols[:2]) != _SPECIAL or len(set(symbols)) != len(symbols):
            raise ValueError(f"A vocabulary starts with {_SPECIAL} and has each symbol once; got {list(symbols)}.")
        self.symbols = list(symbols)
        self._ids = {symbol: i for i, symbol in enumerate(self.symbols)}
        self._clusters = any(len(symbol) > 1 for symbol in symbols[len(_SPECIAL) :])

    @classmethod
    def of_texts(cls, texts: Iterable[str], units: str = "code_points") -> "Vocabulary":
        """The vocabulary of normalised training texts: each unit in them (data.text.units)."""
        split = split_clusters if units == "clusters" else list
        return cls([*_SPECIAL, *sorted({unit for text in texts for unit in split(text)})])

    def __len__(self) -> int:
        return len(self.symbols)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.symbols == other.symbols

    def encode(self, text: str) -> list[int]:
        """Label ids of a normalised text; a symbol that is not in the vocabulary becomes `<unk>`."""
        unknown = self._ids[UNKNOWN]
        return [self._ids.get(symbol, unknown) for symbol in self._split(text)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of label ids; blanks and `<unk>` say nothing."""
        return "".join(self.symbols[i] for i in ids if i >= len(_SPECIAL))

    @property
    def between_words(self) -> str:
        """What stands between two words: a space, or nothing where no text had one (data.text.spaces=delete)."""
        return " " if " " in self._ids else ""

    def unknown(self, text: str) -> Counter[str]:
        """The symbols of a normalised text that the vocabulary lacks, with their counts."""
        return Counter(symbol for symbol in self._split(text) if symbol not in self._ids)

    def _split(self, text: str) -> list[str]:
        return split_clusters(text) if self._clusters else list(text)


def describe_symbol(symbol: str) -> str:
    """A symbol as a message shows it: itself, quoted, and its code points, since many have no looks of their own."""
    return f"{symbol!r} ({' '.join(f'U+{ord(c):04X}' for c in symbol)})"
