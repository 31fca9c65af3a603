"""Small true implementations of what cannot be had here, or would only cost time."""

import hashlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import uvicorn
from fastapi import FastAPI, Request
from pydantic import TypeAdapter
from qdrant_client import QdrantClient, models
from starlette.responses import JSONResponse, Response

from memsvc.inference.encoders import Encoded, Encoder, unit


class HashEncoder(Encoder):
    """Texts as bags of hashed words: deterministic, without a model, and alike where words are shared."""

    def __init__(
        self,
        name: str = "hash-64",
        dimension: int = 64,
        max_tokens: int = 64,
        token_dimension: int = 64,
        variant: str = "",
    ) -> None:
        self.name = name
        self.variant = variant
        self.dimension = dimension
        self.token_dimension = token_dimension
        self.max_tokens = max_tokens

    def encode(self, texts: Sequence[str], *, contexts: Sequence[str] = ()) -> list[Encoded]:
        return [self._encoded(text) for text in texts]

    def _encoded(self, text: str) -> Encoded:
        ids = np.array([_word_id(word) for word in text.lower().split()[: self.max_tokens]], dtype=np.uint32)
        dense = np.full(self.dimension, 1e-3, dtype=np.float32)
        np.add.at(dense, ids % self.dimension, 1.0)
        if not self.token_dimension:
            return Encoded(unit(dense), np.empty((0, 0), np.float32), np.empty(0, np.uint32))
        # A word's own vector: one number stands out, so that only the same word is like it.
        tokens = np.full((len(ids), self.token_dimension), 1e-3, dtype=np.float32)
        tokens[np.arange(len(ids)), ids % self.token_dimension] = 1.0
        return Encoded(unit(dense), unit(tokens), ids)

    def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [len(text.split()) for text in texts]


class HeldEncoder(HashEncoder):
    """The same, but texts that hold a word are not encoded as long as a file is there."""

    def __init__(self, word: str, gate: Path) -> None:
        super().__init__()
        self._word = word
        self._gate = gate

    def encode(self, texts: Sequence[str], *, contexts: Sequence[str] = ()) -> list[Encoded]:
        while self._gate.exists() and any(self._word in text for text in texts):
            time.sleep(0.01)
        return super().encode(texts, contexts=contexts)


def _word_id(word: str) -> int:
    digest = hashlib.md5(word.strip(".,!?:").encode(errors="replace"), usedforsecurity=False).digest()
    return int.from_bytes(digest[:4], "big")


class FixedClock:
    """A clock that stands until it is moved."""

    def __init__(self, now: datetime = datetime(2025, 1, 1, 12, tzinfo=UTC)) -> None:
        self._now = now

    def now(self) -> datetime:
        return self._now

    def pass_time(self, **by: float) -> None:
        self._now += timedelta(**by)


class QdrantDouble:
    """The part of a Qdrant server's REST interface that memsvc uses, over qdrant-client's own local mode.

    `requests` keeps every request's method, path and body. `is_down` answers 503 to all. The local mode computes IDF
    over all points instead of the corpus asked for; everything else is the library's own semantics.
    """

    def __init__(self) -> None:
        self._local = QdrantClient(":memory:")
        self._lock = threading.Lock()
        self.requests: list[tuple[str, str, Any]] = []
        self.is_down = False
        self.app = FastAPI()
        self._add_routes()

    def _add_routes(self) -> None:
        app, local = self.app, self._local

        @app.middleware("http")
        async def watch(request: Request, call_next: Any) -> Response:
            body = await request.body()
            self.requests.append((request.method, request.url.path, body))
            if self.is_down:
                return JSONResponse({"status": {"error": "down"}}, 503)
            response: Response = await call_next(request)
            return response

        @app.exception_handler(ValueError)
        def refused(_request: Request, error: ValueError) -> Response:
            return JSONResponse({"status": {"error": str(error)}, "time": 0}, 400)

        @app.get("/aliases")
        def aliases() -> Any:
            return self._answer(local.get_aliases)

        @app.post("/collections/aliases")
        def change_aliases(body: dict[str, Any]) -> Any:
            actions = TypeAdapter(list[models.AliasOperations]).validate_python(body["actions"])
            return self._answer(lambda: local.update_collection_aliases(actions))

        @app.get("/collections/{name}/exists")
        def exists(name: str) -> Any:
            return self._answer(lambda: {"exists": local.collection_exists(name)})

        @app.put("/collections/{name}")
        def create(name: str, body: models.CreateCollection) -> Any:
            return self._answer(
                lambda: local.create_collection(
                    name, vectors_config=body.vectors, sparse_vectors_config=body.sparse_vectors
                )
            )

        @app.delete("/collections/{name}")
        def delete(name: str) -> Any:
            return self._answer(lambda: local.delete_collection(name))

        @app.put("/collections/{name}/index")
        def create_index(name: str) -> Any:
            return self._answer(lambda: {"operation_id": 0, "status": "completed"})

        @app.put("/collections/{name}/points")
        def upsert(name: str, body: models.PointsList) -> Any:
            return self._answer(lambda: local.upsert(name, body.points))

        @app.post("/collections/{name}/points/delete")
        def delete_points(name: str, body: models.FilterSelector) -> Any:
            return self._answer(lambda: local.delete(name, body))

        @app.post("/collections/{name}/points/query/batch")
        def query(name: str, body: models.QueryRequestBatch) -> Any:
            return self._answer(lambda: local.query_batch_points(name, body.searches))

        @app.post("/collections/{name}/points/count")
        def count(name: str, body: models.CountRequest) -> Any:
            return self._answer(lambda: local.count(name, body.filter, exact=True))

    def _answer(self, act: Any) -> dict[str, Any]:
        with self._lock:
            return {"result": act(), "status": "ok", "time": 0.0}


@contextmanager
def listening(app: Any) -> Iterator[str]:
    """An ASGI application behind a real socket on a free port; its URL."""
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise RuntimeError("the application did not start")
        thread.join(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join(timeout=60)
        assert not thread.is_alive(), "the application does not end"


def until(reached: Callable[[], bool], *, within_s: float = 30.0) -> None:
    """Look until a state is reached; fails when it is not reached in time."""
    deadline = time.monotonic() + within_s
    while not reached():
        assert time.monotonic() < deadline, f"not reached within {within_s} s"
        time.sleep(0.01)


def together(*acts: Callable[[], object]) -> list[Exception]:
    """Do all acts at once, each in a thread of its own; what they raised."""
    raised: list[Exception] = []
    barrier = threading.Barrier(len(acts))

    def run(act: Callable[[], object]) -> None:
        barrier.wait()
        try:
            act()
        except Exception as exc:  # noqa: BLE001 (whatever it is, the test shall see it)
            raised.append(exc)

    threads = [threading.Thread(target=run, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return raised
