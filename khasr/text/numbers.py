"""Numbers in figures as Khmer words, in the spelling and spacing of OpenSLR 42."""

import re

_DIGITS = str.maketrans("០១២៣៤៥៦៧៨៩", "0123456789")

_ONES = "សូន្យ មួយ ពីរ បី បួន ប្រាំ ប្រាំមួយ ប្រាំពីរ ប្រាំបី ប្រាំបួន".split()

_TENS = " ដប់ ម្ភៃ សាមសិប សែសិប ហាសិប ហុកសិប ចិតសិប ប៉ែតសិប កៅសិប".split(" ")

_SCALES = [(10**6, "លាន"), (10**5, "សែន"), (10**4, "ម៉ឺន"), (10**3, "ពាន់"), (10**2, "រយ")]

_MONTHS = "មករា កុម្ភៈ មីនា មេសា ឧសភា មិថុនា កក្កដា សីហា កញ្ញា តុលា វិច្ឆិកា ធ្នូ".split()

_UNITS = {"%": "ភាគរយ", "$": "ដុល្លារ", "៛": "រៀល", "€": "អឺរ៉ូ"}

_MARKS = {".": "ចុច", ",": "ក្បៀស"}

# More digits than this are a code, not a quantity, and are read digit by digit.
_MOST_DIGITS = 15

_D = "[0-9០-៩]"

# Not inside a longer sequence of digits and signs: 1.2.3.4 is not a date.
_ALONE, _ENDS = rf"(?<!{_D})(?<!{_D}[./:-])", rf"(?!{_D})(?![./:-]{_D})"

_DATE = re.compile(
    rf"(ថ្ងៃ\s*ទី\s*|ទី\s*)?{_ALONE}(?:({_D}{{1,2}})([/.-])({_D}{{1,2}})\3({_D}{{4}})"
    rf"|({_D}{{4}})([/-])({_D}{{1,2}})\7({_D}{{1,2}})){_ENDS}"
)

_TIME = re.compile(rf"(ម៉ោង\s*)?{_ALONE}({_D}{{1,2}}):({_D}{{2}}){_ENDS}")

_RANGE = re.compile(rf"{_ALONE}({_D}+(?:[.,]{_D}+)*)\s?[-–]\s?(?={_D}+(?:[.,]{_D}+)*(?!{_D}|[./:-]{_D}))")

_NUMBER = re.compile(rf"((?<!\S)[-−])?(?:([$€])\s?)?({_D}+(?:[.,]{_D}+)*)\s?([%$៛€])?")

_GROUPED = re.compile(r"[1-9]\d{0,2}(?:([.,])\d{3})(?:\1\d{3})*")


def spell_numbers(text: str) -> str:
    """The text with Khmer and European figures as words: quantities, decimals, dates, times, percentages, money.

    A mark before groups of three digits separates thousands (2,500 and ២.៥០០); any other mark is a decimal mark. Dates
    are day/month/year or year-month-day. Two numbers joined by a hyphen are a range. Only figures, and the signs that
    belong to them, change; digits of other scripts stay.
    """
    text = _DATE.sub(_spell_date, text)
    text = _TIME.sub(_spell_time, text)
    text = _RANGE.sub(r"\1 ដល់ ", text)
    return _NUMBER.sub(_spell_number, text)


def _spaced(*words: str) -> str:
    return f" {' '.join(word for word in words if word)} "


def _spell_date(found: re.Match[str]) -> str:
    before, day, _, month, year, first_year, _, first_month, first_day = found.groups()
    numbers = [
        int((a or b).translate(_DIGITS)) for a, b in ((day, first_day), (month, first_month), (year, first_year))
    ]
    if not (1 <= numbers[0] <= 31 and 1 <= numbers[1] <= 12):
        return found[0]
    return _spaced(
        before or "ថ្ងៃ ទី", _cardinal(numbers[0]), "ខែ", _MONTHS[numbers[1] - 1], "ឆ្នាំ", _cardinal(numbers[2])
    )


def _spell_time(found: re.Match[str]) -> str:
    hour, minute = (int(part.translate(_DIGITS)) for part in found.groups()[1:])
    if hour > 24 or minute > 59:
        return found[0]
    return _spaced(found[1] or "ម៉ោង", _cardinal(hour), *([_cardinal(minute), "នាទី"] if minute else []))


def _spell_number(found: re.Match[str]) -> str:
    minus, money, figures, unit = found.groups()
    words = _spell_figures(figures.translate(_DIGITS))
    return _spaced("ដក" if minus else "", words, _UNITS.get(unit or "", ""), _UNITS.get(money or "", ""))


def _spell_figures(figures: str) -> str:
    whole, mark, fraction = figures, "", ""
    if not _GROUPED.fullmatch(figures):
        match = re.fullmatch(r"(.*)([.,])(\d+)", figures)
        # A single mark that does not group digits is a decimal mark; several mean a version or an address.
        if match and (match[1].isdigit() or _GROUPED.fullmatch(match[1])):
            whole, mark, fraction = match.groups()
        elif match:
            return " ".join(
                _MARKS[part] if part in _MARKS else _spell_digits(part) for part in re.split(r"([.,])", figures)
            )
    words = _spell_digits(re.sub("[.,]", "", whole))
    return f"{words} {_MARKS[mark]} {_spell_digits(fraction, fraction=True)}" if mark else words


def _spell_digits(digits: str, fraction: bool = False) -> str:
    """Digits as a number; leading zeros are spelled out, except in two digits (04 is four)."""
    number = digits.lstrip("0")
    zeros = len(digits) - len(number)
    spelled_zeros = zeros if fraction or len(digits) > 2 or not number else 0
    if not number:
        return " ".join([_ONES[0]] * (1 if len(digits) <= 2 and not fraction else zeros))
    one_by_one = len(number) > (3 if fraction or spelled_zeros else _MOST_DIGITS)
    return " ".join(
        [_ONES[0]] * spelled_zeros + ([_ONES[int(d)] for d in number] if one_by_one else [_cardinal(int(number))])
    )


def _cardinal(number: int) -> str:
    """A cardinal number below 10^15 in words."""
    if number < 10:
        return _ONES[number]
    words = []
    for value, name in _SCALES:
        if number >= value:
            words += [_cardinal(number // value), name]
            number %= value
    if number >= 10:
        words.append(_TENS[number // 10])
        number %= 10
    return " ".join([*words, _ONES[number]] if number else words)
