"""Facts as their owner mends them: told, changed, restored and forgotten, and what became of each statement."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from memsvc.domain import Owner, TaskKind
from memsvc.errors import FactNotFound, FactNotSuperseded, Invalid, SessionNotFound
from memsvc.facts import Action, Fact, Origin, Rejection
from memsvc.index.edge import EdgeIndex
from memsvc.inference.llm import ChatLlm
from memsvc.intervals import Interval, Precision
from memsvc.memory.curating import Place, Told
from memsvc.memory.extracting import TOLD_SESSION
from memsvc.memory.forgetting import Forgetter
from memsvc.memory.indexing import shape_of
from memsvc.store.database import Store
from tests.factories import OWNER, row_id
from tests.histories import NOW, Desk, Script, Stands, TopicEncoder, judging, moment
from tests.llm import said

BOB = Owner("default", "bob")
RIGHT, WRONG = "Ana was born in June.", "Ana was born in May."
RELATIONS = {frozenset({RIGHT, WRONG}): "correct"}


@pytest.fixture(scope="module")
def llm() -> Iterator[ChatLlm]:
    with judging(Script(RELATIONS)) as (chat, _):
        yield chat


@pytest.fixture
def desk(store: Store, llm: ChatLlm) -> Desk:
    return Desk(store, llm, encoder=TopicEncoder({RIGHT: "birth", WRONG: "birth"}))


def home(desk: Desk, city: str, day: str, **more: Any) -> UUID:
    """Say where one lives; the fact's id."""
    return desk.add(more.pop("text", f"Ana lives in {city}."), day, slot="home city", value=city, **more)


def stands(city: str, start: str, end: str | None = None, by: str | None = None, into: str | None = None) -> Stands:
    by, into = (other and f"Ana lives in {other}." for other in (by, into))
    return Stands(f"Ana lives in {city}.", start, end, by, into)


def owed(desk: Desk) -> int:
    """How many sessions wait for the index; they are claimed."""
    with desk.store.begin() as tx:
        return len(tx.outbox.claim(TaskKind.INDEX, limit=100, lease_s=60, now=desk.clock.now()))


def test_what_was_superseded_holds_again_beside_what_had_ended_it(desk: Desk) -> None:
    lisbon = home(desk, "Lisbon", "2024-03-01")
    porto = home(desk, "Porto", "2024-04-01")
    desk.clock.pass_time(hours=1)

    found = desk.curator.restore(OWNER, lisbon)

    assert desk.standings() == [stands("Lisbon", "2024-03-01"), stands("Porto", "2024-04-01")]
    assert found == desk.curator.fact(OWNER, lisbon)
    assert [
        (change.invalid_at, change.superseded_by, change.reason, change.decided_by) for change in found.history
    ] == [
        (moment("2024-04-01"), porto, "another home city", "rules"),
        (None, None, "restored by the caller", "api"),
    ]


def test_what_was_believed_before_it_was_restored_is_still_known(desk: Desk) -> None:
    lisbon = home(desk, "Lisbon", "2024-03-01")
    home(desk, "Porto", "2024-04-01")
    desk.clock.pass_time(hours=1)

    desk.curator.restore(OWNER, lisbon)

    assert desk.held(NOW, NOW) == ["Ana lives in Porto."]
    assert desk.held(NOW, desk.clock.now()) == ["Ana lives in Lisbon.", "Ana lives in Porto."]


def test_what_several_would_have_ended_is_restored_from_all_of_them(desk: Desk) -> None:
    lisbon = home(desk, "Lisbon", "2024-03-01")
    home(desk, "Porto", "2024-04-01")
    home(desk, "Berlin", "2024-05-01")

    desk.curator.restore(OWNER, lisbon)

    assert desk.standings() == [
        stands("Lisbon", "2024-03-01"), stands("Porto", "2024-04-01", "2024-05-01", "Berlin"),
        stands("Berlin", "2024-05-01"),
    ]  # fmt: skip


