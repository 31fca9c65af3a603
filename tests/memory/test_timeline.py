"""Timelines: the sentences that name a time, by that time, with where they stand."""

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memsvc.domain import Owner
from memsvc.index.edge import EdgeIndex
from memsvc.intervals import AsOf, Precision
from memsvc.memory.indexing import shape_of
from memsvc.memory.quoting import sentence_around
from memsvc.memory.timeline import Chronicler, Entry
from memsvc.store.database import Store
from tests.doubles import HashEncoder
from tests.factories import OWNER, draft
from tests.memory import Memory

SAID_AT = datetime(2024, 6, 12, 15, 30, tzinfo=UTC)
BEN = Owner(OWNER.workspace, "ben")
NAMESAKE = Owner("acme", OWNER.user_id)


@pytest.fixture
def memory(store: Store, tmp_path: Path) -> Iterator[Memory]:
    with closing(EdgeIndex(tmp_path / "index", shape_of(HashEncoder()))) as index:
        yield Memory(store, index)


def tell(memory: Memory, *texts: str, session: str = "s1", owner: Owner = OWNER, said_at: datetime = SAID_AT) -> None:
    """Record turns that are said at one time, and index them."""
    memory.recorder.record(owner, session, [draft(text, said_at=said_at) for text in texts], started_at=said_at)
    memory.drain()


def timeline(
    memory: Memory,
    *,
    owner: Owner = OWNER,
    start: str | None = None,
    end: str | None = None,
    speaker: str | None = None,
    as_of: AsOf | None = None,
    limit: int = 100,
) -> list[Entry]:
    return Chronicler(memory.store).timeline(
        owner, start=at(start), end=at(end), speaker=speaker, as_of=as_of, limit=limit
    )


def at(written: str | None) -> datetime | None:
    return datetime.fromisoformat(written).replace(tzinfo=UTC) if written else None


def sentences(entries: list[Entry]) -> list[str]:
    return [entry.sentence for entry in entries]


@pytest.mark.parametrize(
    "marked",
    [
        "<We met on [3 May 2024].>",
        "<[Yesterday]>",
        "Hello! <I flew to Rome on [3 May 2024].> It was hot.",
        "Hello!\n<I flew to Rome on [3 May 2024]>\nIt was hot.",
        "   <We met [yesterday].>   ",
        "Is it? <We met [yesterday]!> Yes.",
        "Well… <we met [yesterday]…> Yes.",
        "<It cost 3.50 on [3 May 2024].> Cheap.",
        "<Since [3 May. 2024] I run.> Daily.",
        "One. Two.\n\n<Three was [yesterday].>",
        "<We met [yesterday].>\n\n",
    ],
)
def test_sentence_around_a_stretch_has_neither_its_neighbours_nor_the_spaces_between(marked: str) -> None:
    text = marked.translate({ord(sign): None for sign in "<>[]"})
    bare = marked.translate({ord(sign): None for sign in "<>"})

    found = sentence_around(text, bare.index("["), bare.index("]") - 1)

    sentence = marked[marked.index("<") + 1 : marked.index(">")].replace("[", "").replace("]", "")
    assert text[slice(*found)] == sentence


@given(st.data())
def test_sentence_around_holds_its_stretch_whatever_the_text(data: st.DataObject) -> None:
    text = data.draw(st.text(alphabet="ab .!?…\n\t", min_size=1))
    first = data.draw(st.integers(0, len(text) - 1))
    last = data.draw(st.integers(first + 1, len(text)))

    start, end = sentence_around(text, first, last)

    assert 0 <= start <= first < last <= end <= len(text)
    assert start == first or not text[start].isspace()
    assert end == last or not text[end - 1].isspace()


def test_entry_tells_all_that_is_known_of_a_dated_sentence(memory: Memory) -> None:
    text = "Hello! I flew to Rome on 3 May 2024. It was hot."
    tell(memory, "Nothing to tell.", text)

    (entry,) = timeline(memory)

    assert (entry.session_id, entry.turn.turn_id, entry.turn.text, entry.turn.said_at) == ("s1", "1", text, SAID_AT)
    assert (entry.sentence, entry.span) == ("I flew to Rome on 3 May 2024.", (7, 36))
    told = entry.expression
    assert (told.text, text[slice(*told.span)]) == ("3 May 2024", "3 May 2024")
    assert (told.start, told.end, told.precision) == (at("2024-05-03"), at("2024-05-04"), Precision.DAY)
    assert told.is_relative is False
    assert entry.place[0] == at("2024-05-03")


