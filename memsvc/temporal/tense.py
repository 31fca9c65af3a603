"""Pure: whether the words around a time speak of what was, of what will be, or of what always is."""

from collections.abc import Iterable
from typing import Literal

from memsvc.temporal.words import UNITS, WEEKDAYS, Tokens, words_of

Direction = Literal["past", "future"]

_REACH = 40
_ENDS = frozenset(".!?;")
# Where another clause begins: behind these, and before those.
_CUTS = frozenset(",;:()") | words_of("and but because that which who when while where if so or as since than")
_SUBJECTS = words_of("i we he she they")
_FIRST_PERSON = ("i", "we")
_FUTURE = words_of(
    "will ll shall gonna upcoming soon tomorrow deadline due reminder remind hoping prepare preparing aiming "
    "expecting forward thinking considering tonight"
)
_PAST = words_of(
    "was were had did went got came saw met took began gave ran ate drank wrote knew became ago yesterday didn wasn "
    "weren hadn happened passed visited attended recently flew drove slept swam rode wore chose fell threw woke broke "
    "drew spoke"
)
# These are past but where they stand behind a form of "be" or an article: "is made", "the told story".
_PAST_OR_PASSIVE = words_of(
    "made told said left found kept felt lost spent built sold taught thought brought bought won heard caught paid "
    "sent led held been gone done seen taken given"
)
_BEFORE_A_PASSIVE = words_of(
    "be is are am re being get getting well very so more most too the a an your my our his her their its this these "
    "those some any to of for by with in on will ll can could should would might may must - not both how"
)
_NO_VERBS = words_of(
    "need speed indeed hundred exceed proceed succeed embed based called named related interested excited motivated "
    "focused limited detailed dedicated personalized recommended suggested required unexpected supposed planned booked "
    "scheduled registered united agreed seed breed feed weed greed bleed mixed packed used"
)
# "Is scheduled" is of the future, "they scheduled" may be of either.
_ARRANGED = words_of("planned booked scheduled registered invited expected supposed set going")
_BEFORE_ARRANGED = words_of("is are am m re s ve have has already")
_GOING = ("going", "about", "have", "need", "want", "wants", "ready", "plan", "plans", "like", "got", "excited")
# What is going on now or is to come: "I'm meeting her on Monday", but not "I'm looking for".
_COMING_UP = words_of(
    "going meeting coming leaving flying visiting traveling travelling having hosting attending starting moving seeing "
    "taking throwing running participating volunteering joining organizing planning heading getting driving throwing "
    "competing performing returning holding launching releasing opening celebrating marrying graduating staying doing "
    "presenting speaking arriving camping hiking"
)
_PHRASES_AHEAD = (
    ("coming", "up"), ("see", "you"), ("see", "ya"), ("tune", "in"), ("let", "'", "s"), ("join", "us"), ("join", "me"),
    ("save", "the", "date"), ("mark", "your"), ("you", "free"), ("i", "free"), ("starts", "on"), ("begins", "on"),
    ("arrives", "on"), ("leaves", "on"), ("add", "it", "to"), ("set", "to"), ("plan", "for"), ("plans", "for"),
    ("can", "'", "t", "wait"), ("get", "ready"), ("tickets", "to"), ("tickets", "for"),
)  # fmt: skip
_ENGAGEMENTS = words_of(
    "appointment appointments meeting meetings exam exams flight interview test party wedding concert date "
    "presentation event events trip dinner lunch deadline session reservation recital match game race performance "
    "ceremony checkup surgery class classes gig shift conflicts plans"
)
_ATTEND = ("attend", "catch", "submit", "finish")
_OWN = words_of("my our the your his her")
# A thing that comes round is told of in general with these.
_ALWAYS = words_of(
    "every each usually typically often generally always sometimes annually yearly traditionally normally commonly "
    "annual whenever never"
)
_GENERAL = (
    ("best", "time"), ("time", "of", "year"), ("time", "to", "visit"), ("peak",), ("such", "as"), ("tend", "to"),
    ("tends", "to"), ("ideal", "for"), ("celebrated", "on"), ("celebrated", "in"), ("runs", "from"), ("open", "from"),
    ("held", "in"), ("held", "on"), ("takes", "place"), ("take", "place"), ("high", "season"), ("temperatures",),
    ("temperature",), ("rainy", "season"), ("dry", "season"), ("weather", "is"), ("year", "round"),
)  # fmt: skip
_RETURNED = words_of("left returned back ended finished home")
_NO_GERUNDS = words_of(
    "during spring morning evening wedding meeting thing things building clothing nothing something king"
)
# In so short a sentence, all verbs are of one time.
_SHORT = 14
_SELF = words_of("i my me mine myself m you your u")
_IS = words_of("is are has have can remain remains still continue continues modern many")


