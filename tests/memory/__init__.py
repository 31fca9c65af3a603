"""Tests of the use cases and of the pure functions between them.

Here are the use cases over one store and index, and hits as an index gives them.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from memsvc.domain import Found, Hit, Owner, Query, Recorded, Role, Task, TaskKind, Unit
from memsvc.index.base import Index
from memsvc.index.lexical import Lexicon
from memsvc.inference.encoders import Encoder
from memsvc.memory.duties import Patience
from memsvc.memory.extracting import Extractor
from memsvc.memory.forgetting import Forgetter
from memsvc.memory.indexing import Indexer, Projector, Rebuilder
from memsvc.memory.metering import Meter
from memsvc.memory.rarity import Rarity
from memsvc.memory.reading import Reader
from memsvc.memory.recall import Recaller, Recipe
from memsvc.memory.reconciling import Reconciler
from memsvc.memory.recording import Recorder
from memsvc.store import schema
from memsvc.store.database import Store, make_engine
from tests.doubles import FixedClock, HashEncoder
from tests.factories import OWNER, STARTED, draft, recorder, row_id

LEASE_S = 60.0
ATTEMPTS = 3


class Memory:
    """The use cases over one store and one index, with a clock that stands until it is moved, and no language model."""

    def __init__(
        self, store: Store, index: Index, encoder: Encoder | None = None, *, clock: FixedClock | None = None
    ) -> None:
        encoder, lexicon = encoder or HashEncoder(), Lexicon()
        projector = Projector(encoder, lexicon)
        self.store = store
        self.index = index
        self.clock = clock or FixedClock(datetime(2025, 1, 1, 12, tzinfo=UTC))
        self.recorder: Recorder = recorder(store, self.clock)
        self.reader = Reader(store, self.clock)
        self.recaller = Recaller(store, index, encoder, lexicon, Rarity(store), Recipe())
        self.forgetter = Forgetter(store, index, self.clock)
        patience = Patience(LEASE_S, ATTEMPTS)
        meter = Meter(store, None, self.clock)
        reconciler = Reconciler(store, encoder, meter, self.clock)
        self.extractor = Extractor(store, reconciler, meter, self.clock, patience, count_tokens=encoder.count_tokens)
        self.indexer = Indexer(store, index, projector, self.clock, patience)
        self.rebuilder = Rebuilder(store, index, projector, self.clock)

    def record(self, session_id: str, *texts: str, owner: Owner = OWNER) -> Recorded:
        """Record a session of a user's turns, each a round of its own."""
        return self.recorder.record(owner, session_id, [draft(text) for text in texts], started_at=STARTED)

    def extract(self) -> None:
        """Do the extraction that is due."""
        while self.extractor.drain():
            pass

    def drain(self) -> None:
        """Do all that is due."""
        while self.extractor.drain() + self.indexer.drain():
            pass

    def recalled(self, text: str, *, owner: Owner = OWNER) -> list[str]:
        """The texts of the turns that recall finds, best first."""
        query = Query(text, asked_at=self.clock.now(), limit=100, unit=Unit.TURN)
        return [item.turns[0].text for item in self.recaller.recall(owner, query).evidence]

    def claim(self, *, retried: bool = False) -> list[Task]:
        """Claim the indexing that is due, as another worker would."""
        with self.store.begin() as tx:
            return tx.outbox.claim(TaskKind.INDEX, limit=100, lease_s=LEASE_S, now=self.clock.now(), retried=retried)

    def keys(self) -> int:
        """How many points the index should hold, as the store counts them."""
        with self.store.read() as tx:
            return tx.rounds.counts()[2] + tx.facts.indexed()


def found(name: str, **told: Any) -> Found:
    """The turn of a name like `A3`, the fourth turn of session A; two turns are a round."""
    session, position = name[0], int(name[1:])
    known: dict[str, Any] = {
        "round_row": row_id(round_name(name)),
        "session_row": row_id(session),
        "turn_id": str(position),
        "position": position,
        "role": Role.USER,
        "speaker": "user",
        "said_at": STARTED,
        "length": 40,
        "asks": 0,
    }
    return Found(**(known | told))


def round_name(name: str) -> str:
    """The name of the round of a turn: that of its first turn."""
    return f"{name[0]}{int(name[1:]) // 2 * 2}"


def hits_of(names: str, *scores: float, told: Mapping[str, Mapping[str, Any]] | None = None) -> list[Hit]:
    """A leg's hits: the turns of these names, best first, with these scores or some that fall."""
    listed = names.split()
    falling = scores or tuple(1 - rank / (1 + len(listed)) for rank in range(1, 1 + len(listed)))
    more = told or {}
    return [
        Hit(found(name, **more.get(name, {})), rank, score)
        for rank, (name, score) in enumerate(zip(listed, falling, strict=True), 1)
    ]


def opened(folder: Path) -> Store:
    """An empty database in a folder."""
    url = f"sqlite:///{folder / 'memsvc.sqlite3'}"
    engine = make_engine(url)
    schema.migrate(engine)
    engine.dispose()
    return Store(url)
