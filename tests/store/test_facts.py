"""Facts by the world's clock and by the record's, on both databases."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import insert, select

from memsvc.domain import Owner
from memsvc.intervals import AsOf, Interval, Precision
from memsvc.memory.reading import Reader
from memsvc.store.database import Store
from memsvc.store.facts import FactFilter
from memsvc.store.tables import facts, rounds, sessions
from tests.doubles import FixedClock
from tests.factories import OWNER, STARTED, draft, recorder, row_id


def at(year: int, month: int = 1) -> datetime:
    return datetime(year, month, 1, tzinfo=UTC)


def write(store: Store, name: str, **told: Any) -> None:
    """Write a fact of a name, drawn from the only round of a session that is recorded with it."""
    owner: Owner = told.pop("owner", OWNER)
    recorder(store).record(owner, name, [draft(name)], started_at=STARTED)
    with store.engine.begin() as connection:
        joined = select(rounds).join(sessions, sessions.c.id == rounds.c.session_row)
        of_session = joined.where(sessions.c.session_id == name, sessions.c.user_id == owner.user_id)
        round_ = connection.execute(of_session).one()
        row = {
            "id": row_id(name), "workspace": owner.workspace, "user_id": owner.user_id,
            "session_row": round_.session_row, "round_row": round_.id, "text": name, "kind": "fact",
            "speaker": "user", "valid_at": at(2020), "recorded_at": at(2021), "source": "api", "trust": "user",
        }  # fmt: skip
        connection.execute(insert(facts).values(row | told))


def known(store: Store, owner: Owner = OWNER, **asked: Any) -> list[str]:
    wanted = FactFilter(**({"valid": at(2030), "recorded": at(2030)} | asked))
    with store.read() as tx:
        return [fact.text for fact in tx.facts.page(owner, wanted, after=None, limit=10)]


def test_fact_holds_from_when_it_is_valid_and_known_from_when_it_is_recorded(store: Store) -> None:
    write(store, "nurse", valid_at=at(2020), recorded_at=at(2021))

    assert known(store, valid=at(2019), recorded=at(2022)) == []
    assert known(store, valid=at(2020), recorded=at(2020)) == []
    assert known(store, valid=at(2020), recorded=at(2021)) == ["nurse"]


def test_fact_that_the_world_has_ended_was_true_before(store: Store) -> None:
    write(store, "Porto", invalid_at=at(2023), expired_at=at(2024))

    assert known(store, valid=at(2022)) == ["Porto"]
    assert known(store, valid=at(2023)) == []


def test_fact_whose_end_was_not_yet_learned_was_still_believed(store: Store) -> None:
    write(store, "Porto", invalid_at=at(2023), expired_at=at(2024))

    assert known(store, valid=at(2023, 6), recorded=at(2023, 6)) == ["Porto"]
    assert known(store, valid=at(2023, 6), recorded=at(2024)) == []


def test_fact_that_was_taken_back_was_never_true_but_was_believed(store: Store) -> None:
    write(store, "a dog", expired_at=at(2024))

    assert known(store, valid=at(2022)) == []
    assert known(store, valid=at(2022), recorded=at(2022)) == ["a dog"]


def test_superseded_facts_come_when_they_are_asked_for(store: Store) -> None:
    write(store, "Porto", invalid_at=at(2023), expired_at=at(2024))

    assert known(store) == []
    assert known(store, superseded=True) == ["Porto"]


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"kind": "event"}, ["move"]),
        ({"speaker": "Ana"}, ["job"]),
        ({"start": at(2022), "end": at(2022, 2)}, ["move"]),
        ({"start": at(2022, 2)}, []),
        ({"end": at(2022)}, []),
    ],
    ids=["kind", "speaker", "event time", "after the event", "before the event"],
)
def test_facts_are_chosen_by_kind_speaker_and_event_time(store: Store, asked: dict[str, Any], found: list[str]) -> None:
    write(store, "job", speaker="Ana")
    write(store, "move", kind="event", event_from=at(2022), event_to=at(2022, 2), event_precision="month")

    assert known(store, **asked) == found


def test_event_time_comes_with_its_precision_and_may_be_unknown(store: Store) -> None:
    write(store, "job")
    write(store, "move", event_from=at(2022), event_to=at(2022, 2), event_precision="month", valid_at=at(2022))

    with store.read() as tx:
        found = tx.facts.page(OWNER, FactFilter(at(2030), at(2030)), after=None, limit=10)

    assert [(fact.event, fact.precision) for fact in found] == [
        (None, Precision.UNKNOWN),
        (Interval(at(2022), at(2022, 2)), Precision.MONTH),
    ]


@pytest.mark.parametrize("stranger", [Owner("default", "bob"), Owner("other", "ana")], ids=["user", "workspace"])
def test_strangers_facts_are_not_seen(store: Store, stranger: Owner) -> None:
    write(store, "secret", owner=stranger)

    assert known(store) == []
    assert known(store, stranger) == ["secret"]


def test_pages_follow_each_other(store: Store) -> None:
    for name in ("a", "b", "c"):
        write(store, name)
    reader = Reader(store, FixedClock())

    places: list[tuple[datetime, UUID] | None] = [None]
    texts = []
    for _ in range(3):
        (fact,) = reader.facts(OWNER, AsOf(), after=places[-1], limit=1)
        texts.append(fact.text)
        places.append((fact.valid_at, fact.fact_id))

    assert sorted(texts) == ["a", "b", "c"]
    assert reader.facts(OWNER, AsOf(), after=places[-1], limit=1) == []


def test_facts_come_with_the_rounds_they_were_drawn_from(store: Store) -> None:
    write(store, "nurse")
    write(store, "Porto", expired_at=at(2022))
    with store.read() as tx:
        (fact,) = tx.facts.page(OWNER, FactFilter(at(2030), at(2030)), after=None, limit=10)

        by_round = tx.facts.of_rounds(OWNER, [fact.round_row], FactFilter(at(2030), at(2030)))

    assert {row: [fact.text for fact in found] for row, found in by_round.items()} == {fact.round_row: ["nurse"]}
