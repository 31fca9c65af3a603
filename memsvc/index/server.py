"""The index on a Qdrant server or cluster, through qdrant-client.

An alias named after model and dimension points at the live collection; a rebuild fills a collection beside it and
moves the alias in one step, so that processes which are searching see the one or the other.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from uuid import UUID, uuid4

from qdrant_client import QdrantClient, models
from qdrant_client.common.client_exceptions import QdrantException
from qdrant_client.http.exceptions import ApiException, UnexpectedResponse

from memsvc.domain import Owner, Window
from memsvc.errors import IndexUnavailable
from memsvc.index.base import (
    BM25,
    DENSE,
    HIT_FIELDS,
    KEYWORD_FIELDS,
    TENANT_FIELD,
    TIME_FIELD,
    Index,
    Legs,
    Point,
    Probe,
    Rebuild,
    collection_name,
    hit_of,
    payload_of,
)

TIMEOUT_S = 30


def connect(url: str, *, api_key: str = "") -> QdrantClient:
    """A client of the server at `url`; nothing is sent before the first call."""
    return QdrantClient(url=url, api_key=api_key or None, timeout=TIMEOUT_S, check_compatibility=False)


class ServerIndex(Index):
    """An index behind a `QdrantClient`; the collection is made at the first call that reaches the server."""

    def __init__(
        self,
        client: QdrantClient,
        *,
        encoder: str,
        dimension: int,
        prefix: str = "memsvc",
        shards: int = 1,
        replicas: int = 1,
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._alias = self._alias_of(encoder, dimension)
        self._dimension = dimension
        self._shards = shards
        self._replicas = replicas
        self._is_ready = False
        self._preparing = threading.Lock()

    def put(self, points: Sequence[Point]) -> None:
        """Write points and wait until they are found."""
        with self._prepared():
            _put(self._client, self._alias, points)

    def drop(self, owner: Owner, session_row: UUID) -> None:
        """Remove the points of one session."""
        only = models.FilterSelector(filter=_filter(owner, session_row=session_row))
        with self._prepared():
            self._client.delete(self._alias, only, wait=True)

    def search(self, owner: Owner, probe: Probe) -> Legs:
        """Both legs in one request."""
        requests = {DENSE: self._dense(owner, probe)}
        if probe.sparse:
            requests[BM25] = self._bm25(owner, probe)
        with self._prepared():
            answers = self._client.query_batch_points(self._alias, list(requests.values()))
        return {
            leg: [
                hit_of(found.payload or {}, rank=rank, score=found.score) for rank, found in enumerate(answer.points, 1)
            ]
            for leg, answer in zip(requests, answers, strict=True)
        }

    def count(self, owner: Owner | None = None, session_row: UUID | None = None) -> int:
        """How many points there are."""
        only = None if owner is None else _filter(owner, session_row=session_row)
        with self._prepared():
            return self._client.count(self._alias, count_filter=only, exact=True).count

    def rebuilt(self) -> Rebuild:
        """Start an empty collection beside the live one."""
        return _ServerRebuild(self)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _dense(self, owner: Owner, probe: Probe) -> models.QueryRequest:
        return models.QueryRequest(
            query=probe.dense.tolist(),
            using=DENSE,
            filter=_filter(owner, window=probe.window),
            limit=probe.depth,
            with_payload=HIT_FIELDS,
        )

    def _bm25(self, owner: Owner, probe: Probe) -> models.QueryRequest:
        return models.QueryRequest(
            query=models.SparseVector(indices=probe.sparse.indices, values=probe.sparse.values),
            using=BM25,
            filter=_filter(owner, window=probe.window),
            params=models.SearchParams(idf=models.IdfCorpusParams(corpus=_filter(owner))),
            limit=probe.depth,
            with_payload=HIT_FIELDS,
        )

    def _alias_of(self, encoder: str, dimension: int) -> str:
        return collection_name(encoder, dimension, prefix=self._prefix)

    @contextmanager
    def _prepared(self) -> Iterator[None]:
        """The collection is there; the client's errors become ours."""
        with _translated():
            if not self._is_ready:
                with self._preparing:
                    self._make_unless_there()
            yield

    def _make_unless_there(self) -> None:
        if not self._is_ready and self._live() is None:
            # Processes that start together make the same first collection, not one each.
            self._point_to(self._create(f"{self._alias}-first"))
        self._is_ready = True

    def _live(self, alias: str | None = None) -> str | None:
        wanted, aliases = alias or self._alias, self._client.get_aliases().aliases
        return next((known.collection_name for known in aliases if known.alias_name == wanted), None)

    def _create(self, name: str) -> str:
        try:
            self._create_collection(name)
        except (ValueError, UnexpectedResponse):
            if not self._client.collection_exists(name):
                raise
        keyword, datetime = models.KeywordIndexType.KEYWORD, models.DatetimeIndexType.DATETIME
        # The tenant's field alone has graphs: those of the others would cost much and never be walked.
        for field in KEYWORD_FIELDS:
            plain = models.KeywordIndexParams(type=keyword, enable_hnsw=False)
            self._client.create_payload_index(name, field, plain, wait=True)
        tenant = models.KeywordIndexParams(type=keyword, is_tenant=True)
        self._client.create_payload_index(name, TENANT_FIELD, tenant, wait=True)
        instants = models.DatetimeIndexParams(type=datetime, enable_hnsw=False)
        self._client.create_payload_index(name, TIME_FIELD, instants, wait=True)
        return name

    def _create_collection(self, name: str) -> None:
        self._client.create_collection(
            name,
            vectors_config={DENSE: models.VectorParams(size=self._dimension, distance=models.Distance.COSINE)},
            sparse_vectors_config={BM25: models.SparseVectorParams(modifier=models.Modifier.IDF)},
            hnsw_config=models.HnswConfigDiff(m=0, payload_m=16),
            shard_number=self._shards,
            replication_factor=self._replicas,
        )

    def _point_to(self, collection: str) -> None:
        moves: list[models.AliasOperations] = []
        if self._live() is not None:
            moves.append(models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=self._alias)))
        create = models.CreateAlias(collection_name=collection, alias_name=self._alias)
        moves.append(models.CreateAliasOperation(create_alias=create))
        self._client.update_collection_aliases(moves)


