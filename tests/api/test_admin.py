"""Users, failed tasks, and whether the service is well."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy.engine import make_url

from memsvc.app import Service, _wire, open_store
from memsvc.clock import utc_now
from memsvc.domain import Owner, TaskKind
from memsvc.index.base import Point
from memsvc.index.edge import EdgeIndex
from memsvc.memory.indexing import shape_of
from memsvc.settings import Settings
from tests.api import drain, execute, made, path, serving, turn_texts
from tests.doubles import HashEncoder, until
from tests.factories import session_body

ANA = Owner("default", "ana")


# Users.


def user_pages(client: httpx.Client, *, limit: int) -> Iterator[list[str]]:
    cursor: str | None = None
    while True:
        found = client.get("/v1/users", params={"limit": limit} | ({"cursor": cursor} if cursor else {})).json()
        yield [user["user_id"] for user in found["users"]]
        cursor = found["next_cursor"]
        if cursor is None:
            return


def test_users_are_listed_since_they_were_first_seen(client: httpx.Client) -> None:
    before = datetime.now(UTC)
    client.put(path("ana", "s1"), json=session_body("hello"))
    after = datetime.now(UTC)
    client.put(path("ana", "s2"), json=session_body("hello"))

    listed = client.get("/v1/users")

    [user] = listed.json()["users"]
    assert (listed.status_code, listed.json()["next_cursor"]) == (200, None)
    assert sorted(user) == ["created_at", "user_id"]
    assert user["user_id"] == "ana"
    assert before <= datetime.fromisoformat(user["created_at"]) <= after


def test_pages_hold_every_user_once(client: httpx.Client) -> None:
    users = [f"user{number}" for number in range(7)] + ["a/b", "Ana", "ana", "é", "小明", "🦊"]
    for user in users:
        client.put(path(user, "s1"), json=session_body("hello"))

    pages = list(user_pages(client, limit=5))

    assert [len(page) for page in pages] == [5, 5, 3]
    assert sorted(user for page in pages for user in page) == sorted(users)
    assert list(user_pages(client, limit=100)) == [[user for page in pages for user in page]]


def test_user_deleted_between_two_pages_skips_none(client: httpx.Client) -> None:
    for number in range(4):
        client.put(path(f"user{number}", "s1"), json=session_body("hello"))
    listing = user_pages(client, limit=2)
    first = next(listing)

    client.delete("/v1/users/user1")

    assert [first, *listing] == [["user0", "user1"], ["user2", "user3"]]


def test_deleted_user_leaves_a_receipt(client: httpx.Client) -> None:
    client.put(path("ana", "s1"), params={"wait": "indexed"}, json=session_body("one", "two", "three"))
    client.put(path("ana", "s2"), params={"wait": "indexed"}, json=session_body("four"))
    before = datetime.now(UTC)

    deleted = client.delete("/v1/users/ana")

    receipt = deleted.json()
    forgotten_at = datetime.fromisoformat(receipt.pop("forgotten_at"))
    assert deleted.status_code == 200
    assert receipt == {
        "user_id": "ana",
        "session_id": None,
        "deleted": {"sessions": 2, "turns": 4, "rounds": 3},
        "points_left": 0,
    }
    assert before <= forgotten_at <= datetime.now(UTC)


def test_deleted_user_is_gone_everywhere(client: httpx.Client) -> None:
    for user in ("ana", "ben"):
        client.put(path(user, "s1"), params={"wait": "indexed"}, json=session_body("The code is 4711."))

    client.delete("/v1/users/ana")

    again = client.delete("/v1/users/ana")
    question = {"query": "the code"}
    assert (again.status_code, again.json()) == (404, {"error": "user_not_found", "detail": "There is no user 'ana'."})
    assert client.get(path("ana", "s1")).status_code == 404
    assert client.get(path("ana")).json()["sessions"] == []
    assert client.post("/v1/users/ana/recall", json=question).json()["evidence"] == []
    assert list(user_pages(client, limit=10)) == [["ben"]]
    assert turn_texts(client.post("/v1/users/ben/recall", json=question)) == ["The code is 4711."]


def test_deleted_user_may_come_back(client: httpx.Client) -> None:
    headers = {"Idempotency-Key": "k1"}
    client.put(path("ana", "s1"), headers=headers, json=session_body("The code is 4711."))
    deleted = client.delete("/v1/users/ana")

    recorded = client.put(
        path("ana", "s1"), params={"wait": "indexed"}, headers=headers, json=session_body("The code is 1984.")
    )

    found = client.post("/v1/users/ana/recall", json={"query": "the code"})
    assert (deleted.status_code, recorded.status_code) == (200, 201)
    assert turn_texts(found) == ["The code is 1984."]


def test_user_without_a_session_can_be_deleted(client: httpx.Client) -> None:
    client.put(path("ana", "s1"), json=session_body("hello"))
    client.delete(path("ana", "s1"))

    deleted = client.delete("/v1/users/ana")

    assert deleted.status_code == 200
    assert deleted.json()["deleted"] == {"sessions": 0, "turns": 0, "rounds": 0}
    assert deleted.json()["points_left"] == 0


# Tasks.


class BreakableIndex(EdgeIndex):
    """An embedded index that takes no points while it is broken."""

    is_broken = True

    def put(self, points: Sequence[Point]) -> None:
        if self.is_broken:
            raise ValueError("no such vector")
        super().put(points)


@pytest.fixture
def broken(settings: Settings, database_url: str) -> tuple[Service, BreakableIndex]:
    """A service that gives a task up at the first failure, and its index, which is broken."""
    changed = settings.model_copy(update={"database_url": database_url, "max_attempts": 1})
    encoder = HashEncoder()
    store = open_store(changed)
    index = BreakableIndex(changed.index_dir, shape_of(encoder))
    return _wire(changed, store, index, encoder, 1), index


def record_until_it_fails(client: httpx.Client, user: str = "ana") -> dict[str, Any]:
    """The status of a session whose indexing was given up."""
    recorded = client.put(
        path(user, "s1"), params={"wait": "indexed", "wait_s": 60}, json=session_body("The code is 4711.")
    )
    status: dict[str, Any] = recorded.json()["status"]
    return status


def test_failed_task_is_listed_with_its_error(broken: tuple[Service, BreakableIndex]) -> None:
    service, _ = broken
    with serving(service) as client:
        before = datetime.now(UTC)
        status = record_until_it_fails(client)

        listed = client.get("/v1/tasks")

        [task] = listed.json()["tasks"]
        failed_at = datetime.fromisoformat(task.pop("failed_at"))
        assert listed.status_code == 200
        assert {**task, "task_id": None} == {
            "task_id": None,
            "kind": "index",
            "user_id": "ana",
            "session_id": "s1",
            "attempts": 1,
            "error": "ValueError: no such vector",
        }
        assert before <= failed_at <= datetime.now(UTC)
        assert status == {"indexed": False, "extracted": "off", "error": "ValueError: no such vector", "degraded": None}
        assert client.get(path("ana", "s1")).json()["status"] == status
        assert client.get("/readyz").json()["checks"]["backlog"]["failed"] == 1


def test_retried_task_is_done(broken: tuple[Service, BreakableIndex]) -> None:
    service, index = broken
    with serving(service) as client:
        record_until_it_fails(client)
        [task] = client.get("/v1/tasks").json()["tasks"]
        index.is_broken = False

        retried = client.post(f"/v1/tasks/{task['task_id']}/retry")

        assert (retried.status_code, retried.json()) == (202, {"task_id": task["task_id"], "status": "due"})
        until(lambda: bool(client.get(path("ana", "s1")).json()["status"]["indexed"]))
        assert client.get("/v1/tasks").json() == {"tasks": []}
        assert turn_texts(client.post("/v1/users/ana/recall", json={"query": "code"})) == ["The code is 4711."]


def test_retried_task_that_fails_again_is_listed_again(broken: tuple[Service, BreakableIndex]) -> None:
    service, _ = broken
    with serving(service) as client:
        record_until_it_fails(client)
        [first] = client.get("/v1/tasks").json()["tasks"]

        client.post(f"/v1/tasks/{first['task_id']}/retry")

        until(lambda: [task["failed_at"] > first["failed_at"] for task in failed(client)] == [True])
        assert {**failed(client)[0], "failed_at": None} == {**first, "failed_at": None}


def failed(client: httpx.Client) -> list[dict[str, Any]]:
    tasks: list[dict[str, Any]] = client.get("/v1/tasks").json()["tasks"]
    return tasks


def test_session_that_failed_is_tried_again_when_it_grows(broken: tuple[Service, BreakableIndex]) -> None:
    service, index = broken
    with serving(service) as client:
        record_until_it_fails(client)
        index.is_broken = False

        grown = client.put(
            path("ana", "s1"), params={"wait": "indexed"}, json=session_body("The code is 4711.", "Noted.")
        )

        assert grown.json()["status"] == {"indexed": True, "extracted": "off", "error": None, "degraded": None}
        assert client.get("/v1/tasks").json() == {"tasks": []}


def test_failed_task_goes_with_its_session(broken: tuple[Service, BreakableIndex]) -> None:
    service, _ = broken
    with serving(service) as client:
        record_until_it_fails(client)

        client.delete(path("ana", "s1"))

        until(lambda: failed(client) == [])
        assert client.get("/readyz").json()["checks"]["backlog"]["failed"] == 0


def given_up(service: Service, *errors: str) -> list[str]:
    """Tasks that were given up one after the other; their ids."""
    ids = []
    for error in errors:
        with service.store.begin() as tx:
            tx.outbox.owe(TaskKind.INDEX, ANA, uuid4(), now=utc_now())
            [task] = tx.outbox.claim(TaskKind.INDEX, limit=1, lease_s=60, now=utc_now())
            tx.outbox.give_up(task, error=error, now=utc_now())
            ids.append(str(task.task_id))
    return ids


def test_failed_tasks_are_listed_newest_first(settings: Settings, database_url: str) -> None:
    service = made(settings, database_url=database_url, workers=0)
    given_up(service, "one", "two", "three")
    with serving(service) as client:
        listed = client.get("/v1/tasks", params={"limit": 2})

        assert [(task["error"], task["session_id"]) for task in listed.json()["tasks"]] == [
            ("three", None),
            ("two", None),
        ]


def test_task_that_nobody_knows_cannot_be_retried(client: httpx.Client) -> None:
    never = str(uuid4())

    refused = client.post(f"/v1/tasks/{never}/retry")

    assert refused.status_code == 404
    assert refused.json() == {"error": "task_not_found", "detail": f"There is no task '{never}'."}


def test_task_of_no_possible_id_is_not_found(client: httpx.Client) -> None:
    refused = [client.post(f"/v1/tasks/{task_id}/retry") for task_id in ("17", "not-a-uuid", "%00", "a%2Fb", "%FF")]

    assert [(found.status_code, found.json()["error"]) for found in refused] == [(404, "task_not_found")] * 5


def test_task_that_has_not_failed_cannot_be_retried(settings: Settings, database_url: str) -> None:
    service = made(settings, database_url=database_url, workers=0)
    with serving(service) as client:
        client.put(path("ana", "s1"), json=session_body("hello"))
        with service.store.begin() as tx:
            [task] = tx.outbox.claim(TaskKind.INDEX, limit=1, lease_s=60, now=utc_now())

        refused = client.post(f"/v1/tasks/{task.task_id}/retry")

        assert refused.status_code == 409
        assert refused.json() == {
            "error": "task_not_failed",
            "detail": f"Task '{task.task_id}' has not failed; it will be done without a retry.",
        }


# Whether the service is well.


def test_running_process_is_healthy(client: httpx.Client) -> None:
    answer = client.get("/healthz")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_service_with_nothing_to_do_is_ready(client: httpx.Client) -> None:
    answer = client.get("/readyz")

    assert answer.status_code == 200
    assert answer.json() == {
        "status": "ready",
        "checks": {"database": "ok", "index": "ok", "backlog": {"due": 0, "failed": 0, "oldest_s": 0.0}},
    }


def test_backlog_counts_what_is_owed(settings: Settings, database_url: str) -> None:
    service = made(settings, database_url=database_url, workers=0)
    with serving(service) as client:
        for session in ("s1", "s2"):
            client.put(path("ana", session), json=session_body("hello"))
        owed = client.get("/readyz").json()["checks"]["backlog"]
        drain(service)

        done = client.get("/readyz").json()["checks"]["backlog"]

        # Of each session, that it is indexed and that it is extracted.
        assert (owed["due"], owed["failed"]) == (4, 0)
        assert owed["oldest_s"] >= 0
        assert done == {"due": 0, "failed": 0, "oldest_s": 0.0}


def test_service_whose_index_does_not_answer_is_not_ready(settings: Settings, database_url: str) -> None:
    service = made(settings, database_url=database_url, workers=0)
    with serving(service) as client:
        service.index.close()

        ready = client.get("/readyz")

        assert ready.status_code == 503
        assert ready.json() == {
            "status": "not_ready",
            "checks": {
                "database": "ok",
                "index": "index_unavailable",
                "backlog": {"due": 0, "failed": 0, "oldest_s": 0.0},
            },
        }


def test_service_whose_index_does_not_answer_still_records(settings: Settings, database_url: str) -> None:
    service = made(settings, database_url=database_url, workers=0)
    with serving(service) as client:
        service.index.close()

        recorded = client.put(path("ana", "s1"), json=session_body("hello"))
        recalled = client.post("/v1/users/ana/recall", json={"query": "hello"})

        assert recorded.status_code == 201
        assert turn_texts(client.get(path("ana", "s1"))) == ["hello"]
        assert (recalled.status_code, recalled.json()["error"]) == (503, "index_unavailable")
        assert recalled.headers["Retry-After"] == "1"


def test_deletion_without_an_index_owes_the_points(settings: Settings, database_url: str) -> None:
    service = made(settings, database_url=database_url, workers=0)
    with serving(service) as client:
        client.put(path("ana", "s1"), json=session_body("hello"))
        service.index.close()

        deleted = client.delete(path("ana", "s1"))

        assert (deleted.status_code, deleted.json()["points_left"]) == (200, None)
        # Beside the points, the extraction is still owed: it will find that there is nothing left.
        assert client.get("/readyz").json()["checks"]["backlog"]["due"] == 2


@pytest.fixture(params=["sqlite", "postgresql"])
def losing(request: pytest.FixtureRequest, settings: Settings) -> tuple[Service, Callable[[], None]]:
    """A service, and an act that takes its database away."""
    if request.param == "sqlite":
        service = made(settings, workers=0)

        def remove() -> None:
            service.store.close()
            shutil.rmtree(settings.data_dir)

        return service, remove
    server = request.getfixturevalue("postgres")
    url = request.getfixturevalue("fresh_postgres")(request.getfixturevalue("postgres_template"))
    drop = f"DROP DATABASE {make_url(url).database} WITH (FORCE)"
    return made(settings, database_url=url, workers=0), lambda: execute(server, drop)


def test_service_whose_database_is_gone_says_so(losing: tuple[Service, Callable[[], None]]) -> None:
    service, lose = losing
    with serving(service) as client:
        client.put(path("ana", "s1"), json=session_body("hello"))
        lose()

        healthy, ready = client.get("/healthz"), client.get("/readyz")
        refused = client.put(path("ana", "s2"), json=session_body("hello"))

        assert healthy.status_code == 200
        assert ready.status_code == 503
        assert (ready.json()["status"], ready.json()["checks"]["database"]) == ("not_ready", "store_unavailable")
        assert "backlog" not in ready.json()["checks"]
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        assert refused.json() == {
            "error": "store_unavailable",
            "detail": "The database does not answer; nothing was recorded. Try again.",
        }
