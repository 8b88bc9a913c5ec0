"""Text from files as it may be printed on a terminal."""

import unicodedata


def printable(text: str) -> str:
    """The text with control characters, and bytes of file names that are not UTF-8, as escape sequences.

    A name or a transcript could otherwise move the cursor, change colours, or end a line of a table. Invisible
    characters of Khmer text, such as U+200B, stay.
    """
    return "".join(_escape(c) if unicodedata.category(c) in ("Cc", "Cs") else c for c in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")
