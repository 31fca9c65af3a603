"""Statements meet what is known: a life told in any order, with crashes and rivals; decisions and what they did."""

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from memsvc.domain import Owner
from memsvc.errors import LlmAnswerInvalid, LlmUnavailable
from memsvc.facts import Action, Origin, Rejection
from memsvc.inference.encoders import Encoded
from memsvc.inference.llm import ChatLlm, Llm, Message, Reply
from memsvc.intervals import Interval, Precision
from memsvc.memory.reconciling import Sourced
from memsvc.store.database import Store, Transaction
from memsvc.store.ledger import Decision
from tests.doubles import together
from tests.factories import OWNER
from tests.histories import (
    HISTORY,
    LEASE_S,
    RELATIONS,
    Chat,
    Desk,
    Script,
    Stands,
    TopicEncoder,
    batch_of,
    expected,
    instants,
    judging,
    moment,
)
from tests.llm import ScriptedLlm, said, status

REVERSED = tuple(reversed(HISTORY))
# Odd numbers fall between the instants at which sessions are recorded.
RECORDED = [moment(chat.day, 11) + timedelta(minutes=minutes) for chat in HISTORY for minutes in (-1, 0, 1)]


@pytest.fixture(scope="module")
def asked() -> Iterator[tuple[ChatLlm, ScriptedLlm]]:
    """The model that knows the history, and a client of it."""
    with judging(Script(RELATIONS, HISTORY)) as both:
        yield both


@pytest.fixture
def llm(asked: tuple[ChatLlm, ScriptedLlm]) -> ChatLlm:
    return asked[0]


def shuffled(seed: int) -> list[Chat]:
    return random.Random(seed).sample(HISTORY, len(HISTORY))


def table_of(desk: Desk, owner: Owner = OWNER) -> dict[str, list[str]]:
    """What holds at each instant of the history."""
    return {at.isoformat(): desk.held(at, owner=owner) for at in instants()}


EXPECTED = {at.isoformat(): expected(at) for at in instants()}


@pytest.mark.parametrize(
    "chats",
    [HISTORY, REVERSED, *(shuffled(seed) for seed in range(6))],
    ids=["in order", "in reverse", *(f"shuffled {seed}" for seed in range(6))],
)
def test_ledger_of_a_life_is_the_tables_in_whatever_order_it_is_told(
    store: Store, llm: ChatLlm, chats: Sequence[Chat]
) -> None:
    desk = Desk(store, llm)

    for chat in chats:
        desk.record(chat)
        desk.drain()

    assert table_of(desk) == EXPECTED


def test_ledger_is_the_tables_when_all_is_recorded_before_anything_is_drawn(store: Store, llm: ChatLlm) -> None:
    desk = Desk(store, llm)

    for chat in shuffled(7):
        desk.record(chat)
    desk.drain()

    assert table_of(desk) == EXPECTED


def test_what_was_believed_at_any_time_is_the_tables(store: Store, llm: ChatLlm) -> None:
    desk = Desk(store, llm)

    for chat in HISTORY:
        desk.move_to(moment(chat.day, 11))
        desk.record(chat)
        desk.drain()

    for recorded in RECORDED:
        believed = {at.isoformat(): desk.held(at, recorded) for at in instants()}
        assert believed == {at.isoformat(): expected(at, recorded) for at in instants()}


@pytest.mark.parametrize("seed", [0, 1])
def test_life_that_is_told_twice_is_the_same_and_asks_nobody(
    store: Store, asked: tuple[ChatLlm, ScriptedLlm], seed: int
) -> None:
    llm, scripted = asked
    desk = Desk(store, llm)
    for chat in HISTORY:
        desk.record(chat)
        desk.drain()
    once, requests = desk.standings(), len(scripted.requests)

    for chat in shuffled(seed):
        desk.record(chat)
        desk.extractor.owe_session(OWNER, chat.day)
        desk.clock.pass_time(hours=1)
        desk.drain()

    assert (desk.standings(), len(scripted.requests)) == (once, requests)
    assert table_of(desk) == EXPECTED


