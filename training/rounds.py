"""Haystacks as the rounds that memsvc makes of them, without a database."""

from collections.abc import Iterator
from uuid import NAMESPACE_OID, UUID, uuid5

from evals.cases import Haystack, HaystackSession, HaystackTurn
from memsvc.domain import Role, Round, Turn
from memsvc.memory.dividing import joins


def rounds_of(haystack: Haystack) -> Iterator[Round]:
    """The rounds of each session, in order; a session's row tells its number: see `session_row`."""
    for number, session in enumerate(haystack.sessions):
        before: Turn | None = None
        position = 0
        for turns in _divided(session):
            row = session_row(haystack, number)
            yield Round(uuid5(row, str(position)), row, str(number), session.started_at, position, turns, before)
            before, position = turns[-1], position + len(turns)


def session_row(haystack: Haystack, number: int) -> UUID:
    """The row id of a haystack's session."""
    return uuid5(NAMESPACE_OID, f"{haystack.haystack_id}:{number}")


def _divided(session: HaystackSession) -> Iterator[tuple[Turn, ...]]:
    held: list[Turn] = []
    for index, told in enumerate(session.turns):
        turn = _turn(told, index, session)
        if held and not joins(held, turn):
            yield tuple(held)
            held = []
        held.append(turn)
    if held:
        yield tuple(held)


def _turn(told: HaystackTurn, index: int, session: HaystackSession) -> Turn:
    role = Role(told.role)
    return Turn(str(index), role, told.speaker or role.value, told.text, session.started_at, told.captions)
