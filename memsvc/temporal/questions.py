"""Pure: questions about order and place in time become plans, by rules; what no rule knows is no plan."""

import re
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from memsvc.intervals import Locale, Mode, On, Precision, Window
from memsvc.plans import Plan
from memsvc.temporal import find
from memsvc.temporal.windows import window_of, words_of_window
from memsvc.temporal.words import NUMBERS, ORDINALS, WEEKDAYS, Tokens, ordinal_at, words_of

_ANY = re.IGNORECASE
_TALK = re.compile(
    r"\b(?:talk(?:ed|ing|s)?|chat(?:ted|ting|s)?|discuss(?:ed|ing)?|sp(?:oke|eak|oken)|say|said|tell|told|mention(?:ed)?"
    r"|conversations?|sessions?|discussions?|messages?|brought up|bring up"
    r"|recommend(?:ed)?|suggest(?:ed)?|advised?)\b",
    _ANY,
)
_CONVERSATION = r"(?:conversations?|chats?|sessions?|discussions?|talks?)"
_NUMBER = r"(?:\d{1,3}|two|three|four|five|six|seven|eight|nine|ten|couple of)"
_ORDINAL = rf"(?:\d{{1,3}}(?:st|nd|rd|th)|(?:(?:twenty|thirty)[\s-])?(?:{'|'.join(ORDINALS)}))"
_LAST = r"(?:last|latest|most recent|previous)"
_LEAD = r"\b(?:(?:in|during|from|of|at|over|on)\s+)?(?:(?:our|the|my|your|that)\s+)?(?:very\s+)?"
_FROM_END = re.compile(
    rf"{_LEAD}(?:(?P<steps>second|third|next|\d{{1,2}}(?:nd|rd|th))[\s-]+to[\s-]+last\s+{_CONVERSATION}"
    rf"|{_CONVERSATION}\s+before\s+(?:the\s+)?last(?:\s+one)?)\b",
    _ANY,
)
_FIRST_ONES = re.compile(rf"{_LEAD}first\s+(?P<count>{_NUMBER})\s+{_CONVERSATION}\b", _ANY)
_LAST_ONES = re.compile(rf"{_LEAD}{_LAST}\s+(?P<count>{_NUMBER})\s+{_CONVERSATION}\b", _ANY)
_NTH = re.compile(rf"{_LEAD}(?P<ordinal>{_ORDINAL})\s+{_CONVERSATION}\b", _ANY)
_BESIDE_NTH = re.compile(
    rf"\b(?P<side>before|after|since)\s+(?:our|the|my)\s+(?P<ordinal>{_ORDINAL})\s+{_CONVERSATION}\b", _ANY
)
_NUMBERED = re.compile(rf"{_LEAD}{_CONVERSATION}\s+(?:number\s+|no\.?\s*|#\s*)?(?P<number>\d{{1,3}})\b", _ANY)
_TALKED = r"(?:talked|spoke|chatted|met|had a conversation|had a chat)"
_NTH_TIME = re.compile(rf"\b(?:the\s+)?(?P<ordinal>{_ORDINAL})\s+time\s+(?:that\s+)?we\s+(?:ever\s+)?{_TALKED}\b", _ANY)
_FIRST_TALK = re.compile(rf"\bwhen\s+we\s+first\s+{_TALKED}\b", _ANY)
_LAST_ONE = re.compile(
    rf"{_LEAD}{_LAST}\s+{_CONVERSATION}\b|\b(?:the\s+)?last\s+time(?:\s+(?:that\s+)?we\s+{_TALKED})?\b"
    rf"|\bwhen\s+we\s+last\s+{_TALKED}\b",
    _ANY,
)
_DAY_NAMES = "|".join(sorted((name for name in WEEKDAYS if len(name) > 5), key=len, reverse=True))
_ON_DAYS = re.compile(
    rf"\bon\s+(?P<days>(?:an?\s+(?:{_DAY_NAMES})|(?:{_DAY_NAMES})s|weekends|weekdays)"
    rf"(?:\s*(?:,|and|or|,\s*and)\s*(?:an?\s+(?:{_DAY_NAMES})|(?:{_DAY_NAMES})s))*)\b",
    _ANY,
)
_PARTS = {
    "morning": (5 * 60, 12 * 60),
    "afternoon": (12 * 60, 17 * 60),
    "evening": (17 * 60, 22 * 60),
    "night": (22 * 60, 5 * 60),
}
_IN_PARTS = re.compile(
    r"\b(?:in\s+the|late\s+at|at|during\s+the)\s+(?P<part>morning|afternoon|evening|night)s?\b", _ANY
)
_BY_CLOCK = re.compile(
    r"\b(?P<side>before|after)\s+(?P<hour>\d{1,2})(?::(?P<minute>\d{2}))?\s*(?P<half>am|pm|a\.m\.|p\.m\.)", _ANY
)
_BESIDE = re.compile(
    r"\b(?P<side>after|before|since)\s+(?P<event>(?:I|we|you|he|she|they|my|our|the|his|her|their|[A-Z]\w+)\b[^?,;]*)"
)
_OF = r"(?:talk(?:ed)?\s+about|sp(?:oke|eak)\s+(?:of|about)|mention(?:ed)?|discuss(?:ed)?|br(?:ought|ing)\s+up"
_OF += r"|t(?:old|ell)\s+\w+\s+about|say(?:\s+that)?)"
_FIRST_MENTION = re.compile(
    r"\b(?:when|where|in which (?:conversation|session|chat))\s+did\s+(?P<who>\w+)\s+"
    rf"(?P<pick>first|last)\s+{_OF}\s+(?P<about>[^?]+)"
    rf"|\bthe\s+(?P<pick_b>first|last)\s+time\s+(?:that\s+)?(?P<who_b>I|we|you)\s+{_OF}\s+(?P<about_b>[^?]+)",
    _ANY,
)
_SAID_BY = re.compile(r"\bdid\s+(?P<who>I|you|[A-Z][\w'-]*)\s+(?:say|tell|mention|talk|ask|write|suggest|recommend)\b")
_HOW_OFTEN = re.compile(rf"\bhow\s+(?:many\s+(?:times|{_CONVERSATION})|often)\b", _ANY)
# Words that ask and point, and say nothing of what is asked about.
_EMPTY = words_of(
    "a about all an and any anything are ask asked at been bring brought came can chat chats chatted chatting "
    "come conversation conversations could did discuss discussed discussing discussion discussions do does "
    "during ever everything for from give going had happen happened happening has have how i in is it last "
    "list many me mention mentioned message messages my of often on or our please previous recall remember "
    "remind said say session sessions show so speak spoke spoken subject subjects summarize summary talk "
    "talked talking tell that the there these thing things this those time times to told topic topics up us "
    "was we went were what when where which who with would write wrote you your"
)
_ORDER = words_of("order first second third last earlier later earliest latest recently event events")
_FIRST = r"(?:first|earlier|later|last|most recently|more recently|earliest|latest)"
_UNITS = r"(?:minutes|hours|days|weeks|months|years)"
_HOW_LONG = rf"\bhow\s+(?:many\s+{_UNITS}|long)\b"
_ALTERNATIVES = tuple(
    re.compile(pattern, _ANY)
    for pattern in (
        # "Which happened first, X or Y?"
        rf"\b(?:which|what|who)\b(?P<of>[^,:?]*)\b{_FIRST}\b[^,:?]*[,:]\s*(?P<list>[^?]+?\s+or\s+[^?]+)",
        # "… the order from first to last: X, Y and Z?"
        r"\b(?:order|first|earliest)\b[^:?]*:\s*(?P<list>[^?]+\band\s+[^?]+)",
        # "Did I X or Y first?"
        rf"\bdid\s+(?:I|we|you|he|she|they|\w+)\s+(?P<list>[^?]+?\s+or\s+[^?]+?)\s+{_FIRST}\b",
        # "Who graduated first among Emma, Rachel and Alex?"
        rf"\b{_FIRST}\b[^?]*?\b(?:among|between)\s+(?P<list>[^?]+\b(?:and|or)\s+[^?]+)",
        # "How many days passed between X and Y?"
        rf"{_HOW_LONG}[^?]*?\bbetween\s+(?P<first>[^?]+?)\s+and\s+"
        r"(?P<second>(?:the|my|our|when|a|I)\b[^?]+)",
        # "How many days had passed since X when Y?", "How long had I been X when Y?", "How long did I X before Y?"
        rf"{_HOW_LONG}(?:\s+ago)?[^?]*?\b(?:since|after|did|had\s+I\s+been|have\s+I\s+been|had|have)\s+"
        r"(?P<first>[^?]+?)\s+(?:when|before|until)\s+(?P<second>[^?]+)",
        # "How many days before X did I Y?"
        rf"{_HOW_LONG}\s+(?:before|after)\s+(?P<first>[^?]+?)\s+did\s+(?P<second>[^?]+)",
        # "Did I X before Y?"
        r"^\s*did\s+(?:I|we|you|\w+)\s+(?P<first>[^?]+?)\s+(?:before|after)\s+"
        r"(?P<second>(?:I|we|my|the|you)\b[^?]+)",
    )
)
# What asks for a time or an order, and says nothing of what it is the time or the order of.
_SCAFFOLD = re.compile(
    rf"^\s*how\s+(?:many\s+{_UNITS}|much\s+time)\s+(?:ago(?:\s+(?:did|was|were))?"
    r"|(?:(?:have|has|had)\s+)?(?:passed|elapsed|gone\s+by)(?:\s+(?:since|between))?|before|after|since|between)\b"
    r"|^\s*how\s+long\s+ago\s+(?:did|was|were)\b"
    r"|\bwhat\s+(?:is|was)\s+the\s+(?:chronological\s+)?order\s+of\s+(?:the\s+)?(?:(?:two|three|four|five|six)\s+)?"
    r"|\bfrom\s+(?:the\s+)?(?:earliest|first|oldest)\s+to\s+(?:the\s+)?(?:latest|last|newest|most\s+recent)\b"
    r"|\bin\s+(?:chronological\s+)?order\b|\bin\s+a\s+row\b|\bback\s+to\s+back\b"
    r"|\bon\s+(?:two\s+)?consecutive\s+(?:days|weeks|months)\b"
    r"|^\s*which\s+(?:\w+\s+)?(?:happened|came|occurred|was)\s+first\b\s*[,:]?",
    _ANY,
)
_BEFORE_TIME = r"(?:\b(?:in|on|during|over|since|at|of|from|the|for|around|about)\s+)*"
_LEAST_WORDS = 2
_SPLIT = re.compile(r"\s*,\s*(?:and|or)?\s+|\s+(?:and|or)\s+", _ANY)
_MOST_ALTERNATIVES = 6
# Longer texts are no questions of these forms.
_LONGEST = 500


