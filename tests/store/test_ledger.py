"""Bonds, what was believed when, and decisions, on both databases."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from memsvc.domain import Owner
from memsvc.facts import Action, Bond
from memsvc.store.database import Store
from memsvc.store.ledger import Bound, Change, Decision
from tests.doubles import together
from tests.factories import OWNER, row_id
from tests.store.test_facts import write

NOW = datetime(2024, 1, 1, tzinfo=UTC)
BOB = Owner("default", "bob")


def bound(pair: str, bond: Bond = Bond.SAME, *, why: str = "so") -> Bound:
    """A bond between two of the statements that are named by letters."""
    return Bound(row_id(pair[0]), row_id(pair[1]), bond, "rules", why, NOW)


def change(hour: int, *, invalid: bool = False) -> Change:
    at = NOW + timedelta(hours=hour)
    return Change(at, NOW, NOW if invalid else None, None, None, f"at {hour}", "rules")


@pytest.fixture
def statements(store: Store) -> Store:
    """A store with the statements A to E."""
    for name in "ABCDE":
        write(store, name)
    return store


def bind(store: Store, *bonds: Bound, owner: Owner = OWNER) -> None:
    with store.begin() as tx:
        tx.ledger.bind(owner, bonds)


def bonds_of(store: Store, names: str, *, owner: Owner = OWNER) -> list[str]:
    """The bonds in force that are met from these statements, as pairs of letters."""
    letters = {row_id(name): name for name in "ABCDE"}
    with store.read() as tx:
        found = tx.ledger.bonds(owner, [row_id(name) for name in names])
    return sorted(letters[one.one] + letters[one.other] for one in found)


def test_version_counts_the_writings_of_a_user(statements: Store) -> None:
    with statements.begin() as tx:
        before = tx.ledger.version(OWNER)

        advanced = tx.ledger.advance(OWNER, since=before)

        assert (before, advanced, tx.ledger.version(OWNER)) == (0, True, 1)


def test_who_comes_second_is_told_so(statements: Store) -> None:
    with statements.begin() as tx:
        tx.ledger.advance(OWNER, since=0)

        assert tx.ledger.advance(OWNER, since=0) is False
        assert tx.ledger.version(OWNER) == 1


def test_user_nobody_knows_has_written_nothing(store: Store) -> None:
    with store.begin() as tx:
        assert (tx.ledger.version(OWNER), tx.ledger.advance(OWNER, since=0)) == (0, False)


def test_of_writers_at_once_only_one_is_first(statements: Store) -> None:
    won: list[bool] = []

    def write_it() -> None:
        with statements.begin() as tx:
            won.append(tx.ledger.advance(OWNER, since=0))

    raised = together(*[write_it] * 4)

    assert (raised, sorted(won)) == ([], [False, False, False, True])


@pytest.mark.parametrize(
    ("names", "found"),
    [("A", ["AB", "BC", "CD"]), ("D", ["AB", "BC", "CD"]), ("BC", ["AB", "BC", "CD"]), ("E", []), ("", [])],
    ids=["from an end", "from the other end", "from the middle", "unbound", "from none"],
)
def test_bonds_are_found_through_others(statements: Store, names: str, found: list[str]) -> None:
    bind(statements, bound("AB"), bound("BC", Bond.EXCLUDES), bound("CD", Bond.CORRECTS))

    assert bonds_of(statements, names) == found


def test_bond_comes_back_as_it_was_written_and_is_written_once(statements: Store) -> None:
    first = bound("AB", why="first")
    bind(statements, first, bound("AB", why="again"))

    bind(statements, bound("BA", why="the other way round"))

    with statements.read() as tx:
        assert tx.ledger.bonds(OWNER, [row_id("A")]) == [first]


def test_two_statements_may_be_bound_in_two_ways(statements: Store) -> None:
    bind(statements, bound("AB"), bound("AB", Bond.EXCLUDES))

    assert bonds_of(statements, "A") == ["AB", "AB"]


def test_bond_that_was_undone_stays_undone(statements: Store) -> None:
    bind(statements, bound("AB"), bound("BC"))
    with statements.begin() as tx:
        tx.ledger.undo(OWNER, [bound("BA")], now=NOW)

    bind(statements, bound("AB"))

    assert (bonds_of(statements, "A"), bonds_of(statements, "B")) == ([], ["BC"])
    with statements.read() as tx:
        assert tx.ledger.undone(OWNER, [row_id("B")]) == {(frozenset({row_id("A"), row_id("B")}), Bond.SAME)}
        assert tx.ledger.undone(BOB, [row_id("B")]) == tx.ledger.undone(OWNER, [row_id("C")]) == set()


def test_strangers_bonds_are_not_seen_or_undone(statements: Store) -> None:
    bind(statements, bound("AB"))

    with statements.begin() as tx:
        tx.ledger.undo(BOB, [bound("AB")], now=NOW)
        tx.ledger.forget(BOB, [row_id("A")])

    assert bonds_of(statements, "A", owner=BOB) == []
    assert bonds_of(statements, "A") == ["AB"]


def history_of(store: Store, name: str, *, owner: Owner = OWNER) -> list[Change]:
    with store.read() as tx:
        return tx.ledger.history(owner, row_id(name))


def note(store: Store, changes: Sequence[Change], name: str = "A") -> None:
    with store.begin() as tx:
        for one in changes:
            tx.ledger.note(OWNER, row_id(name), one)


def test_history_tells_all_that_was_believed_in_order(statements: Store) -> None:
    (first,) = history_of(statements, "A")
    changes = [change(1, invalid=True), change(2), change(3, invalid=True)]

    note(statements, changes)

    assert history_of(statements, "A") == [first, *changes]
    assert history_of(statements, "A", owner=BOB) == []


def test_what_was_believed_for_no_time_is_not_told(statements: Store) -> None:
    (first,) = history_of(statements, "A")

    note(statements, [change(1, invalid=True), replace(change(1), reason="at once")])

    assert history_of(statements, "A") == [first, replace(change(1), reason="at once")]


def test_fact_is_what_was_last_noted_of_it(statements: Store) -> None:
    merged = Change(NOW, NOW, NOW, row_id("B"), row_id("C"), "so", "llm")

    note(statements, [merged])

    with statements.read() as tx:
        (known,) = tx.facts.statements(OWNER, [row_id("A")])
    fact = known.fact
    assert (fact.valid_at, fact.invalid_at, fact.expired_at) == (NOW, NOW, NOW)
    assert (fact.superseded_by, known.merged_into) == (row_id("B"), row_id("C"))


def decision(text: str, fact: str | None = None, *, action: Action = Action.ADD, **more: object) -> Decision:
    fact_id = None if fact is None else row_id(fact)
    return replace(Decision(text, action, "so", "rules", NOW, "0", "fact", fact_id), **more)  # type: ignore[arg-type]


def session_of(store: Store, name: str = "A") -> UUID:
    with store.read() as tx:
        session = tx.sessions.find(OWNER, name)
    assert session is not None
    return session.row_id


def test_decisions_come_back_as_they_were_made(statements: Store) -> None:
    session = session_of(statements)
    made = [
        decision("z", "A", action=Action.UPDATE, others=(row_id("B"), row_id("C"))),
        decision("a", "B", action=Action.MERGE, others=(row_id("A"),), decided_by="llm"),
        decision("no quote", action=Action.REJECT, kind=None, turn_id=None),
    ]

    with statements.begin() as tx:
        tx.ledger.decide(OWNER, session, made)

    with statements.read() as tx:
        assert tx.ledger.decisions(OWNER, session) == made
        assert tx.ledger.decisions(BOB, session) == []
        assert tx.ledger.decisions(OWNER, session_of(statements, "B")) == []


def test_first_decision_about_a_statement_is_kept(statements: Store) -> None:
    session = session_of(statements)
    first, later = decision("a", "A"), decision("b", "B", decided_at=NOW + timedelta(hours=1))

    for made in ([first], [decision("a", "A", action=Action.MERGE), later]):
        with statements.begin() as tx:
            tx.ledger.decide(OWNER, session, made)

    with statements.read() as tx:
        assert tx.ledger.decisions(OWNER, session) == [first, later]


def test_ledger_forgets_a_fact_without_a_trace(statements: Store) -> None:
    session = session_of(statements)
    bind(statements, bound("AB"), bound("BC"), bound("CD"))
    with statements.begin() as tx:
        tx.ledger.decide(OWNER, session, [decision("a", "A"), decision("b", "B")])

        tx.ledger.forget(OWNER, [row_id("A"), row_id("C")])

    with statements.read() as tx:
        assert tx.ledger.decisions(OWNER, session) == [decision("b", "B")]
    assert (bonds_of(statements, "ABCD"), history_of(statements, "A"), len(history_of(statements, "B"))) == ([], [], 1)
