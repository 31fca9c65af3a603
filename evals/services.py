"""A service of the run's own: the real HTTP application behind a real socket, its data in a temporary folder."""

import tempfile
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import uvicorn

from evals.configs import Config
from evals.errors import EvaluationFailed
from evals.kept import RequestLine, StandIn
from evals.llm import LLMAccess
from memsvc import app
from memsvc.errors import MemsvcError
from memsvc.inference.encoders import Encoder
from memsvc.inference.llm_cache import ResponseCache
from memsvc.settings import Settings


class Workshop:
    """Starts services and keeps their encoders, which take seconds to load, for the next ones.

    `llm` is the model of those that have one; where it has no URL, a stand-in says what is kept of it.
    """

    def __init__(self, *, encoder: Encoder | None = None, threads: int = 0, llm: LLMAccess | None = None) -> None:
        self._given = encoder
        self._threads = threads
        self._llm = llm
        self._encoders: dict[str, Encoder] = {}

    @contextmanager
    def opened(self, config: Config) -> Iterator["Bench"]:
        """A fresh, empty service, indexing and drawing facts as the config says; its data go at the end."""
        key = config.encoder_key()
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="memsvc-evals-")))
            stand_in = self._stand_in() if config.llm else None
            url = stack.enter_context(_listening(stand_in.app)) if stand_in is not None else None
            plan = _Plan(folder, self._threads, _model_settings(self._llm, url) if self._llm else {})
            try:
                service = app.build(plan.settings_of(config), encoder=self._given or self._encoders.get(key))
            except MemsvcError as exc:
                raise EvaluationFailed(f"memsvc does not start as {config.name} says: {exc}") from exc
            self._encoders[key] = service.encoder
            service.start()
            try:
                yield Bench(service, plan, stand_in)
            finally:
                service.stop()
                service.close()

    def _stand_in(self) -> StandIn | None:
        if self._llm is None or self._llm.url is not None or self._llm.cache is None:
            return None
        return StandIn(ResponseCache(self._llm.cache))


class _Plan:
    """What services of one folder are built by."""

    def __init__(self, folder: Path, threads: int, model: dict[str, Any]) -> None:
        self._folder = folder
        self._threads = threads
        self._model = model

    def settings_of(self, config: Config) -> Settings:
        """The settings of a service that is as the config says."""
        return config.tuned(self._folder, threads=self._threads, model=self._model)


class Bench:
    """One service's recorded data, which may be asked under several configs."""

    def __init__(self, service: app.Service, plan: _Plan, stand_in: StandIn | None) -> None:
        self._service = service
        self._plan = plan
        self._stand_in = stand_in

    @contextmanager
    def listening(self, config: Config | None = None) -> Iterator[str]:
        """The URL of the service, or of its variant that recalls as the config says."""
        service = self._service
        if config is not None:
            service = app.variant(service, self._plan.settings_of(config))
        # The lifespan is off: a variant's end must not close what the others still use.
        with _listening(app.create_app(service)) as url:
            yield url
        if config is not None:
            for model in service.models:
                model.close()

    def index_bytes(self) -> int:
        """The disk blocks that the index's files hold. Its own preallocated, empty pages are not counted."""
        files = [path for path in self._service.settings.index_dir.rglob("*") if path.is_file()]
        return sum(path.stat().st_blocks * 512 for path in files)

    @property
    def is_replayed(self) -> bool:
        """Whether its language model's answers are those on record."""
        return self._stand_in is not None

    def pending(self) -> list[tuple[str, RequestLine]]:
        """The requests, each with its task, whose answers the service has missed since this was last asked for."""
        return self._stand_in.pending() if self._stand_in is not None else []


def _model_settings(llm: LLMAccess, stand_in: str | None) -> dict[str, Any]:
    if stand_in is not None:
        # What is kept will not do better another time.
        return {"llm_base_url": f"{stand_in}/v1", "llm_model": llm.model, "max_attempts": 1}
    return {
        "llm_base_url": llm.url or "",
        "llm_model": llm.model,
        "llm_api_key": llm.api_key or "",
        "llm_cache": llm.cache,
    }


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