class _ServerRebuild(Rebuild):
    def __init__(self, index: ServerIndex) -> None:
        self._index = index
        with _translated():
            self._old = index._live()
            self._name = index._create(f"{index._alias}-{uuid4().hex[:8]}")

    def put(self, points: Sequence[Point]) -> None:
        with _translated():
            _put(self._index._client, self._name, points)

    def swap(self, *, replaced: tuple[str, int] | None = None) -> None:
        with _translated():
            self._index._point_to(self._name)
            self._index._is_ready = True
            beside = self._index._live(self._index._alias_of(*replaced)) if replaced else None
            for gone in {self._old, beside} - {None, self._name}:
                self._index._client.delete_collection(str(gone))

    def discard(self) -> None:
        with _translated():
            self._index._client.delete_collection(self._name)


def _put(client: QdrantClient, collection: str, points: Sequence[Point]) -> None:
    if points:
        client.upsert(collection, [_struct(point) for point in points], wait=True)


def _struct(point: Point) -> models.PointStruct:
    vectors: dict[str, models.Vector] = {DENSE: point.dense.tolist()}
    if point.sparse:
        vectors[BM25] = models.SparseVector(indices=point.sparse.indices, values=point.sparse.values)
    return models.PointStruct(id=str(point.key.point_id), vector=vectors, payload=payload_of(point))


def _filter(owner: Owner, *, session_row: UUID | None = None, window: Window | None = None) -> models.Filter:
    must: list[models.Condition] = [
        models.FieldCondition(key="workspace", match=models.MatchValue(value=owner.workspace)),
        models.FieldCondition(key=TENANT_FIELD, match=models.MatchValue(value=owner.user_id)),
    ]
    if session_row is not None:
        must.append(models.FieldCondition(key="session", match=models.MatchValue(value=str(session_row))))
    if window is not None:
        interval = models.DatetimeRange(gte=window.start, lt=window.end)
        must.append(models.FieldCondition(key=TIME_FIELD, range=interval))
    return models.Filter(must=must)


@contextmanager
def _translated() -> Iterator[None]:
    """The client's errors become ours."""
    try:
        yield
    except (ApiException, QdrantException, OSError, ValueError, AssertionError) as exc:
        raise IndexUnavailable(f"The Qdrant server does not answer as it should: {exc}") from exc
