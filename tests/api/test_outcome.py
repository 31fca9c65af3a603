"""What became of each statement of a session, over HTTP on both databases, with a scripted language model."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from starlette.responses import Response

from memsvc.app import Service
from memsvc.domain import Scope
from tests.api import DATABASES, encoded, key, module_service, path, serving
from tests.factories import session_body
from tests.llm import Body, ScriptedLlm, said, scripted_llm


@pytest.fixture(scope="module")
def llm() -> Iterator[ScriptedLlm]:
    with scripted_llm() as scripted:
        yield scripted


@pytest.fixture(scope="module", params=DATABASES)
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, llm: ScriptedLlm
) -> Iterator[Service]:
    with module_service(request, tmp_path_factory, llm_base_url=llm.url, llm_model="scripted") as made:
        yield made


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    with serving(service) as opened:
        opened.headers.update(key(service, Scope.READ, Scope.WRITE))
        yield opened


@pytest.fixture
def user() -> str:
    return f"user-{uuid4().hex[:8]}"


def statement(text: str, quote: str, *, turn: int = 1, kind: str = "fact", **more: Any) -> dict[str, Any]:
    """A statement as the model draws it."""
    nothing = dict.fromkeys(("slot", "value", "when", "from", "to"))
    about = {"text": text, "quote": quote, "turn": turn, "kind": kind, "subject": "Ana", "confidence": 0.9}
    return nothing | about | more


def home(town: str) -> dict[str, Any]:
    return statement(f"Ana lives in {town}.", f"I live in {town}", slot="home", value=town)


def drawing(*statements: dict[str, Any], relation: str = "independent") -> Any:
    """What a model says that draws these statements, and judges every pair of them in one way."""

    def answers(body: Body) -> Response:
        if task_of(body) == "extract":
            return said({"statements": list(statements)})
        pairs = [{"pair": number, "relation": relation, "reason": "so it was told"} for number in range(1, 41)]
        return said({"pairs": pairs})

    return answers


def task_of(body: Body) -> str:
    return str(body["response_format"]["json_schema"]["name"])


def record(client: httpx.Client, user: str, *texts: str, session: str = "s1", **more: Any) -> None:
    body = session_body(*texts, **more)
    for turn in body["turns"]:
        turn["speaker"] = "Ana" if turn["role"] == "user" else "assistant"
    recorded = client.put(path(user, session), params={"wait": "extracted"}, json=body).json()
    assert recorded["status"]["extracted"] == "done", recorded


def outcome(client: httpx.Client, user: str, session: str = "s1") -> list[dict[str, Any]]:
    answer = client.get(path(user, session, "/outcome"))
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert body == {"session_id": session, "statements": body["statements"]}
    statements: list[dict[str, Any]] = body["statements"]
    return statements


def facts(client: httpx.Client, user: str) -> dict[str, str]:
    """The user's facts, also those that no longer hold: ids by text."""
    found = client.get(f"/v1/users/{encoded(user)}/facts", params={"include": "superseded"}).json()["facts"]
    return {fact["text"]: fact["fact_id"] for fact in found}


def told(found: dict[str, Any]) -> tuple[str, str, str]:
    return found["text"], found["outcome"], found["action"]


def test_added_statement_is_told_with_all_that_is_known(client: httpx.Client, user: str, llm: ScriptedLlm) -> None:
    llm.answers = drawing(home("Porto"))

    record(client, user, "I live in Porto.")

    (found,) = outcome(client, user)
    assert found == {
        "text": "Ana lives in Porto.",
        "kind": "fact",
        "turn_id": "0",
        "outcome": "added",
        "action": "add",
        "reason": "nothing known bears on it",
        "decided_by": "rules",
        "decided_at": found["decided_at"],
        "fact_id": facts(client, user)["Ana lives in Porto."],
        "superseded_by": None,
        "others": [],
    }


