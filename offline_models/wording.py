"""Words: cutting text into them, reducing them to stems, and comparing them although they may have been misread."""

from __future__ import annotations

import re
from functools import lru_cache


def _word_set(text: str) -> frozenset[str]:
    return frozenset(text.split())


STOP_WORDS = _word_set(
    """
    a an the this that these those there here it its he she they them his her their we us our you your i me my
    is are was were be been being am do does did done doing has have had having can could may might must shall
    should will would of in on at to for from by with without within into onto over under about as per than then
    and or but nor not no if so also only just very more most some any each every other another same such both
    either who whom whose what which when where why how please tell video clip film footage segment frame frames
    screen screens shown show shows showing display displays displayed appear appears appearing visible see seen
    say says said according mention mentions mentioned read reads written write writes given give gives stated
    state states during question much many answer exactly exact precise precisely one's s t d ll re ve m
    """
)

# Verbs that a question uses and its answer often words otherwise: a match helps, a miss says little.
SOFT_WORDS = _word_set(
    """
    arrive begin belong bring build buy call carry catch change charge choose close come contain cost cook
    create depart describe die drive earn eat end explain fall feature feel find finish fly follow found get go
    grow happen hear hold hope include introduce invent keep know lead learn leave lie like live locate look
    lose love make mean measure meet move name need offer open paint part pay perform plan plant play point
    present produce promise publish put reach receive recommend record refer release reopen repair report
    require return ride rise run sail sell send serve set sing sit speak spend stand start stay stop suggest
    take talk teach think travel turn use visit wait walk want watch wear weigh win work goes went thing kind
    sort type much many far piece detail information sign board panel notice poster slide chart table label card
    text own often called
    """
)

_TOKEN = re.compile(r"\d+(?:[.,:]\d+)+|[^\W_]+(?:['’][^\W_]+)*")
# Signs that readers of small print mix up.
_CONFUSED = str.maketrans("oliszbg", "0115286")


def words(text: str) -> list[str]:
    """Returns the words of a text in lower case; `14:35` and `12.50` are one word each."""
    return [word.casefold() for word in _TOKEN.findall(text)]


def squeezed(text: str) -> str:
    """Returns a text's letters and digits alone, in lower case."""
    return "".join(sign for sign in text.casefold() if sign.isalnum())


@lru_cache(maxsize=16384)
def stem(word: str) -> str:
    """Returns a word without its commonest endings, so that `departs`, `departing` and `departed` are one."""
    word = re.sub(r"['’]s?$", "", word.casefold())
    if len(word) <= 3 or not word.isalpha():
        return word
    for ending, rest in (("ies", "y"), ("sses", "ss"), ("ches", "ch"), ("shes", "sh"), ("xes", "x"), ("ss", "ss")):
        if word.endswith(ending):
            return word[: -len(ending)] + rest
    if word.endswith("s") and not word.endswith("us"):
        word = word[:-1]
    for ending in ("ing", "ed"):
        if word.endswith(ending) and len(word) - len(ending) >= 3 and re.search("[aeiouy]", word[: -len(ending)]):
            word = word[: -len(ending)]
            if word[-1] == word[-2] and word[-1] not in "lsz":
                return word[:-1]
            break
    return word[:-1] if word.endswith("e") and len(word) > 4 else word


@lru_cache(maxsize=65536)
def similarity(one: str, other: str) -> float:
    """Returns how surely two words are the same, from 0 to 1, forgiving endings and a misread letter."""
    if one == other or (stem(one) == stem(other)):
        return 1.0
    if any(sign.isdigit() for sign in one + other):
        return _number_similarity(one, other)
    shorter, longer = sorted((stem(one), stem(other)), key=len)
    extra = len(longer) - len(shorter)
    # Who owns it is its owner; a photograph is by a photographer.
    if (len(shorter) >= 3 and longer in (shorter + "er", shorter + "or", shorter + "r")) or (
        len(shorter) >= 5 and longer.startswith(shorter) and extra <= 4
    ):
        return 0.75
    if len(shorter) >= 4 and extra <= 2:
        return _misread_similarity(shorter, longer)
    return 0.0


def _misread_similarity(shorter: str, longer: str) -> float:
    if shorter.translate(_CONFUSED).replace("rn", "m") == longer.translate(_CONFUSED).replace("rn", "m"):
        return 0.9
    allowed = 2 if len(shorter) >= 8 else 1 if len(shorter) >= 5 else 0
    return 0.8 if allowed and distance(shorter, longer, allowed) <= allowed else 0.0


def _number_similarity(one: str, other: str) -> float:
    one, other = squeezed(one), squeezed(other)
    if one == other:
        return 1.0
    return 0.9 if len(one) >= 2 and one.translate(_CONFUSED) == other.translate(_CONFUSED) else 0.0


def distance(one: str, other: str, limit: int) -> int:
    """Returns how many letters must be changed, added or taken away to make one word the other; at most `limit` + 1."""
    if abs(len(one) - len(other)) > limit:
        return limit + 1
    row = list(range(len(other) + 1))
    for number, sign in enumerate(one, 1):
        diagonal, row[0] = row[0], number
        for column, letter in enumerate(other, 1):
            diagonal, row[column] = row[column], min(row[column] + 1, row[column - 1] + 1, diagonal + (sign != letter))
        if min(row) > limit:
            return limit + 1
    return min(row[-1], limit + 1)


def presence(word: str, text: str) -> float:
    """Returns how surely a word occurs in a text, from 0 to 1, also where words have run together."""
    best = max((similarity(word, other) for other in words(text)), default=0.0)
    if best < 0.85 and len(word) >= 5 and word.isalpha() and stem(word) in squeezed(text):
        return 0.85
    return best
