"""Two workspaces and two users with the same ids and texts: over every endpoint, nothing crosses."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any, TypeVar
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import delete

from memsvc.app import Service
from memsvc.clock import utc_now
from memsvc.domain import Key, Owner, Scope, TaskKind
from memsvc.index.base import Point
from memsvc.index.lexical import Lexicon
from memsvc.memory.indexing import Projector
from memsvc.settings import Settings
from memsvc.store import tables
from tests.api import DATABASES, made, module_service, path, serving, turn_texts
from tests.factories import session_body
from tests.llm import ScriptedLlm, said, scripted_llm

USERS = ("ana", "ben")
SHARED = ("The kitten is called Biscuit.", "What a fine name!")

COVERED: set[tuple[str, str]] = set()
Test = TypeVar("Test", bound=Callable[..., None])


def covers(*operations: tuple[str, str]) -> Callable[[Test], Test]:
    """Note which operations a test looks at."""
    COVERED.update(operations)
    return lambda test: test


@dataclass(frozen=True, slots=True)
class Tenants:
    """Two workspaces with a key each; each holds the users ana and ben, with sessions of the same ids and texts."""

    client: httpx.Client
    keys: dict[str, dict[str, str]]

    def ask(self, workspace: str, method: str, where: str, **more: Any) -> httpx.Response:
        return self.client.request(method, where, headers=self.keys[workspace], **more)

    def record(self, workspace: str, user: str, session: str, *texts: str, **more: Any) -> httpx.Response:
        body = session_body(*texts, **more)
        return self.ask(workspace, "PUT", path(user, session), params={"wait": "extracted"}, json=body)

    def seen(self, workspace: str, user: str) -> list[Any]:
        """All that a workspace sees of a user."""
        found = self.ask(workspace, "POST", f"/v1/users/{user}/recall", json={"query": "secret name", "limit": 100})
        return [
            self.ask(workspace, "GET", path(user)).json(),
            [self.ask(workspace, "GET", path(user, session)).json() for session in ("s1", "own")],
            {**found.json(), "took_ms": None},
            self.ask(workspace, "GET", "/v1/users").json(),
            self.ask(workspace, "GET", "/v1/tasks").json(),
        ]

    def others(self, workspace: str, user: str) -> dict[tuple[str, str], list[Any]]:
        """What is seen of everybody but one user; of that one's neighbour, without the lists they share."""
        everybody = [(name, each) for name in self.keys for each in USERS if (name, each) != (workspace, user)]
        return {who: self.seen(*who)[: 3 if who[0] == workspace else None] for who in everybody}


def secret(workspace: str, user: str) -> str:
    return f"The secret of {user} in {workspace} is a fine name."


@pytest.fixture(scope="module", params=DATABASES)
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with module_service(request, tmp_path_factory) as made:
        yield made


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    with serving(service) as opened:
        yield opened


@pytest.fixture
def suffix() -> str:
    return uuid4().hex[:8]


@pytest.fixture
def one(suffix: str) -> str:
    return f"one-{suffix}"


@pytest.fixture
def two(suffix: str) -> str:
    return f"two-{suffix}"


@pytest.fixture
def tenants(service: Service, client: httpx.Client, one: str, two: str) -> Tenants:
    keys = {name: service.use_cases.gatekeeper.create_key(name, [Scope.ADMIN])[0] for name in (one, two)}
    tenants = Tenants(client, {name: {"Authorization": f"Bearer {key}"} for name, key in keys.items()})
    for workspace in (one, two):
        for user in USERS:
            tenants.record(workspace, user, "s1", *SHARED, metadata={"of": f"{workspace}/{user}"})
            tenants.record(workspace, user, "own", secret(workspace, user), started_at="2024-04-01T10:00:00Z")
    return tenants


@covers(("get", "/v1/users/{user_id}/sessions/{session_id}"))
def test_each_reads_their_own_session(tenants: Tenants, one: str, two: str) -> None:
    owners = [(workspace, user) for workspace in (one, two) for user in USERS]

    read = [tenants.ask(workspace, "GET", path(user, "s1")).json() for workspace, user in owners]

    assert [session["metadata"] for session in read] == [{"of": f"{workspace}/{user}"} for workspace, user in owners]
    assert [[turn["text"] for turn in session["turns"]] for session in read] == [list(SHARED)] * 4


