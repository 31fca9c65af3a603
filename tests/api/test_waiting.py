"""Waiting for a session to come further, which keeps no other request from being answered."""

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import pytest

from memsvc.app import Service
from memsvc.clock import utc_now
from memsvc.domain import TaskKind
from tests.api import DATABASES, drain, malformed, module_service, path, serving
from tests.factories import session_body

WAITERS = 100


@pytest.fixture(scope="module", params=DATABASES)
def idle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service whose worker never runs."""
    with module_service(request, tmp_path_factory, workers=0) as made:
        yield made


@pytest.fixture(scope="module")
def quiet(idle: Service) -> Iterator[httpx.Client]:
    """A client of the service whose worker never runs."""
    with serving(idle) as opened:
        yield opened


@pytest.fixture
def user() -> str:
    return f"user-{uuid4().hex[:8]}"


def status(indexed: bool, error: str | None = None) -> dict[str, Any]:
    return {"indexed": indexed, "extracted": "off", "error": error, "degraded": None}


@pytest.mark.parametrize(
    ("method", "rest", "body"),
    [("PUT", "", session_body("hello")), ("POST", "/turns", {"turns": [{"role": "user", "text": "hello"}]})],
    ids=["record", "append"],
)
def test_answer_waits_until_the_session_is_indexed(
    client: httpx.Client, method: str, rest: str, body: dict[str, Any]
) -> None:
    recorded = client.request(method, path("ana", "s1", rest), params={"wait": "indexed"}, json=body)

    assert (recorded.status_code, recorded.json()["status"]) == (201, status(indexed=True))


def test_session_known_and_indexed_is_not_waited_for(quiet: httpx.Client, user: str, idle: Service) -> None:
    quiet.put(path(user, "s1"), json=session_body("hello"))
    drain(idle)

    again = quiet.put(path(user, "s1"), params={"wait": "indexed", "wait_s": 60}, json=session_body("hello"))

    assert (again.status_code, again.json()["status"]) == (200, status(indexed=True))


def test_without_a_wish_to_wait_the_answer_means_on_disk_alone(quiet: httpx.Client, user: str) -> None:
    recorded = quiet.put(path(user, "s1"), json=session_body("hello"))

    assert (recorded.status_code, recorded.json()["status"]) == (201, status(indexed=False))


@pytest.mark.parametrize("seconds", ["0", "0.05"])
@pytest.mark.parametrize("state", ["indexed", "extracted"])
def test_answer_says_when_the_time_was_over_first(quiet: httpx.Client, user: str, state: str, seconds: str) -> None:
    recorded = quiet.put(path(user, "s1"), params={"wait": state, "wait_s": seconds}, json=session_body("hello"))

    assert (recorded.status_code, recorded.json()["status"]) == (201, status(indexed=False))


def test_extraction_by_rules_is_waited_for_though_it_is_called_off(client: httpx.Client) -> None:
    recorded = client.put(path("ana", "s1"), params={"wait": "extracted"}, json=session_body("I live in Lisbon."))

    (fact,) = client.get("/v1/users/ana/facts").json()["facts"]
    assert (recorded.status_code, recorded.json()["status"]["extracted"]) == (201, "off")
    assert (fact["text"], fact["source"]) == ("I live in Lisbon.", "rules")


def test_session_known_and_extracted_is_not_waited_for(quiet: httpx.Client, user: str, idle: Service) -> None:
    quiet.put(path(user, "s1"), json=session_body("hello"))
    drain(idle)

    # The client itself would give up long before the 60 seconds are over.
    again = quiet.put(
        path(user, "s1"), params={"wait": "extracted", "wait_s": 60}, json=session_body("hello"), timeout=20
    )

    assert (again.status_code, again.json()["status"]) == (200, status(indexed=True))


def test_session_that_gave_no_facts_is_waited_for_until_it_is_indexed(
    quiet: httpx.Client, user: str, idle: Service
) -> None:
    quiet.put(path(user, "s1"), json=session_body("hello"))
    while idle.use_cases.extractor.drain():
        pass

    with ThreadPoolExecutor(1) as threads:
        waits: dict[str, Any] = {"wait": "extracted", "wait_s": 60}
        waiting = threads.submit(quiet.put, path(user, "s1"), params=waits, json=session_body("hello"))
        time.sleep(0.5)  # Time to answer too early.
        drain(idle)

    assert waiting.result().json()["status"] == status(indexed=True)


def test_failed_indexing_is_not_waited_for(quiet: httpx.Client, user: str, idle: Service) -> None:
    drain(idle)
    quiet.put(path(user, "s1"), json=session_body("hello"))
    with idle.store.begin() as tx:
        [task] = tx.outbox.claim(TaskKind.INDEX, limit=1, lease_s=60, now=utc_now())
        tx.outbox.give_up(task, error="ValueError: no vector", now=utc_now())

    again = quiet.put(
        path(user, "s1"), params={"wait": "indexed", "wait_s": 60}, json=session_body("hello"), timeout=20
    )

    assert (again.status_code, again.json()["status"]) == (200, status(indexed=False, error="ValueError: no vector"))


@pytest.mark.parametrize(
    ("params", "field", "message"),
    [
        ({"wait": "indexed", "wait_s": "60.1"}, "wait_s", "Input should be less than or equal to 60"),
        ({"wait": "indexed", "wait_s": "-1"}, "wait_s", "Input should be greater than or equal to 0"),
        ({"wait": "indexed", "wait_s": "inf"}, "wait_s", "Input should be less than or equal to 60"),
        (
            {"wait": "indexed", "wait_s": "long"},
            "wait_s",
            "Input should be a valid number, unable to parse string as a number",
        ),
        ({"wait": "recalled"}, "wait", "Input should be 'indexed' or 'extracted'"),
        ({"wait": ""}, "wait", "Input should be 'indexed' or 'extracted'"),
    ],
)
def test_bad_wish_to_wait_is_refused_before_anything_is_written(
    quiet: httpx.Client, user: str, params: dict[str, str], field: str, message: str
) -> None:
    refused = quiet.put(path(user, "s1"), params=params, json=session_body("hello"))

    assert (refused.status_code, refused.json()) == (422, malformed(field, message))
    assert user not in [known["user_id"] for known in quiet.get("/v1/users", params={"limit": 200}).json()["users"]]


def test_wait_of_no_number_of_seconds_is_refused(quiet: httpx.Client, user: str) -> None:
    # Taken as it stands it would wait for ever.
    refused = quiet.put(
        path(user, "s1"), params={"wait": "indexed", "wait_s": "nan"}, json=session_body("hello"), timeout=20
    )

    assert refused.status_code == 422
    assert [field["field"] for field in refused.json()["fields"]] == ["wait_s"]


def test_hundred_who_wait_keep_nobody_else_waiting(quiet: httpx.Client, idle: Service, user: str) -> None:
    while_waiting, answers = asyncio.run(_wait_together(str(quiet.base_url), idle, user))

    assert while_waiting == [(200, WAITERS), (201, 1), (200, 1), (200, 0)]
    assert answers == [(201, status(indexed=True))] * WAITERS


async def _wait_together(url: str, service: Service, user: str) -> tuple[list[tuple[int, int]], list[tuple[int, Any]]]:
    """A hundred requests wait; meanwhile others are answered; then the index does what is owed.

    What the others were answered (status, and how much was found), and what the hundred were.
    """
    limits, other = httpx.Limits(max_connections=None), f"{user}-2"
    async with httpx.AsyncClient(base_url=url, timeout=60, limits=limits) as client:
        waiters = [asyncio.create_task(_record_and_wait(client, user, f"s{number}")) for number in range(WAITERS)]
        listed = await client.get(path(user), params={"limit": 200})
        while len(listed.json()["sessions"]) < WAITERS and not any(waiter.done() for waiter in waiters):
            listed = await client.get(path(user), params={"limit": 200})
        recorded = await client.put(path(other, "s1"), json=session_body("hello"))
        read = await client.get(path(other, "s1"))
        found = await client.post(f"/v1/users/{other}/recall", json={"query": "hello"})
        assert not any(waiter.done() for waiter in waiters)
        while_waiting = [
            (listed.status_code, len(listed.json()["sessions"])),
            (recorded.status_code, recorded.json()["turns"]),
            (read.status_code, len(read.json()["turns"])),
            (found.status_code, len(found.json()["evidence"])),
        ]
        await asyncio.to_thread(drain, service)
        answers = await asyncio.gather(*waiters)
    return while_waiting, [(answer.status_code, answer.json()["status"]) for answer in answers]


async def _record_and_wait(client: httpx.AsyncClient, user: str, session: str) -> httpx.Response:
    return await client.put(path(user, session), params={"wait": "indexed", "wait_s": 60}, json=session_body("hello"))


def test_one_who_waits_for_a_session_that_is_deleted_is_told(quiet: httpx.Client, user: str) -> None:
    async def wait_and_delete() -> httpx.Response:
        async with httpx.AsyncClient(base_url=quiet.base_url, timeout=60) as client:
            waiter = asyncio.create_task(_record_and_wait(client, user, "s1"))
            while (await client.get(path(user, "s1"))).status_code != 200 and not waiter.done():
                pass
            await client.delete(path(user, "s1"))
            return await waiter

    answer = asyncio.run(wait_and_delete())

    assert answer.status_code == 404
    assert answer.json() == {"error": "session_not_found", "detail": f"User '{user}' has no session 's1'."}