def direction_at(tokens: Tokens, place: int) -> Direction | None:
    """Which way the words around a place look; None where nothing tells.

    The tightest clause decides, and where it says nothing, its sentence; where a sentence looks both ways, what its
    teller says of themselves.
    """
    sentence = sentence_around(tokens, place, place)
    clause = _clause(tokens, place, sentence)
    looks = looks_of(tokens, clause)
    has_own_time = tokens.low(clause.start - 1) == "that" or any(_is_gerund(tokens.low(at)) for at in clause)
    if not looks and has_own_time:
        return None  # "I'll apologize for cancelling our plans on Friday", "after that incident on Friday".
    if not looks and len(sentence) <= _SHORT:
        looks = looks_of(tokens, sentence)
    if len(looks) == 1:
        return looks.pop()
    told = looks_of(tokens, [at for at in (clause if looks else sentence) if _is_told_of_self(tokens, at)])
    return told.pop() if len(told) == 1 else None


def return_after(tokens: Tokens, place: int) -> int | None:
    """Where the weekday stands that one came back on, behind another in the same sentence."""
    sentence = sentence_around(tokens, place, place)
    has_returned = False
    for at in range(place + 1, sentence.stop):
        has_returned = has_returned or tokens.low(at) in _RETURNED
        if tokens.low(at) in WEEKDAYS:
            return at if has_returned else None
    return None


def looks_at(tokens: Tokens, place: int) -> set[Direction]:
    """The ways that the tightest clause around a place looks."""
    return looks_of(tokens, clause_around(tokens, place))


def clause_around(tokens: Tokens, place: int) -> range:
    """The places of the tightest clause around a place."""
    return _clause(tokens, place, sentence_around(tokens, place, place))


def is_general(tokens: Tokens, start: int, end: int) -> bool:
    """Whether the sentence around speaks of what comes round each time, and of no one time."""
    for at in sentence_around(tokens, start, end):
        low = tokens.low(at)
        if low in _ALWAYS:
            return True
        if any(low == words[0] and tokens.phrase(at, words) for words in _GENERAL):
            return True
    return False


def is_nowadays(tokens: Tokens, place: int) -> bool:
    """Whether a "today" means this age: a sentence of what is, in which nobody speaks of themselves."""
    sentence = sentence_around(tokens, place, place + 1)
    around = [tokens.low(at) for at in sentence]
    if not _SELF.isdisjoint(around):
        return False
    if "past" in looks_of(tokens, sentence) and "still" not in around:
        return False
    return not _IS.isdisjoint(around)


def looks_ahead(text: str) -> bool:
    """Whether a whole question asks of what is to come: its verbs do, and none looks back."""
    tokens = Tokens(text)
    return looks_of(tokens, range(len(tokens))) == {"future"}


def sentence_around(tokens: Tokens, start: int, end: int) -> range:
    """The places of the sentence around, as far as it matters."""
    first = start
    while first > max(0, start - _REACH) and not _ends(tokens, first - 1):
        first -= 1
    last = end
    while last < min(len(tokens), end + _REACH) and not (last > start and _ends(tokens, last - 1)):
        last += 1
    return range(first, last)


def _clause(tokens: Tokens, place: int, sentence: range) -> range:
    """The tightest clause around a place."""
    first = place
    while first > sentence.start and not _cuts(tokens, first):
        first -= 1
    last = place
    while last < sentence.stop and (last == place or not _cuts(tokens, last)):
        last += 1
    return range(first, last)


