"""The CTC vocabulary: the output symbols, and the conversion of text to label ids and back."""

from collections import Counter
from collections.abc import Iterable, Sequence

from khasr.text.syllables import split_clusters

BLANK = "<blank>"

UNKNOWN = "<unk>"

_SPECIAL = (BLANK, UNKNOWN)


class Vocabulary:
    """Symbols by label id: the blank is 0, `<unk>` is 1, then code points or Khmer character clusters in order.

    Attributes:
        symbols: all symbols, special ones first; the space between words is an ordinary symbol. If any of them is
            longer than a code point, the units are clusters.
    """

    def __init__(self, symbols: Sequence[str]) -> None:
        if tuple(symbols[:2]) != _SPECIAL or len(set(symbols)) != len(symbols):
            raise ValueError(
                f"Expected a vocabulary that starts with {_SPECIAL} and has each symbol once; found {list(symbols)}."
            )
        self.symbols = list(symbols)
        self._ids = {symbol: i for i, symbol in enumerate(self.symbols)}
        self._clusters = any(len(symbol) > 1 for symbol in symbols[len(_SPECIAL) :])

    @classmethod
    def of_texts(cls, texts: Iterable[str], units: str = "code_points") -> "Vocabulary":
        """The vocabulary of all units (data.text.units) in the normalised training texts."""
        split = split_clusters if units == "clusters" else list
        return cls([*_SPECIAL, *sorted({unit for text in texts for unit in split(text)})])

    def __len__(self) -> int:
        return len(self.symbols)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.symbols == other.symbols

    def encode(self, text: str) -> list[int]:
        """Label ids of a normalised text; symbols outside the vocabulary become `<unk>`."""
        unknown = self._ids[UNKNOWN]
        return [self._ids.get(symbol, unknown) for symbol in self._split(text)]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of label ids; blanks and `<unk>` are skipped."""
        return "".join(self.symbols[i] for i in ids if i >= len(_SPECIAL))

    @property
    def between_words(self) -> str:
        """The separator of words: a space, or empty if no training text had one (data.text.spaces=delete)."""
        return " " if " " in self._ids else ""

    def unknown(self, text: str) -> Counter[str]:
        """The symbols of a normalised text that are not in the vocabulary, with their counts."""
        return Counter(symbol for symbol in self._split(text) if symbol not in self._ids)

    def _split(self, text: str) -> list[str]:
        return split_clusters(text) if self._clusters else list(text)


def describe_symbol(symbol: str) -> str:
    """A symbol for messages: quoted, with its code points, because many symbols are invisible or look the same."""
    return f"{symbol!r} ({' '.join(f'U+{ord(c):04X}' for c in symbol)})"
