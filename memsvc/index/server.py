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

from memsvc.domain import Owner, Shape
from memsvc.errors import IndexUnavailable
from memsvc.index.base import (
    BM25,
    DENSE,
    EVENT_FIELDS,
    EVENTS,
    HIT_FIELDS,
    KEYWORD_FIELDS,
    LATE,
    TENANT_FIELD,
    TIME_FIELDS,
    TOKENS,
    Bounds,
    Index,
    Legs,
    Point,
    Probe,
    Rebuild,
    chunks_of,
    collection_name,
    legs_of,
    payload_of,
    seconds_of,
)
from memsvc.intervals import On, Window

TIMEOUT_S = 30


def connect(url: str, *, api_key: str = "") -> QdrantClient:
    """A client of the server at `url`; nothing is sent before the first call."""
    return QdrantClient(url=url, api_key=api_key or None, timeout=TIMEOUT_S, check_compatibility=False)


class ServerIndex(Index):
    """An index behind a `QdrantClient`; the collection is made at the first call that reaches the server."""

    def __init__(
        self,
        client: QdrantClient,
        shape: Shape,
        *,
        prefix: str = "memsvc",
        shards: int = 1,
        replicas: int = 1,
    ) -> None:
        self._client = client
        self._prefix = prefix
        self._alias = collection_name(shape, prefix=prefix)
        self._shape = shape
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

    def remove(self, owner: Owner, point_ids: Sequence[UUID]) -> None:
        """Remove single points."""
        ids = models.HasIdCondition(has_id=[str(point_id) for point_id in point_ids])
        mine = _filter(owner)
        only = models.Filter(must=[*(mine.must or []), ids])
        with self._prepared():
            self._client.delete(self._alias, models.FilterSelector(filter=only), wait=True)

    def search(self, owner: Owner, probe: Probe) -> Legs:
        """All legs in one request."""
        only = _filter(owner, bounds=probe.bounds)
        found = _prefetches(owner, probe, only)
        requests = {
            leg: models.QueryRequest(
                query=prefetch.query,
                using=leg,
                filter=only,
                params=prefetch.params,
                limit=probe.depth,
                with_payload=HIT_FIELDS,
            )
            for leg, prefetch in found.items()
        }
        if (tokens := probe.compared) is not None:
            requests[LATE] = models.QueryRequest(
                prefetch=list(found.values()) or None,
                query=tokens.tolist(),
                using=TOKENS,
                filter=only,
                limit=probe.depth * max(1, len(found)),
                with_payload=HIT_FIELDS,
            )
        if not requests:
            return {}
        with self._prepared():
            answers = self._client.query_batch_points(self._alias, list(requests.values()))
        return legs_of(
            {
                leg: [(point.id, point.score, point.payload) for point in answer.points]
                for leg, answer in zip(requests, answers, strict=True)
            }
        )

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
        for field in TIME_FIELDS:
            self._client.create_payload_index(name, field, instants, wait=True)
        seconds = models.IntegerIndexParams(
            type=models.IntegerIndexType.INTEGER, lookup=False, range=True, enable_hnsw=False
        )
        for field in EVENT_FIELDS:
            self._client.create_payload_index(name, f"{EVENTS}[].{field}", seconds, wait=True)
        return name

    def _create_collection(self, name: str) -> None:
        self._client.create_collection(
            name,
            vectors_config=_vectors(self._shape),
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

    def swap(self, *, replaced: Shape | None = None) -> None:
        with _translated():
            self._index._point_to(self._name)
            self._index._is_ready = True
            beside = self._index._live(collection_name(replaced, prefix=self._index._prefix)) if replaced else None
            for gone in {self._old, beside} - {None, self._name}:
                self._index._client.delete_collection(str(gone))

    def discard(self) -> None:
        with _translated():
            self._index._client.delete_collection(self._name)


def _vectors(shape: Shape) -> dict[str, models.VectorParams]:
    dense = models.VectorParams(
        size=shape.dimension, distance=models.Distance.COSINE, on_disk=True, datatype=models.Datatype.FLOAT16
    )
    if not shape.token_dimension:
        return {DENSE: dense}
    tokens = models.VectorParams(
        size=shape.token_dimension,
        distance=models.Distance.DOT,
        on_disk=True,
        datatype=models.Datatype.TURBO4,
        multivector_config=models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM),
        hnsw_config=models.HnswConfigDiff(m=0, payload_m=0),
    )
    return {DENSE: dense, TOKENS: tokens}


