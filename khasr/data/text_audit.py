"""The texts of a corpus: symbols, spellings, and what the options of data.text change or could change."""

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields, replace
from itertools import pairwise
from typing import Any, TypeVar

from khasr.config import TextConfig
from khasr.data.audited import Audited
from khasr.text.counting import counted
from khasr.text.normalise import has_khmer, normalise
from khasr.text.syllables import fold_coeng_da, look_alike, split_clusters
from khasr.text.terminal import printable

T = TypeVar("T")

_SHOWN = 10

# Utterances that are named for each symbol.
_EXAMPLES = 3

# Symbols that occur less often are listed, because they are often mistakes.
_RARE = 5

# Types that lower case and removed punctuation must save, as a share, to be mentioned.
_SAVED = 0.02

_APOSTROPHES = "'\u2018\u2019\u02bc`\u00b4"

# Presets of data/text by the script's name in Unicode's names of letters.
_PRESETS = {
    "LATIN": "latin", "GREEK": "latin", "ARMENIAN": "latin", "GEORGIAN": "latin", "CYRILLIC": "cyrillic",
    "ARABIC": "arabic", "DEVANAGARI": "indic", "BENGALI": "indic", "TAMIL": "indic", "TELUGU": "indic",
    "KANNADA": "indic", "MALAYALAM": "indic", "GUJARATI": "indic", "GURMUKHI": "indic", "ORIYA": "indic",
    "SINHALA": "indic", "THAI": "thai", "LAO": "thai", "CJK": "cjk", "HIRAGANA": "cjk", "KATAKANA": "cjk",
    "KHMER": "khmer",
}  # fmt: skip

# Options that are not steps of normalising, belong to a different option, or take long (segment).
_NO_STEPS = ("language", "keep", "units", "unknown_symbols", "segment")


def audit_text(utterances: Sequence[Audited], options: TextConfig, split: Callable[[str], list[str]]) -> dict[str, Any]:
    """All that `describe_text` reports, as plain numbers and lists.

    Args:
        options: those by which the texts were normalised.
        split: a text into the symbols that are learned.
    """
    words = Counter(word for u in utterances for word in u.text.split())
    symbols = Counter(c for u in utterances for c in split(u.text))
    examples: dict[str, list[str]] = defaultdict(list)
    for u in utterances:
        for c in dict.fromkeys(split(u.text)):
            if len(examples[c]) < _EXAMPLES:
                examples[c].append(u.id)
    train = {c for u in utterances if u.part == "train" for c in split(u.text)}
    repeated = [members for members in grouped(utterances, lambda u: u.text) if len(members) > 1]
    pairs = {a + b for u in utterances for a, b in pairwise(u.text.split())}
    found: dict[str, Any] = {
        "symbols": dict(symbols.most_common()),
        "symbol_examples": dict(examples),
        "symbols_not_in_train": {c: n for c, n in symbols.items() if c not in train},
        "repeated_sentences": len(repeated),
        "repeated_across_speakers": sum(len({u.speaker for u in members}) > 1 for members in repeated),
        "repeated": [[u.id for u in members] for members in repeated[:_SHOWN]],
        "types_also_written_apart": sum(word in pairs for word in words),
        "options": _effects(utterances, options),
        "folding": _folding(words, options),
        "numbers": [u.id for u in utterances if any(map(str.isdecimal, u.text))],
        "apostrophes": {c: symbols[c] for c in _APOSTROPHES if c in symbols},
        "language": options.language,
        **_scripts(symbols, examples),
    }
    return found | _khmer(utterances, words)


def _khmer(utterances: Sequence[Audited], words: Counter[str]) -> dict[str, Any]:
    """Spellings of Khmer that look alike, and the number of clusters; nothing for texts without Khmer."""
    if not any(has_khmer(word) for word in words):
        return {}
    spellings = [group for group in grouped(sorted(words), look_alike) if len(group) > 1]
    coeng = [group for group in grouped(words, fold_coeng_da) if len(group) > 1]
    return {
        "clusters": len({c for u in utterances for c in split_clusters(u.text)}),
        "look_alike_types": len(spellings),
        "look_alikes": spellings,
        "look_alike_tokens": sum(words[word] for group in spellings for word in group),
        "coeng_da_ta_types": len(coeng),
    }


