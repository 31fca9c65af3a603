"""Questions about order and place in time over made-up histories: all answers are complete, exact and in time order.

The histories are generated from a seed, so that for each question it is known which turns answer it.
"""

import random
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from memsvc.domain import Draft, Owner, Query, Recollection, Role, Unit
from memsvc.index.edge import EdgeIndex
from memsvc.index.lexical import Lexicon
from memsvc.inference.encoders import FUSION, SHIPPED, Encoder, beside
from memsvc.intervals import AsOf
from memsvc.memory.indexing import shape_of
from memsvc.memory.ranking import LearnedFusion
from memsvc.memory.rarity import Rarity
from memsvc.memory.recall import Recaller, Recipe
from tests.memory import Memory, opened

SEEDS = range(4)
MONTHS = ("March", "April", "May", "June", "July")
# What is told only once, by whom it is asked for, and the words that ask for it: the event, its name, its deed.
EVENTS = (
    ("I adopted a parrot called Quill.", "I adopted a parrot", "the parrot"),
    ("I ran the marathon in Tromsø.", "I ran the marathon", "the marathon"),
    ("I bought a cello made by Abernathy.", "I bought a cello", "the cello"),
    ("I moved into a lighthouse near Skagen.", "I moved into a lighthouse", "the lighthouse"),
    ("I started a pottery class with Odalys.", "I started a pottery class", "the pottery class"),
    ("I repaired my grandfather's typewriter.", "I repaired my grandfather's typewriter", "the typewriter"),
)
CHATTER = (
    "The soup was too salty again.",
    "My neighbour Philippa paints her fence green.",
    "I cannot find my blue umbrella.",
    "The tram to Linden was late.",
    "Uncle Barnaby snores like a tractor.",
    "I prefer cardamom to cinnamon.",
    "The printer eats paper like a goat.",
    "Zadie plays chess by post.",
    "There is frost on the roof tiles.",
    "My shoelaces never match.",
    "The baker forgot the poppy seeds.",
    "I read a novel set in Antwerp.",
    "Our choir needs another tenor.",
    "The kettle whistles in B flat.",
    "I planted beans along the wall.",
    "The dentist has a new aquarium.",
    "Someone stole the garden gnome.",
    "I mended the hem of the curtain.",
    "The lift is stuck on the third floor.",
    "Grandma knits with bamboo needles.",
)
REPLIES = (
    "That sounds like quite a day.",
    "How do you feel about it?",
    "Let me know how it goes.",
    "I would never have guessed.",
    "Well, that is something.",
    "Thank you for telling me.",
    "Such things take their time.",
    "I can picture it.",
)


@dataclass(frozen=True, slots=True)
class Said:
    """A turn of a history: `name` is unique, a session's id and a position."""

    name: str
    speaker: str
    text: str
    said_at: datetime


@dataclass(frozen=True, slots=True)
class Chat:
    """A session of a history."""

    session_id: str
    started_at: datetime
    turns: tuple[Said, ...]


@dataclass(frozen=True, slots=True)
class History:
    """What was said, in time order, by two people or to an assistant; `events` are by their words."""

    owner: Owner
    chats: tuple[Chat, ...]
    speakers: tuple[str, str]
    events: dict[str, Said] = field(default_factory=dict)
    asked_at: datetime = datetime(2024, 8, 1, 9, tzinfo=UTC)

    @property
    def turns(self) -> list[Said]:
        return [turn for chat in self.chats for turn in chat.turns]

    def where(self, holds: Callable[[Said], bool]) -> list[Said]:
        return [turn for turn in self.turns if holds(turn)]

    def of(self, chats: slice) -> list[Said]:
        return [turn for chat in self.chats[chats] for turn in chat.turns]


def history_of(seed: int) -> History:
    """Six to ten sessions from March to July 2024, on any day of the week and at any hour; every fact is told once."""
    chance = random.Random(seed)
    people = ("Ana", "Ben") if seed % 2 else ("user", "assistant")
    days = sorted(chance.sample(range(150), chance.randint(6, 10)))
    starts = [
        datetime(2024, 3, 1, tzinfo=UTC) + timedelta(days=day, minutes=chance.randrange(24 * 60 - 30)) for day in days
    ]
    chatter, events = list(CHATTER), list(EVENTS)
    chance.shuffle(chatter)
    chance.shuffle(events)
    told = dict(zip(sorted(chance.sample(range(len(starts)), len(events))), events, strict=True))
    chats, placed = [], {}
    for number, start in enumerate(starts):
        lines = [chatter.pop(), told[number][0]] if number in told else [chatter.pop(), chatter.pop()]
        chance.shuffle(lines)
        words = [word for line in lines for word in (line, chance.choice(REPLIES))]
        turns = tuple(
            Said(f"s{number}/{at}", people[at % 2], text, start + timedelta(minutes=2 * at))
            for at, text in enumerate(words)
        )
        chats.append(Chat(f"s{number}", start, turns))
        if number in told:
            placed[told[number][0]] = next(turn for turn in turns if turn.text == told[number][0])
    return History(Owner("default", f"user-{seed}"), tuple(chats), people, placed)


