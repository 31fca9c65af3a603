"""What would come of a chat, over HTTP on both databases, by rules and by a scripted model; and extracting again."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from starlette.responses import Response

from memsvc.app import Service
from memsvc.domain import Scope
from tests.api import DATABASES, encoded, key, malformed, module_service, path, serving
from tests.factories import session_body
from tests.llm import Body, ScriptedLlm, said, scripted_llm, status

AT = "2024-06-12T15:30:00+02:00"


@pytest.fixture(scope="module")
def llm() -> Iterator[ScriptedLlm]:
    with scripted_llm() as scripted:
        yield scripted


@pytest.fixture(scope="module", params=DATABASES)
def with_rules(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with module_service(request, tmp_path_factory) as made:
        yield made


@pytest.fixture(scope="module")
def rules(with_rules: Service) -> Iterator[httpx.Client]:
    """A client of a service without a model."""
    with serving(with_rules) as opened:
        opened.headers.update(key(with_rules, Scope.READ, Scope.WRITE))
        yield opened


@pytest.fixture(scope="module", params=DATABASES)
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, llm: ScriptedLlm
) -> Iterator[Service]:
    changes = {"llm_base_url": llm.url, "llm_model": "scripted", "llm_attempts": 1}
    with module_service(request, tmp_path_factory, **changes) as made:
        yield made


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    with serving(service) as opened:
        opened.headers.update(key(service, Scope.READ, Scope.WRITE))
        yield opened


@pytest.fixture
def user() -> str:
    return f"user-{uuid4().hex[:8]}"


def where(user: str) -> str:
    return f"/v1/users/{encoded(user)}/extract"


def foresee(client: httpx.Client, user: str, body: dict[str, Any]) -> dict[str, Any]:
    answer = client.post(where(user), params={"dry_run": "true"}, json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def statement(text: str, quote: str, *, turn: int = 1, **more: Any) -> dict[str, Any]:
    """A statement as the model draws it."""
    nothing = dict.fromkeys(("slot", "value", "when", "from", "to"))
    about = {"text": text, "quote": quote, "turn": turn, "kind": "fact", "subject": "user", "confidence": 0.9}
    return nothing | about | more


def home(town: str) -> dict[str, Any]:
    return statement(f"Ana lives in {town}.", f"I live in {town}", slot="home", value=town)


def drawing(*statements: dict[str, Any]) -> Any:
    def answers(body: Body) -> Response:
        return said({"statements": list(statements)})

    return answers


def record(client: httpx.Client, user: str, *texts: str, session: str = "s1", **more: Any) -> None:
    client.put(path(user, session), params={"wait": "extracted"}, json=session_body(*texts, **more))


def facts(client: httpx.Client, user: str) -> list[dict[str, Any]]:
    found = client.get(f"/v1/users/{encoded(user)}/facts", params={"include": "superseded"})
    listed: list[dict[str, Any]] = found.json()["facts"]
    return listed


def written(client: httpx.Client, user: str) -> tuple[list[Any], list[Any], bool]:
    """The user's facts and sessions, and whether there is such a user."""
    users = [one["user_id"] for one in client.get("/v1/users").json()["users"]]
    return facts(client, user), client.get(path(user)).json()["sessions"], user in users


def test_rules_tell_what_they_would_draw(rules: httpx.Client, user: str) -> None:
    found = foresee(rules, user, session_body("Hello! I moved to Lisbon on 3 May 2024.", "Nice.", started_at=AT))

    (decided,) = found["outcome"]
    assert found == {
        "source": "rules",
        "statements": [
            {
                "text": "I moved to Lisbon on 3 May 2024.",
                "kind": "event",
                "subject": "user",
                "slot": None,
                "value": None,
                "when": "3 May 2024",
                "event": {"from": "2024-05-03", "to": "2024-05-04", "precision": "day"},
                "event_source": "rules",
                "confidence": None,
                "sources": [
                    {
                        "session_id": "",
                        "turn_id": "0",
                        "quote": "I moved to Lisbon on 3 May 2024.",
                        "start": 7,
                        "end": 39,
                    }
                ],
            }
        ],
        "rejected": [],
        "outcome": [
            {
                "text": "I moved to Lisbon on 3 May 2024.",
                "kind": "event",
                "turn_id": "0",
                "outcome": "added",
                "action": "add",
                "reason": "nothing known bears on it",
                "decided_by": "rules",
                "decided_at": decided["decided_at"],
                "fact_id": decided["fact_id"],
                "superseded_by": None,
                "others": [],
            }
        ],
    }