def test_statements_are_told_in_the_order_they_were_drawn(client: httpx.Client, user: str, llm: ScriptedLlm) -> None:
    llm.answers = drawing(
        statement("Ana has a dog.", "dog", turn=3),
        statement("Ana has a cat.", "cat", turn=1),
        statement("Cats purr.", "purr", turn=2, kind="fact"),
    )

    record(client, user, "I have a cat.", "They purr.", "And a dog.")

    assert [(one["text"], one["turn_id"], one["kind"]) for one in outcome(client, user)] == [
        ("Ana has a dog.", "2", "fact"),
        ("Ana has a cat.", "0", "fact"),
        ("Cats purr.", "1", "assistant"),
    ]


def test_statement_said_again_is_merged(client: httpx.Client, user: str, llm: ScriptedLlm) -> None:
    llm.answers = drawing(home("Porto"))
    record(client, user, "I live in Porto.", session="s1", started_at="2024-03-01T10:00:00Z")

    record(client, user, "As I said, I live in Porto.", session="s2", started_at="2024-04-01T10:00:00Z")

    (found,) = outcome(client, user, "s2")
    kept = facts(client, user)["Ana lives in Porto."]
    assert (*told(found), found["reason"], found["decided_by"], found["others"], found["superseded_by"]) == (
        "Ana lives in Porto.",
        "merged",
        "merge",
        "the same words",
        "rules",
        [kept],
        kept,
    )
    assert found["fact_id"] != kept


def test_later_value_updates_the_earlier_one(client: httpx.Client, user: str, llm: ScriptedLlm) -> None:
    llm.answers = drawing(home("Porto"))
    record(client, user, "I live in Porto.", session="s1", started_at="2024-03-01T10:00:00Z")
    llm.answers = drawing(home("Faro"))

    record(client, user, "I live in Faro.", session="s2", started_at="2024-04-01T10:00:00Z")

    ids = facts(client, user)
    (before,), (after,) = outcome(client, user, "s1"), outcome(client, user, "s2")
    assert (*told(before), before["superseded_by"]) == (
        "Ana lives in Porto.",
        "superseded",
        "add",
        ids["Ana lives in Faro."],
    )
    assert (*told(after), after["reason"], after["others"]) == (
        "Ana lives in Faro.",
        "added",
        "update",
        "another home",
        [ids["Ana lives in Porto."]],
    )


def test_earlier_value_that_comes_late_is_superseded_at_once(client: httpx.Client, user: str, llm: ScriptedLlm) -> None:
    llm.answers = drawing(home("Faro"))
    record(client, user, "I live in Faro.", session="s2", started_at="2024-04-01T10:00:00Z")
    llm.answers = drawing(home("Porto"))

    record(client, user, "I live in Porto.", session="s1", started_at="2024-03-01T10:00:00Z")

    (found,) = outcome(client, user, "s1")
    assert (found["outcome"], found["superseded_by"], found["reason"]) == (
        "superseded",
        facts(client, user)["Ana lives in Faro."],
        "another home",
    )


@pytest.mark.parametrize(
    ("relation", "action", "before"),
    [
        ("update", "update", "superseded"),
        ("end", "invalidate", "superseded"),
        ("correct", "update", "superseded"),
        ("independent", "add", "added"),
    ],
)
def test_model_judges_what_rules_cannot(
    client: httpx.Client, user: str, llm: ScriptedLlm, relation: str, action: str, before: str
) -> None:
    llm.answers = drawing(statement("Ana plays the violin in a band.", "I play the violin in a band"))
    record(client, user, "I play the violin in a band.", session="s1", started_at="2024-03-01T10:00:00Z")
    later = statement("Ana plays no violin in a band.", "I play no violin in a band")
    llm.answers = drawing(later, relation=relation)

    record(client, user, "I play no violin in a band.", session="s2", started_at="2024-04-01T10:00:00Z")

    (first,), (second,) = outcome(client, user, "s1"), outcome(client, user, "s2")
    assert (first["outcome"], second["action"], second["outcome"]) == (before, action, "added")
    if relation != "independent":
        assert (second["reason"], second["decided_by"]) == ("so it was told", "llm")