def test_what_mentions_had_ended_is_restored_from_each_of_them(desk: Desk) -> None:
    lisbon = home(desk, "Lisbon", "2024-03-01")
    home(desk, "Lisbon", "2024-03-05", text="Ana's home is Lisbon.")
    home(desk, "Porto", "2024-04-01")
    home(desk, "Porto", "2024-05-01", text="Ana's home is Porto.")

    desk.curator.restore(OWNER, lisbon)

    assert desk.held() == ["Ana lives in Lisbon.", "Ana lives in Porto."]


def test_mention_that_is_restored_is_a_fact_of_its_own(desk: Desk) -> None:
    home(desk, "Lisbon", "2024-03-01")
    again = home(desk, "Lisbon", "2024-04-01", text="Ana's home is Lisbon.")

    found = desk.curator.restore(OWNER, again)

    assert desk.standings() == [stands("Lisbon", "2024-03-01"), Stands("Ana's home is Lisbon.", "2024-04-01")]
    assert found.fact.text == "Ana's home is Lisbon."


def test_what_was_restored_stays_so_when_its_batch_comes_again(desk: Desk) -> None:
    lisbon = home(desk, "Lisbon", "2024-03-01")
    porto = desk.said("Ana lives in Porto.", "2024-04-01", slot="home city", value="Porto")
    desk.reconcile(porto)
    desk.curator.restore(OWNER, lisbon)

    desk.reconcile(porto)
    desk.add("Ana is tall.", "2024-06-01")

    assert desk.held() == ["Ana is tall.", "Ana lives in Lisbon.", "Ana lives in Porto."]


def test_what_was_restored_stays_so_when_what_had_ended_it_is_said_again(desk: Desk) -> None:
    lisbon = home(desk, "Lisbon", "2024-03-01")
    home(desk, "Porto", "2024-04-01")
    desk.curator.restore(OWNER, lisbon)

    home(desk, "Porto", "2024-06-01", text="Ana's home is Porto.")

    assert desk.held() == ["Ana lives in Lisbon.", "Ana lives in Porto."]


def test_what_was_restored_is_ended_by_something_new(desk: Desk) -> None:
    lisbon = home(desk, "Lisbon", "2024-03-01")
    home(desk, "Porto", "2024-04-01")
    desk.curator.restore(OWNER, lisbon)

    home(desk, "Berlin", "2024-06-01")

    assert desk.held() == ["Ana lives in Berlin."]


@pytest.mark.parametrize("end", [None, moment("2024-04-01")], ids=["holds", "was told to end"])
def test_what_nothing_has_ended_cannot_be_restored(desk: Desk, end: datetime | None) -> None:
    lisbon = home(desk, "Lisbon", "2024-03-01")
    desk.curator.change(OWNER, lisbon, lambda fact: replace(fact, invalid_at=end))

    with pytest.raises(FactNotSuperseded):
        desk.curator.restore(OWNER, lisbon)


@pytest.mark.parametrize("act", ["fact", "restore", "forget"])
@pytest.mark.parametrize("whose", ["nobody's", "a stranger's", "a forgotten"])
def test_fact_that_the_user_does_not_have_is_not_found(desk: Desk, act: str, whose: str) -> None:
    fact_id = row_id("nobody's") if whose == "nobody's" else home(desk, "Lisbon", "2024-03-01")
    if whose == "a forgotten":
        desk.curator.forget(OWNER, fact_id)

    with pytest.raises(FactNotFound):
        getattr(desk.curator, act)(BOB if whose == "a stranger's" else OWNER, fact_id)


def test_strangers_fact_is_not_changed(desk: Desk) -> None:
    lisbon = home(desk, "Lisbon", "2024-03-01")

    with pytest.raises(FactNotFound):
        desk.curator.change(BOB, lisbon, lambda fact: replace(fact, text="x"))

    assert desk.held() == ["Ana lives in Lisbon."]