def test_model_tells_what_it_would_draw_and_what_is_refused(client: httpx.Client, user: str, llm: ScriptedLlm) -> None:
    llm.answers = drawing(
        statement(
            "Ana moved to Lisbon.",
            "i MOVED to lisbon",
            kind="event",
            when="in May 2024",
            slot="home",
            value="Lisbon",
        ),
        statement("Ana moved to Rome.", "I moved to Rome"),
    )

    found = foresee(client, user, session_body("I moved to Lisbon in May 2024.", started_at=AT))

    (drawn,) = found["statements"]
    assert (found["source"], found["rejected"]) == (
        "llm",
        [{"text": "Ana moved to Rome.", "reason": "its quote is not in the turn that it names"}],
    )
    assert drawn == {
        "text": "Ana moved to Lisbon.",
        "kind": "event",
        "subject": "user",
        "slot": "home",
        "value": "Lisbon",
        "when": "May 2024",
        "event": {"from": "2024-05-01", "to": "2024-06-01", "precision": "month"},
        "event_source": "rules",
        "confidence": 0.9,
        "sources": [{"session_id": "", "turn_id": "0", "quote": "I moved to Lisbon", "start": 0, "end": 17}],
    }
    assert [(one["text"], one["outcome"]) for one in found["outcome"]] == [
        ("Ana moved to Lisbon.", "added"),
        ("Ana moved to Rome.", "rejected"),
    ]


def test_nothing_of_it_is_written(rules: httpx.Client, user: str) -> None:
    found = foresee(rules, user, session_body("I moved to Lisbon on 3 May 2024.", started_at=AT))

    assert len(found["statements"]) == 1
    assert written(rules, user) == ([], [], False)


def test_nothing_that_the_model_would_draw_is_written(client: httpx.Client, user: str, llm: ScriptedLlm) -> None:
    llm.answers = drawing(statement("Ana moved.", "I moved"))

    found = foresee(client, user, session_body("I moved to Lisbon on 3 May 2024.", started_at=AT))

    assert len(found["statements"]) == 1
    assert written(client, user) == ([], [], False)


def test_same_chat_is_foreseen_the_same_way_again(rules: httpx.Client, user: str) -> None:
    body = session_body("I moved to Lisbon on 3 May 2024.", started_at=AT)

    first, second = foresee(rules, user, body), foresee(rules, user, body)

    assert (first["statements"], first["rejected"]) == (second["statements"], second["rejected"])


@pytest.mark.parametrize(
    ("known", "then", "now"),
    [
        pytest.param(None, AT, ("added", "add"), id="new"),
        pytest.param(home("Rome"), "2024-06-13T10:00:00Z", ("merged", "merge"), id="known"),
        pytest.param(home("Faro"), "2024-06-13T10:00:00Z", ("added", "update"), id="later than another value"),
        pytest.param(home("Faro"), "2024-06-01T10:00:00Z", ("superseded", "add"), id="earlier than another value"),
    ],
)
def test_what_is_foreseen_comes_true(
    client: httpx.Client, user: str, llm: ScriptedLlm, known: dict[str, Any] | None, then: str, now: tuple[str, str]
) -> None:
    if known is not None:
        llm.answers = drawing(known)
        record(client, user, known["quote"], session="s0", started_at="2024-06-12T10:00:00Z")
    llm.answers = drawing(home("Rome"))

    (foreseen,) = foresee(client, user, session_body("I live in Rome.", started_at=then))["outcome"]
    record(client, user, "I live in Rome.", started_at=then)

    (came,) = client.get(path(user, "s1", "/outcome")).json()["statements"]
    assert (came["outcome"], came["action"]) == now
    assert (foreseen["outcome"], foreseen["action"], foreseen["reason"]) == (*now, came["reason"])