def plan_of(query: str, *, asked_at: datetime, locale: Locale | None = None) -> Plan | None:
    """What the question asks of order and place in time, where it is one of the known forms.

    A question that merely mentions "our last conversation about" something is none: its words find that better.
    """
    if len(query) > _LONGEST:
        return None
    alternatives = _alternatives(query)
    if alternatives:
        return Plan(alternatives=alternatives, about=query)
    mention = _FIRST_MENTION.search(query)
    if mention:
        pick = (mention["pick"] or mention["pick_b"]).lower()
        plan = Plan(picks=pick, about=(mention["about"] or mention["about_b"]).strip())
        return _by(plan, mention["who"] or mention["who_b"])
    talks = bool(_TALK.search(query)) or bool(re.search(r"\bhappened\b|\bdo\b.*\blast time\b", query, _ANY))
    plan, rest = _sessions(query)
    if not plan.sessions and not talks:
        return None
    plan, rest = _days(plan, rest)
    plan, rest = _said_by(plan, rest)
    plan, rest = _beside(plan, rest)
    plan, rest = _window(plan, rest, asked_at, locale)
    about = _about(rest)
    plan = replace(plan, about=about, counts=bool(_HOW_OFTEN.search(query)))
    if plan.sessions and plan.sessions[0] < 0 and about:
        return None
    if about and (plan.window or plan.after or plan.before) and not (plan.sessions or plan.weekdays or plan.minutes):
        return None
    has_place = any((plan.sessions, plan.weekdays, plan.minutes, plan.window, plan.after, plan.before))
    return plan if has_place else None


