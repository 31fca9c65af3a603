"""The index on a Qdrant server: what goes over the wire, and what happens when the server does not answer."""

import asyncio
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from fastapi import FastAPI
from qdrant_client import models
from starlette.responses import HTMLResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from memsvc.app import build
from memsvc.domain import Owner, Shape
from memsvc.errors import IndexUnavailable
from memsvc.index.base import BM25, DENSE, HIT_FIELDS, Probe
from memsvc.index.server import ServerIndex, connect
from memsvc.intervals import Window
from memsvc.settings import Settings
from tests.doubles import HashEncoder, QdrantDouble, listening, together
from tests.factories import OWNER, fact_of, fact_points_of, points_of, probe_of, round_of, row_id, turn

Qdrant = tuple[QdrantDouble, str]

KITTEN = round_of(turn("I adopted a grey kitten."))
PUPPY = round_of(turn("I adopted a brown puppy."), session="s2")
SHAPE = Shape("hash-64", 64, 64)
OLDER = Shape("older", 32, form=1)
ALIAS = "memsvc-hash-64-64-t64-k4"


def test_collection_is_created_as_the_design_says(qdrant: Qdrant) -> None:
    double, url = qdrant
    with _index(url, shards=6, replicas=2) as index:
        index.put(points_of(OWNER, KITTEN))

    created = _bodies(double, "PUT", f"/collections/{ALIAS}-first")
    assert created == [
        {
            "vectors": {
                "dense": {"size": 64, "distance": "Cosine", "on_disk": True, "datatype": "float16"},
                "tokens": {
                    "size": 64,
                    "distance": "Dot",
                    "on_disk": True,
                    "datatype": "turbo4",
                    "multivector_config": {"comparator": "max_sim"},
                    "hnsw_config": {"m": 0, "payload_m": 0},
                },
            },
            "sparse_vectors": {"bm25": {"modifier": "idf"}},
            "hnsw_config": {"m": 0, "payload_m": 16},
            "shard_number": 6,
            "replication_factor": 2,
        }
    ]


def test_collection_without_token_vectors_has_no_place_for_them(qdrant: Qdrant) -> None:
    double, url = qdrant
    with _index(url, replace(SHAPE, token_dimension=0)) as index:
        index.count()

    created = _bodies(double, "PUT", "/collections/memsvc-hash-64-64-t0-k4-first")
    assert [set(body["vectors"]) for body in created] == [{"dense"}]


def test_payload_is_indexed_with_the_user_as_tenant(qdrant: Qdrant) -> None:
    double, url = qdrant
    with _index(url) as index:
        index.put(points_of(OWNER, KITTEN))

    indexed = _bodies(double, "PUT", f"/collections/{ALIAS}-first/index")
    assert {body["field_name"]: body["field_schema"] for body in indexed} == {
        "workspace": {"type": "keyword", "enable_hnsw": False},
        "session": {"type": "keyword", "enable_hnsw": False},
        "kind": {"type": "keyword", "enable_hnsw": False},
        "user": {"type": "keyword", "is_tenant": True},
        "said_at": {"type": "datetime", "enable_hnsw": False},
        "recorded_at": {"type": "datetime", "enable_hnsw": False},
        "events[].from": {"type": "integer", "lookup": False, "range": True, "enable_hnsw": False},
        "events[].to": {"type": "integer", "lookup": False, "range": True, "enable_hnsw": False},
    }


def test_point_is_sent_with_its_vectors_and_payload_and_waited_for(qdrant: Qdrant) -> None:
    double, url = qdrant
    point = points_of(OWNER, KITTEN)[0]
    with _index(url) as index:
        index.put([point])

    sent = _bodies(double, "PUT", f"/collections/{ALIAS}/points")
    assert sent == [
        {
            "points": [
                {
                    "id": str(point.key.point_id),
                    "vector": {
                        "dense": point.dense.tolist(),
                        "bm25": {"indices": point.sparse.indices, "values": point.sparse.values},
                        "tokens": point.tokens.tolist(),
                    },
                    "payload": {
                        "workspace": "default",
                        "user": "ana",
                        "session": str(KITTEN.session_row),
                        "round": str(KITTEN.row_id),
                        "turn": "0",
                        "position": 0,
                        "role": "user",
                        "speaker": "user",
                        "said_at": "2024-03-01T10:00:00+00:00",
                        "recorded_at": "2024-03-01T10:00:00+00:00",
                        "events": [],
                        "length": 24,
                        "asks": 0,
                        "kind": "turn",
                    },
                }
            ]
        }
    ]


