"""The log: its two forms, its fields, and that a user's words are never in it."""

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import httpx
import pytest
from sqlalchemy import text

from memsvc import logs
from memsvc.api.middleware import request_id
from memsvc.app import Service, create_app
from tests.doubles import listening, until
from tests.processes import Process

# Words that no fixed sentence of the log holds.
WORDS = ("Quendelbach", "Reiherstein", "Juniper", "Erlenwehr", "Gerlinde", "Hafersiel")
LIBRARIES = ("httpx", "httpcore", "apscheduler", "sentence_transformers", "alembic", "transformers")


class Configure(Protocol):
    """`logs.configure`, undone at the end of the test."""

    def __call__(self, *, log_format: str, level: str = "INFO") -> None: ...


@pytest.fixture
def configure() -> Iterator[Configure]:
    """Configures the log as a process does; afterwards it is as it was."""
    root = logging.getLogger()
    handlers, levels = root.handlers[:], {name: logging.getLogger(name).level for name in ("", *LIBRARIES)}
    token = request_id.set(None)

    def configure(*, log_format: str, level: str = "INFO") -> None:
        root.handlers[:] = []
        logs.configure(log_format=log_format, level=level)

    yield configure
    request_id.reset(token)
    root.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def test_console_line_is_a_sentence_with_its_fields(configure: Configure, capsys: pytest.CaptureFixture[str]) -> None:
    configure(log_format="console")
    request_id.set("req-1")

    logging.getLogger("memsvc.test").info("session recorded", extra={"turns": 2, "rounds": 1, "left_out": None})

    time, line = capsys.readouterr().err.split(" ", 1)
    assert line == "INFO    session recorded  turns=2 rounds=1 request_id=req-1\n"
    assert datetime.strptime(time, "%H:%M:%S").replace(tzinfo=UTC)


def test_console_line_without_fields_is_the_sentence_alone(
    configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(log_format="console")

    logging.getLogger("memsvc.test").warning("the grace period is over")

    assert capsys.readouterr().err.split(" ", 1)[1] == "WARNING the grace period is over\n"


def test_field_with_line_breaks_stays_on_its_line(configure: Configure, capsys: pytest.CaptureFixture[str]) -> None:
    configure(log_format="console")

    logging.getLogger("memsvc.test").error("request refused", extra={"detail": "down\n12:00:00 INFO    all is well"})

    assert len(capsys.readouterr().err.splitlines()) == 1


def test_json_line_has_the_sentence_its_fields_and_where_it_is_from(
    configure: Configure, capsys: pytest.CaptureFixture[str]
) -> None:
    configure(log_format="json")
    request_id.set("req-1")

    logging.getLogger("memsvc.test").info("session recorded", extra={"turns": 2, "detail": "two\nlines"})

    line = json.loads(capsys.readouterr().err)
    assert datetime.fromisoformat(line.pop("timestamp")).utcoffset() is not None
    assert line == {
        "message": "session recorded",
        "level": "INFO",
        "logger": "memsvc.test",
        "request_id": "req-1",
        "turns": 2,
        "detail": "two\nlines",
    }


@pytest.mark.parametrize("log_format", ["console", "json"])
def test_traceback_is_kept(configure: Configure, capsys: pytest.CaptureFixture[str], log_format: str) -> None:
    configure(log_format=log_format)

    try:
        raise RuntimeError("broken")
    except RuntimeError:
        logging.getLogger("memsvc.test").exception("worker failed")

    logged = capsys.readouterr().err
    assert "worker failed" in logged
    assert "RuntimeError: broken" in logged


@pytest.mark.parametrize(("level", "expected"), [("DEBUG", 4), ("INFO", 3), ("WARNING", 2), ("ERROR", 1)])
def test_lines_below_the_level_are_left_out(
    configure: Configure, capsys: pytest.CaptureFixture[str], level: str, expected: int
) -> None:
    configure(log_format="console", level=level)

    for number in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR):
        logging.getLogger("memsvc.test").log(number, "a line")

    assert len(capsys.readouterr().err.splitlines()) == expected


