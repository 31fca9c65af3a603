"""Recall among many users: milliseconds inside the service, against a bare encode and bare engine queries."""

import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from time import perf_counter
from uuid import uuid5

import numpy as np
import qdrant_edge as edge

from benchmarks.report import Aim, Figure, Report, p50, p95
from benchmarks.texts import Chat, chats, questions
from memsvc.app import Service, build
from memsvc.clock import utc_now
from memsvc.domain import NAMESPACE, Owner, Query, Recollection, Round, Session, Turn
from memsvc.index.base import BM25, DENSE, HIT_FIELDS, TOKENS, Point
from memsvc.index.edge import EdgeIndex
from memsvc.index.lexical import Lexicon
from memsvc.inference.encoders import unit
from memsvc.memory.dividing import keys_of
from memsvc.settings import Settings
from memsvc.store.rounds import Made
from memsvc.store.sessions import NewTurn

USERS = 1000
_ROUNDS = 6
_KEYS_A_ROUND = 2
_TOKENS = 60
_POINTS_A_PUT = 500
_WARM_UP = 30
_SESSIONS_A_COMMIT = 500


def measure(*, keys: int, recalls: int, users: int = USERS) -> Report:
    """Fill a service with so many keys, then ask: by turns the Recaller and, bare, the encoder and the engine."""
    with tempfile.TemporaryDirectory(prefix="memsvc-bench-") as folder:
        service = build(Settings(_env_file=None, data_dir=Path(folder)), threads=0)
        begun = perf_counter()
        points = fill(service, keys, users=users)
        filled = perf_counter() - begun
        recalled, bare, taken = _ask(service, recalls, users=users)
        size = sum(path.stat().st_blocks * 512 for path in Path(folder, "index").rglob("*") if path.is_file())
        service.close()
    return Report(
        "recall" if users > 1 else "recall of one large user",
        "encode + one dense, one BM25 and one MaxSim query to the engine: same filters, depth and payload fields",
        [
            Figure("Recaller.recall, p50", p50(recalled), p50(bare), "ms", Aim(at_most=1.5)),
            Figure("Recaller.recall, p95", p95(recalled), p95(bare), "ms"),
        ],
        [
            f"{points} keys of {users} users, filled in {filled:.0f} s; {recalls} recalls, each beside a bare one",
            f"{size / points:,.0f} bytes of index a key of {_TOKENS} tokens",
            "medians of the stages: " + ", ".join(f"{stage} {ms:.2f} ms" for stage, ms in _stages(taken).items()),
        ],
    )