def test_nothing_is_sent_before_the_first_call(qdrant: Qdrant) -> None:
    double, url = qdrant

    with _index(url):
        pass

    assert double.requests == []


def test_collection_that_is_there_is_not_made_again(qdrant: Qdrant) -> None:
    double, url = qdrant
    with _index(url) as first:
        first.put(points_of(OWNER, KITTEN))
    double.requests.clear()

    with _index(url) as second:
        second.put(points_of(OWNER, PUPPY))
        second.put(points_of(OWNER, PUPPY))

        assert second.count() == 2
    assert [(method, path) for method, path, _ in double.requests] == [
        ("GET", "/aliases"),
        ("PUT", f"/collections/{ALIAS}/points"),
        ("PUT", f"/collections/{ALIAS}/points"),
        ("POST", f"/collections/{ALIAS}/points/count"),
    ]


def test_two_processes_that_start_at_once_make_one_collection() -> None:
    double = QdrantDouble()
    with listening(_Together(double.app, "/aliases", parties=2)) as url, _index(url) as one, _index(url) as other:
        raised = together(
            lambda: one.put(points_of(OWNER, KITTEN)),
            lambda: other.put(points_of(OWNER, PUPPY)),
        )

        assert raised == []
        assert _aliases(url) == {ALIAS: f"{ALIAS}-first"}
        assert one.count() == other.count() == 2


def test_idf_is_asked_for_over_the_owners_points_of_one_kind_alone(qdrant: Qdrant) -> None:
    double, url = qdrant
    since = datetime(2024, 3, 1, tzinfo=UTC)
    with _index(url) as index:
        index.search(Owner("acme", "ana"), probe_of("grey kitten", window=Window(since, None)))

    dense, bm25, late = _searches(double)
    owner = [{"key": "workspace", "match": {"value": "acme"}}, {"key": "user", "match": {"value": "ana"}}]
    in_window = {"key": "said_at", "range": {"gte": "2024-03-01T00:00:00Z"}}
    kind = {"key": "kind", "match": {"value": "turn"}}
    assert bm25["params"] == {"idf": {"corpus": {"must": [*owner, kind]}}}
    assert dense["filter"] == bm25["filter"] == late["filter"] == {"must": [*owner, kind, in_window]}
    assert (dense["using"], bm25["using"], late["using"]) == ("dense", "bm25", "tokens")
    assert "params" not in dense
    assert [inner["filter"] for inner in late["prefetch"]] == [late["filter"]] * 2
    assert late["prefetch"][1]["params"] == bm25["params"]


def test_all_legs_are_asked_for_in_one_request(qdrant: Qdrant) -> None:
    double, url = qdrant
    probe = probe_of("grey kitten", depth=5)
    assert probe.dense is not None
    assert probe.sparse is not None
    assert probe.tokens is not None
    with _index(url) as index:
        index.put(points_of(OWNER, KITTEN))
        double.requests.clear()

        index.search(OWNER, probe)

    dense, bm25, late = _searches(double)
    assert len(double.requests) == 1
    assert (dense["query"], dense["limit"]) == ({"nearest": probe.dense.tolist()}, 5)
    words = {"indices": probe.sparse.indices, "values": probe.sparse.values}
    assert (bm25["query"], bm25["limit"]) == ({"nearest": words}, 5)
    # What the other two find may be twice as much as each of them.
    assert (late["query"], late["limit"]) == ({"nearest": probe.tokens.tolist()}, 10)
    assert [(inner["using"], inner["query"], inner["limit"]) for inner in late["prefetch"]] == [
        ("dense", dense["query"]["nearest"], 5),
        ("bm25", bm25["query"]["nearest"], 5),
    ]


def test_every_leg_brings_payloads(qdrant: Qdrant) -> None:
    # With several shards, what a leg finds may stand in no answer of the late one.
    double, url = qdrant
    with _index(url) as index:
        index.search(OWNER, probe_of("grey kitten"))

    assert [search["with_payload"] for search in _searches(double)] == [HIT_FIELDS] * 3