def test_timeline_stands_in_the_order_of_what_it_tells_of(memory: Memory) -> None:
    tell(memory, "We move on 1 July 2024.", "I was born in 1990.", session="s1")
    tell(memory, "I flew to Rome last week.", session="s0")
    tell(memory, "We met on 3 May 2024, and again on 9 May 2024.", session="s2", said_at=SAID_AT - timedelta(days=5))

    found = timeline(memory)

    assert [(entry.sentence, entry.expression.text) for entry in found] == [
        ("I was born in 1990.", "1990"),
        ("We met on 3 May 2024, and again on 9 May 2024.", "3 May 2024"),
        ("We met on 3 May 2024, and again on 9 May 2024.", "9 May 2024"),
        ("I flew to Rome last week.", "last week"),
        ("We move on 1 July 2024.", "1 July 2024"),
    ]


@pytest.mark.parametrize(
    ("words", "start", "end", "precision"),
    [
        ("3 May 2024", "2024-05-03", "2024-05-04", Precision.DAY),
        ("spring 2022", "2022-03-01", "2022-06-01", Precision.SEASON),
        ("the 90s", "1990-01-01", "2000-01-01", Precision.DECADE),
        ("May 2023", "2023-05-01", "2023-06-01", Precision.MONTH),
        ("in 2019", "2019-01-01", "2020-01-01", Precision.YEAR),
        ("last week", "2024-06-03", "2024-06-10", Precision.WEEK),
        ("since March 2024", "2024-03-01", None, Precision.MONTH),
        ("before 2020", None, "2020-01-01", Precision.YEAR),
    ],
)
def test_precision_is_kept_as_it_was_told(
    memory: Memory, words: str, start: str | None, end: str | None, precision: Precision
) -> None:
    tell(memory, f"I lived in Porto {words}.")

    (entry,) = timeline(memory)

    told = entry.expression
    assert told.text == words.removeprefix("in ")
    assert (told.start, told.end, told.precision) == (at(start), at(end), precision)


def test_times_keep_the_offset_that_they_were_said_with(memory: Memory) -> None:
    delhi = timezone(timedelta(hours=5, minutes=30))
    tell(memory, "We met yesterday.", said_at=datetime(2024, 6, 12, 1, tzinfo=delhi))

    (entry,) = timeline(memory)

    assert (entry.expression.start, entry.expression.end) == (
        datetime(2024, 6, 11, tzinfo=delhi),
        datetime(2024, 6, 12, tzinfo=delhi),
    )
    assert entry.expression.start is not None
    assert entry.expression.start.utcoffset() == timedelta(hours=5, minutes=30)
    assert entry.turn.said_at.utcoffset() == timedelta(hours=5, minutes=30)


def test_what_names_no_time_is_on_no_timeline(memory: Memory) -> None:
    tell(memory, "Hello!", "What should I do?")

    found = timeline(memory)

    assert found == []


@pytest.mark.parametrize(
    ("start", "end", "words"),
    [
        ("2024-05-03", "2024-05-04", ["since March 2024", "3 May 2024"]),
        ("2024-05-04", None, ["since March 2024", "5 May 2024"]),
        (None, "2024-05-03", ["before 2020", "since March 2024"]),
        ("2024-05-04", "2024-05-05", ["since March 2024"]),
        ("2024-05-03T23:59:59", "2024-05-05T00:00:01", ["since March 2024", "3 May 2024", "5 May 2024"]),
        ("2019-12-31", "2020-01-01", ["before 2020"]),
        ("2020-01-01", "2024-03-01", []),
        (None, None, ["before 2020", "since March 2024", "3 May 2024", "5 May 2024"]),
    ],
)
def test_timeline_between_two_instants_is_what_overlaps_them(
    memory: Memory, start: str | None, end: str | None, words: list[str]
) -> None:
    texts = ("I flew on 3 May 2024.", "I swam on 5 May 2024.", "I have run since March 2024.", "I smoked before 2020.")
    tell(memory, *texts)

    found = timeline(memory, start=start, end=end)

    assert [entry.expression.text for entry in found] == words


