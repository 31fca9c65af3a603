"""Pure: holidays by name. Those with a rule are counted here, those of the moon are looked up in `holidays`."""

from collections.abc import Callable
from datetime import date, timedelta
from functools import lru_cache

from dateutil.easter import easter

from memsvc.temporal import spans
from memsvc.temporal.spans import Recurrence, Span
from memsvc.temporal.words import Tokens

Rule = Callable[[int], Span | None]

_YEARS = range(1900, 2101)
# `holidays` knows Hindu ones of no other years, and warns when it is asked.
_HINDU_YEARS = range(2001, 2036)


def feast_at(tokens: Tokens, place: int) -> tuple[Recurrence, int, bool] | None:
    """The holiday named there, the place behind it, and whether its name can be no other thing ("Boxing Day")."""
    for words, rule, is_plain in _BY_FIRST.get(tokens.low(place), ()):
        if tokens.phrase(place, words):
            return spans.yearly(rule), place + len(words), is_plain
    return None


def _fixed(month: int, day: int) -> Rule:
    return lambda year: spans.day(year, month, day)


def _nth(month: int, weekday: int, number: int) -> Rule:
    """The nth such weekday of a month; a negative number counts from its end."""

    def rule(year: int) -> Span | None:
        of_month = list(spans.weekly(weekday).within(spans.month(year, month)))
        return of_month[number - 1 if number > 0 else number]

    return rule


def _from_easter(days: int) -> Rule:
    def rule(year: int) -> Span | None:
        found = easter(year) + timedelta(days=days)
        return spans.day(found.year, found.month, found.day)

    return rule


def _after(rule: Rule, days: int) -> Rule:
    def later(year: int) -> Span | None:
        found = rule(year)
        return found and Span(found.begin + days * spans.DAY, found.finish + days * spans.DAY, found.precision)

    return later


def _first_advent(weeks: int) -> Rule:
    """Sundays counted back from Christmas Eve."""

    def rule(year: int) -> Span | None:
        eve = spans.midnight(year, 12, 24)
        sunday = eve - timedelta(days=(eve.weekday() + 1) % 7)
        start = sunday - timedelta(weeks=weeks)
        return spans.day(start.year, start.month, start.day)

    return rule


def _of_the_moon(name: str, *countries: str) -> Rule:
    """A feast by its whole name, in the first of these countries whose calendar has it."""

    def rule(year: int) -> Span | None:
        found = next((day for country in countries if (day := _lookup(country, name, year))), None)
        return spans.day(found.year, found.month, found.day) if found else None

    return rule


def _tax_day(year: int) -> Span | None:
    """15 April in the United States, or the next day that is no weekend nor Emancipation Day in the capital."""
    emancipation = spans.day(year, 4, 16).begin
    observed = emancipation + timedelta(days={5: -1, 6: 1}.get(emancipation.weekday(), 0))
    due = spans.day(year, 4, 15).begin
    while due.weekday() > 4 or due == observed:
        due += spans.DAY
    return spans.day(due.year, due.month, due.day)


@lru_cache(maxsize=512)
def _lookup(country: str, name: str, year: int) -> date | None:
    # Most texts name none of these; the library is loaded for those that do.
    import holidays

    if year not in (_HINDU_YEARS if country == "IN" else _YEARS):
        return None
    categories = ("public", "optional") if country == "IN" else ("public",)
    found = holidays.country_holidays(country, years=[year], language="en_US", categories=categories)
    # Days of several names tell them one after the other; eves and second days have the feast's within their own.
    return min((day for day, called in found.items() if name in called.split("; ")), default=None)


_THANKSGIVING = _nth(11, 3, 4)
_EASTER = _from_easter(0)
_CHINESE_NEW_YEAR = _of_the_moon("Chinese New Year (Spring Festival)", "CN")
# The Emirates keep the Saudi calendar; there the first free day may be the last of Ramadan.
_EID_AL_FITR = _of_the_moon("Eid al-Fitr", "AE", "MY", "TR")
_EID_AL_ADHA = _of_the_moon("Eid al-Adha Holiday", "SA")