@covers(("get", "/v1/users/{user_id}/sessions"))
def test_each_lists_their_own_sessions(tenants: Tenants, one: str, two: str) -> None:
    tenants.record(one, "ana", "only-here", "hello", started_at="2024-05-01T10:00:00Z")

    listed = {
        (workspace, user): [
            (session["session_id"], session["metadata"])
            for session in tenants.ask(workspace, "GET", path(user)).json()["sessions"]
        ]
        for workspace in (one, two)
        for user in USERS
    }

    assert listed == {
        (one, "ana"): [("only-here", {}), ("own", {}), ("s1", {"of": f"{one}/ana"})],
        (one, "ben"): [("own", {}), ("s1", {"of": f"{one}/ben"})],
        (two, "ana"): [("own", {}), ("s1", {"of": f"{two}/ana"})],
        (two, "ben"): [("own", {}), ("s1", {"of": f"{two}/ben"})],
    }


@covers(("get", "/v1/users/{user_id}/sessions"))
def test_cursor_of_another_leads_to_ones_own_sessions(tenants: Tenants, one: str, two: str) -> None:
    cursor = tenants.ask(one, "GET", path("ana"), params={"limit": 1}).json()["next_cursor"]

    listed = tenants.ask(two, "GET", path("ben"), params={"limit": 1, "cursor": cursor}).json()

    assert [session["metadata"] for session in listed["sessions"]] == [{"of": f"{two}/ben"}]


@covers(("put", "/v1/users/{user_id}/sessions/{session_id}"))
def test_growing_a_session_leaves_the_others_as_they_are(tenants: Tenants, one: str) -> None:
    before = tenants.others(one, "ana")

    grown = tenants.record(one, "ana", "s1", *SHARED, "Another name?")

    assert (grown.status_code, grown.json()["turns"]) == (200, 3)
    assert tenants.others(one, "ana") == before


@covers(("put", "/v1/users/{user_id}/sessions/{session_id}"))
def test_session_of_the_same_id_is_no_conflict_with_anothers(tenants: Tenants, one: str, two: str) -> None:
    first = tenants.record(one, "ana", "s9", "one thing")
    neighbour = tenants.record(one, "ben", "s9", "another thing")
    stranger = tenants.record(two, "ana", "s9", "a third thing")

    assert [found.status_code for found in (first, neighbour, stranger)] == [201, 201, 201]
    assert turn_texts(tenants.ask(one, "GET", path("ana", "s9"))) == ["one thing"]
    assert turn_texts(tenants.ask(one, "GET", path("ben", "s9"))) == ["another thing"]
    assert turn_texts(tenants.ask(two, "GET", path("ana", "s9"))) == ["a third thing"]


@covers(("post", "/v1/users/{user_id}/sessions/{session_id}/turns"))
def test_appending_turns_leaves_the_others_as_they_are(tenants: Tenants, one: str) -> None:
    before = tenants.others(one, "ana")

    appended = tenants.ask(
        one,
        "POST",
        path("ana", "s1", "/turns"),
        params={"wait": "indexed"},
        json={"turns": [{"role": "user", "text": "My secret name is Rex."}]},
    )

    assert (appended.status_code, appended.json()["turns"]) == (200, 3)
    assert tenants.others(one, "ana") == before


@covers(("post", "/v1/users/{user_id}/sessions/{session_id}/turns"))
def test_idempotency_key_is_its_owners_own(tenants: Tenants, one: str, two: str) -> None:
    answers = [
        tenants.client.post(
            path(user, "s2", "/turns"),
            headers={**tenants.keys[workspace], "Idempotency-Key": "k1"},
            json={"turns": [{"role": "user", "text": f"{workspace} {user}"}]},
        )
        for workspace in (one, two)
        for user in USERS
    ]

    assert [found.status_code for found in answers] == [201] * 4
    assert turn_texts(tenants.ask(two, "GET", path("ben", "s2"))) == [f"{two} ben"]