def test_timeline_of_a_speaker_is_what_that_one_told(memory: Memory) -> None:
    drafts = [draft(f"{who} flew on 3 May 2024.", speaker=who, said_at=SAID_AT) for who in ("Ana", "Ben")]
    memory.recorder.record(OWNER, "s1", drafts, started_at=SAID_AT)
    memory.drain()

    found = {who: sentences(timeline(memory, speaker=who)) for who in ("Ana", "Ben", "ana", "Cy")}

    assert found == {"Ana": ["Ana flew on 3 May 2024."], "Ben": ["Ben flew on 3 May 2024."], "ana": [], "Cy": []}


def test_timeline_is_as_it_was_known_at_both_clocks(memory: Memory) -> None:
    later = SAID_AT + timedelta(days=1)
    tell(memory, "I flew on 3 May 2024.", session="s1")
    first = memory.clock.now()
    memory.clock.pass_time(hours=1)
    tell(memory, "I swam on 5 May 2024.", session="s2", said_at=later)
    second = memory.clock.now()

    found = {
        as_of: [sentence.split()[1] for sentence in sentences(timeline(memory, as_of=as_of))]
        for as_of in (
            AsOf(),
            AsOf(valid=SAID_AT),
            AsOf(valid=SAID_AT - timedelta(seconds=1)),
            AsOf(recorded=first),
            AsOf(recorded=first - timedelta(seconds=1)),
            AsOf(later, second),
            AsOf(SAID_AT, second),
        )
    }

    assert list(found.values()) == [["flew", "swam"], ["flew"], [], ["flew"], [], ["flew", "swam"], ["flew"]]


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 8])
def test_pages_give_each_entry_once_and_in_order(memory: Memory, limit: int) -> None:
    # Many share one time, as half of all does.
    tell(memory, *(f"Number {number} was on 3 May 2024." for number in range(5)), "I flew on 1 May and on 3 May 2024.")
    whole = timeline(memory)

    pages: list[Entry] = []
    while page := Chronicler(memory.store).timeline(OWNER, after=pages[-1].place if pages else None, limit=limit):
        assert len(page) <= limit
        pages += page

    assert len(whole) == 7
    assert pages == whole


def test_timelines_of_owners_are_apart(memory: Memory) -> None:
    for owner, place in ((OWNER, "Rome"), (BEN, "Porto"), (NAMESAKE, "Oslo")):
        tell(memory, f"I flew to {place} on 3 May 2024.", owner=owner)

    found = [sentences(timeline(memory, owner=owner)) for owner in (OWNER, BEN, NAMESAKE, Owner("acme", "ben"))]

    assert found == [[f"I flew to {place} on 3 May 2024."] for place in ("Rome", "Porto", "Oslo")] + [[]]


def test_cursor_of_one_owner_opens_no_other_owners_timeline(memory: Memory) -> None:
    tell(memory, "I flew to Rome on 3 May 2024.")
    tell(memory, "I flew to Porto on 3 May 2024.", "I flew to Oslo on 4 May 2024.", owner=BEN)
    (first, _) = timeline(memory, owner=BEN)

    found = Chronicler(memory.store).timeline(OWNER, after=first.place, limit=10)

    assert {entry.sentence for entry in found} <= {"I flew to Rome on 3 May 2024."}


def test_forgotten_session_is_on_no_timeline(memory: Memory) -> None:
    tell(memory, "I flew to Rome on 3 May 2024.", session="s1")
    tell(memory, "I flew to Porto on 4 May 2024.", session="s2")

    memory.forgetter.forget_session(OWNER, "s1")

    assert sentences(timeline(memory)) == ["I flew to Porto on 4 May 2024."]


def test_turns_that_are_not_indexed_yet_are_on_no_timeline(memory: Memory) -> None:
    memory.recorder.record(OWNER, "s1", [draft("I flew on 3 May 2024.", said_at=SAID_AT)], started_at=SAID_AT)

    before = timeline(memory)
    memory.drain()

    assert (before, sentences(timeline(memory))) == ([], ["I flew on 3 May 2024."])


def test_reply_that_lengthens_a_round_repeats_nothing(memory: Memory) -> None:
    tell(memory, "I flew to Rome on 3 May 2024.")
    memory.recorder.append(OWNER, "s1", [draft("And back on 5 May 2024?", "assistant")])
    memory.drain()
    memory.rebuilder.rebuild()

    found = timeline(memory)

    assert sentences(found) == ["I flew to Rome on 3 May 2024.", "And back on 5 May 2024?"]