def test_libraries_lines_below_warning_are_left_out(configure: Configure, capsys: pytest.CaptureFixture[str]) -> None:
    configure(log_format="console", level="DEBUG")

    for name in LIBRARIES:
        logging.getLogger(name).info("HTTP Request: POST")

    assert capsys.readouterr().err == ""


def test_every_line_of_a_serving_process_is_json(tmp_path: Path) -> None:
    env = {"MEMSVC_DATA_DIR": str(tmp_path), "MEMSVC_LOG_FORMAT": "json"}
    with Process.start("serve", "--port", "0", env=env) as process:
        asked = httpx.get(f"{process.url()}/v1/users", headers={"X-Request-ID": "req-7"}, timeout=60)

        assert process.stop() == 0

    lines = [json.loads(line) for line in process.stderr_text.splitlines()]
    assert asked.headers["X-Request-ID"] == "req-7"
    assert [_known(line) for line in lines if line["message"] == "request" and line["request_id"] == "req-7"] == [
        {"method": "GET", "route": "/v1/users", "status": 200}
    ]


def test_users_words_are_not_logged(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    with listening(create_app(service)) as url, httpx.Client(base_url=f"{url}/v1/users/ana", timeout=30) as client:
        answers = _talk(client)

    assert answers == [201, 200, 200, 422, 422, 409, 200, 200]
    assert "session recorded" in caplog.messages
    assert "tasks done" in caplog.messages
    assert _leaked(caplog) == []


def test_users_words_are_not_logged_when_the_database_fails(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with service.store.engine.begin() as connection:
        connection.execute(text("ALTER TABLE turns RENAME TO lost"))

    with listening(create_app(service)) as url, httpx.Client(base_url=f"{url}/v1/users/ana", timeout=30) as client:
        answer = client.put("/sessions/s1", json=_session())

    assert answer.status_code == 500
    assert "request failed" in caplog.messages
    assert _leaked(caplog) == []


def test_users_words_are_not_logged_when_a_task_fails(service: Service, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    with listening(create_app(service)) as url, httpx.Client(base_url=f"{url}/v1/users/ana", timeout=30) as client:
        with service.store.engine.begin() as connection:
            broken = "BEFORE UPDATE OF indexed_at ON rounds BEGIN SELECT RAISE(ABORT, 'broken'); END"
            connection.execute(text(f"CREATE TRIGGER broken {broken}"))
        client.put("/sessions/s1", json=_session())
        until(lambda: "task failed" in caplog.messages)

    assert _leaked(caplog) == []


def _session() -> dict[str, Any]:
    return {
        "started_at": "2024-03-01T10:00:00Z",
        "turns": [
            {"role": "user", "text": "I work at Quendelbach.", "images": [{"caption": "Reiherstein"}]},
            {"role": "assistant", "speaker": "Juniper", "text": "Near Erlenwehr?"},
        ],
        "metadata": {"with": "Gerlinde"},
    }


def _talk(client: httpx.Client) -> list[int]:
    """Record, repeat, ask, be refused and forget; the statuses of the answers."""
    changed = {**_session(), "turns": [{"role": "user", "text": "I work at Hafersiel."}]}
    answers = [
        client.put("/sessions/s1?wait=indexed", json=_session()),
        client.put("/sessions/s1", json=_session()),
        client.post("/recall", json={"query": "Where is Quendelbach?", "explain": True}),
        client.put("/sessions/s2", json={"turns": [{"role": "Hafersiel", "text": "Quendelbach"}]}),
        client.put("/sessions/s2", content='{"turns": "Quendelbach'),
        client.put("/sessions/s1", json=changed),
        client.get("/sessions/s1"),
        client.delete("/sessions/s1"),
    ]
    return [answer.status_code for answer in answers]


def _known(line: dict[str, Any]) -> dict[str, Any]:
    return {name: line[name] for name in ("method", "route", "status")}


def _leaked(caplog: pytest.LogCaptureFixture) -> list[str]:
    """The user's words that the log holds, in its lines or in any record's fields."""
    everything = caplog.text + "".join(str(vars(record)) for record in caplog.records)
    return [word for word in WORDS if word in everything]
