"""The Forgetter: rows go and the removal of their points is owed, in one commit; a receipt says what went."""

import logging
from collections.abc import Sequence

from memsvc.clock import Clock
from memsvc.domain import Owner, Receipt, Session, TaskKind
from memsvc.errors import IndexUnavailable, SessionNotFound, UserNotFound
from memsvc.index.base import Index
from memsvc.memory import settling
from memsvc.store.database import Store

log = logging.getLogger(__name__)


class Forgetter:
    """Deletes sessions and users. Recall re-reads the store, so what is forgotten is gone at once."""

    def __init__(self, store: Store, index: Index, clock: Clock) -> None:
        self._store = store
        self._index = index
        self._clock = clock

    def forget_session(self, owner: Owner, session_id: str) -> Receipt:
        """Delete a session; raises SessionNotFound."""
        with self._store.begin() as tx:
            known = tx.workspaces.lock_user(owner)
            session = tx.sessions.find(owner, session_id, lock=True) if known else None
            if session is None:
                raise SessionNotFound(owner.user_id, session_id)
            drawn = [fact.fact_id for fact in tx.facts.of_session(owner, session.row_id, merged=True)]
            others = {one for bound in tx.ledger.bonds(owner, drawn) for one in (bound.one, bound.other)}
            tx.ledger.forget(owner, drawn)
            tx.sessions.delete(owner, session.row_id)
            # What the session's statements did to those of other sessions is forgotten with them.
            settling.settle(tx, owner, others - set(drawn), now=self._clock.now())
            tx.outbox.owe(TaskKind.INDEX, owner, session.row_id, now=self._clock.now())
        return self._receipt(owner, [session], session_id)

    def forget_user(self, owner: Owner) -> Receipt:
        """Delete a user with every session; raises UserNotFound."""
        with self._store.begin() as tx:
            if not tx.workspaces.lock_user(owner, to_delete=True):
                raise UserNotFound(owner.user_id)
            sessions = tx.sessions.all_rows(owner)
            tx.workspaces.delete_user(owner)
            owed = [(owner, session.row_id) for session in sessions]
            tx.outbox.owe_all(TaskKind.INDEX, owed, now=self._clock.now())
        return self._receipt(owner, sessions, None)

    def _receipt(self, owner: Owner, sessions: Sequence[Session], session_id: str | None) -> Receipt:
        return Receipt(
            user_id=owner.user_id,
            session_id=session_id,
            forgotten_at=self._clock.now(),
            sessions=len(sessions),
            turns=sum(session.turn_count for session in sessions),
            rounds=sum(session.round_count for session in sessions),
            points_left=self._drop(owner, sessions),
        )

    def _drop(self, owner: Owner, sessions: Sequence[Session]) -> int | None:
        """Drop the points now, so that the receipt can count what is left; the outbox owes the same either way."""
        try:
            for session in sessions:
                self._index.drop(owner, session.row_id)
            return sum(self._index.count(owner, session.row_id) for session in sessions)
        except IndexUnavailable:
            log.warning("the index could not be asked; the removal of points is owed")
            return None