def test_late_leg_alone_has_nothing_to_rescore(qdrant: Qdrant) -> None:
    double, url = qdrant
    with _index(url) as index:
        index.search(OWNER, replace(probe_of("grey kitten", depth=5), dense=None, sparse=None))

    (late,) = _searches(double)
    assert "prefetch" not in late
    assert (late["using"], late["limit"]) == ("tokens", 5)


def test_probe_of_nothing_asks_nothing(qdrant: Qdrant) -> None:
    double, url = qdrant
    with _index(url) as index:
        legs = index.search(OWNER, Probe(10))

    assert (legs, double.requests) == ({}, [])


def test_drop_names_workspace_user_and_session(qdrant: Qdrant) -> None:
    double, url = qdrant
    with _index(url) as index:
        index.drop(OWNER, KITTEN.session_row)

    deleted = _bodies(double, "POST", f"/collections/{ALIAS}/points/delete")
    assert deleted == [
        {
            "filter": {
                "must": [
                    {"key": "workspace", "match": {"value": "default"}},
                    {"key": "user", "match": {"value": "ana"}},
                    {"key": "session", "match": {"value": str(KITTEN.session_row)}},
                ]
            }
        }
    ]


def test_remove_names_workspace_user_and_points(qdrant: Qdrant) -> None:
    double, url = qdrant
    ids = [row_id("one"), row_id("two")]
    with _index(url) as index:
        index.remove(OWNER, ids)

    deleted = _bodies(double, "POST", f"/collections/{ALIAS}/points/delete")
    assert deleted == [
        {
            "filter": {
                "must": [
                    {"key": "workspace", "match": {"value": "default"}},
                    {"key": "user", "match": {"value": "ana"}},
                    {"has_id": [str(point_id) for point_id in ids]},
                ]
            }
        }
    ]


def test_point_of_a_fact_names_the_fact_and_its_kind(qdrant: Qdrant) -> None:
    double, url = qdrant
    fact = fact_of(KITTEN, "Ana has a grey kitten.", kind="event")
    with _index(url) as index:
        index.put(fact_points_of(OWNER, KITTEN, fact))

    ((sent,),) = [body["points"] for body in _bodies(double, "PUT", f"/collections/{ALIAS}/points")]
    payload = sent["payload"]
    assert sent["id"] == str(fact.fact_id)
    assert (payload["kind"], payload["fact"], payload["fact_kind"]) == ("fact", str(fact.fact_id), "event")
    assert (payload["round"], payload["turn"], payload["position"]) == (str(KITTEN.row_id), "0", 0)


def test_server_that_comes_back_is_used_again(qdrant: Qdrant) -> None:
    double, url = qdrant
    with _index(url) as index:
        index.put(points_of(OWNER, KITTEN))
        double.is_down = True
        with pytest.raises(IndexUnavailable):
            index.search(OWNER, probe_of("kitten"))

        double.is_down = False

        assert [hit.found.round_row for hit in index.search(OWNER, probe_of("kitten"))[BM25]] == [KITTEN.row_id]


def test_server_that_was_down_at_the_start_is_used_later(qdrant: Qdrant) -> None:
    double, url = qdrant
    double.is_down = True
    with _index(url) as index:
        with pytest.raises(IndexUnavailable):
            index.put(points_of(OWNER, KITTEN))
        double.is_down = False

        index.put(points_of(OWNER, KITTEN))

        assert index.count() == 1


_CALLS: dict[str, Callable[[ServerIndex], object]] = {
    "put": lambda index: index.put(points_of(OWNER, KITTEN)),
    "drop": lambda index: index.drop(OWNER, KITTEN.session_row),
    "remove": lambda index: index.remove(OWNER, [KITTEN.row_id]),
    "search": lambda index: index.search(OWNER, probe_of("kitten")),
    "count": lambda index: index.count(),
    "rebuilt": lambda index: index.rebuilt(),
}