def test_forgotten_fact_gives_back_what_it_had_ended(desk: Desk) -> None:
    home(desk, "Lisbon", "2024-03-01")
    porto = home(desk, "Porto", "2024-04-01")
    home(desk, "Berlin", "2024-05-01")

    forgotten = desk.curator.forget(OWNER, porto)

    assert forgotten.text == "Ana lives in Porto."
    assert desk.standings() == [
        stands("Lisbon", "2024-03-01", "2024-05-01", "Berlin"), stands("Berlin", "2024-05-01")
    ]  # fmt: skip


def test_forgotten_fact_is_gone_with_what_says_the_same_and_is_not_drawn_again(desk: Desk) -> None:
    first = desk.said("Ana lives in Lisbon.", "2024-03-01", slot="home city", value="Lisbon")
    desk.reconcile(first)
    again = home(desk, "Lisbon", "2024-04-01", text="Ana's home is Lisbon.")
    (decision,) = desk.curator.outcome(OWNER, first.session_id)
    assert decision.decision.fact_id is not None

    desk.curator.forget(OWNER, decision.decision.fact_id)
    desk.reconcile(first)

    assert desk.standings() == []
    assert desk.curator.outcome(OWNER, first.session_id) == []
    with pytest.raises(FactNotFound):
        desk.curator.fact(OWNER, again)


def test_forgotten_mention_leaves_the_fact_and_takes_its_own_deeds_along(desk: Desk) -> None:
    lisbon = home(desk, "Lisbon", "2024-03-01")
    mention = home(desk, "Lisbon", "2024-04-01", text="Ana's home is Lisbon.")

    desk.curator.forget(OWNER, mention)

    assert desk.standings() == [stands("Lisbon", "2024-03-01")]
    assert len(desk.curator.fact(OWNER, lisbon).fact.sources) == 1


def test_forgotten_words_are_nowhere_on_record(desk: Desk) -> None:
    secret = home(desk, "Lisbon", "2024-03-01")
    desk.curator.change(OWNER, secret, lambda fact: replace(fact, text="Ana lives in Lissabon.", value="Lissabon"))

    desk.curator.forget(OWNER, secret)

    with desk.store.engine.connect() as connection:
        rows = [
            row
            for table in ("facts", "fact_changes", "decisions", "fact_bonds")
            for row in connection.exec_driver_sql(f"SELECT * FROM {table}").all()
        ]
    assert len(rows) == 1
    assert "Lis" not in str(rows).replace(secret.hex, "")


def test_forgotten_words_are_not_left_in_the_reasons_of_others(store: Store) -> None:
    with judging(Script(RELATIONS)) as (chat, scripted):
        why = {"pair": 1, "relation": "update", "reason": "she moved to Porto"}
        scripted.answers = lambda _body: said({"pairs": [why]})
        desk = Desk(store, chat, encoder=TopicEncoder({"Ana lives in Lisbon.": "home", "Ana is in Porto.": "home"}))
        lisbon = desk.add("Ana lives in Lisbon.", "2024-03-01")
        porto = desk.add("Ana is in Porto.", "2024-04-01")

        desk.clock.pass_time(hours=1)
        desk.curator.forget(OWNER, porto)

        reasons = [change.reason for change in desk.curator.fact(OWNER, lisbon).history]
    assert len(reasons) == 2
    assert "Porto" not in str(reasons)


def test_session_that_is_forgotten_gives_back_what_its_statements_had_ended(desk: Desk, tmp_path: Path) -> None:
    home(desk, "Lisbon", "2024-03-01")
    home(desk, "Porto", "2024-04-01", session="s1")
    home(desk, "Porto", "2024-05-01", text="Ana's home is Porto.")

    forget(desk, tmp_path, "s1")

    assert desk.standings() == [
        stands("Lisbon", "2024-03-01", "2024-05-01")._replace(by="Ana's home is Porto."),
        Stands("Ana's home is Porto.", "2024-05-01"),
    ]


