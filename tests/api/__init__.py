"""Tests of the wire, over real HTTP; here is what they share: services on either database, paths and error bodies."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from memsvc.app import Service, build, create_app
from memsvc.clock import SystemClock
from memsvc.domain import Scope
from memsvc.index.lexical import Lexicon
from memsvc.memory.duties import Patience
from memsvc.memory.indexing import Indexer, Projector
from memsvc.settings import Settings
from tests.doubles import HashEncoder, listening

DATABASES = ("sqlite", "postgresql")


@contextmanager
def serving(service: Service) -> Iterator[httpx.Client]:
    """A service behind a real socket, which ends with the block; a client of it."""
    with listening(create_app(service)) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


@contextmanager
def module_service(request: pytest.FixtureRequest, folder: pytest.TempPathFactory, **changes: Any) -> Iterator[Service]:
    """A service on the database that the fixture's parameter names, for tests that share it, each with its own user."""
    settings = Settings(_env_file=None, data_dir=folder.mktemp("data"), poll_s=0.05, busy_s=60)
    if request.param == "sqlite":
        yield made(settings, **changes)
        return
    server, template = request.getfixturevalue("postgres"), request.getfixturevalue("postgres_template")
    name = f"shared_{uuid4().hex[:12]}"
    execute(server, f"CREATE DATABASE {name} TEMPLATE {template}")
    url = make_url(server).set(database=name).render_as_string(hide_password=False)
    yield made(settings, database_url=url, **changes)
    execute(server, f"DROP DATABASE {name} WITH (FORCE)")


def made(settings: Settings, **changes: Any) -> Service:
    """A service with the hashing encoder and some settings changed, not yet started."""
    return build(settings.model_copy(update=changes), encoder=HashEncoder())


def drain(service: Service) -> None:
    """Do all that is owed, as a worker would."""
    projector = Projector(service.encoder, Lexicon())
    indexer = Indexer(service.store, service.index, projector, SystemClock(), Patience())
    while service.use_cases.extractor.drain() + indexer.drain():
        pass


def path(user: str, session: str | None = None, rest: str = "") -> str:
    """The path of a user's sessions, or of one of them, with the ids percent-encoded."""
    base = f"/v1/users/{encoded(user)}/sessions"
    return base if session is None else f"{base}/{encoded(session)}{rest}"


def encoded(identity: str) -> str:
    """An id as it stands in a path; a dot is encoded too, since clients resolve `.` and `..`."""
    return quote(identity, safe="").replace(".", "%2E")


def turn_texts(found: httpx.Response) -> list[str]:
    """The texts of the turns in a session or in a recall's evidence, in order."""
    body = found.json()
    items = body.get("evidence", [body])
    return [turn["text"] for item in items for turn in item["turns"]]


def malformed(field: str, message: str) -> dict[str, Any]:
    """The body of a refusal by the request's schema."""
    return invalid(f"The request is malformed: {field}: {message}.", field, message)


def invalid(detail: str, field: str, message: str) -> dict[str, Any]:
    """The body of a refusal that names one field."""
    return {"error": "invalid_request", "detail": detail, "fields": [{"field": field, "message": message}]}


def execute(server: str, statement: str) -> None:
    """Run a statement on a PostgreSQL server, outside any transaction."""
    engine = create_engine(make_url(server).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(statement))
    engine.dispose()


def key(service: Service, *scopes: Scope, workspace: str = "default") -> dict[str, str]:
    """The header that carries a new key."""
    text, _ = service.use_cases.gatekeeper.create_key(workspace, scopes)
    return {"Authorization": f"Bearer {text}"}