def recorded(memory: Memory, history: History, *, seed: int = 0) -> None:
    """Record a history's sessions in whichever order, and index them."""
    chats = list(history.chats)
    random.Random(seed).shuffle(chats)
    for chat in chats:
        record(memory, history.owner, chat)
    memory.drain()


def record(memory: Memory, owner: Owner, chat: Chat) -> None:
    drafts = [
        Draft(
            role=Role.ASSISTANT if turn.speaker == "assistant" else Role.USER,
            text=turn.text,
            speaker=turn.speaker,
            said_at=turn.said_at,
        )
        for turn in chat.turns
    ]
    memory.recorder.record(owner, chat.session_id, drafts, started_at=chat.started_at)


@pytest.fixture(scope="module")
def memory(real_encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Memory]:
    """All histories on SQLite and in the embedded index, read by the shipped encoder."""
    folder = tmp_path_factory.mktemp("order")
    with closing(opened(folder)) as store, closing(EdgeIndex(folder / "index", shape_of(real_encoder))) as index:
        memory = Memory(store, index, real_encoder)
        # As it is shipped.
        recipe = Recipe(fusion=LearnedFusion(beside(SHIPPED) / FUSION), speaker_named=1.5, speaker_other=1 / 1.5)
        memory.recaller = Recaller(store, index, real_encoder, Lexicon(), Rarity(store), recipe)
        for seed in SEEDS:
            recorded(memory, history_of(seed), seed=seed)
        yield memory


@pytest.fixture(params=SEEDS, ids=lambda seed: f"seed-{seed}")
def history(request: pytest.FixtureRequest) -> History:
    return history_of(request.param)


def asked(
    memory: Memory,
    history: History,
    question: str,
    *,
    unit: Unit = Unit.TURN,
    limit: int = 100,
    as_of: AsOf | None = None,
    asked_at: datetime | None = None,
) -> Recollection:
    query = Query(question, asked_at or history.asked_at, limit=limit, unit=unit, as_of=as_of or AsOf())
    return memory.recaller.recall(history.owner, query)


def names(found: Recollection) -> list[str]:
    """The turns of the evidence, in its order."""
    return [f"{item.session_id}/{turn.turn_id}" for item in found.evidence for turn in item.turns]


def expected(turns: list[Said]) -> list[str]:
    return [turn.name for turn in turns]


@dataclass(frozen=True, slots=True)
class Case:
    """A question, and the turns that answer it, all of them."""

    question: str
    answer: Callable[[History], list[Said]]


def _conversations(first: int, behind: int | None) -> Callable[[History], list[Said]]:
    return lambda history: history.of(slice(first, behind))


def _days(*days: int) -> Callable[[History], list[Said]]:
    return lambda history: history.where(lambda turn: turn.said_at.weekday() in days)


def _hours(first: int, behind: int) -> Callable[[History], list[Said]]:
    if first < behind:
        return lambda history: history.where(lambda turn: first <= turn.said_at.hour < behind)
    return lambda history: history.where(lambda turn: turn.said_at.hour >= first or turn.said_at.hour < behind)


def _month(number: int) -> Callable[[History], list[Said]]:
    return lambda history: history.where(lambda turn: turn.said_at.month == number)


