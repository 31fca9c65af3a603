"""The Localizer: how a user tells time; a change dates all that the user has said anew."""

from collections.abc import Callable
from datetime import datetime

from memsvc.clock import Clock
from memsvc.domain import Owner, TaskKind
from memsvc.errors import Invalid, UserNotFound
from memsvc.intervals import Locale, is_zone
from memsvc.store.database import Store
from memsvc.temporal import languages


class Localizer:
    """Reads and changes users' zones, week starts and languages."""

    def __init__(self, store: Store, clock: Clock, *, owed: Callable[[], None]) -> None:
        self._store = store
        self._clock = clock
        self._owed = owed

    def locale(self, owner: Owner) -> tuple[datetime, Locale]:
        """When the user was first seen, and how they tell time; raises UserNotFound."""
        with self._store.read() as tx:
            seen = tx.workspaces.seen_at(owner)
            if seen is None:
                raise UserNotFound(owner.user_id)
            return seen, tx.times.locale(owner)

    def of(self, owner: Owner) -> Locale:
        """How a user tells time; the usual way for one nobody knows."""
        with self._store.read() as tx:
            return tx.times.locale(owner)

    def change(self, owner: Owner, change: Callable[[Locale], Locale]) -> Locale:
        """Change how a user tells time, making the user if it is new; raises Invalid for what nobody knows.

        What was said is dated anew by the workers: until then it keeps the times it was read with.
        """
        with self._store.begin() as tx:
            now = self._clock.now()
            tx.workspaces.ensure_user(owner, now=now)
            tx.workspaces.lock_user(owner)
            before = tx.times.locale(owner)
            after = change(before)
            _require_known(after)
            if after != before:
                tx.times.set_locale(owner, after)
                owed = [(owner, session_row) for session_row in tx.rounds.unmark(owner)]
                tx.outbox.owe_all(TaskKind.INDEX, owed, now=now)
        self._owed()
        return after


def _require_known(locale: Locale) -> None:
    if locale.time_zone is not None and not is_zone(locale.time_zone):
        raise Invalid(
            f"{locale.time_zone!r} is not a time zone; give one like Europe/Berlin.", (("time_zone", "is not known"),)
        )
    if not languages.is_known(locale.language):
        raise Invalid(
            f"Times cannot be read in the language {locale.language!r}; give a code like en, de or zh.",
            (("language", "is not known"),),
        )
