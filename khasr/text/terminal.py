"""Text from file names and transcripts, made safe for a terminal and for tables with one record per line."""

import re
import unicodedata

# Line and paragraph separators, and the controls that reverse the direction of the text around them.
_ESCAPED = {"\u2028", "\u2029", *map(chr, range(0x202A, 0x202F)), *map(chr, range(0x2066, 0x206A))}


def is_control(character: str) -> bool:
    """Whether a character moves the cursor, ends a line, reorders text, or cannot be encoded."""
    return unicodedata.category(character) in ("Cc", "Cs") or character in _ESCAPED


def printable(text: str, most: int | None = None) -> str:
    """The text with control characters, and bytes of file names that are not UTF-8, as escape sequences.

    A terminal would execute control characters, and surrogates cannot be encoded.

    Args:
        most: length to which the text is shortened first; None keeps all of it.
    """
    if most is not None and len(text) > most:
        text = f"{text[: most - 1]}…"
    return "".join(_escape(c) if is_control(c) else c for c in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def guard_cell(text: str) -> str:
    """The text with an apostrophe before `=`, `+`, `-` or `@`, with which a spreadsheet would run it as a formula."""
    return f"'{text}" if re.match("'*[-=+@]", text) else text


def unguard_cell(cell: str) -> str:
    """The text that `guard_cell` returned as `cell`."""
    return cell[1:] if re.match("'+[-=+@]", cell) else cell