def grouped(members: Iterable[T], key: Callable[[T], str]) -> list[list[T]]:
    """The members with the same key, in the order of the first of each."""
    groups: dict[str, list[T]] = defaultdict(list)
    for member in members:
        groups[key(member)].append(member)
    return list(groups.values())


def _effects(utterances: Sequence[Audited], options: TextConfig) -> list[dict[str, Any]]:
    """What each option that is set changes after those before it: a count, and an example."""
    usual = TextConfig(language=options.language, keep=options.keep)
    steps = [field.name for field in fields(TextConfig) if field.name not in _NO_STEPS]
    changed = [step for step in steps if getattr(options, step) != getattr(usual, step)]
    if not changed:
        return []
    form, before = usual, [normalise(u.raw, usual) for u in utterances]
    found = []
    for option in changed:
        value = getattr(options, option)
        form = replace(form, **{option: value})
        after = [normalise(u.raw, form) for u in utterances]
        rows = [(u.id, *pair) for u, pair in zip(utterances, zip(before, after, strict=True), strict=True)
                if pair[0] != pair[1]]  # fmt: skip
        name = f"{option}={str(value).lower() if isinstance(value, bool) else value}"
        if option == "punctuation" and options.keep:
            name += f" keep={options.keep}"
        before = after
        found.append({"option": name, "utterances": len(rows), "example": rows[0] if rows else None})
    return found


def _folding(words: Counter[str], options: TextConfig) -> dict[str, Any]:
    """The number of word types, and how many they become in lower case and without punctuation, where both help."""
    lower = replace(options, lowercase=True, numbers="keep", segment=False)
    bare = replace(lower, lowercase=options.lowercase, quotes="plain", punctuation="space", keep=options.keep or "'-")
    both = replace(bare, lowercase=True)

    def types(form: TextConfig) -> int:
        return len({part for word in words for part in normalise(word, form).split()})

    return {"types": len(words), "both": types(both), "lowercase": types(lower), "punctuation": types(bare)}


def _scripts(symbols: Counter[str], examples: dict[str, list[str]]) -> dict[str, Any]:
    """The script of most letters, and for each other script the number of its letters, with utterances."""
    counts: Counter[str] = Counter()
    first: dict[str, list[str]] = defaultdict(list)
    for symbol, count in symbols.items():
        for letter in symbol:
            if unicodedata.category(letter) in ("Lu", "Ll", "Lo") and (
                script := unicodedata.name(letter, "").split(" ")[0]
            ):
                counts[script] += count
                first[script] += examples[symbol]
    if not counts:
        return {"script": None, "other_scripts": {}}
    main = counts.most_common(1)[0][0]
    family = {s for s in counts if _PRESETS.get(s) == _PRESETS.get(main) == "cjk"} | {main}
    others = {s: {"letters": n, "first": first[s][:_EXAMPLES]} for s, n in counts.items() if s not in family}
    return {"script": main, "other_scripts": others}


# ------------------------------------------------------------------------------------------------------------ Markdown