def test_every_order_comes_to_the_same_standings(store: Store, llm: ChatLlm) -> None:
    desk = Desk(store, llm)
    owners = [Owner("default", f"ana-{number}") for number in range(3)]

    for owner, chats in zip(owners, [HISTORY, REVERSED, shuffled(8)], strict=True):
        for chat in chats:
            desk.record(chat, owner=owner)
            desk.drain()

    first, *others = [desk.standings(owner=owner) for owner in owners]
    assert others == [first, first]


class Crash(BaseException):
    """The process ends here."""


class Steps:
    """Counts the steps of a path; the process ends once, behind the step that is set."""

    def __init__(self) -> None:
        self._left: int | None = None

    def end_behind(self, step: int | None) -> None:
        self._left = step

    def pass_one(self) -> None:
        if self._left == 0:
            self._left = None
            raise Crash
        if self._left is not None:
            self._left -= 1

    @property
    def is_set(self) -> bool:
        return self._left is not None


class FragileStore(Store):
    """A store whose process may end before and after each commit."""

    def __init__(self, url: str, steps: Steps) -> None:
        super().__init__(url)
        self._steps = steps

    @contextmanager
    def begin(self) -> Iterator[Transaction]:
        with super().begin() as tx:
            yield tx
            self._steps.pass_one()
        self._steps.pass_one()


class FragileLlm(Llm):
    """A model whose caller's process may end before it is asked, and before its answer is used."""

    def __init__(self, llm: Llm, steps: Steps) -> None:
        self._llm = llm
        self._steps = steps

    def ask(
        self,
        messages: Sequence[Message],
        *,
        name: str,
        schema: Mapping[str, Any],
        check: Callable[[dict[str, Any]], None] | None = None,
        max_tokens: int = 4096,
    ) -> Reply:
        self._steps.pass_one()
        reply = self._llm.ask(messages, name=name, schema=schema, check=check, max_tokens=max_tokens)
        self._steps.pass_one()
        return reply


def test_crash_between_each_two_steps_of_each_session_changes_nothing(database_url: str, llm: ChatLlm) -> None:
    steps = Steps()
    store = FragileStore(database_url, steps)
    desk = Desk(store, FragileLlm(llm, steps))

    crashes: list[int] = []
    tables = []
    while not crashes or crashes[-1]:
        owner = Owner("default", f"ana-{len(crashes)}")
        crashes.append(0)
        for chat in HISTORY:
            desk.record(chat, owner=owner)
            steps.end_behind(len(crashes) - 1)
            crashes[-1] += ends(desk)
            steps.end_behind(None)
            desk.clock.pass_time(seconds=LEASE_S + 1)
            desk.drain()
        tables.append(table_of(desk, owner))
    store.close()

    assert [table == EXPECTED for table in tables] == [True] * len(tables)
    # Claiming, renewing, asking, counting, writing, owing and completing have at least ten steps.
    assert crashes[:10] == [len(HISTORY)] * 10


def ends(desk: Desk) -> bool:
    """Whether the process ended while it drained."""
    try:
        desk.drain()
    except Crash:
        return True
    return False


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_two_workers_at_once_come_to_the_same_table(store: Store, llm: ChatLlm, seed: int) -> None:
    desk, rival = Desk(store, llm), Desk(store, llm)
    for chat in shuffled(seed):
        desk.record(chat)

    raised = together(desk.drain, rival.drain)

    assert raised == []
    desk.drain()
    assert table_of(desk) == EXPECTED


TENNIS, NO_TENNIS, CHESS = "Ana plays tennis.", "Ana gave up tennis.", "Ana plays chess."
SPORT = dict.fromkeys([TENNIS, NO_TENNIS, CHESS, "Ana is a tennis player."], "sport")
JUDGED = {
    frozenset({TENNIS, NO_TENNIS}): "end",
    frozenset({TENNIS, "Ana is a tennis player."}): "same",
    frozenset({TENNIS, CHESS}): "correct",
    frozenset({"Ana moved on 1 May.", "Ana moved on 10 May."}): "correct",
}
LISBON: dict[str, Any] = {"slot": "home city", "value": "Lisbon"}
PORTO: dict[str, Any] = {"slot": "home city", "value": "Porto"}


