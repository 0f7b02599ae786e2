"""Kinds of answers: what a question asks for, and whether a text looks like that."""

from __future__ import annotations

import enum
import re

from offline_models.wording import STOP_WORDS, stem


class Kind(enum.Enum):
    """What kind of thing a question asks for."""

    PHONE = "phone"
    MONEY = "money"
    TIME = "time"
    DATE = "date"
    NUMBER = "number"
    CODE = "code"
    NAME = "name"
    PLACE = "place"
    TEXT = "text"


# Words that say which kind of answer is wanted, and that may stand beside it in another form. By kind, as stems.
LABELS: dict[str, frozenset[str]] = {
    kind: frozenset(stem(word) for word in synonyms.split())
    for kind, synonyms in {
        "phone": "phone telephone tel call dial hotline mobile",
        "money": "price cost fare fee charge admission pay worth",
        "time": "time hour hours clock departure departs depart leave leaves start starts begins",
        "date": "date day year month",
        "number": "number amount quantity count figure",
        "name": "name named called",
    }.items()
}

_DURATION = r"\bhow long\b|\bduration\b|\b(?!during)\w+ing time\b"
_ASKED: tuple[tuple[Kind, str], ...] = (
    (Kind.NUMBER, _DURATION),
    (Kind.PHONE, r"\b(?:tele)?phone\b|\bhotline\b|\bnumber (?:to|do i|should \w+) (?:call|dial|ring)"),
    (
        Kind.MONEY,
        (
            r"how much (?:does|do|did|is|was|are|were|must|will|would)\b|how expensive|admission|\bbudget\b"
            r"|\b(?:price|cost|fare|fee)s?\b"
        ),
    ),
    (Kind.DATE, r"\b(?:what|which|on what|on which) (?:date|day|year|month|weekday)\b|\bdate\b|in (?:what|which) year"),
    (Kind.TIME, r"\bwhat time\b|\bwhen\b|\bat which time\b|\bwhich hour\b|\bhours\b|\btime\b"),
    (
        Kind.NUMBER,
        (
            r"how (?:many|much|long|far|tall|high|deep|wide|old|heavy|fast|often|big|large|hot|cold|thick|strong)\b"
            r"|\bnumber of\b|\b(?:what|which) number\b|\bpercent|\bhow\b.*\bcount\b"
            r"|\b(?:temperature|speed|weight|distance|height|depth|length|population|score|age|frequency|pressure|humidity|area|volume|width|altitude)\b"
        ),
    ),
    (
        Kind.CODE,
        (
            r"\b(?:code|password|pin|serial|registration|platform|gate|room|flight|locker|berth|bus|train|route|line"
            r"|licen[sc]e|plate|channel|number)\b"
        ),
    ),
    (Kind.PLACE, r"\bwhere\b"),
    (Kind.NAME, r"\bwho(?:se|m)?\b|\bname\b|\bcalled\b|\bnamed\b"),
)
_ASKED_PATTERNS = tuple((kind, re.compile(pattern, re.IGNORECASE)) for kind, pattern in _ASKED)

_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sep(?:t(?:ember)?)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)"
)
_WEEKDAY = r"(?:mon|tues?|wednes|thurs?|fri|satur|sun)days?"
_NUMBER_WORDS = (
    "one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|seventeen|eighteen"
    "|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand|million|billion|dozen|half|twice|once"
)
_NUMBER_WORD = re.compile(rf"\b(?:{_NUMBER_WORDS})\b", re.IGNORECASE)
_CLOCK = re.compile(
    r"\b\d{1,2}\s?[:.h]\s?\d{2}\b|\b\d{1,2}\s?[ap]\.?m\b|o['’]clock|\b(?:noon|midday|midnight)\b", re.IGNORECASE
)
_VAGUE = re.compile(
    r"\b(?:dawn|dusk|sunrise|sunset|morning|afternoon|evening|spring|summer|autumn|winter)\b", re.IGNORECASE
)
_DAY = re.compile(
    rf"\b{_MONTH}\b|\b{_WEEKDAY}\b|\b(?:1[5-9]|20)\d\d\b|\b\d{{1,2}}[/-]\d{{1,2}}\b|\b\d{{1,2}}\.\d{{1,2}}\.(?:\d{{2,4}})?",
    re.IGNORECASE,
)
_MONEY = re.compile(
    r"[$€£¥₹]|\b(?:eur|usd|gbp|sek|nok|dkk|chf|kr|euros?|dollars?|pounds?|pence|cents?|francs?|crowns?|kronor|yen)\b",
    re.IGNORECASE,
)


def kind_of(question: str) -> Kind:
    """Returns what kind of answer a question asks for."""
    return next((kind for kind, pattern in _ASKED_PATTERNS if pattern.search(question)), Kind.TEXT)