def test_what_a_system_or_an_assistant_says_is_not_drawn_by_rules(rules: httpx.Client, user: str) -> None:
    body = session_body("You are kind. I live in Rome.", "I moved to Lisbon on 3 May 2024.", started_at=AT)
    body["turns"][0]["role"] = "system"

    found = foresee(rules, user, body)

    assert (found["statements"], found["outcome"]) == ([], [])


def test_without_a_time_the_chat_is_of_now(rules: httpx.Client, user: str) -> None:
    found = foresee(rules, user, {"turns": [{"role": "user", "text": "I moved to Lisbon on 3 May 2024."}]})

    assert [one["event"]["from"] for one in found["statements"]] == ["2024-05-03"]


def test_budget_that_is_used_up_leaves_it_to_the_rules(
    service: Service, client: httpx.Client, user: str, llm: ScriptedLlm
) -> None:
    workspace = f"workspace-{uuid4().hex[:8]}"
    admin = key(service, Scope.ADMIN, workspace=workspace)
    client.patch(f"/v1/workspaces/{workspace}", json={"daily_tokens": 0}, headers=admin)
    asked = len(llm.requests)

    answer = client.post(where(user), params={"dry_run": "true"}, json=session_body("I like red wine."), headers=admin)

    assert (answer.status_code, answer.json()["source"], len(llm.requests)) == (200, "rules", asked)


@pytest.mark.parametrize(
    ("replies", "refusal"),
    [
        pytest.param([status(500)], (503, "llm_unavailable"), id="down"),
        pytest.param([said("no"), said("no")], (502, "llm_answer_invalid"), id="nonsense, twice"),
    ],
)
def test_model_that_fails_is_named(
    client: httpx.Client, user: str, llm: ScriptedLlm, replies: list[Response], refusal: tuple[int, str]
) -> None:
    llm.then(*replies)

    answer = client.post(where(user), params={"dry_run": "true"}, json=session_body("I like red wine."))

    assert (answer.status_code, answer.json()["error"]) == refusal


@pytest.mark.parametrize("params", [{}, {"dry_run": "false"}], ids=["not said", "false"])
def test_only_a_dry_run_is_answered(rules: httpx.Client, user: str, params: dict[str, str]) -> None:
    answer = rules.post(where(user), params=params, json=session_body("I like red wine."))

    assert (answer.status_code, answer.json()) == (
        422,
        {
            "error": "invalid_request",
            "detail": "Only dry_run=true is answered here: record a session with PUT, and it is extracted.",
            "fields": [{"field": "dry_run", "message": "must be true"}],
        },
    )


@pytest.mark.parametrize(
    ("body", "field"),
    [
        pytest.param({}, "turns", id="no turns"),
        pytest.param({"turns": []}, "turns", id="empty"),
        pytest.param({"turns": [{"role": "user", "text": " "}]}, "turns.0.text", id="turn that says nothing"),
        pytest.param({"turns": [{"role": "user", "text": "a\x00"}]}, "turns.0.text", id="NUL"),
        pytest.param(session_body("a", started_at="2024-01-01T00:00:00"), "started_at", id="no zone"),
        pytest.param({**session_body("a"), "more": 1}, "more", id="unknown field"),
        pytest.param({"turns": [{"role": "user", "text": "a", "turn_id": "1"}] * 2}, "turns", id="two turns of one id"),
    ],
)
def test_malformed_chat_is_refused(rules: httpx.Client, user: str, body: dict[str, Any], field: str) -> None:
    answer = rules.post(where(user), params={"dry_run": "true"}, json=body)

    assert (answer.status_code, [one["field"] for one in answer.json()["fields"]]) == (422, [field])