@covers(("delete", "/v1/users/{user_id}/sessions/{session_id}"))
def test_deleting_a_session_leaves_the_others_as_they_are(tenants: Tenants, one: str) -> None:
    before = tenants.others(one, "ana")

    deleted = tenants.ask(one, "DELETE", path("ana", "s1"))

    assert (deleted.status_code, deleted.json()["deleted"]) == (200, {"sessions": 1, "turns": 2, "rounds": 1})
    assert tenants.others(one, "ana") == before


@covers(("delete", "/v1/users/{user_id}/sessions/{session_id}"))
def test_session_of_another_cannot_be_deleted(tenants: Tenants, one: str, two: str) -> None:
    tenants.record(one, "ana", "only-here", "hello")

    stranger = tenants.ask(two, "DELETE", path("ana", "only-here"))
    neighbour = tenants.ask(one, "DELETE", path("ben", "only-here"))

    assert [found.status_code for found in (stranger, neighbour)] == [404, 404]
    assert turn_texts(tenants.ask(one, "GET", path("ana", "only-here"))) == ["hello"]


@covers(("post", "/v1/users/{user_id}/recall"))
@pytest.mark.parametrize("unit", ["turn", "round", "session"])
def test_each_recalls_their_own(tenants: Tenants, one: str, two: str, unit: str) -> None:
    owners = [(workspace, user) for workspace in (one, two) for user in USERS]
    question = {"query": "the secret of ana and ben: a fine name", "unit": unit, "limit": 100}

    found = [tenants.ask(name, "POST", f"/v1/users/{user}/recall", json=question) for name, user in owners]

    assert [sorted(turn_texts(each)) for each in found] == [sorted([*SHARED, secret(*who)]) for who in owners]
    assert [len(each.json()["context"].splitlines()) for each in found] == [3] * 4


@covers(("get", "/v1/users"))
def test_each_workspace_lists_its_own_users(tenants: Tenants, one: str, two: str) -> None:
    tenants.record(one, "cleo", "s1", *SHARED)

    listed = [
        [user["user_id"] for user in tenants.ask(workspace, "GET", "/v1/users").json()["users"]]
        for workspace in (one, two)
    ]

    assert listed == [["ana", "ben", "cleo"], ["ana", "ben"]]


@covers(("delete", "/v1/users/{user_id}"))
def test_deleting_a_user_leaves_the_others_as_they_are(tenants: Tenants, one: str, two: str) -> None:
    before = tenants.others(one, "ana")

    deleted = tenants.ask(one, "DELETE", "/v1/users/ana")

    receipt = deleted.json()
    users = tenants.ask(one, "GET", "/v1/users").json()["users"]
    assert receipt["deleted"] == {"sessions": 2, "turns": 3, "rounds": 2}
    assert receipt["points_left"] == 0
    assert tenants.others(one, "ana") == before
    assert [user["user_id"] for user in users] == ["ben"]


@covers(("delete", "/v1/users/{user_id}"))
def test_user_of_another_workspace_cannot_be_deleted(tenants: Tenants, one: str, two: str) -> None:
    tenants.record(one, "cleo", "s1", *SHARED)

    refused = tenants.ask(two, "DELETE", "/v1/users/cleo")

    assert refused.status_code == 404
    assert refused.json() == {"error": "user_not_found", "detail": "There is no user 'cleo'."}
    assert turn_texts(tenants.ask(one, "GET", path("cleo", "s1"))) == list(SHARED)


def failed_task(service: Service, owner: Owner) -> str:
    """A task of the owner's that was given up, without any worker seeing it."""
    with service.store.begin() as tx:
        subject = uuid4()
        tx.outbox.owe(TaskKind.INDEX, owner, subject, now=utc_now())
        claimed = tx.outbox.claim(TaskKind.INDEX, limit=100, lease_s=60, now=utc_now())
        [task] = [task for task in claimed if task.subject == subject]
        tx.outbox.give_up(task, error=f"ValueError: of {owner.workspace}", now=utc_now())
    return str(task.task_id)