@pytest.fixture(scope="module")
def judge() -> Iterator[tuple[ChatLlm, ScriptedLlm]]:
    with judging(Script(JUDGED)) as both:
        yield both


@pytest.fixture
def desk(store: Store, judge: tuple[ChatLlm, ScriptedLlm]) -> Desk:
    """A desk whose model knows a few statements of sport."""
    judge[1].requests.clear()
    return Desk(store, judge[0], encoder=TopicEncoder(SPORT))


def kept(desk: Desk, sourced: Sourced, owner: Owner = OWNER) -> list[Decision]:
    """The decisions on record of a session."""
    with desk.store.read() as tx:
        return tx.ledger.decisions(owner, sourced.session_row)


def told(decision: Decision) -> tuple[str, Action, str, str]:
    return decision.text, decision.action, decision.reason, decision.decided_by


def test_new_statement_is_added(desk: Desk) -> None:
    sourced = desk.said("Ana lives in Lisbon.", **LISBON)

    (decision,) = desk.reconcile(sourced)

    assert decision == Decision(
        "Ana lives in Lisbon.", Action.ADD, "nothing known bears on it", "rules", desk.clock.now(), "0", "fact",
        decision.fact_id,
    )  # fmt: skip
    assert kept(desk, sourced) == [decision]
    assert desk.standings() == [Stands("Ana lives in Lisbon.", "2024-03-01")]


def test_same_slot_and_value_is_merged_by_the_rules(desk: Desk, judge: tuple[ChatLlm, ScriptedLlm]) -> None:
    first = desk.add("Ana lives in Lisbon.", "2024-03-01", **LISBON)

    (decision,) = desk.reconcile(desk.said("Ana's home is Lisbon.", "2024-04-01", **LISBON))

    assert told(decision) == ("Ana's home is Lisbon.", Action.MERGE, "the same home city", "rules")
    assert decision.others == (first,)
    assert desk.standings() == [
        Stands("Ana lives in Lisbon.", "2024-03-01"),
        Stands("Ana's home is Lisbon.", "2024-03-01", into="Ana lives in Lisbon."),
    ]
    assert judge[1].requests == []


def test_same_words_are_merged_and_cited_from_both_turns(desk: Desk) -> None:
    first = desk.add(TENNIS, "2024-03-01")

    (decision,) = desk.reconcile(desk.said(TENNIS, "2024-04-01"))

    assert told(decision) == (TENNIS, Action.MERGE, "the same words", "rules")
    with desk.store.read() as tx:
        sources = tx.facts.load(OWNER, [first])[first].sources
    assert [source.said_at for source in sources] == [moment("2024-03-01"), moment("2024-04-01")]


def test_other_value_of_the_slot_ends_the_first(desk: Desk) -> None:
    first = desk.add("Ana lives in Lisbon.", "2024-03-01", **LISBON)

    (decision,) = desk.reconcile(desk.said("Ana lives in Porto.", "2024-04-01", **PORTO))

    assert told(decision) == ("Ana lives in Porto.", Action.UPDATE, "another home city", "rules")
    assert decision.others == (first,)
    assert desk.standings() == [
        Stands("Ana lives in Lisbon.", "2024-03-01", "2024-04-01", "Ana lives in Porto."),
        Stands("Ana lives in Porto.", "2024-04-01"),
    ]


def test_model_decides_where_the_rules_cannot_and_its_reason_is_kept(desk: Desk) -> None:
    first = desk.add(TENNIS, "2024-03-01")
    sourced = desk.said(NO_TENNIS, "2024-04-01")

    (decision,) = desk.reconcile(sourced)

    assert told(decision) == (NO_TENNIS, Action.INVALIDATE, "it is end", "llm")
    assert decision.others == (first,)
    assert kept(desk, sourced) == [decision]
    with desk.store.read() as tx:
        history = tx.ledger.history(OWNER, first)
    assert [(change.invalid_at, change.reason, change.decided_by) for change in history] == [
        (moment("2024-04-01"), "it is end", "llm")
    ]