def test_word_for_dry_run_is_checked(rules: httpx.Client, user: str) -> None:
    answer = rules.post(where(user), params={"dry_run": "perhaps"}, json=session_body("a"))

    message = "Input should be a valid boolean, unable to interpret input"
    assert (answer.status_code, answer.json()) == (422, malformed("dry_run", message))


def test_chat_over_the_limits_is_refused(with_rules: Service, rules: httpx.Client, user: str) -> None:
    text = "x" * (with_rules.settings.max_turn_chars + 1)

    answer = rules.post(where(user), params={"dry_run": "true"}, json=session_body(text))

    assert (answer.status_code, answer.json()["error"]) == (413, "turn_too_long")


def test_session_is_extracted_again(rules: httpx.Client, user: str) -> None:
    record(rules, user, "I like red wine.")
    before = facts(rules, user)

    answer = rules.post(path(user, "s1", "/extract"))
    record(rules, user, "I like red wine.", "Nice.")

    assert (answer.status_code, answer.json()) == (202, {"session_id": "s1", "status": "due"})
    assert facts(rules, user) == before


def test_session_that_was_drawn_by_rules_is_drawn_by_the_model_later(
    service: Service, client: httpx.Client, user: str, llm: ScriptedLlm
) -> None:
    workspace = f"workspace-{uuid4().hex[:8]}"
    admin = key(service, Scope.ADMIN, workspace=workspace)
    client.patch(f"/v1/workspaces/{workspace}", json={"daily_tokens": 0}, headers=admin)
    client.put(path(user, "s1"), params={"wait": "extracted"}, json=session_body("I like red wine."), headers=admin)
    drawn = client.get(f"/v1/users/{user}/facts", headers=admin).json()["facts"]
    client.patch(f"/v1/workspaces/{workspace}", json={"daily_tokens": None}, headers=admin)
    llm.answers = drawing(statement("Ana likes red wine.", "I like red wine", kind="preference"))

    client.post(path(user, "s1", "/extract"), headers=admin)
    again = client.put(
        path(user, "s1"), params={"wait": "extracted"}, json=session_body("I like red wine."), headers=admin
    )

    found = client.get(f"/v1/users/{user}/facts", params={"include": "superseded"}, headers=admin).json()["facts"]
    assert [(fact["source"], fact["text"]) for fact in drawn] == [("rules", "I like red wine.")]
    assert (again.json()["status"]["extracted"], again.json()["status"]["degraded"]) == ("done", None)
    assert [(fact["source"], fact["text"]) for fact in found] == [("llm", "Ana likes red wine.")]


def test_session_that_is_not_there_cannot_be_extracted(with_rules: Service, rules: httpx.Client, user: str) -> None:
    record(rules, user, "I like red wine.")
    theirs = key(with_rules, Scope.WRITE, workspace=f"workspace-{uuid4().hex[:8]}")

    answers = [
        rules.post(path(user, "s2", "/extract")),
        rules.post(path(f"{user}-2", "s1", "/extract")),
        rules.post(path(user, "s1", "/extract"), headers=theirs),
    ]

    assert [(answer.status_code, answer.json()["error"]) for answer in answers] == [(404, "session_not_found")] * 3


def test_reading_key_extracts_nothing(with_rules: Service, rules: httpx.Client, user: str) -> None:
    record(rules, user, "I like red wine.")
    reader = key(with_rules, Scope.READ)

    answers = [
        rules.post(path(user, "s1", "/extract"), headers=reader),
        rules.post(where(user), params={"dry_run": "true"}, json=session_body("a"), headers=reader),
    ]

    assert [(answer.status_code, answer.json()["error"]) for answer in answers] == [(403, "forbidden")] * 2