CASES = (
    Case("What did we talk about in our first conversation?", _conversations(0, 1)),
    Case("What did we talk about in our third conversation?", _conversations(2, 3)),
    Case("What did we discuss in our 5th chat?", _conversations(4, 5)),
    Case("What did we talk about in our twelfth conversation?", _conversations(11, 12)),
    Case("What did we talk about the first time we talked?", _conversations(0, 1)),
    Case("What did we talk about the second time we talked?", _conversations(1, 2)),
    Case("What did we talk about when we first met?", _conversations(0, 1)),
    Case("What did we talk about last time?", _conversations(-1, None)),
    Case("What did we discuss in our most recent conversation?", _conversations(-1, None)),
    Case("Summarize our last conversation.", _conversations(-1, None)),
    Case("What did we talk about in our last two conversations?", _conversations(-2, None)),
    Case("What did we talk about in our last 50 conversations?", _conversations(0, None)),
    Case("What did we talk about in our first three conversations?", _conversations(0, 3)),
    Case("What did we talk about in the conversation before last?", _conversations(-2, -1)),
    Case("What did we talk about in our third-to-last session?", _conversations(-3, -2)),
    *(
        Case(f"What did we talk about on {day}s?", _days(number))
        for number, day in enumerate("Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split())  # noqa: SIM905
    ),
    Case("What did we talk about on Tuesdays and Thursdays?", _days(1, 3)),
    Case("What did we talk about on weekends?", _days(5, 6)),
    Case("What did we talk about on weekdays?", _days(0, 1, 2, 3, 4)),
    Case("What did we talk about in the mornings?", _hours(5, 12)),
    Case("What did we talk about in the afternoon?", _hours(12, 17)),
    Case("What did we talk about in the evenings?", _hours(17, 22)),
    Case("What did we talk about at night?", _hours(22, 5)),
    Case("What did we talk about before 9 am?", _hours(0, 9)),
    Case("What did we talk about after 6 pm?", _hours(18, 24)),
    *(Case(f"What did we talk about in {month} 2024?", _month(number)) for number, month in enumerate(MONTHS, 3)),
    Case("What did we talk about in May 2023?", lambda _: []),
    Case("What did we talk about before our third conversation?", _conversations(0, 2)),
    Case("What did we talk about after our second conversation?", _conversations(2, None)),
    Case("What did we talk about before our first conversation?", _conversations(0, 0)),
    Case("What did we talk about since May 2024?", lambda history: history.where(lambda said: said.said_at.month >= 5)),
    Case("What did we talk about before May 2024?", lambda history: history.where(lambda said: said.said_at.month < 5)),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.question)
def test_place_in_time_alone_gives_all_that_was_said_there(memory: Memory, history: History, case: Case) -> None:
    found = asked(memory, history, case.question)

    assert names(found) == expected(case.answer(history)), found.plan


@pytest.mark.parametrize("unit", [Unit.ROUND, Unit.SESSION])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.question)
def test_rounds_and_sessions_are_as_complete(memory: Memory, history: History, case: Case, unit: Unit) -> None:
    found = asked(memory, history, case.question, unit=unit)

    # A round belongs to an answer when one turn of it does.
    wanted = {_label(turn, unit) for turn in case.answer(history)}
    whole = [turn.name for turn in history.turns if _label(turn, unit) in wanted]
    assert names(found) == whole, found.plan
    assert len(found.evidence) == len(wanted)