def test_what_the_model_calls_the_same_is_merged(desk: Desk) -> None:
    desk.add(TENNIS, "2024-03-01")

    (decision,) = desk.reconcile(desk.said("Ana is a tennis player.", "2024-04-01"))

    assert told(decision) == ("Ana is a tennis player.", Action.MERGE, "it is same", "llm")


def test_what_is_taken_back_was_never_true(desk: Desk) -> None:
    desk.add(TENNIS, "2024-03-01")

    (decision,) = desk.reconcile(desk.said(CHESS, "2024-04-01"))

    assert told(decision) == (CHESS, Action.UPDATE, "it is correct", "llm")
    assert desk.standings() == [
        Stands(TENNIS, "2024-03-01", "2024-03-01", CHESS),
        Stands(CHESS, "2024-04-01"),
    ]


def test_statement_that_comes_late_says_what_has_ended_it(desk: Desk) -> None:
    desk.add("Ana lives in Porto.", "2024-04-01", **PORTO)

    (decision,) = desk.reconcile(desk.said("Ana lives in Lisbon.", "2024-03-01", **LISBON))

    assert told(decision) == ("Ana lives in Lisbon.", Action.ADD, "another home city", "rules")
    assert desk.standings()[0] == Stands("Ana lives in Lisbon.", "2024-03-01", "2024-04-01", "Ana lives in Porto.")


def test_first_mention_that_comes_late_says_that_it_was_known(desk: Desk) -> None:
    desk.add("Ana's home is Lisbon.", "2024-04-01", **LISBON)

    (decision,) = desk.reconcile(desk.said("Ana lives in Lisbon.", "2024-03-01", **LISBON))

    assert desk.standings() == [
        Stands("Ana lives in Lisbon.", "2024-03-01"),
        Stands("Ana's home is Lisbon.", "2024-03-01", into="Ana lives in Lisbon."),
    ]
    assert decision.reason == "the same home city"


@pytest.mark.parametrize("role", ["assistant", "tool"])
@pytest.mark.parametrize("value", [LISBON, PORTO], ids=["the same", "another"])
def test_others_words_neither_end_nor_confirm_the_users(desk: Desk, role: str, value: dict[str, Any]) -> None:
    desk.add("Ana lives in Lisbon.", "2024-03-01", **LISBON)

    (decision,) = desk.reconcile(desk.said("Ana lives there.", "2024-04-01", role=role, kind="assistant", **value))

    assert told(decision) == ("Ana lives there.", Action.ADD, "nothing known bears on it", "rules")
    assert desk.standings() == [Stands("Ana lives in Lisbon.", "2024-03-01"), Stands("Ana lives there.", "2024-04-01")]


def test_users_words_do_not_end_others(desk: Desk) -> None:
    desk.add("Ana lives there.", "2024-03-01", role="tool", **PORTO)

    desk.add("Ana lives in Lisbon.", "2024-04-01", **LISBON)

    assert [stands.end for stands in desk.standings()] == [None, None]


def test_instruction_is_held_against_instructions_alone(desk: Desk) -> None:
    desk.add(TENNIS, "2024-03-01")

    desk.add(NO_TENNIS, "2024-04-01", kind="instruction")

    assert [stands.end for stands in desk.standings()] == [None, None]


def test_instruction_ends_an_instruction(desk: Desk) -> None:
    desk.add(TENNIS, "2024-03-01", kind="instruction")

    desk.add(NO_TENNIS, "2024-04-01", kind="instruction")

    assert [stands.end for stands in desk.standings()] == ["2024-04-01", None]


@pytest.mark.parametrize(("second", "merged"), [("2024-04-15", False), ("2024-02-15", True)], ids=["other", "same"])
def test_events_of_the_same_words_are_one_only_at_one_time(desk: Desk, second: str, merged: bool) -> None:
    desk.add("Ana ran a marathon.", "2024-03-01", kind="event", event=day("2024-02-15"), precision=Precision.DAY)

    (decision,) = desk.reconcile(
        desk.said("Ana ran a marathon.", "2024-05-01", kind="event", event=day(second), precision=Precision.DAY)
    )

    assert (decision.action is Action.MERGE) == merged


def day(date: str) -> Interval:
    return Interval(moment(date, 0), moment(date, 0) + timedelta(days=1))


