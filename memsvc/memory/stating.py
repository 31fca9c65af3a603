"""Pure: the statements that a turn makes about who speaks, drawn word for word, by rules."""

import re
from collections.abc import Iterator
from datetime import datetime

from memsvc.domain import Role, Turn
from memsvc.facts import Origin, Statement
from memsvc.intervals import Expression, Locale, Precision
from memsvc.memory.kinds import instructs, kind_of
from memsvc.memory.own_words import Span, covered, frames, sentences
from memsvc.temporal import find

_FEWEST_WORDS, _MOST_WORDS = 3, 60
# Longer stretches without a full stop are no sentences.
_LONGEST = 600

_SUBJECT = r"(?:i|im|ive|i'm|i've|i'd|i'll|we|we're|we've|we'd|we'll|my|our)\b"
_OPENER = re.compile(
    r"(?:(?:oh|ah|aw+|yeah|yes|yep|yup|no|nope|nah|well|hi|hey|hello|hmm+|ok|okay|so|also|and|but|plus|actually|btw|"
    r"by the way|anyway|anyhow|haha+|lol|great|sure|right|cool|nice|wow|honestly|fyi|just so you know|"
    r"just to let you know|to be honest|for context|in fact|you know|listen|speaking of [^,.!?]{1,50}(?=,)|thanks|"
    r"thank you|(?:one|another) (?:more |other |last )?thing|true|sorry|note that|additionally|in addition|moreover|"
    r"besides|(?:on|as) an? (?:side|related|different|unrelated|personal) note|that said|oh wait|thanks (?:again|"
    r"so much|a lot)|thank you (?:again|so much)|(?:thanks|thank you)(?: \w+){0,2} for [^,.!?]{1,80}|hi there|"
    r"hello there|good (?:morning|evening)|(?:that|this|it|those|these)(?:'s| is| are| all)? ?(?:sounds?|looks?|was|"
    r"would|makes?|really|a|great|good|perfect|helpful|so|very)\b[^,.;]{0,60})"
    rf"(?:\s*[,!:;\u2013\u2014-]+\s*|\.\.\.\s*|\s+(?={_SUBJECT}|by the way|also\b|actually\b)))"
)
_MOST_OPENERS = 5
_ASKED = (
    r"(?:can|could|would|will|won't|do|did|have|are) (?:you|u)\b|any (?:[\w-]+ ){0,2}(?:ideas?|suggestions?|tips?|"
    r"advice|recommendations?|thoughts?|places?|chance)|please\b|(?:can|could|should) (?:i|we)\b|let me know\b|"
    r"(?:give|tell|show|help|suggest|recommend|remind|send) me\b|(?:i|we)(?:'m| am| was| were|'ve been|"
    r" have been)? (?:also |just )?(?:wonder(?:ing)?|curious|hoping you)\b|(?:i|we) (?:wanted|want|would like|"
    r"'d like) to (?:ask|know|see if)|i'd (?:like|love) (?:you )?to (?:know|ask|hear)"
)
_REQUEST = re.compile(
    rf"(?:\s*[,;:\u2013\u2014-]+\s*(?:(?:and|so|but|or|then|also|do)\s+)*|\s+(?:and|so|but)\s+(?:also |just |"
    rf"then )?)(?:{_ASKED})"
    r"|\s*[,;:\u2013\u2014-]+\s*(?:(?:and|so|but|or)\s+)*(?:(?:what|how)\b|(?:which|where|when|who|"
    r"why) (?:\w+ )?(?:is|are|do|does|should|would|can|could|will)\b[^.!]*\?|(?:is there|are there|is it|is that|"
    r"are they|does|was wondering|were wondering)\b)"
    r"|\s+(?:and|but) (?:was|were|am) (?:also |just )?(?:wondering|curious|hoping you)\b"
)
_ASKING = re.compile(rf"(?:{_ASKED}|(?:what|which|how|where|who|why|is|are|does|did|should|would)\b)")
_BECAUSE = re.compile(
    rf"[,;\u2013\u2014-]\s*(?:(?:and|but|especially|particularly|mainly|just)\s+)*(?:since|as|because|given that|"
    rf"considering(?: that)?|now that|and|but)\s+(?={_SUBJECT})"
    rf"|\s(?:since|because|given that|considering that|now that)\s+(?={_SUBJECT})"
)
# A request that tells of something by the way: "… like my new camera that I got at a thrift store".
_CARRIES = re.compile(
    r"\bmy\b[^.?!]{0,80}?\b(?:i|we) (?:just |recently |finally )?(?:got|bought|made|saw|took|found|went|had|adopted|"
    r"received|(?!mention|ask|provid|describ|past|list|upload)[a-z]{2,}ed)\b"
)
_REASON = re.compile(
    rf"(?:since|as|because|given that|considering(?: that)?|now that|given|seeing as)\s+(?={_SUBJECT})"
)
_JOINT = re.compile(
    rf"\s*(?:;|, (?:but|and|so)| [\u2013\u2014-])\s+(?:(?:also|then|now|actually|recently|just) )?(?={_SUBJECT})"
)
_LEANS = re.compile(r"\b(?:it|its|it's|they|them|their|he|she|him|her|his|that|this|those|these|there|one|do|did)\b")
_CONDITION = re.compile(r"(?:if|when|whenever|while|since|because|as|after|before|once|unless|although|though|even)\b")
# So far behind its beginning, a clause leans on the one before.
_NEAR = 60
_SO = re.compile(r"\s*(?:,|\s[\u2013\u2014-])\s+(?:so|and|but|or|then|maybe)\b")
_WORD = re.compile(r"[\w'-]+")
_MARKS = " \t(*_~\"'"
_LOOSE = " \t,;:-\u2013\u2014"


