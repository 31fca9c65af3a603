"""Errors on the wire: each class has a status and a name, each answer an id, and none a traceback."""

import json
import logging
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, NoReturn

import httpx
import pytest

from memsvc import errors
from memsvc.api.errors import STATUS, status_of
from memsvc.api.middleware import request_id
from memsvc.clock import SystemClock
from memsvc.domain import Owner
from memsvc.memory.reading import Reader
from memsvc.settings import Settings
from tests.api import made, path, serving
from tests.factories import session_body


def subclasses(kind: type[errors.MemsvcError]) -> Iterator[type[errors.MemsvcError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from subclasses(below)


CLASSES = list(dict.fromkeys(subclasses(errors.MemsvcError)))


def bare(kind: type[errors.MemsvcError]) -> errors.MemsvcError:
    """An error of a class without what it would say; its status and name hang on the class alone."""
    return kind.__new__(kind)


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_every_error_has_a_status_and_a_name(kind: type[errors.MemsvcError]) -> None:
    error = bare(kind)

    assert status_of(error) in {401, 403, 404, 409, 413, 422, 429, 500, 502, 503, 507}
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", error.name)


def test_names_are_unique() -> None:
    names = Counter(bare(kind).name for kind in CLASSES)

    assert [name for name, times in names.items() if times > 1] == []


def test_only_defects_and_wrong_set_ups_are_answered_with_500() -> None:
    unforeseen = {kind for kind in CLASSES if status_of(bare(kind)) == 500}

    assert unforeseen == {errors.MemsvcError, *subclasses(errors.Misconfigured)}


def test_every_branch_of_the_tree_is_in_the_table() -> None:
    branches = set(errors.MemsvcError.__subclasses__()) - {errors.Misconfigured}

    assert set(STATUS) == {errors.MemsvcError, *branches}


@pytest.mark.parametrize(
    "kind", [kind for kind in CLASSES if kind.__module__ == errors.__name__], ids=lambda kind: kind.__name__
)
def test_every_error_stands_in_the_tree_of_the_docstring(kind: type[errors.MemsvcError]) -> None:
    assert re.search(rf"\b{kind.__name__}\b", errors.__doc__ or "")


# The id of a request.


class BrokenReader(Reader):
    """A reader with a defect: it cannot list sessions."""

    def sessions(self, owner: Owner, **more: Any) -> NoReturn:
        raise RuntimeError(f"a secret of {owner.user_id}")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client of a service that cannot list sessions."""
    service = made(Settings(_env_file=None, data_dir=tmp_path_factory.mktemp("data"), max_body_bytes=1024))
    broken = replace(service.use_cases, reader=BrokenReader(service.store, SystemClock()))
    with serving(replace(service, use_cases=broken)) as opened:
        yield opened


ANSWERS: dict[str, tuple[int, str, str, dict[str, Any]]] = {
    "answered": (200, "GET", "/healthz", {}),
    "page": (200, "GET", "/openapi.json", {}),
    "malformed": (400, "PUT", path("ana", "s1"), {"content": b"\xff", "headers": {"Content-Type": "application/json"}}),
    "no key": (401, "GET", "/v1/users", {"headers": {"X-Forwarded-For": "203.0.113.7"}}),
    "no path": (404, "GET", "/nope", {}),
    "nothing there": (404, "DELETE", path("ana", "s1"), {}),
    "no method": (405, "PATCH", "/healthz", {}),
    "too large": (413, "PUT", path("ana", "s1"), {"content": b" " * 1025}),
    "invalid": (422, "PUT", path("ana", "s1"), {"json": {}}),
    "invalid id": (422, "GET", "/v1/users/%00/sessions/s1", {}),
    "defect": (500, "GET", path("ana"), {}),
}


@pytest.mark.parametrize(("status", "method", "where", "more"), ANSWERS.values(), ids=ANSWERS)
def test_every_answer_carries_an_id(
    client: httpx.Client, status: int, method: str, where: str, more: dict[str, Any]
) -> None:
    answer = client.request(method, where, **more)

    assert answer.status_code == status
    assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-ID"])


@pytest.mark.parametrize(("status", "method", "where", "more"), ANSWERS.values(), ids=ANSWERS)
def test_every_answer_carries_the_id_that_the_caller_chose(
    client: httpx.Client, status: int, method: str, where: str, more: dict[str, Any]
) -> None:
    headers = {**more.get("headers", {}), "X-Request-ID": "trace-7/a:b"}

    answer = client.request(method, where, **{**more, "headers": headers})

    assert (answer.status_code, answer.headers.get_list("X-Request-ID")) == (status, ["trace-7/a:b"])


REFUSALS = {name: answer for name, answer in ANSWERS.items() if answer[0] >= 400}


@pytest.mark.parametrize(("status", "method", "where", "more"), REFUSALS.values(), ids=REFUSALS)
def test_every_refusal_has_the_one_shape(
    client: httpx.Client, status: int, method: str, where: str, more: dict[str, Any]
) -> None:
    refused = client.request(method, where, **more)

    body = refused.json()
    assert (refused.status_code, refused.headers["Content-Type"]) == (status, "application/json")
    assert {*body} - {"fields"} == {"error", "detail"}
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", body["error"])
    assert body["detail"].endswith(".")
    assert all(sorted(field) == ["field", "message"] for field in body.get("fields", []))


def test_two_requests_have_two_ids(client: httpx.Client) -> None:
    ids = {client.get("/healthz").headers["X-Request-ID"] for _ in range(10)}

    assert len(ids) == 10


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"two words", id="two words"),
        pytest.param(b"x" * 129, id="long"),
        pytest.param("ä".encode(), id="not ASCII"),
        pytest.param(b"a\tb", id="control character"),
    ],
)
def test_id_that_is_not_plain_is_not_taken(client: httpx.Client, sent: bytes) -> None:
    answer = client.get("/healthz", headers=[(b"X-Request-ID", sent)])

    assert re.fullmatch("[0-9a-f]{32}", answer.headers["X-Request-ID"])


# Defects.


class Notebook(logging.Handler):
    """Keeps each line that is logged, with the id of the request it belongs to."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[str, str | None, type[BaseException] | None]] = []

    def emit(self, record: logging.LogRecord) -> None:
        raised = record.exc_info[0] if record.exc_info else None
        self.lines.append((record.getMessage(), request_id.get(), raised))


@pytest.fixture
def notebook() -> Iterator[Notebook]:
    handler = Notebook()
    logging.getLogger("memsvc").addHandler(handler)
    yield handler
    logging.getLogger("memsvc").removeHandler(handler)


def test_defect_is_answered_without_what_went_wrong(client: httpx.Client) -> None:
    answer = client.get(path("ana"))

    assert answer.status_code == 500
    assert answer.json() == {
        "error": "internal_error",
        "detail": "Something went wrong here; the log has it under this X-Request-ID.",
    }


def test_defect_stands_in_the_log_under_its_request(client: httpx.Client, notebook: Notebook) -> None:
    client.get(path("ana"), headers={"X-Request-ID": "trace-8"})

    assert ("request failed", "trace-8", RuntimeError) in notebook.lines


def test_defect_ends_no_other_request(client: httpx.Client) -> None:
    client.get(path("ana"))

    recorded = client.put(path("ana", "s2"), json=session_body("hello"))

    assert recorded.status_code == 201


def test_error_body_is_ascii_even_for_what_no_encoding_can_carry(client: httpx.Client) -> None:
    content = json.dumps({"a\ud800": 1, "é": 2, "turns": [{"role": "user", "text": "\ud800"}]})

    answer = client.put(path("ana", "s1"), content=content, headers={"Content-Type": "application/json"})

    assert answer.status_code == 422
    assert answer.content.isascii()


def test_log_has_no_word_of_a_user(client: httpx.Client, notebook: Notebook, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="memsvc")

    client.put(path("ana", "s3"), json=session_body("My password is hunter2."))
    client.post("/v1/users/ana/recall", json={"query": "what is the password hunter2"})
    client.put(path("ana", "s3"), json=session_body("My password is swordfish."))

    logged = json.dumps([vars(record) for record in caplog.records], default=str)
    assert len(caplog.records) >= 3
    assert "hunter2" not in logged
    assert "swordfish" not in logged