def searched(query: str, window: Window | None) -> str:
    """The words that a question is searched by: without those that only say when, which no evidence repeats.

    The words of a longer window stay: it boosts so much alike that they are of more use than harm. ("In the last two
    months" found more pieces of jewelry on LongMemEval's development questions than the question without them.)
    """
    text = query
    for words in words_of_window(window) if window is not None and _is_narrow(window) else ():
        text = re.sub(_BEFORE_TIME + re.escape(words), " ", text)
    text = " ".join(_SCAFFOLD.sub(" ", text).split())
    return text if len(re.findall(r"\w+", text)) >= _LEAST_WORDS else query


def _is_narrow(window: Window) -> bool:
    return window.start is not None and window.end is not None and window.end - window.start <= Precision.WEEK.length


def _sessions(query: str) -> tuple[Plan, str]:
    """The conversations by their ordinals, and the question without their words."""
    for pattern, read in _READERS:
        found = pattern.search(query)
        sessions = read(found) if found else (0, 0)
        if found and sessions[0]:
            return Plan(sessions=sessions), _without(query, found)
    return Plan(), query


def _days(plan: Plan, query: str) -> tuple[Plan, str]:
    """Weekdays and times of the day that come again and again."""
    found = _ON_DAYS.search(query)
    if found:
        days = {number for name, number in WEEKDAYS.items() if re.search(rf"\b{name}s?\b", found["days"], _ANY)}
        days |= {5, 6} if "weekends" in found["days"].lower() else set()
        days |= set(range(5)) if "weekdays" in found["days"].lower() else set()
        plan, query = replace(plan, weekdays=frozenset(days)), _without(query, found)
    found = _BY_CLOCK.search(query)
    if found:
        minute = int(found["hour"]) % 12 * 60 + int(found["minute"] or 0) + 720 * found["half"].lower().startswith("p")
        minutes = (0, minute) if found["side"].lower() == "before" else (minute, 24 * 60)
        return (replace(plan, minutes=minutes), _without(query, found)) if minutes[0] < minutes[1] else (plan, query)
    found = _IN_PARTS.search(query)
    if found and not re.search(r"\b(?:yesterday|today|tomorrow|this|last)\b", query, _ANY):
        return replace(plan, minutes=_PARTS[found["part"].lower()]), _without(query, found)
    return plan, query