@covers(("get", "/v1/tasks"))
def test_each_workspace_lists_its_own_failed_tasks(service: Service, tenants: Tenants, one: str, two: str) -> None:
    for workspace in (one, two):
        failed_task(service, Owner(workspace, "ana"))

    listed = [tenants.ask(workspace, "GET", "/v1/tasks").json()["tasks"] for workspace in (one, two)]

    assert [[task["error"] for task in tasks] for tasks in listed] == [
        [f"ValueError: of {one}"],
        [f"ValueError: of {two}"],
    ]


@covers(("post", "/v1/tasks/{task_id}/retry"))
def test_task_of_another_workspace_cannot_be_retried(service: Service, tenants: Tenants, one: str, two: str) -> None:
    task_id = failed_task(service, Owner(one, "ana"))

    refused = tenants.ask(two, "POST", f"/v1/tasks/{task_id}/retry")

    assert refused.status_code == 404
    assert refused.json() == {"error": "task_not_found", "detail": f"There is no task '{task_id}'."}
    assert [task["task_id"] for task in tenants.ask(one, "GET", "/v1/tasks").json()["tasks"]] == [task_id]


@covers(("get", "/healthz"), ("get", "/readyz"))
def test_state_of_the_service_names_nobody(tenants: Tenants, one: str) -> None:
    health, readiness = tenants.client.get("/healthz").json(), tenants.client.get("/readyz").json()

    assert health == {"status": "ok"}
    assert sorted(readiness) == ["checks", "status"]
    assert sorted(readiness["checks"]) == ["backlog", "database", "index"]
    assert sorted(readiness["checks"]["backlog"]) == ["due", "failed", "oldest_s"]


@covers(("get", "/v1/users/{user_id}"), ("patch", "/v1/users/{user_id}"))
def test_each_tells_time_in_their_own_way(tenants: Tenants, one: str, two: str) -> None:
    changed = tenants.ask(one, "PATCH", "/v1/users/ana", json={"time_zone": "Europe/Berlin", "week_start": "sunday"})

    owners = [(workspace, user) for workspace in (one, two) for user in USERS]
    told = {owner: tenants.ask(owner[0], "GET", f"/v1/users/{owner[1]}").json() for owner in owners}
    assert changed.status_code == 200
    assert told.pop((one, "ana")) == changed.json()
    assert [(locale["time_zone"], locale["week_start"]) for locale in told.values()] == [(None, "monday")] * 3


@covers(("get", "/v1/users/{user_id}/timeline"))
def test_each_has_their_own_timeline(tenants: Tenants, one: str, two: str) -> None:
    owners = [(workspace, user) for workspace in (one, two) for user in USERS]
    for workspace, user in owners:
        tenants.record(workspace, user, "dated", f"We met {user} of {workspace} in May 2023.")

    told = [tenants.ask(workspace, "GET", f"/v1/users/{user}/timeline").json()["items"] for workspace, user in owners]

    assert [[item["text"] for item in items] for items in told] == [
        [f"We met {user} of {workspace} in May 2023."] for workspace, user in owners
    ]


FACTS = "/v1/users/{user_id}/facts"
ONE_FACT = "/v1/users/{user_id}/facts/{fact_id}"
SESSION = "/v1/users/{user_id}/sessions/{session_id}"


def told(tenants: Tenants, workspace: str, user: str, text: str, **fact: Any) -> str:
    """The id of a fact that a caller has told."""
    answer = tenants.ask(workspace, "POST", f"/v1/users/{user}/facts", json={"text": text, **fact})
    fact_id: str = answer.json()["fact_id"]
    return fact_id


def facts_of(tenants: Tenants, workspace: str, user: str) -> list[str]:
    listed = tenants.ask(workspace, "GET", f"/v1/users/{user}/facts").json()["facts"]
    return [fact["text"] for fact in listed]


@covers(("get", FACTS), ("post", FACTS))
def test_fact_of_one_ends_none_of_anothers(tenants: Tenants, one: str, two: str) -> None:
    owners = [(workspace, user) for workspace in (one, two) for user in USERS]
    for owner in owners:
        told(tenants, *owner, f"I am {owner}.", slot="home city", value="Lisbon")

    told(tenants, one, "ana", "I moved to Porto.", slot="home city", value="Porto")

    assert [facts_of(tenants, *owner) for owner in owners] == [
        ["I moved to Porto."],
        *([f"I am {owner}."] for owner in owners[1:]),
    ]