def fill(service: Service, keys: int, *, users: int) -> int:
    """Write sessions and their points, as if they had been recorded and indexed; how many points there are.

    The words are real and their BM25 vectors too; dense vectors and those of 60 tokens a key are random directions,
    which costs no encoder and makes every search as hard.
    """
    chance = np.random.default_rng(5)
    lexicon = Lexicon()
    told = chats(keys // (_ROUNDS * _KEYS_A_ROUND), users=users, rounds=_ROUNDS)
    while batch := list(islice(told, _SESSIONS_A_COMMIT)):
        rounds = _write(service, batch)
        made = [
            (owner, key) for owner, round_ in rounds for key in keys_of(round_, count_tokens=_words, max_tokens=200)
        ]
        dense = unit(chance.standard_normal((len(made), service.encoder.dimension), dtype=np.float32))
        pool = unit(chance.standard_normal((4096, service.encoder.token_dimension), dtype=np.float32))
        for first in range(0, len(made), _POINTS_A_PUT):
            service.index.put(
                [
                    Point(
                        key,
                        owner,
                        dense[place],
                        lexicon.document(f"{key.context}\n{key.text}"),
                        pool[chance.integers(0, len(pool), _TOKENS)],
                    )
                    for place, (owner, key) in enumerate(made[first : first + _POINTS_A_PUT], first)
                ]
            )
    return service.index.count()


def _write(service: Service, batch: Sequence[Chat]) -> list[tuple[Owner, Round]]:
    """The sessions on disk, and their rounds as recall will read them."""
    now = utc_now()
    with service.store.begin() as tx:
        rows = []
        for chat in batch:
            owner = Owner("default", chat.user_id)
            session_row = uuid5(NAMESPACE, chat.session_id)
            session = Session(
                session_row, chat.session_id, chat.started_at, now, turn_count=0, round_count=0, metadata={}
            )
            tx.workspaces.ensure_user(owner, now=now)
            tx.sessions.insert(owner, session)
            tx.sessions.add_turns(owner, session_row, list(_turns(chat)), now=now)
            rows.append(session_row)
        rounds = tx.rounds.unindexed(rows, limit=len(rows) * _ROUNDS)
        terms = np.arange(_KEYS_A_ROUND * _TOKENS, dtype="<u4").tobytes()
        tx.rounds.mark_indexed([Made(owner, round_, _KEYS_A_ROUND, terms) for owner, round_ in rounds], now=now)
    return rounds


def _turns(chat: Chat) -> Iterator[NewTurn]:
    for position, draft in enumerate(chat.drafts):
        turn = Turn(str(position), draft.role, draft.role.value, draft.text, chat.started_at)
        yield NewTurn(turn, position, round_position=position - position % 2)


def _words(texts: Sequence[str]) -> list[int]:
    return [len(text.split()) for text in texts]


def _ask(service: Service, recalls: int, *, users: int) -> tuple[list[float], list[float], list[Recollection]]:
    """Milliseconds of recalls and of bare searches, in alternating order, and what was recalled."""
    recalled: list[float] = []
    bare: list[float] = []
    found: list[Recollection] = []
    lexicon = Lexicon()
    for number, text in enumerate(questions(_WARM_UP + recalls)):
        owner = Owner("default", f"user-{number * 37 % users}")
        for is_recall in (True, False) if number % 2 else (False, True):
            begun = perf_counter()
            if is_recall:
                found.append(service.use_cases.recaller.recall(owner, Query(text, utc_now())))
            else:
                _search_bare(service, lexicon, owner, text)
            (recalled if is_recall else bare).append((perf_counter() - begun) * 1000)
    return recalled[_WARM_UP:], bare[_WARM_UP:], found[_WARM_UP:]


def _search_bare(service: Service, lexicon: Lexicon, owner: Owner, text: str) -> None:
    """What no recall can do without: one pass of the encoder, and the engine's answer to every leg."""
    assert isinstance(service.index, EdgeIndex)
    depth = service.settings.depth
    only = edge.Filter(
        must=[
            edge.FieldCondition("workspace", match=edge.MatchValue(owner.workspace)),
            edge.FieldCondition("user", match=edge.MatchValue(owner.user_id)),
        ]
    )
    encoded = service.encoder.encode([text])[0]
    dense = edge.Query.Nearest(encoded.dense.tolist(), DENSE)
    words = lexicon.query(text)
    sparse = edge.Query.Nearest(edge.SparseVector(words.indices, words.values), BM25)
    corpus = edge.SearchParams(idf=edge.IdfParams(corpus=only))
    for leg in (
        edge.QueryRequest(limit=depth, query=dense, filter=only, with_payload=HIT_FIELDS),
        edge.QueryRequest(limit=depth, query=sparse, filter=only, with_payload=HIT_FIELDS, params=corpus),
        edge.QueryRequest(
            limit=2 * depth,
            query=edge.Query.Nearest(encoded.tokens.tolist(), TOKENS),
            prefetches=[
                edge.Prefetch(limit=depth, query=dense, filter=only),
                edge.Prefetch(limit=depth, query=sparse, filter=only, params=corpus),
            ],
            filter=only,
            with_payload=HIT_FIELDS,
        ),
    ):
        service.index._shard.query(leg)


def _stages(taken: Sequence[Recollection]) -> dict[str, float]:
    """The median of each stage; `pack` is what is left of the whole."""
    times = [recollection.took_ms for recollection in taken]
    return {
        "encode": p50(time.encode for time in times),
        "search": p50(time.search for time in times),
        "load": p50(time.load for time in times),
        "pack": p50(time.total - time.encode - time.search - time.load for time in times),
    }