def test_corrected_date_of_a_move_takes_the_first_date_back(store: Store, judge: tuple[ChatLlm, ScriptedLlm]) -> None:
    topics = {"Ana moved on 1 May.": "home", "Ana moved on 10 May.": "home", "Ana lives in Lisbon.": "home"}
    desk = Desk(store, judge[0], encoder=TopicEncoder(topics))
    desk.add("Ana lives in Lisbon.", "2024-03-01", **LISBON)
    desk.add("Ana moved on 1 May.", "2024-05-20", kind="event", event=day("2024-05-01"), **PORTO)

    desk.add("Ana moved on 10 May.", "2024-06-05", kind="event", event=day("2024-05-10"), **PORTO)

    assert desk.standings() == [
        Stands("Ana lives in Lisbon.", "2024-03-01", "2024-05-10", "Ana moved on 10 May."),
        Stands("Ana moved on 1 May.", "2024-05-01", "2024-05-01", "Ana moved on 10 May."),
        Stands("Ana moved on 10 May.", "2024-05-10"),
    ]


@pytest.mark.parametrize("order", [range(7), range(6, -1, -1), [6, 0, 1, 2, 3, 4, 5]], ids=["first", "last", "late"])
def test_each_of_many_homes_ends_the_one_before(desk: Desk, order: Sequence[int]) -> None:
    for number in order:
        desk.add(f"Home {number}.", f"2024-03-0{number + 1}", slot="home city", value=str(number))

    assert [(stands.text, stands.by) for stands in desk.standings()] == [
        *((f"Home {number}.", f"Home {number + 1}.") for number in range(6)),
        ("Home 6.", None),
    ]


class AngleEncoder(TopicEncoder):
    """Statements as directions in a plane: alike up to 53 degrees."""

    def __init__(self, angles: Mapping[str, float]) -> None:
        super().__init__({})
        self._angles = angles

    def _encoded(self, text: str) -> Encoded:
        angle = np.radians(self._angles[text])
        dense = np.array([np.cos(angle), np.sin(angle)], np.float32)
        return Encoded(dense, np.empty((0, 0), np.float32), np.empty(0, np.uint32))


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_mention_that_is_unlike_what_ended_the_fact_ends_it_in_turn(store: Store, order: Sequence[int]) -> None:
    told = [(TENNIS, "2024-03-01"), (CHESS, "2024-04-01"), ("Ana is a tennis player.", "2024-05-01")]
    relations = {frozenset({TENNIS, CHESS}): "update", frozenset({TENNIS, told[2][0]}): "same"}
    with judging(Script(relations)) as (chat, _):
        desk = Desk(store, chat, encoder=AngleEncoder({TENNIS: 0, CHESS: -40, told[2][0]: 40}))

        for number in order:
            desk.add(*told[number])

        assert desk.standings() == [
            Stands(TENNIS, "2024-03-01", "2024-04-01", CHESS),
            Stands(CHESS, "2024-04-01", "2024-05-01", told[2][0]),
            Stands(told[2][0], "2024-05-01"),
        ]


def test_rules_statements_end_nothing(desk: Desk) -> None:
    desk.add(TENNIS, "2024-03-01", origin=Origin.RULES)

    desk.add(NO_TENNIS, "2024-04-01", origin=Origin.RULES)

    assert [stands.end for stands in desk.standings()] == [None, None]


def test_rules_statements_make_way_for_the_models(desk: Desk) -> None:
    by_rules = desk.said("I play tennis.", session="s1")
    desk.reconcile(by_rules, origin=Origin.RULES)

    desk.reconcile(replace(by_rules, statement=replace(by_rules.statement, text=TENNIS)))

    assert desk.held() == [TENNIS]


def test_model_may_draw_what_the_rules_drew_word_for_word(desk: Desk) -> None:
    sourced = desk.said("Maria plays tennis.", session="s1")
    desk.reconcile(sourced, origin=Origin.RULES)

    desk.reconcile(sourced)

    with desk.store.read() as tx:
        (fact,) = tx.facts.of_session(OWNER, sourced.session_row)
    assert (fact.text, fact.source) == ("Maria plays tennis.", "llm")