@covers(("get", ONE_FACT), ("patch", ONE_FACT), ("delete", ONE_FACT), ("post", f"{ONE_FACT}/restore"))
@pytest.mark.parametrize("is_stranger", [True, False], ids=["another workspace", "another user"])
def test_fact_of_another_is_not_there(tenants: Tenants, one: str, two: str, is_stranger: bool) -> None:
    fact_id = told(tenants, one, "ana", "I live in Lisbon.", slot="home city", value="Lisbon")
    told(tenants, one, "ana", "I live in Porto.", slot="home city", value="Porto")
    before = tenants.ask(one, "GET", f"/v1/users/ana/facts/{fact_id}").json()
    where = f"/v1/users/{'ana' if is_stranger else 'ben'}/facts/{fact_id}"
    acts: list[tuple[str, str, dict[str, Any]]] = [
        ("GET", "", {}),
        ("PATCH", "", {"json": {"text": "I live nowhere."}}),
        ("DELETE", "", {}),
        ("POST", "/restore", {}),
    ]

    refused = [tenants.ask(two if is_stranger else one, method, where + rest, **more) for method, rest, more in acts]

    absent = {"error": "fact_not_found", "detail": f"There is no fact '{fact_id}'."}
    assert [(answer.status_code, answer.json()) for answer in refused] == [(404, absent)] * 4
    assert tenants.ask(one, "GET", f"/v1/users/ana/facts/{fact_id}").json() == before


@covers(("get", "/v1/users/{user_id}/profile"))
def test_each_has_their_own_profile(tenants: Tenants, one: str, two: str) -> None:
    owners = [(workspace, user) for workspace in (one, two) for user in USERS]
    for owner in owners:
        told(tenants, *owner, f"I am {owner}.")

    texts = [tenants.ask(workspace, "GET", f"/v1/users/{user}/profile").json()["text"] for workspace, user in owners]

    assert [[owner for owner in owners if f"I am {owner}." in text] for text in texts] == [[owner] for owner in owners]


@covers(("post", "/v1/users/{user_id}/extract"))
def test_chat_is_held_against_ones_own_facts(tenants: Tenants, one: str, two: str) -> None:
    tenants.record(one, "ana", "cities", "I live in Lisbon.")
    owners = [(one, "ana"), (one, "ben"), (two, "ana")]

    answers = [
        tenants.ask(
            workspace,
            "POST",
            f"/v1/users/{user}/extract",
            params={"dry_run": True},
            json=session_body("I live in Lisbon.", started_at="2024-06-01T10:00:00Z"),
        ).json()
        for workspace, user in owners
    ]

    became = [[found["outcome"] for found in answer["outcome"]] for answer in answers]
    assert became == [["merged"], ["added"], ["added"]]


@covers(("get", f"{SESSION}/outcome"), ("post", f"{SESSION}/extract"))
def test_session_of_another_has_no_outcome_and_is_not_extracted(tenants: Tenants, one: str, two: str) -> None:
    tenants.record(one, "ana", "only-here", "I live in Lisbon.")

    refused = [
        tenants.ask(workspace, method, path(user, "only-here", rest))
        for workspace, user in ((two, "ana"), (one, "ben"))
        for method, rest in (("GET", "/outcome"), ("POST", "/extract"))
    ]

    assert [(answer.status_code, answer.json()["error"]) for answer in refused] == [(404, "session_not_found")] * 4
    assert tenants.ask(one, "GET", path("ana", "only-here", "/outcome")).status_code == 200