def test_session_that_is_forgotten_gives_back_what_it_took_back(desk: Desk, tmp_path: Path) -> None:
    desk.add(WRONG, "2024-03-01")
    desk.add(RIGHT, "2024-04-01", session="s1")
    assert desk.held() == [RIGHT]

    forget(desk, tmp_path, "s1")

    assert desk.held() == [WRONG]


def forget(desk: Desk, folder: Path, session_id: str) -> None:
    with closing(EdgeIndex(folder / "index", shape_of(desk.encoder))) as index:
        Forgetter(desk.store, index, desk.clock).forget_session(OWNER, session_id)


def test_changed_fact_says_what_the_caller_says_and_what_it_said_before(desk: Desk) -> None:
    lisbon = home(desk, "Lisbon", "2024-03-01")
    before = desk.curator.fact(OWNER, lisbon).fact
    owed(desk)
    desk.clock.pass_time(hours=1)
    event = Interval(moment("2024-02-01"), moment("2024-02-02"))

    def changed(fact: Fact) -> Fact:
        return replace(
            fact, text="Ana moved to Faro.", kind="event", subject="Ana", value="Faro", confidence=0.5, event=event,
            precision=Precision.DAY, reading=Origin.API,
        )  # fmt: skip

    found = desk.curator.change(OWNER, lisbon, changed)

    assert found.fact == replace(changed(before), source="api")
    assert found.fact.sources == before.sources
    assert [(change.at, change.reason, change.decided_by) for change in found.history] == [
        (NOW, "it is new", "rules"),
        (desk.clock.now(), "changed by the caller; it said: Ana lives in Lisbon.", "api"),
    ]
    assert owed(desk) == 1


def test_beginning_that_is_changed_changes_what_ends_what(desk: Desk) -> None:
    home(desk, "Lisbon", "2024-03-01")
    porto = home(desk, "Porto", "2024-04-01")

    desk.curator.change(OWNER, porto, lambda fact: replace(fact, valid_at=moment("2024-02-01")))

    assert desk.standings() == [
        stands("Lisbon", "2024-03-01"), stands("Porto", "2024-02-01", "2024-03-01", "Lisbon"),
    ]  # fmt: skip


def test_end_that_is_told_comes_before_what_would_have_ended_it(desk: Desk) -> None:
    lisbon = home(desk, "Lisbon", "2024-03-01")
    home(desk, "Porto", "2024-04-01")

    desk.curator.change(OWNER, lisbon, lambda fact: replace(fact, invalid_at=moment("2024-03-15")))

    assert desk.standings() == [stands("Lisbon", "2024-03-01", "2024-03-15"), stands("Porto", "2024-04-01")]


def test_end_that_was_told_can_be_taken_away(desk: Desk) -> None:
    lisbon = home(desk, "Lisbon", "2024-03-01")
    desk.curator.change(OWNER, lisbon, lambda fact: replace(fact, invalid_at=moment("2024-03-15")))

    desk.curator.change(OWNER, lisbon, lambda fact: replace(fact, invalid_at=None))

    assert desk.standings() == [stands("Lisbon", "2024-03-01")]


def test_end_that_was_told_is_kept_when_more_is_learned(desk: Desk) -> None:
    lisbon = home(desk, "Lisbon", "2024-03-01")
    desk.curator.change(OWNER, lisbon, lambda fact: replace(fact, invalid_at=moment("2024-03-15")))

    home(desk, "Porto", "2024-04-01")
    desk.curator.change(OWNER, lisbon, lambda fact: replace(fact, confidence=0.1))

    assert desk.standings() == [stands("Lisbon", "2024-03-01", "2024-03-15"), stands("Porto", "2024-04-01")]


def test_change_outlives_its_batch_that_comes_again(desk: Desk) -> None:
    sourced = desk.said("Ana lives in Lisbon.", "2024-03-01", slot="home city", value="Lisbon")
    (decision,) = desk.reconcile(sourced)
    assert decision.fact_id is not None
    desk.curator.change(OWNER, decision.fact_id, lambda fact: replace(fact, text="Ana lives in Sintra."))

    desk.reconcile(sourced)

    assert desk.held() == ["Ana lives in Sintra."]