def test_refused_statements_are_kept_with_their_reason(desk: Desk) -> None:
    sourced = desk.said(TENNIS)

    made = desk.reconcile(sourced, rejections=(Rejection("Ana flies.", "its quote is not there", "0"),))

    assert [told(decision) for decision in made[1:]] == [
        ("Ana flies.", Action.REJECT, "its quote is not there", "rules")
    ]
    assert kept(desk, sourced) == made


def test_statements_of_one_batch_are_compared_by_the_rules_alone(
    desk: Desk, judge: tuple[ChatLlm, ScriptedLlm]
) -> None:
    first = desk.said(TENNIS, session="s1")
    second = replace(first, statement=replace(first.statement, text=NO_TENNIS))

    desk.reconcile(first, second)

    assert [stands.end for stands in desk.standings()] == [None, None]
    assert judge[1].requests == []


@pytest.mark.parametrize("drawn", [0, 1], ids=["statement by statement", "as a whole"])
def test_batch_that_comes_again_changes_nothing_and_asks_nobody(
    desk: Desk, judge: tuple[ChatLlm, ScriptedLlm], drawn: int
) -> None:
    desk.add(TENNIS, "2024-03-01")
    sourced = desk.said(NO_TENNIS, "2024-04-01")
    batch = batch_of(sourced)
    batch = replace(batch, drawn=batch.drawn if drawn else {})
    made = desk.reconciler.reconcile(OWNER, batch)
    before, asked = everything(desk), len(judge[1].requests)

    desk.clock.pass_time(hours=1)
    desk.reconciler.reconcile(OWNER, batch)

    assert everything(desk) == before
    assert kept(desk, sourced) == made
    assert len(judge[1].requests) == asked


def test_rounds_that_were_drawn_from_count_as_extracted(desk: Desk) -> None:
    sourced = desk.said(TENNIS)

    desk.reconcile(sourced)

    with desk.store.read() as tx:
        assert tx.rounds.undrawn(OWNER, sourced.session_row, by=Origin.LLM) == []


def everything(desk: Desk) -> list[Any]:
    """All that is on record of facts: the statements, and what was ever believed of each."""
    with desk.store.read() as tx:
        rows = [session.row_id for session in tx.sessions.all_rows(OWNER)]
        found = [fact for row in rows for fact in tx.facts.of_session(OWNER, row, merged=True)]
        return [(fact, fact.sources, tx.ledger.history(OWNER, fact.fact_id)) for fact in found]


def test_what_is_foreseen_is_what_comes_and_nothing_is_written(desk: Desk) -> None:
    desk.add(TENNIS, "2024-03-01")
    desk.add("Ana lives in Lisbon.", "2024-03-01", **LISBON)
    new = [
        desk.said(NO_TENNIS, "2024-04-01"),
        desk.said("Ana lives in Porto.", "2024-04-01", **PORTO),
        desk.said("Ana's home is Lisbon.", "2024-03-15", **LISBON),
        desk.said("Ana's house is in Berlin.", "2024-02-01", slot="home city", value="Berlin"),
        desk.said("Ana is tall.", "2024-04-01"),
    ]
    before = everything(desk)

    foreseen = [desk.reconciler.foreseen(OWNER, batch_of(sourced)) for sourced in new]

    assert everything(desk) == before
    assert [kept(desk, sourced) for sourced in new] == [[]] * len(new)
    for sourced, outcomes in zip(new, foreseen, strict=True):
        assert [outcome.decision for outcome in outcomes] == desk.reconcile(sourced)
        assert outcomes == desk.curator.outcome(OWNER, sourced.session_id)


def test_end_that_was_told_is_foreseen_too(desk: Desk) -> None:
    home = desk.add("Ana lives in Lisbon.", "2024-03-01", **LISBON)
    desk.curator.change(OWNER, home, lambda fact: replace(fact, invalid_at=moment("2024-03-10")))
    sourced = desk.said("Ana lives in Porto.", "2024-04-01", **PORTO)

    (foreseen,) = desk.reconciler.foreseen(OWNER, batch_of(sourced))

    assert [foreseen.decision] == desk.reconcile(sourced)