@pytest.fixture
def talking(settings: Settings, database_url: str, one: str, two: str) -> Iterator[tuple[Tenants, ScriptedLlm]]:
    """Two workspaces of a service with a language model, which never finds an answer; sessions as elsewhere."""
    nothing = {"notes": [], "values": [], "operation": "none", "answer": "?", "abstain": True, "citations": []}
    with scripted_llm() as llm:
        llm.answers = lambda body: said(nothing if "evidence" in body["messages"][0]["content"] else {"statements": []})
        service = made(settings, database_url=database_url, llm_base_url=llm.url, llm_model="scripted")
        keys = {name: service.use_cases.gatekeeper.create_key(name, [Scope.ADMIN])[0] for name in (one, two)}
        with serving(service) as client:
            tenants = Tenants(client, {name: {"Authorization": f"Bearer {key}"} for name, key in keys.items()})
            for workspace in (one, two):
                for user in USERS:
                    tenants.record(workspace, user, "own", secret(workspace, user))
            yield tenants, llm


@covers(("post", "/v1/users/{user_id}/answer"))
def test_answer_is_read_from_ones_own_evidence(talking: tuple[Tenants, ScriptedLlm], one: str, two: str) -> None:
    tenants, llm = talking
    owners = [(workspace, user) for workspace in (one, two) for user in USERS]

    for workspace, user in owners:
        question = {"query": "Whose secret is a fine name?", "asked_at": "2024-07-01T10:00:00Z"}
        assert tenants.ask(workspace, "POST", f"/v1/users/{user}/answer", json=question).status_code == 200

    shown = [str(body["messages"]) for body in llm.requests if "Whose secret" in str(body["messages"])]
    assert [[owner for owner in owners if secret(*owner) in text] for text in shown] == [[owner] for owner in owners]


@covers(("get", "/v1/usage"))
def test_usage_of_another_workspace_is_not_counted(talking: tuple[Tenants, ScriptedLlm], one: str, two: str) -> None:
    tenants, _ = talking
    before = tenants.ask(two, "GET", "/v1/usage").json()["usage"]

    for workspace in (one, one):
        tenants.ask(workspace, "POST", "/v1/users/ana/answer", json={"query": "Whose secret?"})

    answers = [
        [(used["operation"], used["calls"]) for used in tenants.ask(name, "GET", "/v1/usage").json()["usage"]]
        for name in (one, two)
    ]
    assert ("answer", 2) in answers[0]
    assert "answer" not in dict(answers[1])
    assert "answer" not in [used["operation"] for used in before]


@covers(("get", "/v1/workspaces/{workspace}"), ("patch", "/v1/workspaces/{workspace}"))
def test_workspace_of_another_is_not_there(tenants: Tenants, one: str, two: str) -> None:
    wishes = {"guidelines": "Leave out the weather.", "kinds": {"allergy": "what must not be eaten"}, "daily_tokens": 5}

    changed = tenants.ask(one, "PATCH", f"/v1/workspaces/{one}", json=wishes)
    refused = [
        tenants.ask(two, "GET", f"/v1/workspaces/{one}"),
        tenants.ask(two, "PATCH", f"/v1/workspaces/{one}", json={"guidelines": "Everything."}),
    ]

    absent = {"error": "workspace_not_found", "detail": f"There is no workspace '{one}'."}
    usual: dict[str, Any] = {"workspace": two, "guidelines": "", "kinds": {}, "daily_tokens": None}
    assert (changed.status_code, changed.json()) == (200, {"workspace": one, **wishes})
    assert [(answer.status_code, answer.json()) for answer in refused] == [(404, absent)] * 2
    assert tenants.ask(one, "GET", f"/v1/workspaces/{one}").json() == changed.json()
    assert tenants.ask(two, "GET", f"/v1/workspaces/{two}").json() == usual


def test_every_endpoint_is_covered(client: httpx.Client) -> None:
    paths = client.get("/openapi.json").json()["paths"]

    operations = {(method, where) for where, methods in paths.items() for method in methods}

    assert operations == COVERED


# Points that the store knows nothing of, or whose owner is forged.


@pytest.fixture
def apart(settings: Settings, database_url: str) -> Iterator[tuple[Service, httpx.Client]]:
    """A service of its own, where ana and ben have each recorded a session."""
    service = made(settings, database_url=database_url)
    with serving(service) as client:
        for user in USERS:
            body = session_body(f"The code of {user} is 4711.", "Noted.", "The weather is mild.", "Indeed.")
            client.put(path(user, "s1"), params={"wait": "indexed"}, json=body)
        yield service, client