def _said_by(plan: Plan, query: str) -> tuple[Plan, str]:
    found = _SAID_BY.search(query)
    if not found:
        return plan, query
    who = found["who"]
    plan = _by(plan, who)
    return plan, query if plan.speaker is None else re.sub(rf"\b{re.escape(who)}\b", " ", query)


def _by(plan: Plan, who: str) -> Plan:
    """The plan for what one of them said: the asker, the assistant, or somebody with a name."""
    if who.lower() in ("we", "they", "he", "she", "it"):
        return plan
    role = {"i": "user", "you": "assistant"}.get(who.lower())
    return replace(plan, role=role) if role else replace(plan, speaker=who)


def _beside(plan: Plan, query: str) -> tuple[Plan, str]:
    """The event that the question is placed by."""
    found = _BESIDE.search(query[0].lower() + query[1:] if query else query)
    if not found or plan.sessions:
        return plan, query
    event, side = found["event"].strip(), found["side"].lower()
    if _is_time(event):
        return plan, query
    rest = _without(query, found)
    return (replace(plan, before=event) if side == "before" else replace(plan, after=event)), rest


def _is_time(event: str) -> bool:
    """Whether the words name no event but a time: "since May 2024"."""
    found = find(event, reference=datetime(2000, 1, 1, tzinfo=UTC))
    return any(expression.span == (0, len(event)) for expression in found)