def test_change_that_is_refused_leaves_the_fact_as_it_was(desk: Desk) -> None:
    lisbon = home(desk, "Lisbon", "2024-03-01")
    before = desk.curator.fact(OWNER, lisbon)

    def refuse(_fact: Fact) -> Fact:
        raise Invalid("no")

    with pytest.raises(Invalid):
        desk.curator.change(OWNER, lisbon, refuse)

    assert desk.curator.fact(OWNER, lisbon) == before


def test_fact_that_is_told_is_recorded_as_a_turn_and_cited(desk: Desk) -> None:
    told = Told("Ana lives in Lisbon.", speaker="Ana", subject="Ana", slot="home city", value="Lisbon", confidence=0.7)

    found = desk.curator.tell(OWNER, told)

    fact = found.fact
    assert (fact.text, fact.kind, fact.speaker, fact.subject, fact.slot, fact.value, fact.confidence) == (
        told.text, "fact", "Ana", "Ana", "home city", "Lisbon", 0.7
    )  # fmt: skip
    assert (fact.source, fact.trust, fact.valid_at, fact.recorded_at) == ("api", "user", NOW, NOW)
    assert [(cited.session_id, cited.quote) for cited in fact.sources] == [(TOLD_SESSION, told.text)]
    assert [(session, turn.text, turn.speaker) for session, turn in found.turns] == [(TOLD_SESSION, told.text, "Ana")]
    assert owed(desk) == 1


def test_told_fact_ends_what_it_excludes(desk: Desk) -> None:
    home(desk, "Lisbon", "2024-03-01")

    desk.curator.tell(OWNER, Told("Ana lives in Porto.", subject="user", slot="home city", value="Porto"))

    assert desk.standings() == [
        stands("Lisbon", "2024-03-01", f"{NOW:%Y-%m-%d}", "Porto"), stands("Porto", f"{NOW:%Y-%m-%d}")
    ]  # fmt: skip


def test_told_fact_that_is_known_comes_back_as_what_was_known(desk: Desk) -> None:
    lisbon = home(desk, "Lisbon", "2024-03-01")

    found = desk.curator.tell(OWNER, Told("Ana's home is Lisbon.", subject="user", slot="home city", value="Lisbon"))

    assert found.fact.fact_id == lisbon
    assert [cited.quote for cited in found.fact.sources] == ["Ana lives in Lisbon.", "Ana's home is Lisbon."]


def test_told_fact_holds_from_when_the_caller_says(desk: Desk) -> None:
    home(desk, "Lisbon", "2024-03-01")
    told = Told("Ana lives in Porto.", subject="user", slot="home city", value="Porto", valid_at=moment("2024-06-01"))

    desk.curator.tell(OWNER, told)

    assert desk.standings() == [
        stands("Lisbon", "2024-03-01", "2024-06-01", "Porto"), stands("Porto", "2024-06-01")
    ]  # fmt: skip


def test_told_fact_takes_back_what_was_said_before_although_it_holds_from_earlier(desk: Desk) -> None:
    desk.add(WRONG, "2024-03-01")

    desk.curator.tell(OWNER, Told(RIGHT, subject="user", valid_at=moment("2000-06-01")))

    assert desk.held() == [RIGHT]


def test_told_fact_may_cite_where_it_was_said(desk: Desk) -> None:
    desk.said("I live in Lisbon, by the sea.", "2024-03-01", session="s1")

    found = desk.curator.tell(OWNER, Told("Ana lives in Lisbon.", place=Place("s1", "0", "live in lisbon")))

    (cited,) = found.fact.sources
    assert (cited.session_id, cited.turn_id, cited.quote, cited.start, cited.end) == (
        "s1",
        "0",
        "live in Lisbon",
        2,
        16,
    )
    assert (found.fact.valid_at, found.fact.speaker, found.fact.subject) == (moment("2024-03-01"), "user", "user")