@pytest.mark.parametrize("call", _CALLS.values(), ids=_CALLS.keys())
def test_port_that_nobody_listens_on_is_unavailable(call: Callable[[ServerIndex], object]) -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))  # Bound and not listening: a connection is refused.
        with _index(f"http://127.0.0.1:{bound.getsockname()[1]}") as index, pytest.raises(IndexUnavailable):
            call(index)


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda: HTMLResponse("<h1>Welcome</h1>"), id="a web page"),
        pytest.param(lambda: Response("{}", media_type="application/json"), id="JSON of something else"),
        pytest.param(lambda: Response("no", 401), id="unauthorized"),
        pytest.param(lambda: Response("slow down", 429, {"Retry-After": "1"}), id="too many requests"),
    ],
)
def test_answer_that_is_not_a_qdrant_servers_is_unavailable(answer: Callable[[], Response]) -> None:
    app = FastAPI()
    app.add_api_route("/{path:path}", answer, methods=["GET", "PUT", "POST"])

    with listening(app) as url, _index(url) as index, pytest.raises(IndexUnavailable):
        index.count()


def test_search_raises_when_the_bm25_leg_cannot_answer(qdrant: Qdrant) -> None:
    _, url = qdrant
    client = connect(url)
    only_dense = {DENSE: models.VectorParams(size=64, distance=models.Distance.COSINE)}
    client.create_collection("no-words", vectors_config=only_dense)
    alias = models.CreateAlias(collection_name="no-words", alias_name=ALIAS)
    client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
    client.close()

    with _index(url) as index, pytest.raises(IndexUnavailable, match="bm25"):
        index.search(OWNER, replace(probe_of("kitten"), tokens=None))


def test_search_raises_when_the_late_leg_cannot_answer(qdrant: Qdrant) -> None:
    _, url = qdrant
    without = replace(SHAPE, token_dimension=0)
    with _index(url, without) as index:
        index.put([replace(point, tokens=np.empty((0, 0), np.float32)) for point in points_of(OWNER, KITTEN)])
    client = connect(url)
    alias = models.CreateAlias(collection_name="memsvc-hash-64-64-t0-k4-first", alias_name=ALIAS)
    client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
    client.close()

    with _index(url) as index, pytest.raises(IndexUnavailable, match="tokens"):
        index.search(OWNER, probe_of("kitten"))


def test_swap_moves_the_alias_and_deletes_the_old_collection(qdrant: Qdrant) -> None:
    double, url = qdrant
    with _index(url) as index:
        index.put(points_of(OWNER, KITTEN))
        fresh = index.rebuilt()
        fresh.put(points_of(OWNER, PUPPY))
        double.requests.clear()

        fresh.swap()

        deleted = [path for method, path, _ in double.requests if method == "DELETE"]
        moves = _bodies(double, "POST", "/collections/aliases")
        new = _aliases(url)[ALIAS]
        assert new != f"{ALIAS}-first"
        assert deleted == [f"/collections/{ALIAS}-first"]
        assert moves == [
            {
                "actions": [
                    {"delete_alias": {"alias_name": ALIAS}},
                    {"create_alias": {"collection_name": new, "alias_name": ALIAS}},
                ]
            }
        ]


def test_swap_is_seen_by_other_processes_at_once(qdrant: Qdrant) -> None:
    _, url = qdrant
    with _index(url) as rebuilding, _index(url) as searching:
        searching.put(points_of(OWNER, KITTEN))
        fresh = rebuilding.rebuilt()
        fresh.put(points_of(OWNER, PUPPY))

        fresh.swap()

        assert [hit.found.round_row for hit in searching.search(OWNER, probe_of("adopted"))[BM25]] == [PUPPY.row_id]


def test_swap_deletes_the_collection_of_the_model_that_was_replaced(qdrant: Qdrant) -> None:
    _, url = qdrant
    with _index(url, OLDER) as old:
        old.count()
    with _index(url) as index:
        fresh = index.rebuilt()
        fresh.put(points_of(OWNER, KITTEN))

        fresh.swap(replaced=OLDER)

        assert _collections(url, "memsvc-older-32-t0-k1-first", _aliases(url)[ALIAS]) == [False, True]
        assert index.count() == 1


def test_discarded_rebuild_deletes_its_collection(qdrant: Qdrant) -> None:
    double, url = qdrant
    with _index(url) as index:
        index.count()
        fresh = index.rebuilt()
        made = [path for method, path, _ in double.requests if method == "PUT" and path.count("/") == 2][-1]

        fresh.discard()

        assert _collections(url, made.removeprefix("/collections/"), f"{ALIAS}-first") == [False, True]


