"""Pure: whether somebody tells a time of their own, or nobody does: advice, descriptions, sales."""

from dataclasses import dataclass
from functools import cached_property

from memsvc.intervals import Precision
from memsvc.temporal.tense import clause_around, looks_at, looks_of, sentence_around
from memsvc.temporal.words import MONTHS, NEXT, PREVIOUS, SEASONS, THIS, UNITS, WEEKDAYS, Tokens, words_of

_ONE = words_of("i my me you u m")
_I = words_of("i m my me")
_SELF = words_of("i my me mine we our us myself ourselves")
_ANYONE = _SELF | words_of("you your u yours")
_POSSESSIVES = words_of("my our your their")
_POINTING = PREVIOUS | NEXT | THIS | words_of("ago back now today yesterday tomorrow tonight later earlier rest tmrw")
_FINE = (Precision.SECOND, Precision.MINUTE, Precision.HOUR)
_PERFECT = words_of("has have had")
# What follows "my weekend" where it is a time; "my weekend routine" is none.
_AFTER_A_TIME = words_of("and or but with when we i was is has so because to at in on by")
_OF_A_TOMORROW = words_of("a the new better brighter greener cleaner safer healthier stronger smarter")
_BEFORE_AN_AGE = words_of("in am are is it have exist exists live lives lived used see face know use even readers")
_SUPPOSING = ("if", "suppose", "imagine", "say", "let")
_LASTING = words_of("still continue continues continued remain remains remained resonate resonates")
# What a sale calls to: "Order today!".
_CALLS = words_of(
    "request order start get try join book contact call sign buy shop discover visit download subscribe take schedule "
    "learn register experience explore unlock elevate transform upgrade don act grab claim reserve apply support "
    "follow reach create find partner enroll hire switch choose secure say give make boost improve enjoy embrace begin "
    "invest donate"
)
# So many tokens before a sentence, and one still knows who speaks.
_NEAR = 60
# A text of so few tokens is a message in a chat, where it is plain who is spoken of.
_SHORT = 60
# A longer one is rather a document that was pasted, of a day of its own.
_LONG = 500
_EDGE = 60
# A clause of so few tokens tells only together with its sentence.
_FEW = 4


