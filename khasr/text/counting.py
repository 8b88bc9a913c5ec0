"""Numbers with nouns."""


def counted(count: int, noun: str) -> str:
    """A number and a noun, in the plural where the number is not 1: 1 speaker, 2,906 utterances."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
