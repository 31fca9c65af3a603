"""Indexing: rounds put into the index in a second, against the bare encoder on the same key texts."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter

from benchmarks.report import Aim, Report, of_pairs
from benchmarks.texts import chats
from memsvc.app import Service, build, encoder_of
from memsvc.clock import SystemClock
from memsvc.domain import Owner
from memsvc.index.lexical import Lexicon
from memsvc.inference.encoders import Encoded, Encoder
from memsvc.memory.duties import Patience
from memsvc.memory.indexing import Indexer, Projector
from memsvc.settings import Settings

_ROUNDS = 4


class Overheard(Encoder):
    """The shipped encoder; it keeps the texts it was given, to encode them once more, and the time it took."""

    def __init__(self, encoder: Encoder) -> None:
        self.name = encoder.name
        self.variant = encoder.variant
        self.dimension = encoder.dimension
        self.token_dimension = encoder.token_dimension
        self.max_tokens = encoder.max_tokens
        self.bare = encoder
        self.texts: list[str] = []
        self.contexts: list[str] = []
        self.spent = 0.0

    def encode(self, texts: Sequence[str], *, contexts: Sequence[str] = ()) -> list[Encoded]:
        """Keep the texts, and encode them."""
        self.texts += texts
        self.contexts += contexts
        begun = perf_counter()
        vectors = self.bare.encode(texts, contexts=contexts)
        self.spent += perf_counter() - begun
        return vectors

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """The encoder's own count."""
        return self.bare.count_tokens(texts)


def measure(*, sessions: int) -> Report:
    """Drain what recording owed, claim by claim, and encode the texts of each claim bare, in one call."""
    with tempfile.TemporaryDirectory(prefix="memsvc-bench-") as folder:
        encoder = Overheard(encoder_of(Settings(_env_file=None, encoder_dir=Path(folder))))
    drained: list[float] = []
    bare: list[float] = []
    whole = 0.0
    keys = 0
    with _recorded(sessions, encoder) as (service, indexer):
        encoder.bare.encode(["The first call is slower than all that follow."])
        while True:
            encoder.texts.clear()
            encoder.contexts.clear()
            begun = perf_counter()
            claimed = indexer.drain()
            between = perf_counter()
            if not claimed:
                break
            encoder.bare.encode(encoder.texts, contexts=encoder.contexts)
            rounds = claimed * _ROUNDS
            drained.append(rounds / (between - begun))
            bare.append(rounds / (perf_counter() - between))
            whole += between - begun
            keys += len(encoder.texts)
        points = service.index.count()
    return Report(
        "indexing",
        "the encoder alone on the same key texts, one call a claim",
        [of_pairs("Indexer.drain", drained, bare, "rounds/s", Aim(at_least=0.8))],
        [
            f"{sessions} sessions, {sessions * _ROUNDS} rounds, {keys} keys in {len(drained)} claims; "
            f"{points} points in the embedded index; medians",
            f"{encoder.spent / whole:.0%} of the time of all drains was the encoder's",
        ],
    )


@contextmanager
def _recorded(sessions: int, encoder: Encoder) -> Iterator[tuple[Service, Indexer]]:
    """A service with so many sessions on disk and none of them indexed, and an indexer of its own."""
    with tempfile.TemporaryDirectory(prefix="memsvc-bench-") as folder:
        service = build(Settings(_env_file=None, data_dir=Path(folder)), encoder=encoder, threads=0)
        for chat in chats(sessions, users=max(1, sessions // 10), rounds=_ROUNDS):
            owner = Owner("default", chat.user_id)
            service.use_cases.recorder.record(owner, chat.session_id, chat.drafts, started_at=chat.started_at)
        projector = Projector(encoder, Lexicon())
        yield service, Indexer(service.store, service.index, projector, SystemClock(), Patience())
        service.close()
