"""A service of the run's own: the real HTTP application behind a real socket, its data in a temporary folder."""

import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from evals.configs import Config
from evals.errors import EvaluationFailed
from memsvc import app
from memsvc.errors import MemsvcError
from memsvc.inference.encoders import Encoder


class Workshop:
    """Starts services and keeps their encoders, which take seconds to load, for the next ones."""

    def __init__(self, *, encoder: Encoder | None = None, threads: int = 0) -> None:
        self._given = encoder
        self._threads = threads
        self._encoders: dict[str, Encoder] = {}

    @contextmanager
    def opened(self, config: Config) -> Iterator["Bench"]:
        """A fresh, empty service, indexing as the config says; its data go at the end."""
        key = config.index_key()
        with tempfile.TemporaryDirectory(prefix="memsvc-evals-") as folder:
            settings = config.tuned(Path(folder), threads=self._threads)
            try:
                service = app.build(settings, encoder=self._given or self._encoders.get(key))
            except MemsvcError as exc:
                raise EvaluationFailed(f"memsvc does not start as {config.name} says: {exc}") from exc
            self._encoders[key] = service.encoder
            service.start()
            try:
                yield Bench(service, Path(folder), self._threads)
            finally:
                service.stop()
                service.close()


class Bench:
    """One service's recorded data, which may be asked under several configs."""

    def __init__(self, service: app.Service, folder: Path, threads: int) -> None:
        self._service = service
        self._folder = folder
        self._threads = threads

    @contextmanager
    def listening(self, config: Config | None = None) -> Iterator[str]:
        """The URL of the service, or of its variant that recalls as the config says."""
        service = self._service
        if config is not None:
            service = app.variant(service, config.tuned(self._folder, threads=self._threads))
        # The lifespan is off: a variant's end must not close what the others still use.
        with _listening(app.create_app(service)) as url:
            yield url

    def index_bytes(self) -> int:
        """The disk blocks that the index's files hold. Its own preallocated, empty pages are not counted."""
        files = [path for path in self._service.settings.index_dir.rglob("*") if path.is_file()]
        return sum(path.stat().st_blocks * 512 for path in files)


@contextmanager
def _listening(application: object) -> Iterator[str]:
    config = uvicorn.Config(
        application,  # type: ignore[arg-type]
        host="127.0.0.1",
        port=0,
        lifespan="off",
        log_config=None,
        access_log=False,
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        if not thread.is_alive():
            raise EvaluationFailed("The service's socket could not be opened.")
        thread.join(0.01)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(timeout=20)