def test_strangers_statements_do_not_meet(desk: Desk) -> None:
    desk.add("Ana lives in Lisbon.", "2024-03-01", **LISBON)

    desk.add("Ana lives in Porto.", "2024-04-01", owner=Owner("default", "bob"), **PORTO)

    assert desk.standings() == [Stands("Ana lives in Lisbon.", "2024-03-01")]


def test_without_a_model_the_rules_alone_decide(store: Store) -> None:
    desk = Desk(store, encoder=TopicEncoder(SPORT))
    desk.add("Ana lives in Lisbon.", "2024-03-01", **LISBON)
    desk.add(TENNIS, "2024-03-02")

    desk.add("Ana lives in Porto.", "2024-04-01", **PORTO)
    desk.add(NO_TENNIS, "2024-04-02")

    assert [(stands.text, stands.end) for stands in desk.standings()] == [
        ("Ana lives in Lisbon.", "2024-04-01"), (TENNIS, None), ("Ana lives in Porto.", None), (NO_TENNIS, None),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "answer", [status(400), said("prose"), said({"pairs": []})], ids=["refused", "prose", "no judgement"]
)
def test_model_that_does_not_judge_leaves_everything_as_it_was(store: Store, answer: Any) -> None:
    with judging(Script(JUDGED)) as (chat, scripted):
        desk = Desk(store, chat, encoder=TopicEncoder(SPORT))
        desk.add(TENNIS, "2024-03-01")
        sourced = desk.said(NO_TENNIS, "2024-04-01")
        before = everything(desk)
        scripted.answers = lambda _body: answer

        with pytest.raises((LlmUnavailable, LlmAnswerInvalid)):
            desk.reconcile(sourced)

        assert everything(desk) == before
        assert kept(desk, sourced) == []


def test_session_that_was_deleted_meanwhile_leaves_nothing(desk: Desk) -> None:
    sourced = desk.said(TENNIS)
    with desk.store.begin() as tx:
        tx.sessions.delete(OWNER, sourced.session_row)

    assert desk.reconcile(sourced) == []
    assert desk.standings() == []


def test_rival_who_writes_while_the_model_is_asked_is_judged_too(store: Store) -> None:
    """The statement that a rival adds in the meantime is ended, although it was not known at first."""
    with judging(Script(JUDGED)) as (chat, scripted):
        desk = Desk(store, chat, encoder=TopicEncoder(SPORT))
        desk.add(TENNIS, "2024-03-01")
        rivals = desk.said("Ana lives in Lisbon.", "2024-03-01", **LISBON)
        first = desk.said(NO_TENNIS, "2024-04-01")
        mate = replace(first, statement=replace(first.statement, text="Ana lives in Porto.", **PORTO))

        def overtaken(body: Any) -> Any:
            desk.reconcile(rivals)
            return Script(JUDGED)(body)

        scripted.answers = overtaken
        desk.reconcile(first, mate)

        assert [(stands.text, stands.by) for stands in desk.standings()] == [
            ("Ana lives in Lisbon.", "Ana lives in Porto."), (TENNIS, NO_TENNIS), (NO_TENNIS, None),
            ("Ana lives in Porto.", None),
        ]  # fmt: skip
        assert len(scripted.requests) == 1


def test_statements_of_many_pairs_are_asked_about_in_parts(store: Store) -> None:
    texts = [f"Topic {number} was first." for number in range(42)]
    later = [f"Topic {number} is over." for number in range(42)]
    relations = {frozenset(pair): "end" for pair in zip(texts, later, strict=True)}
    topics = {text: str(number) for listed in (texts, later) for number, text in enumerate(listed)}
    with judging(Script(relations)) as (chat, scripted):
        desk = Desk(store, chat, encoder=TopicEncoder(topics))
        for chosen, date in ((texts, "2024-03-01"), (later, "2024-04-01")):
            one = desk.said("all", date, session=date)
            desk.reconcile(*(replace(one, statement=replace(one.statement, text=text)) for text in chosen))

        assert sorted(desk.held()) == sorted(later)
        assert len(scripted.requests) == 2