def _window(plan: Plan, query: str, asked_at: datetime, locale: Locale | None) -> tuple[Plan, str]:
    """The dates that the question names, where nothing else places it."""
    if plan.sessions or plan.after or plan.before:
        return plan, query
    window = window_of(query, asked_at=asked_at, locale=locale)
    if window is None:
        return plan, query
    for part in words_of_window(window):
        query = re.sub(rf"\b{re.escape(part)}\b", " ", query)
    return replace(plan, window=replace(_widened(window), mode=Mode.FILTER, on=On.SAID)), query


def _widened(window: Window) -> Window:
    """A day that is true to the week or more, as wide as that: "two weeks ago" is not meant to the day."""
    day = Precision.DAY.length
    if window.start is None or window.end is None or window.end - window.start > day or window.precision.length <= day:
        return window
    half = window.precision.length / 2
    return replace(window, start=window.start - half, end=window.end + half)


def _about(rest: str) -> str:
    """What is left to ask when the words that only point are gone."""
    words = re.findall(r"[\w'-]+", rest)
    return " ".join(word for word in words if word.lower() not in _EMPTY and len(word) > 1)


def _alternatives(query: str) -> tuple[str, ...]:
    for pattern in _ALTERNATIVES:
        found = pattern.search(query)
        if not found:
            continue
        groups = found.groupdict()
        if groups.get("list"):
            parts = [part.strip(" .?'\"") for part in _SPLIT.split(groups["list"])]
            asked = groups.get("of") or query[: found.start("list")]
            parts = [_with_what(part, asked) for part in parts if part]
        else:
            parts = [groups["first"].strip(), groups["second"].strip()]
        if 2 <= len(parts) <= _MOST_ALTERNATIVES:
            return tuple(parts)
    return ()


def _with_what(part: str, asked: str) -> str:
    """An alternative with what is asked of it, where it is a mere name: "graduated Emma"."""
    if len(part.split()) > 2:
        return part
    kept = [word for word in re.findall(r"[\w'-]+", asked) if word.lower() not in _EMPTY | _ORDER]
    return " ".join([*kept[:4], part])


def _without(text: str, found: re.Match[str]) -> str:
    return text[: found.start()] + " " + text[found.end() :]


def _pair(ordinal: int) -> tuple[int, int]:
    return ordinal, ordinal


def _beside_nth(side: str, ordinal: int) -> tuple[int, int]:
    """All conversations before one or after it; before the first there is none."""
    return (1, ordinal - 1) if side == "before" else (ordinal + 1, -1)


def _ordinal(word: str) -> int:
    tokens = Tokens(word)
    found = ordinal_at(tokens, 0)
    return found[0] if found is not None else int(re.sub(r"\D", "", word) or 0)


def _steps(word: str | None) -> int:
    if word is None or word.lower() == "next":
        return 2
    return _ordinal(word)


def _count(word: str) -> int:
    return 2 if word.lower() == "couple of" else NUMBERS.get(word.lower()) or int(word)


_READERS: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], tuple[int, int]]], ...] = (
    (_BESIDE_NTH, lambda found: _beside_nth(found["side"].lower(), _ordinal(found["ordinal"]))),
    (_FROM_END, lambda found: _pair(-_steps(found["steps"]))),
    (_FIRST_ONES, lambda found: (1, _count(found["count"]))),
    (_LAST_ONES, lambda found: (-_count(found["count"]), -1)),
    (_NTH_TIME, lambda found: _pair(_ordinal(found["ordinal"]))),
    (_NTH, lambda found: _pair(_ordinal(found["ordinal"]))),
    (_NUMBERED, lambda found: _pair(int(found["number"]))),
    (_FIRST_TALK, lambda _: (1, 1)),
    (_LAST_ONE, lambda _: (-1, -1)),
)