# What measures the property that a question asks for. A value in another unit measures something else.
_UNITS: dict[str, tuple[str, str]] = {
    "duration": (
        _DURATION,
        r"s|sec|seconds?|mins?|minutes?|h|hrs?|hours?|days?|weeks?|months?|years?",
    ),
    "length": (
        r"\bhow (?:far|tall|high|deep|wide|thick|long)\b|\b(?:height|depth|length|distance|width|altitude)\b",
        r"mm|cm|m|km|(?:kilo)?met(?:re|er)s?|feet|foot|ft|miles?|inch(?:es)?|yards?",
    ),
    "weight": (
        r"\bhow heavy\b|\bweigh(?:t|s)?\b",
        r"mg|g|kg|grams?|kilos?|kilograms?|tons?|tonnes?|lbs?|pounds?|ounces?|oz|t",
    ),
    "heat": (r"\btemperature\b|\bhow (?:hot|cold|warm)\b", r"°\s?[CF]?|C|F|K|degrees?|celsius|fahrenheit"),
    "speed": (r"\bspeed\b|\bhow fast\b", r"km/h|m/s|mph|knots?|kmh|(?:\w+) per (?:second|hour|minute)"),
    "volume": (r"\bvolume\b|\bcapacity\b", r"ml|cl|l|lit(?:re|er)s?|gallons?|pints?|cups?"),
    "share": (r"\bpercent|\bshare\b|\bproportion\b|\bhumidity\b", r"%|percent|per cent"),
}
_UNITS_ASKED = {name: re.compile(asked, re.IGNORECASE) for name, (asked, _) in _UNITS.items()}
_UNITS_GIVEN = {
    name: re.compile(rf"(?:\d\s?|(?:{_NUMBER_WORDS})\s+)(?:{given})(?!\w)", re.IGNORECASE)
    for name, (_, given) in _UNITS.items()
}


def unit_of(question: str) -> str:
    """Returns what kind of measure a question asks for, as names of units joined by `|`; empty where it is none."""
    return "|".join(name for name, pattern in _UNITS_ASKED.items() if pattern.search(question))


def fit(kind: Kind, text: str, unit: str = "") -> float:
    """Returns how much a text looks like an answer of a kind, measured in a unit, from 0 to 1."""
    if not text:
        return 0.0
    if kind is Kind.NUMBER and unit:
        return _measure(text, unit.split("|"))
    return _FITS[kind](text)


def _measure(text: str, units: list[str]) -> float:
    if not _digits(text) and not _NUMBER_WORD.search(text):
        return 0.0
    if any(_UNITS_GIVEN[unit].search(text) for unit in units):
        return 1.0
    if any(pattern.search(text) for pattern in _UNITS_GIVEN.values()) or _CLOCK.search(text):
        return 0.2
    return 0.6 if _digits(text) else 0.3


def _digits(text: str) -> int:
    return sum(sign.isdigit() for sign in text)


def _phone(text: str) -> float:
    run = max((_digits(match) for match in re.findall(r"\+?[\d][\d\s().\-/]{4,}\d", text)), default=0)
    return 1.0 if run >= 6 else 0.5 if run >= 4 else 0.0


def _money(text: str) -> float:
    if _MONEY.search(text):
        return 1.0 if _digits(text) or _NUMBER_WORD.search(text) else 0.3
    if re.search(r"\b(?:free|gratis)\b", text, re.IGNORECASE):
        return 0.8
    if re.search(r"\d[.,]\d\d\b", text):
        return 0.85
    if _CLOCK.search(text):
        return 0.2
    if any(pattern.search(text) for pattern in _UNITS_GIVEN.values()):
        return 0.2
    return 0.6 if _digits(text) else 0.5 if _NUMBER_WORD.search(text) else 0.0


def _time(text: str) -> float:
    if _CLOCK.search(text):
        return 1.0
    if _DAY.search(text) or re.search(r"\b(?:[01]\d|2[0-3])[0-5]\d\b|\b(?:half past|quarter)\b", text, re.IGNORECASE):
        return 0.8
    if _VAGUE.search(text):
        return 0.5
    return 0.45 if _NUMBER_WORD.search(text) else 0.3 if _digits(text) else 0.0


def _date(text: str) -> float:
    return 1.0 if _DAY.search(text) else 0.4 if _digits(text) else 0.0


def _number(text: str) -> float:
    if _digits(text):
        return 0.75 if _CLOCK.search(text) and not re.search(r"\d\.\d", text) else 1.0
    return 0.9 if _NUMBER_WORD.search(text) else 0.0


def _code(text: str) -> float:
    if re.search(r"\b(?=\w*\d)(?=\w*[A-Za-z])\w+(?:-\w+)*\b", text):
        return 1.0
    if _CLOCK.search(text) or _MONEY.search(text):
        return 0.45
    if _digits(text):
        return 0.95
    return 0.6 if re.search(r"\b[A-Z]\b", text) or _NUMBER_WORD.search(text) else 0.25


def _name(text: str) -> float:
    first, _, rest = text.partition(" ")
    if len(rest.split()) > 3 and first[1:].islower():
        # The capital of a sentence's first word says nothing.
        text = rest
    names = [
        word
        for word in re.findall(r"\b[^\W\d_][\w'’-]*", text)
        if word[0].isupper() and word.casefold() not in STOP_WORDS
    ]
    digits = 0.75 if _digits(text) > 2 else 1.0
    return (1.0 if len(names) >= 2 else 0.85 if names else 0.3 if re.search(r"[^\W\d]{3}", text) else 0.0) * digits


def _place(text: str) -> float:
    if re.search(r"\b(?:in|at|on|near|from|behind|beside|under|between|to)\s+(?:the\s+)?[A-Z]", text):
        return 1.0
    if re.search(r"\b(?:in|at|on|near|behind|beside|under|between)\s", text):
        return 0.8
    return 0.75 * _name(text)


def _text(text: str) -> float:
    letters = sum(sign.isalnum() for sign in text)
    return 1.0 if letters >= 3 else 0.8 if letters else 0.0


_FITS = {
    Kind.PHONE: _phone,
    Kind.MONEY: _money,
    Kind.TIME: _time,
    Kind.DATE: _date,
    Kind.NUMBER: _number,
    Kind.CODE: _code,
    Kind.NAME: _name,
    Kind.PLACE: _place,
    Kind.TEXT: _text,
}
