"""The embedded index: Qdrant Edge in this process, one shard on disk.

`CURRENT` in the folder names the live shard, as LevelDB names its manifest; a rebuild fills a shard beside it and
replaces that file in one step. A shard admits one process.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import qdrant_edge as edge

from memsvc.domain import Owner, Shape
from memsvc.errors import DataDirUnusable, EncoderMismatch, IndexDamaged, IndexLocked, IndexUnavailable
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
    Matrix,
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

# The engine writes through mapped files: on a full disk the process would be killed (SIGBUS), so it stops before.
RESERVE_BYTES = 48 * 2**20

# A token is 512 bytes in the engine's log, which without a flush outgrows the index itself sevenfold.
TOKENS_A_FLUSH = 64_000

# One graph a tenant and none over all: searches are always filtered by user, and small tenants are scanned.
_HNSW = edge.HnswIndexConfig(m=0, ef_construct=100, full_scan_threshold=10_000, payload_m=16)


class EdgeIndex(Index):
    """An index in a folder of this machine. `to_rebuild` opens a shard of another model too, to replace it."""

    def __init__(self, folder: Path, shape: Shape, *, to_rebuild: bool = False) -> None:
        self._folder = folder
        self._name = collection_name(shape)
        self._shape = shape
        self._shard = self._open(to_rebuild=to_rebuild)
        self._writer = _Writer(self._shard, folder)

    def put(self, points: Sequence[Point]) -> None:
        """Write points; the write-ahead log holds them before this returns."""
        writer = self._writer
        try:
            writer.put(points)
        except IndexUnavailable:
            if writer is self._writer:
                raise
            self._writer.put(points)  # A rebuild closed the other's shard in the middle.

    def drop(self, owner: Owner, session_row: UUID) -> None:
        """Remove the points of one session."""
        with _translated(self._folder):
            self._shard.update(edge.UpdateOperation.delete_points_by_filter(_filter(owner, session_row=session_row)))

    def remove(self, owner: Owner, point_ids: Sequence[UUID]) -> None:
        """Remove single points."""
        with _translated(self._folder):
            only = _filter(owner, points=set(point_ids))
            self._shard.update(edge.UpdateOperation.delete_points_by_filter(only))

    def search(self, owner: Owner, probe: Probe) -> Legs:
        """The searching legs in one engine call, and what they found rescored by the late one in a second.

        Nested as a prefetch, they would run twice: that took 2.6 ms at 100,000 points where this takes 1.6.
        """
        only = _filter(owner, bounds=probe.bounds)
        requests = {
            leg: edge.QueryRequest(limit=probe.depth, query=query, params=params, filter=only, with_payload=HIT_FIELDS)
            for leg, (query, params) in _nearest(owner, probe).items()
        }
        answers: dict[str, list[edge.ScoredPoint]] = {}
        with _translated(self._folder):
            if requests:
                batch = edge.QueryBatchRequest(list(requests.values()))
                answers = dict(zip(requests, self._shard.query_batch(batch), strict=True))
            if (tokens := probe.compared) is not None:
                answers[LATE] = self._late(owner, probe, tokens, answers)
        return legs_of(
            {leg: [(point.id, point.score, point.payload) for point in points] for leg, points in answers.items()}
        )

    def count(self, owner: Owner | None = None, session_row: UUID | None = None) -> int:
        """How many points there are."""
        only = None if owner is None else _filter(owner, session_row=session_row)
        with _translated(self._folder):
            return self._shard.count(edge.CountRequest(filter=only))

    def rebuilt(self) -> Rebuild:
        """Start an empty shard beside the live one."""
        return _EdgeRebuild(self)

    def close(self) -> None:
        """Flush and let go of the shard."""
        with _translated(self._folder):
            self._shard.close()

    def _late(
        self, owner: Owner, probe: Probe, tokens: Matrix, answers: dict[str, list[edge.ScoredPoint]]
    ) -> list[edge.ScoredPoint]:
        found = {point.id for points in answers.values() for point in points}
        if answers and not found:
            return []
        only = _filter(owner, bounds=probe.bounds, points=found or None)
        nearest = edge.Query.Nearest(tokens.tolist(), TOKENS)
        # What the others found came with its payload.
        payload = False if found else HIT_FIELDS
        limit = len(found) or probe.depth
        return self._shard.query(edge.QueryRequest(limit=limit, query=nearest, filter=only, with_payload=payload))

    def _open(self, *, to_rebuild: bool) -> edge.EdgeShard:
        with _translated(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        if _free(self._folder) < RESERVE_BYTES:
            raise DataDirUnusable(
                f"The disk of {self._folder} has less than {RESERVE_BYTES >> 20} MiB of room, which the embedded index "
                "needs. Make room, or set MEMSVC_DATA_DIR to another folder."
            )
        stored = stored_shard(self._folder)
        if stored is None:
            stored = self._create()
        elif not to_rebuild and stored.rsplit("-", 1)[0] != self._name:
            raise EncoderMismatch(stored.rsplit("-", 1)[0], self._name)
        try:
            return self._load(stored)
        except IndexUnavailable as exc:
            if not to_rebuild:
                raise IndexDamaged(str(self._folder), str(exc.__cause__)) from exc
            return self._load(self._create())  # A damaged shard cannot be read, but it can be replaced.

    def _load(self, stored: str) -> edge.EdgeShard:
        with _translated(self._folder):
            shard = edge.EdgeShard.load(str(self._folder / stored))
        self._remove_all_but(self._folder / stored)
        return shard

    def _create(self) -> str:
        fresh = self._fresh()
        with _translated(self._folder):
            _create(fresh, self._shape).close()
        self._point_to(fresh)
        return fresh.name

    def _fresh(self) -> Path:
        return self._folder / f"{self._name}-{uuid4().hex[:8]}"

    def _point_to(self, shard: Path) -> None:
        written = self._folder / "CURRENT.new"
        with written.open("w") as file:
            file.write(shard.name + "\n")
            file.flush()
            os.fsync(file.fileno())
        written.replace(self._folder / "CURRENT")

    def _remove_all_but(self, live: Path) -> None:
        """Remove what an interrupted rebuild or a replaced model left behind."""
        for other in self._folder.iterdir():
            if other.is_dir() and other != live and other.name.startswith("memsvc-"):
                shutil.rmtree(other)


class _EdgeRebuild(Rebuild):
    def __init__(self, index: EdgeIndex) -> None:
        self._index = index
        self._path = index._fresh()
        with _translated(index._folder):
            self._shard = _create(self._path, index._shape)
        self._writer = _Writer(self._shard, index._folder)

    def put(self, points: Sequence[Point]) -> None:
        self._writer.put(points)

    def swap(self, *, replaced: Shape | None = None) -> None:  # noqa: ARG002 (a folder holds one collection)
        with _translated(self._index._folder):
            self._shard.flush()
            self._index._point_to(self._path)
            old, self._index._shard = self._index._shard, self._shard
            self._index._writer = self._writer
            old.close()
        self._index._remove_all_but(self._path)

    def discard(self) -> None:
        with _translated(self._index._folder):
            self._shard.close()
        shutil.rmtree(self._path)


def stored_shard(folder: Path) -> str | None:
    """The name of the live shard in a folder, without opening it; None when there is none."""
    try:
        name = (folder / "CURRENT").read_text().strip()
    except OSError:
        return None
    return name if name and (folder / name).is_dir() else None


def _create(path: Path, shape: Shape) -> edge.EdgeShard:
    path.mkdir(parents=True)
    config = edge.EdgeConfig(
        vectors=_vectors(shape),
        sparse_vectors={BM25: edge.EdgeSparseVectorParams(modifier=edge.Modifier.Idf)},
        hnsw_config=_HNSW,
    )
    shard = edge.EdgeShard.create(str(path), config)
    # The tenant's field alone has graphs: those of the others would cost much and never be walked.
    fields: dict[str, Any] = {field: edge.KeywordIndexParams(enable_hnsw=False) for field in KEYWORD_FIELDS}
    fields[TENANT_FIELD] = edge.KeywordIndexParams(is_tenant=True)
    fields |= {field: edge.DatetimeIndexParams(enable_hnsw=False) for field in TIME_FIELDS}
    fields |= {f"{EVENTS}[].{field}": edge.IntegerIndexParams(enable_hnsw=False) for field in EVENT_FIELDS}
    for field, params in fields.items():
        shard.update(edge.UpdateOperation.create_field_index(field, params))
    return shard


def _vectors(shape: Shape) -> dict[str, edge.EdgeVectorParams]:
    dense = edge.EdgeVectorParams(
        shape.dimension, edge.Distance.Cosine, on_disk=True, datatype=edge.VectorStorageDatatype.Float16
    )
    if not shape.token_dimension:
        return {DENSE: dense}
    # Four bits a number, a type that the library's stubs do not name: on LoCoMo the late leg found .7513 of the
    # evidence with them and .7517 with sixteen.
    tokens = edge.EdgeVectorParams(
        shape.token_dimension,
        edge.Distance.Dot,
        on_disk=True,
        datatype=edge.VectorStorageDatatype.Turbo4,  # type: ignore[attr-defined]
        multivector_config=edge.MultiVectorConfig(edge.MultiVectorComparator.MaxSim),
        hnsw_config=edge.HnswIndexConfig(m=0, ef_construct=100, full_scan_threshold=10_000, payload_m=0),
    )
    return {DENSE: dense, TOKENS: tokens}


def _nearest(owner: Owner, probe: Probe) -> dict[str, tuple[edge.Query, edge.SearchParams | None]]:
    """What the legs that search by themselves ask for."""
    nearest: dict[str, tuple[edge.Query, edge.SearchParams | None]] = {}
    if probe.dense is not None:
        nearest[DENSE] = (edge.Query.Nearest(probe.dense.tolist(), DENSE), None)
    if probe.sparse:
        sparse = edge.SparseVector(probe.sparse.indices, probe.sparse.values)
        corpus = edge.SearchParams(idf=edge.IdfParams(corpus=_filter(owner, bounds=Bounds(kind=probe.bounds.kind))))
        nearest[BM25] = (edge.Query.Nearest(sparse, BM25), corpus)
    return nearest


def _free(folder: Path) -> int:
    return shutil.disk_usage(folder).free


class _Writer:
    """Writes points into a shard, and keeps its log short: until a flush, all that was written stands there too."""

    def __init__(self, shard: edge.EdgeShard, folder: Path) -> None:
        self._shard = shard
        self._folder = folder
        self._tokens = 0

    def put(self, points: Sequence[Point]) -> None:
        for chunk in chunks_of(points):
            if _free(self._folder) < RESERVE_BYTES:
                raise IndexUnavailable(
                    f"The disk of the embedded index has less than {RESERVE_BYTES >> 20} MiB of room."
                )
            with _translated(self._folder):
                self._shard.update(edge.UpdateOperation.upsert_points([_edge_point(point) for point in chunk]))
                self._tokens += sum(1 + len(point.tokens) for point in chunk)
                if self._tokens >= TOKENS_A_FLUSH:
                    self._shard.flush()
                    self._tokens = 0


def _edge_point(point: Point) -> edge.Point:
    vectors: dict[str, Any] = {DENSE: point.dense.tolist()}
    if point.sparse:
        vectors[BM25] = edge.SparseVector(point.sparse.indices, point.sparse.values)
    if len(point.tokens):
        vectors[TOKENS] = point.tokens.tolist()
    return edge.Point(point.key.point_id, vectors, payload_of(point))


def _filter(
    owner: Owner, *, session_row: UUID | None = None, bounds: Bounds | None = None, points: set[Any] | None = None
) -> edge.Filter:
    must: list[Any] = [
        edge.FieldCondition("workspace", match=edge.MatchValue(owner.workspace)),
        edge.FieldCondition(TENANT_FIELD, match=edge.MatchValue(owner.user_id)),
    ]
    if session_row is not None:
        must.append(edge.FieldCondition("session", match=edge.MatchValue(str(session_row))))
    if bounds is not None:
        must += _bounded(bounds)
    if points is not None:
        must.append(edge.HasIdCondition(points))
    return edge.Filter(must=must)


def _bounded(bounds: Bounds) -> Iterator[Any]:
    yield edge.FieldCondition("kind", match=edge.MatchValue(bounds.kind.value))
    if bounds.window is not None:
        yield _in_window(bounds.window)
    for field, instant in zip(TIME_FIELDS, (bounds.as_of.valid, bounds.as_of.recorded), strict=True):
        if instant is not None:
            yield edge.FieldCondition(field, range=edge.RangeDateTime(lte=instant.isoformat()))
    if bounds.sessions is not None:
        yield edge.FieldCondition("session", match=edge.MatchAny([str(row) for row in bounds.sessions]))


def _in_window(window: Window) -> Any:
    start = window.start.isoformat() if window.start else None
    end = window.end.isoformat() if window.end else None
    said = edge.FieldCondition("said_at", range=edge.RangeDateTime(gte=start, lt=end))
    first, last = seconds_of(window.interval)
    from_, to = EVENT_FIELDS
    overlapping: list[Any] = [
        edge.FieldCondition(from_, range=edge.RangeFloat(lt=last)),
        edge.FieldCondition(to, range=edge.RangeFloat(gt=first)),
    ]
    event = edge.NestedCondition(EVENTS, edge.Filter(must=overlapping))
    return {On.SAID: said, On.EVENT: event, On.EITHER: edge.Filter(should=[said, event])}[window.on]


@contextmanager
def _translated(folder: Path) -> Iterator[None]:
    """The engine raises bare exceptions with a sentence; they become ours."""
    try:
        yield
    except BaseException as exc:
        # A panic inside the engine comes as an exception beside all others.
        if not isinstance(exc, Exception) and type(exc).__name__ != "PanicException":
            raise
        if "WouldBlock" in str(exc):
            raise IndexLocked(str(folder)) from exc
        raise IndexUnavailable(f"The embedded index cannot answer: {exc}") from exc