@pytest.mark.parametrize(
    ("drawn", "turn_id", "reason"),
    [
        pytest.param(
            statement("Ana has a dog.", "I have a dog"),
            "0",
            "its quote is not in the turn that it names",
            id="quote that is not there",
        ),
        pytest.param(
            statement("Ana has a cat.", "I have a cat", turn=9),
            None,
            "it names turn [9], which is not in the chat",
            id="turn that is not there",
        ),
        pytest.param(statement("x" * 601, "I have a cat"), None, "a statement has 1 to 600 characters", id="too long"),
    ],
)
def test_rejected_statement_says_why(
    client: httpx.Client, user: str, llm: ScriptedLlm, drawn: dict[str, Any], turn_id: str | None, reason: str
) -> None:
    llm.answers = drawing(drawn)

    record(client, user, "I have a cat.")

    (found,) = outcome(client, user)
    assert found == {
        "text": drawn["text"][:600],
        "kind": None,
        "turn_id": turn_id,
        "outcome": "rejected",
        "action": "reject",
        "reason": reason,
        "decided_by": "rules",
        "decided_at": found["decided_at"],
        "fact_id": None,
        "superseded_by": None,
        "others": [],
    }
    assert facts(client, user) == {}


def test_restored_fact_is_told_as_added_again(client: httpx.Client, user: str, llm: ScriptedLlm) -> None:
    llm.answers = drawing(home("Porto"))
    record(client, user, "I live in Porto.", session="s1", started_at="2024-03-01T10:00:00Z")
    llm.answers = drawing(home("Faro"))
    record(client, user, "I live in Faro.", session="s2", started_at="2024-04-01T10:00:00Z")
    porto = facts(client, user)["Ana lives in Porto."]

    client.post(f"/v1/users/{user}/facts/{porto}/restore")

    (found,) = outcome(client, user, "s1")
    assert (found["outcome"], found["superseded_by"]) == ("added", None)


def test_forgotten_fact_leaves_no_words_in_the_outcome(client: httpx.Client, user: str, llm: ScriptedLlm) -> None:
    llm.answers = drawing(home("Porto"))
    record(client, user, "I live in Porto.")

    client.delete(f"/v1/users/{user}/facts/{facts(client, user)['Ana lives in Porto.']}")

    assert outcome(client, user) == []


def test_told_fact_has_an_outcome_too(client: httpx.Client, user: str, llm: ScriptedLlm) -> None:
    llm.answers = drawing()
    fact = client.post(f"/v1/users/{user}/facts", json={"text": "Ana lives in Porto."}).json()

    (found,) = outcome(client, user, "memsvc:facts")

    assert (*told(found), found["fact_id"]) == ("Ana lives in Porto.", "added", "add", fact["fact_id"])


def test_session_without_statements_has_an_empty_outcome(client: httpx.Client, user: str, llm: ScriptedLlm) -> None:
    llm.answers = drawing()

    record(client, user, "Hello!")

    assert outcome(client, user) == []


def test_session_that_is_not_there_has_none(
    service: Service, client: httpx.Client, user: str, llm: ScriptedLlm
) -> None:
    llm.answers = drawing()
    record(client, user, "Hello!")
    theirs = key(service, Scope.READ, workspace=f"workspace-{uuid4().hex[:8]}")

    answers = [
        client.get(path(user, "s2", "/outcome")),
        client.get(path(f"{user}-2", "s1", "/outcome")),
        client.get(path(user, "s1", "/outcome"), headers=theirs),
    ]

    assert [(answer.status_code, answer.json()["error"]) for answer in answers] == [(404, "session_not_found")] * 3


def test_outcome_is_read_with_the_scope_to_read(
    service: Service, client: httpx.Client, user: str, llm: ScriptedLlm
) -> None:
    llm.answers = drawing()
    record(client, user, "Hello!")

    answers = [
        client.get(path(user, "s1", "/outcome"), headers=key(service, scope)) for scope in (Scope.READ, Scope.WRITE)
    ]

    assert [answer.status_code for answer in answers] == [200, 403]