def describe_text(text: dict[str, Any], utterances: int) -> list[str]:
    """The texts as lines of Markdown."""
    lines = ["## Text", "", *(f"- {line}" for line in [*_options_lines(text, utterances), *_advice(text)])]
    lines += [
        f"- sentences that occur more than once: {text['repeated_sentences']:,}, of which "
        f"{text['repeated_across_speakers']:,} by more than one speaker",
        f"- word types that are also written as two words: {text['types_also_written_apart']:,}",
    ]
    if "clusters" in text:
        alike = ", ".join(" / ".join(group) for group in text["look_alikes"][:_SHOWN])
        lines.append(
            f"- words with spellings that look alike: {text['look_alike_types']:,} ({text['look_alike_tokens']:,} "
            f"tokens), {text['coeng_da_ta_types']:,} by coeng-DA and coeng-TA (data.text.coeng_da=ta)"
            f"{': ' * bool(alike)}{alike}"
        )
    clusters = f", {counted(text['clusters'], 'Khmer character cluster')}" if "clusters" in text else ""
    unseen = ", ".join(f"{name_symbol(c)} x {n}" for c, n in text["symbols_not_in_train"].items())
    lines.append(
        f"- {counted(len(text['symbols']), 'symbol')}{clusters}" + (f"; not in train: {unseen}" if unseen else "")
    )
    rare = [(c, n) for c, n in text["symbols"].items() if n < _RARE]
    if rare:
        ids = {c: ", ".join(map(printable, text["symbol_examples"][c])) for c, _ in rare}
        shown = ", ".join(f"{name_symbol(c)} x {n} ({ids[c]})" for c, n in rare[:_SHOWN])
        more = f" and {len(rare) - _SHOWN} more, listed under Symbols" if len(rare) > _SHOWN else ""
        lines.append(f"- symbols that occur fewer than {_RARE} times: {shown}{more}")
    return [*lines, ""]


def _options_lines(text: dict[str, Any], utterances: int) -> list[str]:
    if not text["options"]:
        preset = _PRESETS.get(text["script"])
        hint = f"; data/text={preset} is a preset for this script" if preset else ""
        return [f"as in the corpus but for Unicode form and white space (data.text){hint}"]
    lines = []
    for effect in text["options"]:
        line = f"data.text.{effect['option']} changes {effect['utterances']:,} of {counted(utterances, 'utterance')}"
        if effect["example"]:
            id_, before, after = (printable(part, 80) for part in effect["example"])
            line += f": {before!r} becomes {after!r} ({id_})"
        lines.append(line)
    return lines


def _advice(text: dict[str, Any]) -> list[str]:
    """What could be normalised and is not."""
    lines = []
    folding, preset = text["folding"], _PRESETS.get(text["script"])
    needed = [(name, how, option)
              for name, how, option in (("lowercase", "lower-cased", "data.text.lowercase=true"),
                                        ("punctuation", "without punctuation", "data.text.punctuation=space"))
              if folding[name] < (1 - _SAVED) * folding["types"]]  # fmt: skip
    if folding["both"] < (1 - _SAVED) * folding["types"] and needed:
        options = " ".join(option for _, _, option in needed) + (f"; the preset data/text={preset}" if preset else "")
        lines.append(
            f"Warning: {folding['types']:,} word types become {folding['both']:,} when "
            f"{' and '.join(how for _, how, _ in needed)}. Spellings that sound the same count as errors of each other "
            f"({options})"
        )
    if text["numbers"]:
        ids = ", ".join(map(printable, text["numbers"][:_EXAMPLES]))
        language = "" if text["language"] or text["script"] == "KHMER" else " data.text.language=CODE"
        lines.append(
            f"Warning: {counted(len(text['numbers']), 'utterance')} with figures, which are spoken as words "
            f"(data.text.numbers=words{language} writes them so): {ids}"
        )
    if len(text["apostrophes"]) > 1:
        shown = ", ".join(f"{name_symbol(c)} x {n:,}" for c, n in text["apostrophes"].items())
        lines.append(f"Warning: apostrophes are written in several ways (data.text.quotes=plain unifies them): {shown}")
    for script, of in text["other_scripts"].items():
        ids = ", ".join(map(printable, dict.fromkeys(of["first"])))
        letters = counted(of["letters"], "letter")
        lines.append(f"{letters} of the script {script.title()}, not {text['script'].title()}: {ids}")
    return lines


def name_symbol(symbol: str) -> str:
    """A symbol with its code point and Unicode name, for a table in Markdown."""
    if len(symbol) > 1:
        return symbol
    # A combining sign alone would be drawn on the character before it.
    shown = f"◌{symbol}" if unicodedata.category(symbol).startswith("M") else symbol if symbol.strip() else ""
    return f"{shown} U+{ord(symbol):04X} {unicodedata.name(symbol, '').title()}".strip().replace("|", "\\|")
