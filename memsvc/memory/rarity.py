"""Rarity: how much each token of a query tells about one user's turns."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from time import monotonic

import numpy as np
import numpy.typing as npt

from memsvc.domain import Owner
from memsvc.inference.encoders import Ids
from memsvc.store.database import Store

USERS_KEPT = 1000
# Counts stand until the turns have become a fiftieth more or fewer: what a token tells hardly changes by less.
_CHANGE = 50


@dataclass(frozen=True, slots=True, eq=False)
class _Counted:
    """Of so many turns, how many hold each of `ids`."""

    turns: int
    ids: Ids
    counts: npt.NDArray[np.int64]
    looked_at: float


class Rarity:
    """The weights of query tokens, from counts that are kept in this process and taken anew as a user's turns grow.

    For `trusted_s` seconds kept counts are not even compared with the number of turns.
    """

    def __init__(self, store: Store, *, trusted_s: float = 0.0) -> None:
        self._store = store
        self._trusted_s = trusted_s
        self._kept: OrderedDict[Owner, _Counted] = OrderedDict()
        self._lock = threading.Lock()

    def weights(self, owner: Owner, token_ids: Sequence[int] | Ids) -> npt.NDArray[np.float32]:
        """One weight a token, summing to one, by how rare it is among the user's turns."""
        counted = self._counted(owner)
        places = np.searchsorted(counted.ids, token_ids)
        held = np.zeros(len(token_ids), dtype=np.int64)
        if len(counted.ids):
            places = np.minimum(places, len(counted.ids) - 1)
            held = np.where(counted.ids[places] == token_ids, counted.counts[places], 0)
        return weights_of(held, turns=counted.turns)

    def _counted(self, owner: Owner) -> _Counted:
        with self._lock:
            known = self._kept.get(owner)
            if known is not None:
                self._kept.move_to_end(owner)
        now = monotonic()
        if known is not None and now - known.looked_at < self._trusted_s:
            return known
        with self._store.read() as tx:
            if known is not None and abs(tx.rounds.indexed_turns(owner) - known.turns) * _CHANGE <= known.turns:
                return self._keep(owner, replace(known, looked_at=now))
            turns, held = tx.rounds.terms(owner)
        ids, counts = np.unique(np.frombuffer(held, dtype="<u4"), return_counts=True)
        # A turn of which the index holds less than it did cannot make a count exceed the turns.
        return self._keep(owner, _Counted(turns, ids, np.minimum(counts, turns), now))

    def _keep(self, owner: Owner, counted: _Counted) -> _Counted:
        with self._lock:
            self._kept[owner] = counted
            self._kept.move_to_end(owner)
            while len(self._kept) > USERS_KEPT:
                self._kept.popitem(last=False)
        return counted


def weights_of(held: npt.NDArray[np.int64], *, turns: int) -> npt.NDArray[np.float32]:
    """The weights, summing to one, of tokens of which so many of the turns hold each.

    The root of the inverse document frequency (Spärck Jones, 1972, in BM25's form). The root was better than the plain
    value on sessions with an assistant and as good on chats.
    """
    rarity = np.sqrt(np.log1p((turns - held + 0.5) / (held + 0.5)))
    return np.asarray(rarity / rarity.sum(), dtype=np.float32)