def test_rebuild_with_another_encoder_leaves_other_installations_alone(qdrant: Qdrant, settings: Settings) -> None:
    _, url = qdrant
    mine = settings.model_copy(update={"qdrant_url": url, "qdrant_prefix": "mine"})
    service = build(mine, encoder=HashEncoder("older", 32, token_dimension=16))
    service.index.count()
    service.close()
    with _index(url, Shape("older", 32, 16)) as theirs:
        theirs.count()

        service = build(mine, encoder=HashEncoder("newer", 32), to_rebuild=True)
        service.rebuilder.rebuild()
        service.close()

        assert set(_aliases(url)) == {"mine-newer-32-t64-k4", "memsvc-older-32-t16-k4"}
        assert _collections(url, "mine-older-32-t16-k4-first", "memsvc-older-32-t16-k4-first") == [False, True]


def test_prefix_keeps_installations_apart(qdrant: Qdrant) -> None:
    _, url = qdrant
    with _index(url, prefix="one") as one, _index(url, prefix="two") as two:
        one.put(points_of(OWNER, KITTEN))

        assert (one.count(), two.count()) == (1, 0)


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
def test_api_key_is_sent_with_every_request() -> None:
    watched = _Watched(QdrantDouble().app)
    with listening(watched) as url, _index(url, api_key="s3cret") as index:
        index.put(points_of(OWNER, KITTEN))
        index.search(OWNER, probe_of("kitten"))

    assert len(watched.keys) > 2
    assert set(watched.keys) == {b"s3cret"}


def test_no_api_key_header_is_sent_without_a_key() -> None:
    watched = _Watched(QdrantDouble().app)
    with listening(watched) as url, _index(url) as index:
        index.count()

    assert set(watched.keys) == {None}


class _Watched:
    """An application whose requests' API keys are kept."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.keys: list[bytes | None] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            self.keys.append(dict(scope["headers"]).get(b"api-key"))
        await self._app(scope, receive, send)


class _Together:
    """An application whose first requests of a path are answered only when so many have come."""

    def __init__(self, app: ASGIApp, path: str, *, parties: int) -> None:
        self._app = app
        self._path = path
        self._waiting = parties
        self._barrier = asyncio.Barrier(parties)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == self._path and self._waiting:
            self._waiting -= 1
            await self._barrier.wait()
        await self._app(scope, receive, send)


@contextmanager
def _index(url: str, shape: Shape = SHAPE, *, api_key: str = "", **more: Any) -> Iterator[ServerIndex]:
    index = ServerIndex(connect(url, api_key=api_key), shape, **more)
    try:
        yield index
    finally:
        index.close()


def _searches(double: QdrantDouble) -> Any:
    """What the one search that was sent asked for, leg by leg."""
    (body,) = _bodies(double, "POST", f"/collections/{ALIAS}/points/query/batch")
    return body["searches"]


def _bodies(double: QdrantDouble, method: str, path: str) -> list[Any]:
    """The bodies of the requests that were sent so."""
    return [json.loads(body) for sent, where, body in double.requests if (sent, where) == (method, path)]


def _aliases(url: str) -> dict[str, str]:
    client = connect(url)
    aliases = client.get_aliases().aliases
    client.close()
    return {alias.alias_name: alias.collection_name for alias in aliases}


def _collections(url: str, *names: str) -> list[bool]:
    """Which of these collections there are."""
    client = connect(url)
    there = [client.collection_exists(name) for name in names]
    client.close()
    return there


def test_collection_of_the_first_form_goes_with_the_swap(qdrant: Qdrant) -> None:
    _, url = qdrant
    older, alias = "memsvc-older-32-first", "memsvc-older-32"
    client = connect(url)
    client.create_collection(
        older, vectors_config={"dense": models.VectorParams(size=32, distance=models.Distance.COSINE)}
    )
    create = models.CreateAlias(collection_name=older, alias_name=alias)
    client.update_collection_aliases([models.CreateAliasOperation(create_alias=create)])
    client.close()

    with _index(url) as index:
        fresh = index.rebuilt()
        fresh.put(points_of(OWNER, KITTEN))
        fresh.swap(replaced=OLDER)

    assert _collections(url, older) == [False]
