"""Checks everything the service stands on, and says what to do."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

from memsvc.app import encoder_of, open_index
from memsvc.clock import utc_now
from memsvc.errors import IndexLocked, MemsvcError
from memsvc.facts import Origin
from memsvc.index.edge import stored_shard
from memsvc.inference.encoders import Encoder
from memsvc.language_models import has_language_model
from memsvc.memory.indexing import shape_of
from memsvc.settings import Settings
from memsvc.store import schema
from memsvc.store.database import Store, make_data_dir

SLOW_BACKLOG_S = 300.0


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found; `advice` says what to do when it is not well."""

    subject: str
    is_well: bool
    what: str
    advice: str = ""

    def __str__(self) -> str:
        """One line for people."""
        line = f"{'ok  ' if self.is_well else 'FAIL'}  {self.subject:<10} {self.what}"
        return f"{line}\n      → {self.advice}" if self.advice else line


def examine(settings: Settings) -> list[Finding]:
    """Every check in turn; one that cannot be made is a finding, not an error."""
    store = Store(settings.store_url, busy_s=settings.busy_s)
    try:
        return list(_Doctor(settings, store).findings())
    finally:
        store.close()


class _Doctor:
    def __init__(self, settings: Settings, store: Store) -> None:
        self._settings = settings
        self._store = store

    def findings(self) -> Iterator[Finding]:
        if self._settings.embedded_database or self._settings.embedded_index:
            yield self._try("folder", self._folder)
        yield self._try("database", self._database)
        found = self._try("schema", self._schema)
        yield found
        if not found.is_well:
            return
        yield self._try("backlog", self._backlog)
        yield self._try("model", self._model)
        yield self._try("language", self._language)
        yield self._try("index", self._index)

    def _try(self, subject: str, check: Callable[[], Finding]) -> Finding:
        try:
            return check()
        except MemsvcError as exc:
            return Finding(subject, False, exc.name, str(exc))

    def _folder(self) -> Finding:
        folder = self._settings.data_dir.resolve()
        make_data_dir(folder)
        return Finding("folder", True, f"{folder} can be written")

    def _database(self) -> Finding:
        schema.is_empty(self._store.engine)
        return Finding("database", True, f"{self._store.engine.url.render_as_string(hide_password=True)} answers")

    def _schema(self) -> Finding:
        if self._settings.embedded_database and schema.is_empty(self._store.engine):
            return Finding("schema", False, "none yet", "Run `memsvc serve`: it makes one in a fresh database.")
        schema.require_current(self._store.engine)
        return Finding("schema", True, f"revision {schema.head()}")

    def _backlog(self) -> Finding:
        with self._store.read() as tx:
            backlog = tx.outbox.backlog(now=utc_now())
        what = f"{backlog.due} owed, the oldest for {backlog.oldest_s:.0f} s; {backlog.failed} failed"
        if backlog.failed:
            return Finding(
                "backlog",
                False,
                what,
                "GET /v1/tasks lists the errors; POST /v1/tasks/{id}/retry tries again.",
            )
        if backlog.oldest_s > SLOW_BACKLOG_S:
            return Finding("backlog", False, what, "Start `memsvc serve`, or more `memsvc worker` processes.")
        return Finding("backlog", True, what)

    def _model(self) -> Finding:
        with self._store.read() as tx:
            live = tx.rounds.live_index()
        encoder = self._encoder
        mine = shape_of(encoder)
        if live is not None and live != mine:
            other = f", or set MEMSVC_ENCODER={live.encoder}" if live.encoder != mine.encoder else ""
            return Finding(
                "model", False, f"{mine}, but the index was filled with {live}", f"Run `memsvc rebuild`{other}."
            )
        return Finding("model", True, f"{encoder.name}, {encoder.dimension} dimensions, on this machine")

    def _language(self) -> Finding:
        """What the settings say; the endpoint itself is not asked, since that may cost."""
        if not has_language_model(self._settings):
            return Finding("language", True, "no language model: facts are drawn by rules, /answer is refused")
        with self._store.read() as tx:
            waiting = len(tx.rounds.sessions_to_draw(None, by=Origin.LLM))
        what = f"{self._settings.llm_model} at {self._settings.llm_base_url}"
        if waiting:
            advice = "While a service runs they are being extracted, or failed (GET /v1/tasks); `memsvc extract --all`."
            return Finding("language", True, f"{what}; {waiting} sessions are not extracted by it", advice)
        return Finding("language", True, what)

    def _index(self) -> Finding:
        with self._store.read() as tx:
            _, indexed, keys = tx.rounds.counts()
            keys += tx.facts.indexed()
        rebuild = "Run `memsvc rebuild` to fill the index again from the database."
        if self._settings.embedded_index and stored_shard(self._settings.index_dir) is None:
            if indexed == 0:
                return Finding("index", True, "none yet; `memsvc serve` makes one")
            return Finding("index", False, f"missing, but {indexed} rounds are indexed", rebuild)
        try:
            points = self._count_points()
        except IndexLocked:
            return Finding("index", True, "open in another process; its /readyz tells how it is")
        if points < keys:
            return Finding("index", False, f"holds {points} of {keys} keys", rebuild)
        return Finding("index", True, f"holds {points} points for {keys} keys of {indexed} rounds")

    def _count_points(self) -> int:
        index = open_index(self._settings, self._encoder)
        try:
            return index.count()
        finally:
            index.close()

    @cached_property
    def _encoder(self) -> Encoder:
        return encoder_of(self._settings)