def recalled(client: httpx.Client, user: str) -> list[tuple[int, list[str], list[str]]]:
    """What is recalled of a user as turns, rounds and sessions: the status, the texts, and the lines of the context."""
    answers = [
        client.post(f"/v1/users/{user}/recall", json={"query": "code 4711", "unit": unit, "limit": 100})
        for unit in ("turn", "round", "session")
    ]
    return [
        (found.status_code, sorted(turn_texts(found)), sorted(found.json()["context"].splitlines()))
        for found in answers
    ]


def lines(*texts: str) -> tuple[int, list[str], list[str]]:
    """A recall of these turns; every second one is a reply."""
    speakers = ("user", "assistant")
    context = [f"[2024-03-01 10:00] {speakers[place % 2]}: {text}" for place, text in enumerate(texts)]
    return 200, sorted(texts), sorted(context)


def test_point_whose_session_is_gone_is_never_evidence(apart: tuple[Service, httpx.Client]) -> None:
    service, client = apart
    ana = Owner("default", "ana")
    with service.store.begin() as tx:
        session = tx.sessions.find(ana, "s1")
        assert session is not None
        tx.sessions.delete(ana, session.row_id)

    found = recalled(client, "ana")

    assert service.index.count(ana) > 0
    assert found == [lines()] * 3


def test_point_whose_round_is_gone_is_never_evidence(apart: tuple[Service, httpx.Client]) -> None:
    service, client = apart
    ana = Owner("default", "ana")
    points = service.index.count(ana)
    first_of_ana = (tables.rounds.c.user_id == "ana", tables.rounds.c.first_position == 0)
    with service.store.engine.begin() as connection:
        connection.execute(delete(tables.rounds).where(*first_of_ana))

    found = recalled(client, "ana")

    assert service.index.count(ana) == points
    assert found == [lines("The weather is mild.", "Indeed.")] * 3


def points_of_ben(service: Service, pretended: Owner) -> list[Point]:
    """The points of ben's rounds as though they belonged to another."""
    with service.store.read() as tx:
        rounds = [round_ for owner, round_ in tx.rounds.page(after=None, limit=100) if owner.user_id == "ben"]
    points, _ = Projector(service.encoder, Lexicon()).project([(pretended, round_) for round_ in rounds])
    return points


def test_point_of_another_user_with_a_forged_owner_is_never_evidence(
    apart: tuple[Service, httpx.Client],
) -> None:
    service, client = apart
    ana = Owner("default", "ana")
    own, forged = service.index.count(ana), points_of_ben(service, ana)
    service.index.put(forged)

    found = recalled(client, "ana")

    assert service.index.count(ana) == own + len(forged)
    assert found == [lines("The code of ana is 4711.", "Noted.", "The weather is mild.", "Indeed.")] * 3


def test_point_of_another_workspace_with_a_forged_owner_is_never_evidence(
    apart: tuple[Service, httpx.Client],
) -> None:
    service, client = apart
    pretended = Owner("elsewhere", "ben")
    service.index.put(points_of_ben(service, pretended))
    key, _ = service.use_cases.gatekeeper.create_key("elsewhere", [Scope.READ])

    found = client.post("/v1/users/ben/recall", json={"query": "code 4711"}, headers={"Authorization": f"Bearer {key}"})

    assert service.index.count(pretended) > 0
    assert (found.status_code, found.json()["evidence"], found.json()["context"]) == (200, [], "")


def _strayed(key: Key, point_id: UUID) -> Key:
    """The same key at a place of its round where no turn is."""
    return replace(key, turn=replace(key.turn, turn_id="99"), position=99, point_id=point_id)


def test_point_that_names_a_turn_its_round_does_not_hold_is_never_evidence(
    apart: tuple[Service, httpx.Client],
) -> None:
    service, client = apart
    ben = Owner("default", "ben")
    strayed = [
        replace(point, key=_strayed(point.key, UUID(int=number)))
        for number, point in enumerate(points_of_ben(service, ben), 1)
    ]
    service.index.put(strayed)

    found = recalled(client, "ben")

    assert found == [lines("The code of ben is 4711.", "Noted.", "The weather is mild.", "Indeed.")] * 3