def _cuts(tokens: Tokens, place: int) -> bool:
    """Whether a clause begins at a place."""
    before = tokens[place - 1]
    if before.low in _CUTS or tokens.low(place) in _CUTS:
        return True
    if before.low == "-" and before.is_spaced and tokens[place].is_spaced:
        return True
    if tokens.low(place) == "for" and _is_gerund(tokens.low(place + 1)):
        return True
    return tokens.low(place) in _SUBJECTS and before.low not in _SUBJECTS


def _ends(tokens: Tokens, place: int) -> bool:
    """Whether a sentence ends there; a full stop within a word or number ends none."""
    after = tokens[place + 1]
    if after.is_first:
        return True
    return tokens.low(place) in _ENDS and (after.is_spaced or place + 1 >= len(tokens))


def looks_of(tokens: Tokens, places: Iterable[int]) -> set[Direction]:
    """The ways that the words at some places look."""
    return {found for at in places if (found := _looks(tokens, at))}


def _looks(tokens: Tokens, place: int) -> Direction | None:
    """Which way one word looks, with those beside it."""
    low = tokens.low(place)
    if low == "got" and tokens.low(place - 1) == "ve":
        return "future" if _is_engaged(tokens, place) else None
    if low in _PAST or _is_past_verb(tokens, place):
        return "past"
    if low in ("last", "next"):
        is_time = tokens.low(place + 1) in UNITS or tokens.low(place + 1) in WEEKDAYS
        return ("past" if low == "last" else "future") if is_time else None
    if low == "hope":
        return None if tokens.low(place + 1) in ("this", "that", "these", "it") else "future"
    if low in _FUTURE or _is_arranged(tokens, place) or _is_engaged(tokens, place):
        return "future"
    return "future" if any(low == words[0] and tokens.phrase(place, words) for words in _PHRASES_AHEAD) else None


def _is_past_verb(tokens: Tokens, place: int) -> bool:
    token, before = tokens[place], tokens.low(place - 1)
    if token.low in _PAST_OR_PASSIVE:
        is_going_on = token.low == "been" and tokens.low(place + 1).endswith("ing")
        return before not in _BEFORE_A_PASSIVE and not is_going_on
    if not token.low.endswith("ed") or len(token.low) < 5 or token.low in _NO_VERBS:
        return False
    is_name = token.is_capital and place > 0 and not _ends(tokens, place - 1)
    return before not in _BEFORE_A_PASSIVE and not is_name


def _is_arranged(tokens: Tokens, place: int) -> bool:
    """Whether something is to come: "I'm meeting her", "have to", "is scheduled"."""
    low, before = tokens.low(place), tokens.low(place - 1)
    if low == "to" and before in _GOING and tokens.low(place - 2) not in ("was", "were", "would"):
        return before != "like" or tokens.low(place - 2) in ("d", "would")
    if low in _ARRANGED and before in _BEFORE_ARRANGED:
        return True
    return low in _COMING_UP and before in ("m", "re", "is", "are", "am", "be", "s", "was", "were")


def _is_engaged(tokens: Tokens, place: int) -> bool:
    """Whether an engagement is told of: "I have an exam", "my flight is", "a party to attend"."""
    low = tokens.low(place)
    if low == "to":
        return tokens.low(place + 1) in _ATTEND and tokens.low(place - 1) in _ENGAGEMENTS
    if low in ("have", "got", "having") and tokens.low(place + 1) in ("a", "an", "any", "my", "another", "two", "some"):
        return any(tokens.low(at) in _ENGAGEMENTS for at in range(place + 2, place + 6))
    if low != "is" or tokens.low(place + 1) not in ("on", "at", "in", *WEEKDAYS):
        return False
    return any(tokens.low(at) in _OWN for at in range(place - 4, place))


def _is_gerund(low: str) -> bool:
    return low.endswith("ing") and len(low) > 5 and low not in _NO_GERUNDS


def _is_told_of_self(tokens: Tokens, place: int) -> bool:
    """Whether a word stands right behind an "I" or a "we"."""
    return any(tokens.low(at) in _FIRST_PERSON for at in range(place - 3, place))