@dataclass(frozen=True)
class Words:
    """The words that name a time, from one place of a text up to another, and what stands around them."""

    tokens: Tokens
    start: int
    end: int

    @cached_property
    def held(self) -> list[str]:
        """The words themselves."""
        return [self.tokens.low(at) for at in range(self.start, self.end)]

    @property
    def before(self) -> str:
        """The word before them."""
        return self.tokens.low(self.start - 1)

    @property
    def after(self) -> str:
        """The word behind them."""
        return self.tokens.low(self.end)

    @property
    def is_owned(self) -> bool:
        """Whether it is one of somebody's, or of many: "on our last night", "my weekend routine", "a previous year"."""
        if self.held[0] in ("last", "next", "previous"):
            return self.before in _POSSESSIVES | {"a", "an"}
        return self.held[0] in _POSSESSIVES and (self._goes_on or self.before == "of")

    def is_of_nobody(self) -> bool:
        """Whether nobody speaks of themselves around a time that needs somebody."""
        if self._is_pasted() or self._is_narrated():
            return True
        if _POINTING.isdisjoint(self.held):
            return self._is_general()
        if self.held[0] in ("today", "tomorrow", "yesterday"):
            return self._is_of_an_age()
        if self.held[-1] == "now":
            return looks_at(self.tokens, self.start) == {"past"}  # "She needed me right now".
        unit = UNITS.get(self.held[-1])
        return unit is not None and (self._is_amount_of_nobody(unit) or self._is_thing_of_nobody())

    @cached_property
    def _sentence(self) -> range:
        return sentence_around(self.tokens, self.start, self.end)

    @cached_property
    def _around(self) -> set[str]:
        return {self.tokens.low(at) for at in self._sentence}

    @property
    def _goes_on(self) -> bool:
        """Whether a noun follows that the words only tell the kind of."""
        return self.after.isalpha() and self.after not in _AFTER_A_TIME

    def _is_general(self) -> bool:
        """Whether what comes round is told of in general, or as one of several."""
        if self.before in ("a", "an", "currently") or self._is_attribute() or self._is_one_of_many():
            return True
        if len(self.tokens) <= _SHORT:
            return False
        first = self._sentence.start
        if self.tokens.low(first) in _SUPPOSING:
            return True
        near = {self.tokens.low(at) for at in range(first - _NEAR, first)}
        return _ANYONE.isdisjoint(self._around | near)

    def _is_attribute(self) -> bool:
        """Whether it tells only of which kind something is: "my Saturday morning classes", "the spring migration"."""
        if not SEASONS.keys().isdisjoint(self.held):
            return self._goes_on and self.after not in ("of", "season")
        if self.tokens.phrase(self.end, ("'", "s")) and "last" in [self.tokens.low(self.end + step) for step in (3, 4)]:
            return True  # "Wednesday's dinner last week".
        is_kind = "the" in (self.before, self.held[0]) and not WEEKDAYS.keys().isdisjoint(self.held)
        is_owned = (
            is_kind or self.before in _POSSESSIVES | {"her", "his"} or self.tokens.phrase(self.start - 2, ("'", "s"))
        )
        return is_owned and self._goes_on

    def _is_one_of_many(self) -> bool:
        """Whether three or more of a kind stand together, or one of two: "on Monday, Wednesday and Friday"."""
        low, kinds = self.tokens.low, (WEEKDAYS, MONTHS)
        if "or" in (self.before, self.after):
            return any(word in kind for word in (low(self.start - 2), low(self.end + 1)) for kind in kinds)
        around = [low(at) for at in range(self.start - 7, self.end + 7)]
        return any(len({kind[word] for word in around if word in kind}) > 2 for kind in kinds)

    def _is_of_an_age(self) -> bool:
        """Whether "today" is the present age: "the world we live in today", "the leaders of tomorrow"."""
        low, place = self.tokens.low, self.start
        is_of_both = self.tokens.phrase(place - 3, ("of", "today"))
        if is_of_both or (self.before == "of" and low(place - 2) not in ("as", "rest")):
            return True
        if self.held[0] == "yesterday":
            return "like" in [low(at) for at in range(place - 4, place)]
        if self.held[0] == "tomorrow":
            return self.before in _OF_A_TOMORROW
        if self.before in _BEFORE_AN_AGE or low(place + 1) == "that":
            return True
        return any(low(at) in _LASTING for at in range(self._sentence.start, place)) or self._is_sold()

    def _is_sold(self) -> bool:
        """Whether a sentence calls to something, or tells without a verb of time what is: "Order today!"."""
        first = self._sentence.start
        if self.tokens.low(first) in _CALLS and self.tokens.low(first + 1) != "'":
            return True
        if len(self._sentence) <= _FEW:
            return False  # "Today.", "Big day today!"
        if self.start == first and self.after == ",":
            # "Today, we have": of this age, where neither the teller nor a time is in the sentence.
            return _I.isdisjoint(self._around) and not looks_of(self.tokens, self._sentence)
        clause = clause_around(self.tokens, self.start)
        around = {self.tokens.low(at) for at in clause} if len(clause) > _FEW else self._around
        if not _ONE.isdisjoint(around):
            return False
        is_perfect = _ANYONE.isdisjoint(around) and not _PERFECT.isdisjoint(around)
        return is_perfect or not looks_at(self.tokens, self.start)

    def _is_amount_of_nobody(self, unit: Precision) -> bool:
        """Whether units up to now, or from now on, are counted in general: "the last few minutes"."""
        held = self.held
        if held[0] == "this" and unit in _FINE:
            return True
        is_back = not {"past", "last"}.isdisjoint(held)
        if is_back and unit in _FINE:
            return _SELF.isdisjoint(self._around)
        if "rest" in held and unit is Precision.DAY:
            return _SELF.isdisjoint(self._around)
        if len(held) < 3 or not _ANYONE.isdisjoint(self._around):
            return False
        if is_back and _PERFECT.isdisjoint(self._around):
            return "past" not in looks_at(self.tokens, self.start)  # "It shows the results of the past year".
        is_ahead = not {"next", "coming", "rest"}.isdisjoint(held)
        return is_ahead and unit.length < Precision.YEAR.length

    def _is_thing_of_nobody(self) -> bool:
        """Whether it only tells of which kind something is: "leftovers from last night's dinner"."""
        is_owner = self.held[-1] in ("night", "year") and self.tokens.phrase(self.end, ("'", "s"))
        return is_owner and self.held[0] == "last" and _SELF.isdisjoint(self._around)

    def _is_narrated(self) -> bool:
        """Whether a longer text tells it in a sentence that nobody is in: a story, a description."""
        is_counted = self.held[-1] in UNITS and "ago" not in self.held
        is_pointed = not _POINTING.isdisjoint(self.held) and not is_counted
        return is_pointed and len(self.tokens) > 2 * _SHORT and _ANYONE.isdisjoint(self._around)

    def _is_pasted(self) -> bool:
        """Whether it stands within a document, and not in the words that come with it."""
        is_within = _EDGE <= self.start < len(self.tokens) - _EDGE
        return len(self.tokens) > _LONG and (is_within or _ANYONE.isdisjoint(self._around))
