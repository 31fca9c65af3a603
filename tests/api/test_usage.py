"""What language models were asked and may be asked, over HTTP on both databases."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from memsvc.app import Service
from memsvc.domain import Scope
from memsvc.settings import Settings
from memsvc.store.usage import Used
from tests.api import DATABASES, key, made, module_service, path, serving
from tests.factories import session_body
from tests.llm import Body, ScriptedLlm, said, scripted_llm


@pytest.fixture(scope="module", params=DATABASES)
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with module_service(request, tmp_path_factory) as made:
        yield made


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    with serving(service) as opened:
        yield opened


@pytest.fixture
def workspace() -> str:
    return f"workspace-{uuid4().hex[:8]}"


@pytest.fixture
def admin(service: Service, workspace: str) -> dict[str, str]:
    return key(service, Scope.ADMIN, workspace=workspace)


@pytest.fixture
def llm() -> Iterator[ScriptedLlm]:
    with scripted_llm() as scripted:
        scripted.answers = nothing_drawn
        yield scripted


def nothing_drawn(_body: Body) -> Any:
    return said({"statements": []}, usage=(100, 10))


def used(day: str, operation: str = "extract", model: str = "small", **more: int) -> Used:
    counts = {"calls": 1, "prompt_tokens": 100, "completion_tokens": 10} | more
    return Used(date.fromisoformat(day), operation, model, **counts)


def count(service: Service, workspace: str, *made: Used) -> None:
    with service.store.begin() as tx:
        for one in made:
            tx.usage.add(workspace, one)


def shown(one: Used) -> dict[str, Any]:
    return {
        "day": one.day.isoformat(),
        "operation": one.operation,
        "model": one.model,
        "calls": one.calls,
        "prompt_tokens": one.prompt_tokens,
        "completion_tokens": one.completion_tokens,
        "estimated_calls": one.estimated_calls,
        "cached_calls": one.cached_calls,
    }


def today() -> str:
    return datetime.now(UTC).date().isoformat()


def usage(client: httpx.Client, headers: dict[str, str], **params: str) -> dict[str, Any]:
    answer = client.get("/v1/usage", params=params, headers=headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def days(found: dict[str, Any]) -> list[str]:
    return [one["day"] for one in found["usage"]]


# Usage.


def test_workspace_that_asked_nothing_has_used_nothing(client: httpx.Client, admin: dict[str, str]) -> None:
    assert usage(client, admin) == {
        "usage": [],
        "total": {"calls": 0, "prompt_tokens": 0, "completion_tokens": 0},
        "daily_tokens": None,
        "used_today": 0,
    }


def test_usage_is_told_by_day_operation_and_model(
    service: Service, client: httpx.Client, workspace: str, admin: dict[str, str]
) -> None:
    rows = [
        used("2024-03-01", "answer", "large", calls=2, prompt_tokens=500, completion_tokens=50),
        used("2024-03-01", "extract", "large"),
        used("2024-03-01", "extract", "small", estimated_calls=1),
        used("2024-03-02", "extract", "small", cached_calls=3),
    ]
    count(service, workspace, *reversed(rows))

    found = usage(client, admin, **{"from": "2024-03-01", "to": "2024-03-31"})

    assert found == {
        "usage": [shown(row) for row in rows],
        "total": {"calls": 5, "prompt_tokens": 800, "completion_tokens": 80},
        "daily_tokens": None,
        "used_today": 0,
    }


def test_calls_of_one_day_operation_and_model_are_summed(
    service: Service, client: httpx.Client, workspace: str, admin: dict[str, str]
) -> None:
    count(service, workspace, used(today(), estimated_calls=1), used(today(), calls=2, cached_calls=1))

    found = usage(client, admin)

    assert found["usage"] == [
        shown(
            used(
                found["usage"][0]["day"],
                calls=3,
                prompt_tokens=200,
                completion_tokens=20,
                estimated_calls=1,
                cached_calls=1,
            )
        )
    ]
    assert found["used_today"] == 220


def test_more_tokens_than_fit_into_32_bits_are_counted(
    service: Service, client: httpx.Client, workspace: str, admin: dict[str, str]
) -> None:
    count(service, workspace, *(used(today(), prompt_tokens=2**31 - 1, completion_tokens=0) for _ in range(2)))

    assert usage(client, admin)["total"]["prompt_tokens"] == 2**32 - 2


@pytest.mark.parametrize(
    ("params", "found"),
    [
        pytest.param({"from": "2024-03-01", "to": "2024-03-01"}, ["2024-03-01"], id="one day"),
        pytest.param({"from": "2024-03-01", "to": "2024-03-02"}, ["2024-03-01", "2024-03-02"], id="both ends"),
        pytest.param({"to": "2024-03-31"}, ["2024-03-01", "2024-03-02", "2024-03-31"], id="the 30 days before"),
        pytest.param({"to": "2024-04-01"}, ["2024-03-02", "2024-03-31"], id="and no more"),
        pytest.param({"from": "2023-02-25", "to": "2024-03-31"}, ["2024-03-01", "2024-03-02", "2024-03-31"], id="400"),
        pytest.param({"to": "0001-01-01"}, [], id="the first day there is"),
        pytest.param({"from": "9999-12-31", "to": "9999-12-31"}, [], id="the last day there is"),
    ],
)
def test_range_of_days_is_asked_for(
    service: Service,
    client: httpx.Client,
    workspace: str,
    admin: dict[str, str],
    params: dict[str, str],
    found: list[str],
) -> None:
    count(service, workspace, *(used(day) for day in ("2024-03-01", "2024-03-02", "2024-03-31")))

    assert days(usage(client, admin, **params)) == found


def test_last_30_days_are_told_if_nothing_is_said(
    service: Service, client: httpx.Client, workspace: str, admin: dict[str, str]
) -> None:
    now = datetime.now(UTC).date()
    count(service, workspace, *(used((now - timedelta(days=ago)).isoformat()) for ago in (0, 29, 32)))

    assert days(usage(client, admin)) == [(now - timedelta(days=29)).isoformat(), now.isoformat()]


@pytest.mark.parametrize(
    "params",
    [
        pytest.param({"from": "2024-03-02", "to": "2024-03-01"}, id="backwards"),
        pytest.param({"from": "2023-02-24", "to": "2024-03-31"}, id="401 days"),
        pytest.param({"from": "2999-01-01"}, id="tomorrow"),
        pytest.param({"from": "2024-02-30"}, id="no day"),
        pytest.param({"from": "soon"}, id="no date"),
        pytest.param({"to": ""}, id="nothing"),
        pytest.param({"from": "1709251200", "to": "2024-03-31"}, id="number"),
        pytest.param({"from": "2024-03-01T10:00:00Z", "to": "2024-03-31"}, id="instant"),
    ],
)
def test_range_that_is_none_is_refused(client: httpx.Client, admin: dict[str, str], params: dict[str, str]) -> None:
    answer = client.get("/v1/usage", params=params, headers=admin)

    body = answer.json()
    assert (answer.status_code, body["error"]) == (422, "invalid_request")
    assert body["fields"][0]["field"] in params


def test_usage_is_its_workspaces_alone(
    service: Service, client: httpx.Client, workspace: str, admin: dict[str, str]
) -> None:
    key(service, Scope.READ, workspace=f"{workspace}-2")
    count(service, f"{workspace}-2", used(today()))

    found = usage(client, admin)

    assert (found["usage"], found["used_today"]) == ([], 0)


def test_usage_is_read_with_the_scope_to_read(service: Service, client: httpx.Client, workspace: str) -> None:
    answers = [
        client.get("/v1/usage", headers=key(service, scope, workspace=workspace))
        for scope in (Scope.READ, Scope.WRITE, Scope.ADMIN)
    ]

    assert [answer.status_code for answer in answers] == [200, 403, 200]


def test_what_was_asked_is_counted(settings: Settings, database_url: str, llm: ScriptedLlm) -> None:
    changes = {"database_url": database_url, "llm_base_url": llm.url, "llm_model": "small"}
    with serving(made(settings, **changes, llm_task_models="answer=large")) as client:
        client.put(path("ana", "s1"), params={"wait": "extracted"}, json=session_body("I like red wine."))
        llm.then(said("no", usage=(7, 1)), said("no", usage=(9, 2)))
        refused = client.post("/v1/users/ana/answer", json={"query": "wine?"})

        found = usage(client, {})

    assert (refused.status_code, refused.json()["error"]) == (502, "llm_answer_invalid")
    assert found["usage"] == [
        shown(used(found["usage"][0]["day"], "answer", "large", calls=2, prompt_tokens=16, completion_tokens=3)),
        shown(used(found["usage"][0]["day"], "extract", "small")),
    ]
    assert (found["total"], found["used_today"]) == (
        {"calls": 3, "prompt_tokens": 116, "completion_tokens": 13},
        129,
    )


def test_tokens_that_nobody_counted_are_estimated_and_marked(
    settings: Settings, database_url: str, llm: ScriptedLlm
) -> None:
    llm.answers = lambda _body: said({"statements": []}, usage=None)
    with serving(made(settings, database_url=database_url, llm_base_url=llm.url, llm_model="small")) as client:
        client.put(path("ana", "s1"), params={"wait": "extracted"}, json=session_body("I like red wine."))

        (row,) = usage(client, {})["usage"]

    assert (row["calls"], row["estimated_calls"], row["cached_calls"]) == (1, 1, 0)
    assert row["prompt_tokens"] > 100
    assert row["completion_tokens"] == 5


def test_answer_out_of_the_cache_costs_nothing_and_is_told(
    settings: Settings, database_url: str, llm: ScriptedLlm, tmp_path: Path
) -> None:
    changes = {"database_url": database_url, "llm_base_url": llm.url, "llm_model": "small", "llm_cache": tmp_path / "c"}
    with serving(made(settings, **changes)) as client:
        for user in ("ana", "ben"):
            body = session_body("I like red wine.")
            client.put(path(user, "s1"), params={"wait": "extracted"}, json=body)

        (row,) = usage(client, {})["usage"]

    assert row == shown(used(row["day"], "extract", "small", cached_calls=1))
    assert len(llm.requests) == 1


# The workspace's own wishes.


def test_workspace_begins_with_no_wishes(client: httpx.Client, workspace: str, admin: dict[str, str]) -> None:
    found = client.get(f"/v1/workspaces/{workspace}", headers=admin)

    assert (found.status_code, found.json()) == (
        200,
        {"workspace": workspace, "guidelines": "", "kinds": {}, "daily_tokens": None},
    )


@pytest.mark.parametrize(
    ("given", "then"),
    [
        pytest.param({}, {}, id="nothing"),
        pytest.param({"guidelines": "Only sports.\n我"}, {"guidelines": "Only sports.\n我"}, id="guidelines"),
        pytest.param({"guidelines": "x" * 4000}, {"guidelines": "x" * 4000}, id="4,000 characters"),
        pytest.param({"kinds": {"injury": "what hurts"}}, {"kinds": {"injury": "what hurts"}}, id="kinds"),
        pytest.param({"kinds": {}}, {"kinds": {}}, id="no kinds"),
        pytest.param({"daily_tokens": 1}, {"daily_tokens": 1}, id="tokens"),
        pytest.param({"daily_tokens": 0}, {"daily_tokens": 0}, id="no tokens"),
        pytest.param({"daily_tokens": None}, {"daily_tokens": None}, id="the service's own limit"),
        pytest.param({"daily_tokens": 2**53}, {"daily_tokens": 2**53}, id="many tokens"),
    ],
)
def test_wishes_change_and_the_rest_stays(
    client: httpx.Client, workspace: str, admin: dict[str, str], given: dict[str, Any], then: dict[str, Any]
) -> None:
    before = {"guidelines": "No gossip.", "kinds": {"goal": "what is aimed at"}, "daily_tokens": 500}
    client.patch(f"/v1/workspaces/{workspace}", json=before, headers=admin)

    changed = client.patch(f"/v1/workspaces/{workspace}", json=given, headers=admin)

    wanted = {"workspace": workspace} | before | then
    assert (changed.status_code, changed.json()) == (200, wanted)
    assert client.get(f"/v1/workspaces/{workspace}", headers=admin).json() == wanted


@pytest.mark.parametrize(
    ("body", "field"),
    [
        pytest.param({"guidelines": "x" * 4001}, "guidelines", id="long"),
        pytest.param({"guidelines": "a\x00b"}, "guidelines", id="NUL"),
        pytest.param({"guidelines": None}, "guidelines", id="null"),
        pytest.param({"kinds": {"Injury": "what hurts"}}, "kinds", id="kind in capitals"),
        pytest.param({"kinds": {"injury": ""}}, "kinds", id="kind that says nothing"),
        pytest.param({"kinds": {"injury": "a\x00b"}}, "kinds", id="NUL in a kind"),
        pytest.param({"kinds": {f"kind{number}": "a" for number in range(21)}}, "kinds", id="21 kinds"),
        pytest.param({"daily_tokens": -1}, "daily_tokens", id="less than none"),
        pytest.param({"daily_tokens": 2**53 + 1}, "daily_tokens", id="more than can be counted"),
        pytest.param({"daily_tokens": 1.5}, "daily_tokens", id="part of a token"),
        pytest.param({"daily_tokens": True}, "daily_tokens", id="yes"),
        pytest.param({"daily_token": 5}, "daily_token", id="misspelt"),
        pytest.param({"workspace": "mine"}, "workspace", id="its name"),
    ],
)
def test_bad_wish_is_refused_and_changes_nothing(
    client: httpx.Client, workspace: str, admin: dict[str, str], body: dict[str, Any], field: str
) -> None:
    before = client.patch(f"/v1/workspaces/{workspace}", json={"guidelines": "No gossip."}, headers=admin).json()

    answer = client.patch(f"/v1/workspaces/{workspace}", json=body, headers=admin)

    problem = answer.json()
    assert (answer.status_code, problem["error"]) == (422, "invalid_request")
    assert problem["fields"][0]["field"].split(".")[0] == field
    assert client.get(f"/v1/workspaces/{workspace}", headers=admin).json() == before


@pytest.mark.parametrize("method", ["GET", "PATCH"])
def test_workspace_is_its_administrators_alone(
    service: Service, client: httpx.Client, workspace: str, admin: dict[str, str], method: str
) -> None:
    body: dict[str, Any] | None = {} if method == "PATCH" else None
    others = key(service, Scope.ADMIN, workspace=f"{workspace}-2")
    user = key(service, Scope.READ, Scope.WRITE, workspace=workspace)

    theirs, never, mine = (
        client.request(method, f"/v1/workspaces/{name}", json=body, headers=headers)
        for name, headers in ((workspace, others), ("never", others), (workspace, user))
    )

    assert (theirs.status_code, theirs.json()) == (
        404,
        {"error": "workspace_not_found", "detail": f"There is no workspace {workspace!r}."},
    )
    assert (never.status_code, never.json()["error"]) == (404, "workspace_not_found")
    assert (mine.status_code, mine.json()) == (
        403,
        {"error": "forbidden", "detail": "This key does not have the scope 'admin'."},
    )


@pytest.mark.parametrize(
    ("own", "limit"),
    [
        pytest.param({}, 5000, id="the service's own limit"),
        pytest.param({"daily_tokens": None}, 5000, id="null is the service's own limit"),
        pytest.param({"daily_tokens": 0}, 0, id="none at all"),
        pytest.param({"daily_tokens": 70}, 70, id="an own one"),
        pytest.param({"daily_tokens": 9000}, 9000, id="an own one that is larger"),
    ],
)
def test_limit_of_the_day_is_told(settings: Settings, database_url: str, own: dict[str, Any], limit: int) -> None:
    with serving(made(settings, database_url=database_url, llm_daily_tokens=5000)) as client:
        client.patch("/v1/workspaces/default", json=own)

        found = usage(client, {})

    assert (found["daily_tokens"], found["used_today"]) == (limit, 0)


def test_used_up_budget_leaves_facts_to_rules_and_says_so(
    settings: Settings, database_url: str, llm: ScriptedLlm
) -> None:
    changes = {"database_url": database_url, "llm_base_url": llm.url, "llm_model": "small", "llm_daily_tokens": 110}
    with serving(made(settings, **changes)) as client:
        first, second = (
            client.put(path("ana", name), params={"wait": "extracted"}, json=session_body("I like red wine.")).json()
            for name in ("s1", "s2")
        )
        found = client.get("/v1/users/ana/facts").json()["facts"]
        recalled = client.post("/v1/users/ana/recall", json={"query": "wine"})

    assert (first["status"]["extracted"], first["status"]["degraded"]) == ("done", None)
    assert second["status"]["extracted"] == "done"
    assert second["status"]["degraded"]
    assert [(fact["source"], fact["sources"][0]["session_id"]) for fact in found] == [("rules", "s2")]
    assert (recalled.status_code, len(llm.requests)) == (200, 1)