_RULES: dict[str, Rule] = {
    "new year's day": _fixed(1, 1),
    "new years day": _fixed(1, 1),
    "new year's eve": _fixed(12, 31),
    "new years eve": _fixed(12, 31),
    "new year's": _fixed(1, 1),
    "yuandan": _fixed(1, 1),
    "epiphany": _fixed(1, 6),
    "martin luther king jr. day": _nth(1, 0, 3),
    "martin luther king jr day": _nth(1, 0, 3),
    "martin luther king day": _nth(1, 0, 3),
    "mlk jr. day": _nth(1, 0, 3),
    "mlk day": _nth(1, 0, 3),
    "civil rights day": _nth(1, 0, 3),
    "groundhog day": _fixed(2, 2),
    "lincoln's birthday": _fixed(2, 12),
    "lincolns' birthday": _fixed(2, 12),
    "lincoln birthday": _fixed(2, 12),
    "valentine's day": _fixed(2, 14),
    "valentines day": _fixed(2, 14),
    "valentine day": _fixed(2, 14),
    "valentine's": _fixed(2, 14),
    "presidents' day": _nth(2, 0, 3),
    "presidents day": _nth(2, 0, 3),
    "president's day": _nth(2, 0, 3),
    "st. patrick's day": _fixed(3, 17),
    "st patrick's day": _fixed(3, 17),
    "saint patrick's day": _fixed(3, 17),
    "april fools' day": _fixed(4, 1),
    "april fools day": _fixed(4, 1),
    "april fool's day": _fixed(4, 1),
    "tax day": _tax_day,
    "earth day": _fixed(4, 22),
    "labour day": _fixed(5, 1),
    "may day": _fixed(5, 1),
    "cinco de mayo": _fixed(5, 5),
    "star wars day": _fixed(5, 4),
    "mother's day": _nth(5, 6, 2),
    "mothers' day": _nth(5, 6, 2),
    "mothers day": _nth(5, 6, 2),
    "memorial day": _nth(5, 0, -1),
    "juneteenth": _fixed(6, 19),
    "father's day": _nth(6, 6, 3),
    "fathers' day": _nth(6, 6, 3),
    "fathers day": _nth(6, 6, 3),
    "canada day": _fixed(7, 1),
    "fourth of july": _fixed(7, 4),
    "independence day": _fixed(7, 4),
    "bastille day": _fixed(7, 14),
    "labor day": _nth(9, 0, 1),
    "columbus day": _nth(10, 0, 2),
    "indigenous peoples' day": _nth(10, 0, 2),
    "halloween day": _fixed(10, 31),
    "halloween": _fixed(10, 31),
    "all saints' day": _fixed(11, 1),
    "all saints day": _fixed(11, 1),
    "day of the dead": _fixed(11, 2),
    "guy fawkes night": _fixed(11, 5),
    "bonfire night": _fixed(11, 5),
    "veterans day": _fixed(11, 11),
    "veteran's day": _fixed(11, 11),
    "remembrance day": _fixed(11, 11),
    "armistice day": _fixed(11, 11),
    "thanksgiving day": _THANKSGIVING,
    "thanks giving day": _THANKSGIVING,
    "thanksgiving": _THANKSGIVING,
    "black friday": _after(_THANKSGIVING, 1),
    "small business saturday": _after(_THANKSGIVING, 2),
    "cyber monday": _after(_THANKSGIVING, 4),
    "giving tuesday": _after(_THANKSGIVING, 5),
    "first sunday of advent": _first_advent(3),
    "christmas eve": _fixed(12, 24),
    "xmas eve": _fixed(12, 24),
    "christmas day": _fixed(12, 25),
    "christmas": _fixed(12, 25),
    "xmas": _fixed(12, 25),
    "boxing day": _fixed(12, 26),
    "pancake day": _from_easter(-47),
    "pancake tuesday": _from_easter(-47),
    "shrove tuesday": _from_easter(-47),
    "mardi gras": _from_easter(-47),
    "fat tuesday": _from_easter(-47),
    "ash wednesday": _from_easter(-46),
    "palm sunday": _from_easter(-7),
    "maundy thursday": _from_easter(-3),
    "good friday": _from_easter(-2),
    "easter sunday": _EASTER,
    "easter day": _EASTER,
    "easter monday": _from_easter(1),
    "easter": _EASTER,
    "ascension day": _from_easter(39),
    "pentecost": _from_easter(49),
    "whit monday": _from_easter(50),
    "corpus christi": _from_easter(60),
    "chinese new year": _CHINESE_NEW_YEAR,
    "lunar new year": _CHINESE_NEW_YEAR,
    "mid-autumn festival": _of_the_moon("Mid-Autumn Festival", "CN", "TW"),
    "dragon boat festival": _of_the_moon("Dragon Boat Festival", "CN", "TW"),
    "eid al-fitr": _EID_AL_FITR,
    "eid ul-fitr": _EID_AL_FITR,
    "eid al-adha": _EID_AL_ADHA,
    "eid ul-adha": _EID_AL_ADHA,
    "id ul-adha": _EID_AL_ADHA,
    "sacrifice feast": _EID_AL_ADHA,
    "diwali": _of_the_moon("Diwali", "IN"),
    "deepavali": _of_the_moon("Diwali", "IN"),
    "holi": _of_the_moon("Holi", "IN"),
    "rosh hashanah": _of_the_moon("Rosh Hashanah", "IL"),
    "yom kippur": _of_the_moon("Yom Kippur", "IL"),
    "passover": _of_the_moon("Pesach", "IL"),
}

# These names stand for much besides the day: "a Christmas tree", "Easter eggs".
_BROAD = frozenset(
    {"christmas", "xmas", "easter", "thanksgiving", "halloween", "new year's", "valentine's", "epiphany", "passover",
     "diwali", "deepavali", "holi", "independence day", "may day"}
)  # fmt: skip

_BY_FIRST: dict[str, list[tuple[tuple[str, ...], Rule, bool]]] = {}
for _name, _rule in sorted(_RULES.items(), key=lambda item: -len(item[0])):
    _words = tuple(token.low for token in Tokens(_name).all)
    _BY_FIRST.setdefault(_words[0], []).append((_words, _rule, _name not in _BROAD))

FIRST_WORDS = frozenset(_BY_FIRST)
ALL_WORDS = frozenset(word for named in _BY_FIRST.values() for words, _, _ in named for word in words)