def stated(turn: Turn, locale: Locale) -> list[Statement]:
    """The statements that a turn makes about who speaks, word for word, by rules."""
    if turn.role is not Role.USER:
        return []
    text = covered(turn.text)
    low = _lowered(text)
    spans = [span for sentence in sentences(text) for span in _clauses(low, *sentence)]
    if not spans:
        return []
    times = _times(turn, locale)
    made = (_statement(turn, low, span, _time_of(times, span)) for span in spans)
    return [statement for statement in made if statement is not None]


def _lowered(text: str) -> str:
    """The text in small letters; what would become two letters stays, and so every offset."""
    low = text.lower()
    return low if len(low) == len(text) else "".join(sign.lower() if len(sign.lower()) == 1 else sign for sign in text)


def _statement(turn: Turn, low: str, span: Span, time: Expression | None) -> Statement | None:
    start, end = span
    kind = kind_of(low[start:end], is_dated=_is_past(time, turn.said_at), is_ahead=_is_ahead(time, turn.said_at))
    if kind is None:
        return None
    quote = turn.text[start:end]
    return Statement(
        turn_id=turn.turn_id,
        text=quote,
        kind=kind,
        subject=turn.speaker,
        quote=quote,
        start=start,
        end=end,
        when=time.text if time else None,
        event=time.interval if time else None,
        precision=time.precision if time else Precision.UNKNOWN,
        reading=Origin.RULES if time else None,
    )


def _clauses(low: str, first: int, last: int) -> Iterator[Span]:
    """The parts of a sentence that may tell something: without its openers, and without what it asks."""
    if last - first > _LONGEST:
        return
    for start, end in _parts(low, _opened(low, first, last), last):
        for begin, stop in _told(low, start, end):
            begin = _opened(low, begin, stop)
            stop = begin + len(_trimmed(low[begin:stop]))
            if _FEWEST_WORDS <= _words(low, begin, stop) <= _MOST_WORDS:
                yield begin, stop


def _trimmed(clause: str) -> str:
    """The clause without what led on to the next, or closes a bracket that it did not open."""
    clause = clause.rstrip(_LOOSE).removesuffix(" so").removesuffix(" and").rstrip(_LOOSE)
    return clause.removesuffix(")") if "(" not in clause else clause


def _told(low: str, first: int, last: int) -> Iterator[Span]:
    is_question = low[first:last].rstrip("\"')] !.").endswith("?")
    if instructs(low[first:last]):
        yield first, last
        return
    request = _REQUEST.search(low, first, last)
    if request and not is_question and _CARRIES.search(low, request.end(), last):
        yield first, last
    elif request and request.start() > first:
        reason = _REASON.match(low, first, request.start())
        yield (reason.end() if reason else first), request.start()
        yield from _reason_behind(low, request.end(), last)
    elif is_question or _ASKING.match(low, first, last):
        if (so := _SO.search(low, first, last)) and re.match(_SUBJECT, low[first:last]):
            yield first, so.start()
        yield from _reason_behind(low, first, last)
    else:
        yield first, last


def _reason_behind(low: str, first: int, last: int) -> Iterator[Span]:
    """Why it is asked: "…, since I don't eat meat?"."""
    if found := _BECAUSE.search(low, first, last):
        yield found.end(), found.end() + len(low[found.end() : last].rstrip(" ?!.\"')"))


def _parts(low: str, first: int, last: int) -> Iterator[Span]:
    """Main clauses that stand alone each: what comes behind ", and I" may not speak of an "it" that was before."""
    start = first
    for joint in _JOINT.finditer(low, first, last):
        behind = low[joint.end() : min(last, joint.end() + _NEAR)]
        is_whole = _words(low, start, joint.start()) >= _FEWEST_WORDS and not _LEANS.search(behind)
        if is_whole and not _CONDITION.match(low, start):
            yield start, joint.start()
            start = joint.end()
    yield start, last


def _opened(low: str, first: int, last: int) -> int:
    """Where a clause begins behind its "by the way"."""
    while first < last and low[first] in _MARKS:
        first += 1
    for _ in range(_MOST_OPENERS):
        opener = _OPENER.match(low, first, last)
        if opener is None:
            break
        first = opener.end()
    return first


def _words(low: str, first: int, last: int) -> int:
    return sum(1 for _ in _WORD.finditer(low, first, last))


def _times(turn: Turn, locale: Locale) -> list[tuple[int, Expression]]:
    """The times that a turn names, each with the offset of the stretch that it was read in."""
    return [
        (first, expression)
        for first, last in frames(turn.text)
        for expression in find(
            turn.text[first:last],
            reference=locale.at(turn.said_at),
            prefer="tense",
            week_start=locale.week_start,
            language=locale.language,
        )
        if expression.precision is not Precision.UNKNOWN
    ]


def _time_of(times: list[tuple[int, Expression]], span: Span) -> Expression | None:
    """The first time within a clause that is of a day or coarser; else the first."""
    within = [
        expression
        for offset, expression in times
        if span[0] <= offset + expression.span[0] and offset + expression.span[1] <= span[1]
    ]
    days = (expression for expression in within if expression.precision.length >= Precision.DAY.length)
    return next(days, within[0] if within else None)


def _is_past(time: Expression | None, said_at: datetime) -> bool:
    return time is not None and time.start is not None and time.start <= said_at


def _is_ahead(time: Expression | None, said_at: datetime) -> bool:
    return time is not None and time.start is not None and time.start > said_at