def _label(turn: Said, unit: Unit) -> object:
    session, position = turn.name.split("/")
    return (session, int(position) // 2) if unit is Unit.ROUND else session


@pytest.mark.parametrize("limit", [1, 3, 5])
def test_limit_cuts_a_complete_set_to_its_first_items(memory: Memory, history: History, limit: int) -> None:
    found = asked(memory, history, "What did we talk about in our last two conversations?", limit=limit)

    assert names(found) == expected(history.of(slice(-2, None)))[:limit]


@pytest.mark.parametrize("limit", [1, 2])
def test_limit_counts_sessions_of_a_complete_set(memory: Memory, history: History, limit: int) -> None:
    question = "What did we talk about in our first three conversations?"

    found = asked(memory, history, question, limit=limit, unit=Unit.SESSION)

    assert names(found) == expected(history.of(slice(0, limit)))


@pytest.mark.parametrize("day", [0, -1])
def test_yesterday_is_the_day_before_the_question(memory: Memory, history: History, day: int) -> None:
    chat = history.chats[day]
    asked_at = chat.started_at.replace(hour=9, minute=0) + timedelta(days=1)

    found = asked(memory, history, "What did we talk about yesterday?", asked_at=asked_at)

    assert names(found) == expected(history.where(lambda turn: turn.said_at.date() == chat.started_at.date()))


@pytest.mark.parametrize("who", [0, 1], ids=["first", "second"])
def test_one_speaker_alone_is_heard(memory: Memory, history: History, who: int) -> None:
    speaker = history.speakers[who]
    asks = {"user": "did I", "assistant": "did you"}.get(speaker, f"did {speaker}")

    found = asked(memory, history, f"What {asks} say in our second conversation?")

    said = [turn for turn in history.chats[1].turns if turn.speaker == speaker]
    assert names(found) == expected(said), found.plan


@pytest.mark.parametrize("who", [0, 1], ids=["first", "second"])
def test_one_speaker_alone_is_heard_in_a_month(memory: Memory, history: History, who: int) -> None:
    speaker = history.speakers[who]
    asks = {"user": "did I", "assistant": "did you"}.get(speaker, f"did {speaker}")

    found = asked(memory, history, f"What {asks} say in May 2024?")

    said = history.where(lambda turn: turn.said_at.month == 5 and turn.speaker == speaker)
    assert names(found) == expected(said), found.plan


@pytest.mark.parametrize(("text", "words", "_name"), EVENTS, ids=[event[2] for event in EVENTS])
@pytest.mark.parametrize("side", ["after", "before"])
def test_event_places_what_was_said_after_or_before_it(
    memory: Memory, history: History, side: str, text: str, words: str, _name: str
) -> None:
    found = asked(memory, history, f"What did we talk about {side} {words}?")

    place = history.turns.index(history.events[text])
    said = history.turns[place + 1 :] if side == "after" else history.turns[:place]
    assert names(found) == expected(said), found.plan


@pytest.mark.parametrize(
    ("one", "other"),
    [(one, other) for one in EVENTS for other in EVENTS if one != other],
    ids=lambda event: str(event[2]),
)
def test_two_events_come_first_and_in_time_order(
    memory: Memory, history: History, one: tuple[str, str, str], other: tuple[str, str, str]
) -> None:
    found = asked(memory, history, f"Which came first, {one[2]} or {other[2]}?")

    told = sorted((history.events[one[0]], history.events[other[0]]), key=lambda turn: turn.said_at)
    assert names(found)[:2] == expected(told), found.plan


@pytest.mark.parametrize(("text", "_words", "name"), EVENTS, ids=[event[2] for event in EVENTS])
@pytest.mark.parametrize("pick", ["first", "last"])
def test_single_mention_is_the_first_and_the_last(
    memory: Memory, history: History, pick: str, text: str, _words: str, name: str
) -> None:
    found = asked(memory, history, f"When did I {pick} mention {name}?")

    assert names(found)[:1] == [history.events[text].name], found.plan


def test_first_and_last_of_several_mentions_are_picked(memory: Memory) -> None:
    owner = Owner("default", "parrots")
    texts = {
        "2024-03-04": "I adopted a parrot called Quill.",
        "2024-04-09": "My parrot Quill learned to whistle.",
        "2024-05-20": "Quill, my parrot, bit the postman.",
    }
    chats = tuple(
        _chat(number, datetime.fromisoformat(f"{day}T18:00+00:00"), CHATTER[number], text, CHATTER[number + 5])
        for number, (day, text) in enumerate(texts.items())
    )
    history = History(owner, chats, ("user", "user"))
    recorded(memory, history)

    first, last = (names(asked(memory, history, f"When did I {pick} mention my parrot?"))[:1] for pick in PICKS)

    assert (first, last) == (["s0/1"], ["s2/1"])


PICKS = ("first", "last")


@pytest.mark.parametrize(
    ("question", "name"),
    [
        ("When did Ana first mention a parrot?", "s1/1"),
        ("When did Ana last mention a parrot?", "s2/0"),
        ("When did Ben first mention a parrot?", "s0/1"),
        ("When did Ben last mention a parrot?", "s3/1"),
        ("When did we first mention a parrot?", "s0/1"),
    ],
)
def test_mention_is_that_of_the_one_who_is_asked_for(memory: Memory, question: str, name: str) -> None:
    found = asked(memory, told_by_two(memory), question)

    assert names(found)[:1] == [name], found.plan


def test_conversations_about_something_are_counted_alone(memory: Memory) -> None:
    found = asked(memory, told_by_two(memory), "How many times did we talk about a parrot on Mondays?")

    assert found.count == 3, found.plan


def test_what_else_is_asked_is_searched_among_what_was_said_there(memory: Memory, history: History) -> None:
    for text, _, name in EVENTS:
        told = history.events[text]
        number = next(number for number, chat in enumerate(history.chats) if told in chat.turns)

        there, elsewhere = (
            names(asked(memory, history, f"What did we say about {name} in {place}?"))
            for place in (f"conversation {number + 1}", f"conversation {number + 2}")
        )

        assert told.name in there
        assert set(there) <= set(expected(history.of(slice(number, number + 1))))
        assert set(elsewhere) <= set(expected(history.of(slice(number + 1, number + 2))))


def told_by_two(memory: Memory) -> History:
    """Ana and Ben talk on four Mondays and a Wednesday, and speak of parrots in all conversations but the last."""
    lines = (
        ("2024-03-04", "The tram to Linden was late.", "I adopted a parrot called Quill."),
        ("2024-03-11", "I cannot find my umbrella.", "Maybe a parrot took it?", "Ana"),
        ("2024-03-20", "A parrot is a fine bird.", "My shoelaces never match."),
        ("2024-03-25", "The soup was too salty again.", "My parrot Quill whistles too."),
        ("2024-04-01", "There is frost on the roof tiles.", "The baker forgot the poppy seeds."),
    )
    chats = []
    for number, (day, first, second, *who) in enumerate(lines):
        start = datetime.fromisoformat(f"{day}T18:00+00:00")
        speakers = ("Ana", who[0] if who else "Ben")
        turns = tuple(
            Said(f"s{number}/{at}", speaker, text, start + timedelta(minutes=at))
            for at, (speaker, text) in enumerate(zip(speakers, (first, second), strict=True))
        )
        chats.append(Chat(f"s{number}", start, turns))
    history = History(Owner("default", "by-two"), tuple(chats), ("Ana", "Ben"))
    recorded(memory, history)
    return history


def _chat(number: int, start: datetime, *texts: str) -> Chat:
    return Chat(
        f"s{number}",
        start,
        tuple(Said(f"s{number}/{at}", "user", text, start + timedelta(minutes=at)) for at, text in enumerate(texts)),
    )


@pytest.mark.parametrize(
    ("question", "days"),
    [
        *((f"How many times did we talk in {month} 2024?", number) for number, month in enumerate(MONTHS, 3)),
        ("How many conversations did we have in 2024?", None),
    ],
)
def test_conversations_are_counted(memory: Memory, history: History, question: str, days: int | None) -> None:
    found = asked(memory, history, question)

    assert found.count == sum(days in (None, chat.started_at.month) for chat in history.chats)


def test_conversations_on_a_weekday_are_counted(memory: Memory, history: History) -> None:
    counts = [asked(memory, history, f"How often did we talk on {day}?").count for day in ("weekends", "weekdays")]

    weekends = len({turn.name.split("/")[0] for turn in _days(5, 6)(history)})
    weekdays = len({turn.name.split("/")[0] for turn in _days(0, 1, 2, 3, 4)(history)})
    assert counts == [weekends, weekdays]


@pytest.mark.parametrize("known", [3, 5])
def test_what_had_not_begun_when_it_was_asked_counts_no_conversation(
    memory: Memory, history: History, known: int
) -> None:
    asked_at = history.chats[known].started_at - timedelta(minutes=1)

    found = asked(memory, history, "What did we talk about last time?", asked_at=asked_at)

    assert names(found) == expected(history.of(slice(known - 1, known)))


def test_session_that_was_recorded_late_falls_into_place(memory: Memory) -> None:
    late = history_of(40)
    history = History(Owner("default", "late"), late.chats, late.speakers)
    for chat in history.chats[:2] + history.chats[3:]:
        record(memory, history.owner, chat)
    memory.drain()
    before = names(asked(memory, history, "What did we talk about in our third conversation?"))

    record(memory, history.owner, history.chats[2])
    memory.drain()

    after = [names(asked(memory, history, f"What did we talk about in our {nth} conversation?")) for nth in THIRD]
    assert before == expected(history.of(slice(3, 4)))
    assert after == [expected(history.of(slice(2, 3))), expected(history.of(slice(3, 4)))]


THIRD = ("third", "fourth")


def test_sessions_recorded_later_are_in_no_ordinal_of_before(memory: Memory) -> None:
    made = history_of(41)
    history = History(Owner("default", "as-of"), made.chats, made.speakers)
    then = memory.clock.now()
    for chat in history.chats[1:3]:
        record(memory, history.owner, chat)
    memory.clock.pass_time(hours=1)
    for chat in (history.chats[0], *history.chats[3:]):
        record(memory, history.owner, chat)
    memory.drain()
    as_of = AsOf(recorded=then)

    questions = (
        "in our first conversation",
        "last time",
        "in our third conversation",
        "in the conversation before last",
    )
    found = [names(asked(memory, history, f"What did we talk about {place}?", as_of=as_of)) for place in questions]

    first, second = (expected(history.of(slice(at, at + 1))) for at in (1, 2))
    assert found == [first, second, [], first]


def test_what_was_said_later_is_in_no_ordinal_of_before(memory: Memory, history: History) -> None:
    as_of = AsOf(valid=history.chats[2].turns[-1].said_at)

    found = asked(memory, history, "What did we talk about last time?", as_of=as_of)

    assert names(found) == expected(history.of(slice(2, 3)))


def test_question_about_an_event_that_was_never_told_is_an_ordinary_one(memory: Memory) -> None:
    history = History(Owner("default", "nobody"), (), ("user", "assistant"))

    found = asked(memory, history, "What did we talk about after I adopted a parrot?")

    assert (found.evidence, found.plan) == ((), None)
