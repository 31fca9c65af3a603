"""Facts by the world's clock and by the record's, on both databases."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from memsvc.domain import Owner
from memsvc.facts import Citation, Fact
from memsvc.intervals import AsOf, Interval, Precision
from memsvc.memory.quoting import plain
from memsvc.memory.reading import Reader
from memsvc.store.database import Store
from memsvc.store.facts import FactFilter, NewFact
from memsvc.store.ledger import Change
from tests.doubles import FixedClock
from tests.factories import OWNER, STARTED, draft, recorder, row_id

LATE = datetime(2030, 1, 1, tzinfo=UTC)


def at(year: int, month: int = 1) -> datetime:
    return datetime(year, month, 1, tzinfo=UTC)


def write(store: Store, name: str, *, owner: Owner = OWNER, session: str | None = None, **told: Any) -> Fact:
    """Write a fact of a name, drawn from the only round of a session that is recorded with it, and believed from then.

    Without more it holds from 2020 on, and was recorded in 2021.
    """
    session_id = session or name
    recorder(store).record(owner, session_id, [draft(session_id)], started_at=STARTED)
    said_at = told.pop("said_at", STARTED)
    vector = told.pop("vector", None)
    merged_into = told.pop("merged_into", None)
    believed = {"invalid_at": told.pop("invalid_at", None), "superseded_by": told.pop("superseded_by", None)}
    with store.begin() as tx:
        found = tx.sessions.find(owner, session_id)
        assert found is not None
        place = tx.sessions.turn(owner, found.row_id, "0")
        assert place is not None
        known: dict[str, Any] = {
            "text": name, "kind": "fact", "subject": "user", "speaker": "user", "event": None,
            "precision": Precision.UNKNOWN, "valid_at": at(2020), "recorded_at": at(2021), "confidence": None,
            "source": "api", "trust": "user",
        }  # fmt: skip
        fact = Fact(
            fact_id=row_id(name), round_row=place[1], invalid_at=None, expired_at=None, superseded_by=None,
            **(known | told),
        )  # fmt: skip
        new = NewFact(fact, found.row_id, "0", plain(fact.text), name, (0, len(name)), said_at, "test", vector)
        tx.facts.insert(owner, [new])
    note(store, name, owner=owner, at=fact.recorded_at, valid_at=fact.valid_at, merged_into=merged_into, **believed)
    return fact


def note(store: Store, name: str, *, owner: Owner = OWNER, **told: Any) -> None:
    """Note what is believed of a fact from an instant on."""
    known: dict[str, Any] = {
        "valid_at": at(2020), "invalid_at": None, "superseded_by": None, "merged_into": None, "reason": "so",
        "decided_by": "rules",
    }  # fmt: skip
    with store.begin() as tx:
        tx.ledger.note(owner, row_id(name), Change(**(known | told)))


def ended(store: Store, name: str, **told: Any) -> None:
    """Write a fact that has ended in 2023, of which one learned in 2024."""
    write(store, name, **told)
    note(store, name, at=at(2024), invalid_at=at(2023))


def known(store: Store, owner: Owner = OWNER, **asked: Any) -> list[str]:
    wanted = FactFilter(**({"valid": LATE} | asked))
    with store.read() as tx:
        return [fact.text for fact in tx.facts.page(owner, wanted, limit=10)]


def test_fact_holds_from_when_it_is_valid_and_known_from_when_it_is_recorded(store: Store) -> None:
    write(store, "nurse", valid_at=at(2020), recorded_at=at(2021))

    assert known(store, valid=at(2019), recorded=at(2022)) == []
    assert known(store, valid=at(2020), recorded=at(2020)) == []
    assert known(store, valid=at(2020), recorded=at(2021)) == ["nurse"]
    assert known(store, valid=at(2019)) == []
    assert known(store, valid=at(2020)) == ["nurse"]


def test_fact_that_the_world_has_ended_was_true_before(store: Store) -> None:
    ended(store, "Porto")

    for recorded in (None, at(2024)):
        assert known(store, valid=at(2022), recorded=recorded) == ["Porto"]
        assert known(store, valid=at(2023), recorded=recorded) == []


def test_fact_whose_end_was_not_yet_learned_was_still_believed(store: Store) -> None:
    ended(store, "Porto")

    assert known(store, valid=at(2023, 6), recorded=at(2023, 6)) == ["Porto"]
    assert known(store, valid=at(2023, 6), recorded=at(2024)) == []


def test_fact_that_was_taken_back_was_never_true_but_was_believed(store: Store) -> None:
    write(store, "a dog")
    note(store, "a dog", at=at(2024), invalid_at=at(2020))

    assert known(store, valid=at(2022)) == []
    assert known(store, valid=at(2022), recorded=at(2022)) == ["a dog"]


def test_fact_that_came_back_was_not_believed_between(store: Store) -> None:
    ended(store, "Porto")
    note(store, "Porto", at=at(2025))

    assert [known(store, recorded=at(year)) for year in (2023, 2024, 2025)] == [["Porto"], [], ["Porto"]]
    assert known(store) == ["Porto"]


def test_beginning_that_was_corrected_was_believed_until_then(store: Store) -> None:
    write(store, "Porto")
    note(store, "Porto", at=at(2024), valid_at=at(2022))

    assert known(store, valid=at(2021), recorded=at(2023)) == ["Porto"]
    assert known(store, valid=at(2021), recorded=at(2024)) == []
    assert known(store, valid=at(2021)) == []


def test_fact_shows_what_was_believed_of_it_at_the_time(store: Store) -> None:
    write(store, "Lisbon")
    ended(store, "Porto")
    note(store, "Porto", at=at(2025), invalid_at=at(2022), superseded_by=row_id("Lisbon"))

    with store.read() as tx:
        shown = [
            tx.facts.load(OWNER, [row_id("Porto")], FactFilter(at(2021), recorded))[row_id("Porto")]
            for recorded in (at(2023), at(2024), at(2025), None)
        ]

    assert [(fact.invalid_at, fact.expired_at, fact.superseded_by) for fact in shown] == [
        (None, None, None),
        (at(2023), at(2024), None),
        (at(2022), at(2025), row_id("Lisbon")),
        (at(2022), at(2025), row_id("Lisbon")),
    ]


def test_superseded_facts_come_when_they_are_asked_for(store: Store) -> None:
    ended(store, "Porto")

    assert known(store) == []
    assert known(store, superseded=True) == ["Porto"]
    assert known(store, superseded=True, recorded=at(2020)) == []


def test_mention_is_no_fact_of_its_own_from_when_that_is_known(store: Store) -> None:
    write(store, "Porto")
    write(store, "Oporto")
    note(store, "Oporto", at=at(2024), merged_into=row_id("Porto"))

    assert known(store) == ["Porto"]
    assert sorted(known(store, recorded=at(2023))) == ["Oporto", "Porto"]
    assert known(store, recorded=at(2024), superseded=True) == ["Porto"]


def test_fact_cites_where_it_was_said_and_where_it_was_said_again(store: Store) -> None:
    write(store, "Porto")
    write(store, "Oporto", said_at=at(2025), merged_into=row_id("Porto"))

    with store.read() as tx:
        fact = tx.facts.load(OWNER, [row_id("Porto")])[row_id("Porto")]
        roots, members = (
            tx.facts.roots(OWNER, [row_id("Oporto"), row_id("Porto")]),
            tx.facts.members(OWNER, fact.fact_id),
        )

    assert fact.sources == (
        Citation("Porto", "0", "Porto", 0, 5, STARTED),
        Citation("Oporto", "0", "Oporto", 0, 6, at(2025)),
    )
    assert roots == {row_id("Oporto"): row_id("Porto")}
    assert members == [row_id("Oporto")]


@pytest.mark.parametrize("recorded", [None, LATE], ids=["now", "as of a time"])
@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"kind": "event"}, ["move"]),
        ({"speaker": "Ana"}, ["job"]),
        ({"subject": "BOB"}, ["job"]),
        ({"start": at(2022), "end": at(2022, 2)}, ["move"]),
        ({"start": at(2022, 2)}, []),
        ({"end": at(2022)}, []),
    ],
    ids=["kind", "speaker", "subject", "event time", "after the event", "before the event"],
)
def test_facts_are_chosen_by_what_they_are_about_and_event_time(
    store: Store, asked: dict[str, Any], found: list[str], recorded: datetime | None
) -> None:
    write(store, "job", speaker="Ana", subject="Bob")
    write(store, "move", kind="event", event=Interval(at(2022), at(2022, 2)), precision=Precision.MONTH)

    assert known(store, recorded=recorded, **asked) == found


def test_event_time_comes_with_its_precision_and_may_be_unknown(store: Store) -> None:
    write(store, "job")
    month = Interval(at(2022), at(2022, 2))
    write(store, "move", event=month, precision=Precision.MONTH, when="in January", reading="rules", valid_at=at(2022))

    with store.read() as tx:
        found = tx.facts.page(OWNER, FactFilter(LATE), limit=10)

    assert [(fact.event, fact.precision, fact.when, fact.reading) for fact in found] == [
        (None, Precision.UNKNOWN, None, None),
        (month, Precision.MONTH, "in January", "rules"),
    ]


def test_statement_comes_back_as_it_was_written(store: Store) -> None:
    more: dict[str, Any] = {"slot": "home", "value": "Porto", "confidence": 0.5, "trust": "tool", "source": "llm"}
    written = write(store, "move", kind="plan", subject="Ana", **more)

    with store.read() as tx:
        assert tx.facts.load(OWNER, [written.fact_id]) == {written.fact_id: written}


@pytest.mark.parametrize("stranger", [Owner("default", "bob"), Owner("other", "ana")], ids=["user", "workspace"])
def test_strangers_facts_are_not_seen(store: Store, stranger: Owner) -> None:
    written = write(store, "secret", owner=stranger)

    with store.read() as tx:
        assert tx.facts.load(OWNER, [written.fact_id]) == {}
        assert tx.facts.statements(OWNER, [written.fact_id]) == []
        assert tx.facts.known(OWNER, subjects=["user"], plains=["secret"]) == []
        assert tx.facts.taken(OWNER, [written.fact_id]) == set()
        assert tx.facts.of_rounds(OWNER, [written.round_row], FactFilter(LATE)) == {}
    assert known(store) == known(store, recorded=LATE) == []
    assert known(store, stranger) == known(store, stranger, recorded=LATE) == ["secret"]


@pytest.mark.parametrize("recorded", [None, LATE], ids=["now", "as of a time"])
def test_pages_follow_each_other(store: Store, recorded: datetime | None) -> None:
    for name, year in (("a", 2020), ("b", 2020), ("c", 2021)):
        write(store, name, valid_at=at(year))
    reader = Reader(store, FixedClock())

    places: list[tuple[datetime, UUID] | None] = [None]
    texts = []
    for _ in range(3):
        (fact,) = reader.facts(OWNER, AsOf(None, recorded), after=places[-1], limit=1)
        texts.append(fact.text)
        places.append((fact.valid_at, fact.fact_id))

    assert (sorted(texts), texts[-1]) == (["a", "b", "c"], "c")
    assert reader.facts(OWNER, AsOf(None, recorded), after=places[-1], limit=1) == []


def test_facts_come_with_the_rounds_they_were_drawn_from(store: Store) -> None:
    nurse = write(store, "nurse", session="s1")
    write(store, "doctor", session="s1", valid_at=at(2019))
    ended(store, "Porto")

    with store.read() as tx:
        by_round = tx.facts.of_rounds(OWNER, [nurse.round_row], FactFilter(LATE))
        nothing = tx.facts.of_rounds(OWNER, [], FactFilter(LATE))

    assert {row: [fact.text for fact in found] for row, found in by_round.items()} == {
        nurse.round_row: ["doctor", "nurse"]
    }
    assert nothing == {}


def test_session_lists_its_facts_also_those_that_no_longer_hold(store: Store) -> None:
    ended(store, "Porto", session="s1")
    write(store, "Oporto", session="s1", merged_into=row_id("Porto"))
    write(store, "Lisbon", session="s2")

    with store.read() as tx:
        session = tx.sessions.find(OWNER, "s1")
        assert session is not None
        own, all_of_it = (
            [fact.text for fact in tx.facts.of_session(OWNER, session.row_id, merged=merged)]
            for merged in (False, True)
        )

    assert (own, sorted(all_of_it)) == (["Porto"], ["Oporto", "Porto"])


def test_what_is_known_of_a_subject_or_says_the_same_is_compared(store: Store) -> None:
    write(store, "nurse", subject="Ana", vector=b"v")
    write(store, "dog", subject="Rex")
    write(store, "Cat!", subject="Tom", valid_at=at(2019))

    with store.read() as tx:
        found = tx.facts.known(OWNER, subjects=["ANA"], plains=["cat"])

    assert [(one.fact.text, one.plain, one.told_at, one.said_at, one.vector) for one in found] == [
        ("Cat!", "cat", at(2019), STARTED, None),
        ("nurse", "nurse", at(2020), STARTED, b"v"),
    ]


@pytest.mark.parametrize(
    ("subject", "asked"),
    [("Łukasz", "Łukasz"), ("Łukasz", "ŁUKASZ"), ("özge", "Özge"), ("МАРИЯ", "Мария")],
    ids=["as it is", "in capitals", "in small letters", "in Cyrillic"],
)
def test_subjects_are_the_same_in_other_letters(store: Store, subject: str, asked: str) -> None:
    write(store, "nurse", subject=subject)

    with store.read() as tx:
        compared = [one.fact.text for one in tx.facts.known(OWNER, subjects=[asked], plains=[])]

    assert (compared, known(store, subject=asked)) == (["nurse"], ["nurse"])


def test_fact_is_listed_once_although_the_clock_went_back(store: Store) -> None:
    write(store, "Porto")
    note(store, "Porto", at=at(2025), invalid_at=at(2023))

    note(store, "Porto", at=at(2024))

    for recorded in (at(2022), at(2024, 6), LATE, None):
        assert known(store, recorded=recorded) == ["Porto"]


def test_forgotten_fact_leaves_its_id_alone(store: Store) -> None:
    fact = write(store, "secret")

    with store.begin() as tx:
        tx.facts.forget(OWNER, [fact.fact_id], now=at(2025))

    with store.read() as tx:
        assert tx.facts.load(OWNER, [fact.fact_id]) == {}
        assert tx.facts.taken(OWNER, [fact.fact_id, row_id("other")]) == {fact.fact_id}
        kept, gone = tx.facts.unindexed(tx.facts.sessions_to_index(OWNER), limit=10)
    assert known(store) == known(store, recorded=at(2022)) == []
    assert (kept, gone) == ([], [(OWNER, fact.fact_id)])


def test_facts_wait_for_the_index_until_their_text_is_in_it(store: Store) -> None:
    nurse, doctor = write(store, "nurse", session="s1"), write(store, "doctor", session="s1")
    with store.read() as tx:
        (session_row,) = tx.facts.sessions_to_index(OWNER)
        waiting, _ = tx.facts.unindexed([session_row], limit=10)

    with store.begin() as tx:
        tx.facts.mark_indexed(
            [(nurse.fact_id, "nurse", b"v"), (doctor.fact_id, "what it said before", b"w")], now=at(2025)
        )

    with store.read() as tx:
        left, _ = tx.facts.unindexed([session_row], limit=10)
        vectors = {one.fact.text: one.vector for one in tx.facts.statements(OWNER, [nurse.fact_id, doctor.fact_id])}
        assert tx.facts.indexed() == 1
    assert sorted(fact.text for _, fact, _ in waiting) == ["doctor", "nurse"]
    assert [(owner, fact.text, turn_id) for owner, fact, turn_id in left] == [(OWNER, "doctor", "0")]
    assert vectors == {"nurse": b"v", "doctor": None}


def test_facts_indexed_since_a_time_are_owed_again(store: Store) -> None:
    nurse, doctor = write(store, "nurse"), write(store, "doctor")
    with store.begin() as tx:
        tx.facts.mark_indexed([(nurse.fact_id, "nurse", None)], now=at(2024))
        tx.facts.mark_indexed([(doctor.fact_id, "doctor", None)], now=at(2025))

        owed = tx.facts.owed_since(at(2025))

        session = tx.sessions.find(OWNER, "doctor")
    assert session is not None
    assert owed == [(OWNER, session.row_id)]
