"""Facts over HTTP, on both databases: as they are shown, filtered, paged, and asked for by both clocks."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from memsvc.app import Service
from memsvc.domain import Scope
from tests.api import DATABASES, encoded, module_service, path, serving
from tests.factories import session_body


@pytest.fixture(scope="module", params=DATABASES)
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with module_service(request, tmp_path_factory) as made:
        yield made


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    with serving(service) as opened:
        opened.headers.update(key(service))
        yield opened


@pytest.fixture
def user() -> str:
    return f"user-{uuid4().hex[:8]}"


@pytest.fixture
def history(client: httpx.Client, user: str) -> str:
    """Who moved from Porto to Faro, likes tea as Ben says, and ran a race."""
    tell(client, user, "Ana lives in Porto.", slot="home", value="Porto", valid_at="2024-07-01T00:00:00Z")
    tell(client, user, "Ana lives in Faro.", slot="home", value="Faro", valid_at="2024-08-01T00:00:00Z")
    tell(client, user, "Ana likes tea.", kind="preference", speaker="Ben", valid_at="2024-07-15T00:00:00Z")
    race = {"from": "2024-07-20", "to": "2024-07-21"}
    tell(client, user, "Ana ran a race.", kind="event", event=race, valid_at="2024-07-20T00:00:00Z")
    return user


def key(service: Service, workspace: str = "default") -> dict[str, str]:
    """The header that carries a new key."""
    text, _ = service.use_cases.gatekeeper.create_key(workspace, [Scope.READ, Scope.WRITE])
    return {"Authorization": f"Bearer {text}"}


def where(user: str) -> str:
    return f"/v1/users/{encoded(user)}/facts"


def tell(client: httpx.Client, user: str, text: str, **more: Any) -> dict[str, Any]:
    answer = client.post(where(user), json={"text": text, **more})
    assert answer.status_code == 201, answer.text
    told: dict[str, Any] = answer.json()
    return told


def listed(fact: dict[str, Any]) -> dict[str, Any]:
    """A fact as it stands in a list: without its turns and its history."""
    return {name: value for name, value in fact.items() if name not in ("turns", "history")}


def record(client: httpx.Client, user: str, *texts: str, session: str = "s1", **more: Any) -> None:
    client.put(path(user, session), params={"wait": "extracted"}, json=session_body(*texts, **more))


def page(client: httpx.Client, user: str, **params: Any) -> dict[str, Any]:
    answer = client.get(where(user), params=params)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def texts(client: httpx.Client, user: str, **params: Any) -> list[str]:
    return [fact["text"] for fact in page(client, user, **params)["facts"]]


def test_user_without_facts_has_an_empty_page(client: httpx.Client) -> None:
    answer = client.get("/v1/users/ana/facts", params={"valid_at": "2024-01-01T00:00:00Z", "include": "superseded"})

    assert (answer.status_code, answer.json()) == (200, {"facts": [], "next_cursor": None})


@pytest.mark.parametrize(
    "params",
    [
        {"valid_at": "2024-01-01T00:00:00"},
        {"recorded_at": "soon"},
        {"include": "everything"},
        {"limit": 0},
        {"cursor": "bm90IGEgcGxhY2U="},
        {"kind": "a\x00b"},
        {"speaker": "a\x00b"},
        {"from": "2024-01-01"},
        {"to": "2024-01-01T00:00:00"},
        {"limit": 201},
    ],
    ids=[
        "no zone",
        "no instant",
        "unknown include",
        "no limit",
        "no cursor",
        "NUL",
        "NUL in a name",
        "a day's zone is not known",
        "an end without a zone",
        "too many",
    ],
)
def test_bad_questions_are_refused(client: httpx.Client, params: dict[str, str]) -> None:
    answer = client.get("/v1/users/ana/facts", params=params)

    assert answer.status_code == 422


def test_fact_that_rules_drew_tells_all_that_is_known_of_it(client: httpx.Client, user: str) -> None:
    record(client, user, "Hello! I moved to Lisbon on 3 May 2024.", started_at="2024-06-12T15:30:00+02:00")

    found = page(client, user)

    fact = found["facts"][0]
    assert found == {
        "facts": [
            {
                "fact_id": fact["fact_id"],
                "text": "I moved to Lisbon on 3 May 2024.",
                "kind": "event",
                "subject": "user",
                "speaker": "user",
                "slot": None,
                "value": None,
                "event": {"from": "2024-05-03", "to": "2024-05-04", "precision": "day"},
                "when": "3 May 2024",
                "event_source": "rules",
                "valid_at": "2024-05-02T22:00:00Z",
                "invalid_at": None,
                "recorded_at": fact["recorded_at"],
                "expired_at": None,
                "superseded_by": None,
                "confidence": None,
                "source": "rules",
                "trust": "user",
                "sources": [
                    {
                        "session_id": "s1",
                        "turn_id": "0",
                        "quote": "I moved to Lisbon on 3 May 2024.",
                        "start": 7,
                        "end": 39,
                    }
                ],
            }
        ],
        "next_cursor": None,
    }


def test_session_carries_its_facts(client: httpx.Client, user: str) -> None:
    told = "I moved to Lisbon on 3 May 2024.", "Nice.", "I swam on 5 May 2024."
    record(client, user, *told, started_at="2024-06-12T15:30:00Z")

    session = client.get(path(user, "s1")).json()

    assert session["facts"] == page(client, user)["facts"]
    assert [fact["text"] for fact in session["facts"]] == [told[0], told[2]]


@pytest.mark.parametrize(
    ("params", "found"),
    [
        pytest.param({}, ["Ana likes tea.", "Ana ran a race.", "Ana lives in Faro."], id="what holds now"),
        pytest.param(
            {"include": "superseded"},
            ["Ana lives in Porto.", "Ana likes tea.", "Ana ran a race.", "Ana lives in Faro."],
            id="what held too",
        ),
        pytest.param({"valid_at": "2024-07-01T00:00:00Z"}, ["Ana lives in Porto."], id="at the first instant of one"),
        pytest.param({"valid_at": "2024-06-30T23:59:59Z"}, [], id="before any"),
        pytest.param(
            {"valid_at": "2024-08-01T01:00:00+02:00"},
            ["Ana lives in Porto.", "Ana likes tea.", "Ana ran a race."],
            id="in another zone, at the last hour of one",
        ),
        pytest.param({"valid_at": "2024-07-16T00:00:00Z", "include": "superseded", "kind": "fact"}, [
            "Ana lives in Porto."
        ], id="superseded later"),
        pytest.param({"kind": "preference"}, ["Ana likes tea."], id="of a kind"),
        pytest.param({"kind": "nothing"}, [], id="of no kind"),
        pytest.param({"speaker": "Ben"}, ["Ana likes tea."], id="of a speaker"),
        pytest.param({"speaker": "Ben", "kind": "event"}, [], id="of a speaker and a kind"),
        pytest.param(
            {"from": "2024-07-20T23:00:00Z", "to": "2024-08-01T00:00:00Z"}, ["Ana ran a race."], id="in a window"
        ),
        pytest.param({"from": "2024-07-21T00:00:00Z"}, [], id="ended when the window begins"),
        pytest.param({"to": "2024-07-20T00:00:00Z"}, [], id="begins when the window ends"),
        pytest.param({"recorded_at": "2020-01-01T00:00:00Z"}, [], id="before anything was on record"),
    ],
)  # fmt: skip
def test_facts_are_asked_for(client: httpx.Client, history: str, params: dict[str, str], found: list[str]) -> None:
    assert texts(client, history, **params) == found


@pytest.mark.parametrize(
    ("since", "found"), [("2024-02-01", []), ("2024-06-01", ["I have worked at Acme since March"])]
)
def test_event_without_an_end_reaches_into_every_later_window(
    client: httpx.Client, user: str, since: str, found: list[str]
) -> None:
    record(client, user, "I have worked at Acme since March 2024.", started_at="2024-06-12T15:30:00Z")
    window = {"from": f"{since}T00:00:00Z", "to": f"{since}T01:00:00Z"}

    assert [text.removesuffix(" 2024.") for text in texts(client, user, **window)] == found


@pytest.mark.parametrize("limit", [1, 2, 3, 200])
def test_pages_hold_every_fact_once_and_in_order(client: httpx.Client, history: str, limit: int) -> None:
    found: list[str] = []
    cursor: dict[str, str] = {}
    while True:
        one = page(client, history, include="superseded", limit=limit, **cursor)
        found += [fact["text"] for fact in one["facts"]]
        if one["next_cursor"] is None:
            break
        assert len(one["facts"]) == limit
        cursor = {"cursor": one["next_cursor"]}

    assert found == texts(client, history, include="superseded")


def test_facts_of_one_instant_are_paged_too(client: httpx.Client, user: str) -> None:
    record(client, user, "I like red wine. I have two cats. My sister lives in Rome. I work as a nurse.")
    first = page(client, user, limit=2)

    rest = page(client, user, limit=2, cursor=first["next_cursor"])

    assert [*first["facts"], *rest["facts"]] == page(client, user)["facts"]
    assert len({fact["fact_id"] for fact in [*first["facts"], *rest["facts"]]}) == 4


def test_record_tells_what_was_believed_before_more_was_learned(client: httpx.Client, user: str) -> None:
    porto = tell(client, user, "Ana lives in Porto.", slot="home", value="Porto", valid_at="2024-07-01T00:00:00Z")
    faro = tell(client, user, "Ana lives in Faro.", slot="home", value="Faro", valid_at="2024-08-01T00:00:00Z")

    then = page(client, user, recorded_at=porto["recorded_at"])["facts"]
    since = page(client, user, include="superseded", recorded_at=faro["recorded_at"])["facts"]

    ended = {"invalid_at": faro["valid_at"], "expired_at": faro["recorded_at"], "superseded_by": faro["fact_id"]}
    assert then == [listed(porto)]
    assert since == [listed(porto) | ended, listed(faro)]


def test_record_of_the_past_cites_nothing_that_was_said_since(client: httpx.Client, user: str) -> None:
    record(client, user, "I like red wine.", session="s1", started_at="2024-03-01T10:00:00Z")
    first = page(client, user)["facts"][0]
    record(client, user, "I like red wine.", session="s2", started_at="2024-03-02T10:00:00Z")

    then = page(client, user, recorded_at=first["recorded_at"])["facts"]

    assert then == [first]


def test_what_is_said_again_is_cited_and_not_listed(client: httpx.Client, user: str) -> None:
    record(client, user, "I like red wine.", session="s2", started_at="2024-03-02T10:00:00Z")
    record(client, user, "Well, I like red wine!", session="s1", started_at="2024-03-01T10:00:00Z")

    (fact,) = page(client, user, include="superseded")["facts"]

    assert (fact["valid_at"], [source["session_id"] for source in fact["sources"]]) == (
        "2024-03-01T10:00:00Z",
        ["s1", "s2"],
    )


def test_facts_are_their_users_alone(client: httpx.Client, history: str) -> None:
    assert page(client, f"{history}-2", include="superseded") == {"facts": [], "next_cursor": None}


def test_facts_are_their_workspaces_alone(service: Service, client: httpx.Client, history: str) -> None:
    theirs = key(service, workspace=f"workspace-{uuid4().hex[:8]}")

    found = client.get(where(history), params={"include": "superseded"}, headers=theirs)

    assert found.json() == {"facts": [], "next_cursor": None}


def test_cursor_of_another_user_shows_nothing_of_theirs(client: httpx.Client, history: str) -> None:
    cursor = page(client, history, limit=1)["next_cursor"]
    tell(client, f"{history}-2", "Eva lives in Rome.", valid_at="2024-12-01T00:00:00Z")

    assert texts(client, f"{history}-2", cursor=cursor) == ["Eva lives in Rome."]
