"""The symbols a CTC head can say, and the way from text to label ids and back."""

from collections import Counter
from collections.abc import Iterable, Sequence

BLANK = "<blank>"
UNKNOWN = "<unk>"
_SPECIAL = (BLANK, UNKNOWN)


class Vocabulary:
    """Symbols by label id: the blank is 0, `<unk>` is 1, then code points in order.

    Attributes:
        symbols: all of them, specials first; the space between words is a symbol like the others.
    """

    def __init__(self, symbols: Sequence[str]) -> None:
        if tuple(symbols[:2]) != _SPECIAL or len(set(symbols)) != len(symbols):
            raise ValueError(f"A vocabulary starts with {_SPECIAL} and has each symbol once; got {list(symbols)}.")
        self.symbols = list(symbols)
        self._ids = {symbol: i for i, symbol in enumerate(self.symbols)}

    @classmethod
    def of_texts(cls, texts: Iterable[str]) -> "Vocabulary":
        """The vocabulary of normalised training texts: each code point in them."""
        return cls([*_SPECIAL, *sorted(set().union(*map(set, texts)))])

    def __len__(self) -> int:
        return len(self.symbols)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.symbols == other.symbols

    def encode(self, text: str) -> list[int]:
        """Label ids of a normalised text; a symbol that is not in the vocabulary becomes `<unk>`."""
        unknown = self._ids[UNKNOWN]
        return [self._ids.get(symbol, unknown) for symbol in text]

    def decode(self, ids: Iterable[int]) -> str:
        """The text of label ids; blanks and `<unk>` say nothing."""
        return "".join(self.symbols[i] for i in ids if i >= len(_SPECIAL))

    def unknown(self, text: str) -> Counter[str]:
        """The symbols of a normalised text that the vocabulary lacks, with their counts."""
        return Counter(symbol for symbol in text if symbol not in self._ids)