@pytest.mark.parametrize("place", [None, Place("s1", "0", "I live in Lisbon.")], ids=["on its own", "with a place"])
def test_told_fact_that_is_told_again_is_the_same(desk: Desk, place: Place | None) -> None:
    desk.said("I live in Lisbon.", "2024-03-01", session="s1")
    told = Told("Ana lives in Lisbon.", place=place)
    first = desk.curator.tell(OWNER, told)
    desk.clock.pass_time(hours=1)

    again = desk.curator.tell(OWNER, told)

    assert (first.is_new, again) == (True, replace(first, is_new=False))


@pytest.mark.parametrize("place", [None, Place("s1", "0", "I live in Lisbon.")], ids=["on its own", "with a place"])
def test_forgotten_fact_that_is_told_again_holds(desk: Desk, place: Place | None) -> None:
    desk.said("I live in Lisbon.", "2024-03-01", session="s1")
    told = Told("Ana lives in Lisbon.", place=place)
    desk.curator.forget(OWNER, desk.curator.tell(OWNER, told).fact.fact_id)

    found = desk.curator.tell(OWNER, told)

    assert found.fact.text == "Ana lives in Lisbon."
    assert desk.held() == ["Ana lives in Lisbon."]


def test_told_fact_that_had_ended_and_is_told_again_has_come_back(desk: Desk) -> None:
    for city in ("Lisbon", "Porto", "Lisbon"):
        desk.clock.pass_time(days=1)
        desk.curator.tell(OWNER, Told(f"Ana lives in {city}.", slot="home city", value=city))

    assert desk.standings() == [
        stands("Lisbon", "2025-01-02", "2025-01-03", "Porto"),
        stands("Porto", "2025-01-03", "2025-01-04", "Lisbon"),
        stands("Lisbon", "2025-01-04"),
    ]


@pytest.mark.parametrize(
    ("place", "error"),
    [
        (Place("s9", "0", "Lisbon"), SessionNotFound),
        (Place("s1", "9", "Lisbon"), Invalid),
        (Place("s1", "0", "Porto"), Invalid),
    ],
    ids=["session", "turn", "quote"],
)
def test_place_that_does_not_say_so_is_refused(desk: Desk, place: Place, error: type[Exception]) -> None:
    desk.said("I live in Lisbon.", "2024-03-01", session="s1")

    with pytest.raises(error):
        desk.curator.tell(OWNER, Told("Ana lives in Lisbon.", place=place))

    assert desk.standings() == []


def test_outcome_says_what_each_statement_is_worth_now(desk: Desk) -> None:
    porto = home(desk, "Porto", "2024-04-01")
    lisbon = desk.said("Ana lives in Lisbon.", "2024-03-01", session="s1", slot="home city", value="Lisbon")
    tall = replace(lisbon, statement=replace(lisbon.statement, text="Ana is tall.", slot=None, value=None))
    desk.reconcile(lisbon, tall, rejections=(Rejection("Ana flies.", "no quote", "0"),))
    desk.reconcile(desk.said("Ana's home is Porto.", "2024-05-01", session="s2", slot="home city", value="Porto"))

    first, second = (desk.curator.outcome(OWNER, session) for session in ("s1", "s2"))

    assert [(found.decision.text, found.decision.action, found.became, found.superseded_by) for found in first] == [
        ("Ana lives in Lisbon.", Action.ADD, "superseded", porto),
        ("Ana is tall.", Action.ADD, "added", None),
        ("Ana flies.", Action.REJECT, "rejected", None),
    ]
    assert [(found.decision.action, found.became, found.superseded_by) for found in second] == [
        (Action.MERGE, "merged", porto)
    ]


def test_outcome_of_a_session_that_is_not_there_is_not_found(desk: Desk) -> None:
    desk.said("I live in Lisbon.", session="s1")

    with pytest.raises(SessionNotFound):
        desk.curator.outcome(BOB, "s1")