def _prefetches(owner: Owner, probe: Probe, only: models.Filter) -> dict[str, models.Prefetch]:
    """The legs that search by themselves."""
    found: dict[str, models.Prefetch] = {}
    if probe.dense is not None:
        found[DENSE] = models.Prefetch(query=probe.dense.tolist(), using=DENSE, filter=only, limit=probe.depth)
    if probe.sparse:
        found[BM25] = models.Prefetch(
            query=models.SparseVector(indices=probe.sparse.indices, values=probe.sparse.values),
            using=BM25,
            filter=only,
            params=models.SearchParams(
                idf=models.IdfCorpusParams(corpus=_filter(owner, bounds=Bounds(kind=probe.bounds.kind)))
            ),
            limit=probe.depth,
        )
    return found


def _put(client: QdrantClient, collection: str, points: Sequence[Point]) -> None:
    for chunk in chunks_of(points):
        client.upsert(collection, [_struct(point) for point in chunk], wait=True)


def _struct(point: Point) -> models.PointStruct:
    vectors: dict[str, models.Vector] = {DENSE: point.dense.tolist()}
    if point.sparse:
        vectors[BM25] = models.SparseVector(indices=point.sparse.indices, values=point.sparse.values)
    if len(point.tokens):
        vectors[TOKENS] = point.tokens.tolist()
    return models.PointStruct(id=str(point.key.point_id), vector=vectors, payload=payload_of(point))


def _filter(owner: Owner, *, session_row: UUID | None = None, bounds: Bounds | None = None) -> models.Filter:
    must: list[models.Condition] = [
        models.FieldCondition(key="workspace", match=models.MatchValue(value=owner.workspace)),
        models.FieldCondition(key=TENANT_FIELD, match=models.MatchValue(value=owner.user_id)),
    ]
    if session_row is not None:
        must.append(models.FieldCondition(key="session", match=models.MatchValue(value=str(session_row))))
    if bounds is not None:
        must += _bounded(bounds)
    return models.Filter(must=must)


def _bounded(bounds: Bounds) -> Iterator[models.Condition]:
    yield models.FieldCondition(key="kind", match=models.MatchValue(value=bounds.kind.value))
    if bounds.window is not None:
        yield _in_window(bounds.window)
    for field, instant in zip(TIME_FIELDS, (bounds.as_of.valid, bounds.as_of.recorded), strict=True):
        if instant is not None:
            yield models.FieldCondition(key=field, range=models.DatetimeRange(lte=instant))
    if bounds.sessions is not None:
        yield models.FieldCondition(key="session", match=models.MatchAny(any=[str(row) for row in bounds.sessions]))


def _in_window(window: Window) -> models.Condition:
    said = models.FieldCondition(key="said_at", range=models.DatetimeRange(gte=window.start, lt=window.end))
    first, last = seconds_of(window.interval)
    from_, to = EVENT_FIELDS
    overlapping: list[models.Condition] = [
        models.FieldCondition(key=from_, range=models.Range(lt=last)),
        models.FieldCondition(key=to, range=models.Range(gt=first)),
    ]
    event = models.NestedCondition(nested=models.Nested(key=EVENTS, filter=models.Filter(must=overlapping)))
    if window.on is On.SAID:
        return said
    return event if window.on is On.EVENT else models.Filter(should=[said, event])


@contextmanager
def _translated() -> Iterator[None]:
    """The client's errors become ours."""
    try:
        yield
    except (ApiException, QdrantException, OSError, ValueError, AssertionError) as exc:
        raise IndexUnavailable(f"The Qdrant server does not answer as it should: {exc}") from exc
