"""Facts as their owner mends them, over HTTP on both databases: changed, forgotten and restored."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from memsvc.app import Service
from memsvc.domain import Scope
from tests.api import DATABASES, encoded, key, module_service, path, serving
from tests.factories import session_body

NOBODYS = "00000000-0000-0000-0000-000000000000"
JULY, AUGUST, SEPTEMBER = (f"2024-0{month}-01T00:00:00Z" for month in (7, 8, 9))


@pytest.fixture(scope="module", params=DATABASES)
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with module_service(request, tmp_path_factory) as made:
        yield made


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    with serving(service) as opened:
        opened.headers.update(key(service, Scope.READ, Scope.WRITE))
        yield opened


@pytest.fixture
def user() -> str:
    return f"user-{uuid4().hex[:8]}"


def where(user: str, fact_id: str = "", rest: str = "") -> str:
    return f"/v1/users/{encoded(user)}/facts" + (f"/{fact_id}{rest}" if fact_id else "")


def ok(answer: httpx.Response, status: int = 200) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    body: dict[str, Any] = answer.json()
    return body


def tell(client: httpx.Client, user: str, text: str = "Ana lives in Rome.", **more: Any) -> dict[str, Any]:
    return ok(client.post(where(user), json={"text": text, **more}), 201)


def listed(fact: dict[str, Any]) -> dict[str, Any]:
    """A fact as it stands in a list: without its turns and its history."""
    return {name: value for name, value in fact.items() if name not in ("turns", "history")}


def home(client: httpx.Client, user: str, town: str, valid_at: str, **more: Any) -> dict[str, Any]:
    return tell(client, user, f"Ana lives in {town}.", slot="home", value=town, valid_at=valid_at, **more)


def read(client: httpx.Client, user: str, fact_id: str) -> dict[str, Any]:
    return ok(client.get(where(user, fact_id)))


def change(client: httpx.Client, user: str, fact_id: str, **given: Any) -> dict[str, Any]:
    return ok(client.patch(where(user, fact_id), json=given))


def record(client: httpx.Client, user: str, *texts: str, session: str = "s1", **more: Any) -> None:
    client.put(path(user, session), params={"wait": "extracted"}, json=session_body(*texts, **more))


def cited(text: str, quote: str | None = None, *, turn: str = "0", session: str = "s1") -> dict[str, Any]:
    """A request that tells a fact with its source."""
    return {"text": text, "sources": [{"session_id": session, "turn_id": turn, "quote": quote or text}]}


def page(client: httpx.Client, user: str, **params: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ok(client.get(where(user), params=params))["facts"]
    return found


def texts(client: httpx.Client, user: str, **params: Any) -> list[str]:
    return [fact["text"] for fact in page(client, user, **params)]


def refused(answer: httpx.Response) -> tuple[int, str, list[str]]:
    """The status, the name and the fields of a refusal."""
    body = answer.json()
    return answer.status_code, body["error"], [field["field"] for field in body.get("fields", ())]


# Reading one.


@pytest.mark.parametrize("fact_id", [NOBODYS, "nothing", "%00", "%F0%9F%98%80", "1" * 300])
def test_fact_that_is_not_there_is_not_found(client: httpx.Client, user: str, fact_id: str) -> None:
    answers = [
        client.get(where(user, fact_id)),
        client.patch(where(user, fact_id), json={"kind": "plan"}),
        client.delete(where(user, fact_id)),
        client.post(where(user, fact_id, "/restore")),
    ]

    assert [refused(answer) for answer in answers] == [(404, "fact_not_found", [])] * 4


def test_fact_that_was_merged_leads_to_the_one_it_says_again(client: httpx.Client, user: str) -> None:
    record(client, user, "I like red wine.", session="s1", started_at="2024-03-01T10:00:00Z")
    record(client, user, "I like red wine!", session="s2", started_at="2024-03-02T10:00:00Z")
    (kept,) = page(client, user)

    (outcome,) = ok(client.get(path(user, "s2", "/outcome")))["statements"]

    merged = read(client, user, outcome["fact_id"])
    assert [change["merged_into"] for change in merged["history"]] == [kept["fact_id"]]


def test_fact_is_shown_with_the_whole_turns_that_it_was_drawn_from(client: httpx.Client, user: str) -> None:
    record(client, user, "Hello! I like red wine. Bye!", session="s1", started_at="2024-03-01T10:00:00+01:00")
    record(client, user, "I like red wine!", session="s2", started_at="2024-03-02T10:00:00Z")
    (fact,) = page(client, user)

    shown = read(client, user, fact["fact_id"])

    about = {"turn_id": "0", "role": "user", "speaker": "user"}
    first = {"session_id": "s1", "text": "Hello! I like red wine. Bye!", "said_at": "2024-03-01T10:00:00+01:00"}
    second = {"session_id": "s2", "text": "I like red wine!", "said_at": "2024-03-02T10:00:00Z"}
    assert listed(shown) == fact
    assert shown["turns"] == [about | first, about | second]


# Changing.


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        pytest.param({"text": "Ana lives in Pisa."}, {"text": "Ana lives in Pisa."}, id="text"),
        pytest.param({"text": "  Ana  lives\nin Pisa. "}, {"text": "Ana lives in Pisa."}, id="text with spaces"),
        pytest.param({"text": "😀" * 2000}, {"text": "😀" * 2000}, id="2,000 characters"),
        pytest.param({"kind": "plan"}, {"kind": "plan"}, id="kind"),
        pytest.param({"subject": "Ana"}, {"subject": "Ana"}, id="subject"),
        pytest.param({"slot": "town", "value": "Pisa"}, {"slot": "town", "value": "Pisa"}, id="slot and value"),
        pytest.param({"slot": None, "value": None}, {"slot": None, "value": None}, id="no slot"),
        pytest.param({"confidence": 0.5}, {"confidence": 0.5}, id="confidence"),
        pytest.param({"confidence": None}, {"confidence": None}, id="no confidence"),
        pytest.param(
            {"event": {"from": "2024-05-01", "to": "2024-06-01", "precision": "month"}},
            {"event": {"from": "2024-05-01", "to": "2024-06-01", "precision": "month"}, "event_source": "api"},
            id="event",
        ),
        pytest.param({"event": None}, {"event": None, "event_source": None}, id="no event"),
        pytest.param({"valid_at": "2024-06-01T00:00:00Z"}, {"valid_at": "2024-06-01T00:00:00Z"}, id="earlier"),
        pytest.param({"valid_at": "2024-08-01T02:00:00+02:00"}, {"valid_at": AUGUST}, id="later"),
        pytest.param({"invalid_at": AUGUST}, {"invalid_at": AUGUST}, id="ended"),
    ],
)
def test_change_leaves_the_rest_as_it_is(
    client: httpx.Client, user: str, given: dict[str, Any], shown: dict[str, Any]
) -> None:
    told = home(client, user, "Rome", JULY, confidence=1, event={"from": "2024-05-01"})

    changed = change(client, user, told["fact_id"], **given)

    expired = {"expired_at": changed["history"][-1]["at"]} if "invalid_at" in given else {}
    assert changed == told | shown | expired | {"history": changed["history"]}
    assert read(client, user, told["fact_id"]) == changed


def test_history_tells_what_a_changed_fact_said(client: httpx.Client, user: str) -> None:
    record(client, user, "I moved to Lisbon on 3 May 2024.", started_at="2024-06-12T15:30:00Z")
    (drawn,) = page(client, user)

    changed = change(client, user, drawn["fact_id"], text="Ana moved to Faro.")

    assert (changed["source"], changed["sources"]) == ("api", drawn["sources"])
    assert [(made["reason"], made["decided_by"]) for made in changed["history"]] == [
        ("it is new", "rules"),
        ("changed by the caller; it said: I moved to Lisbon on 3 May 2024.", "api"),
    ]


def test_change_that_is_repeated_gives_the_same_fact(client: httpx.Client, user: str) -> None:
    told = tell(client, user)
    first = change(client, user, told["fact_id"], text="Ana lives in Pisa.", invalid_at=None)

    again = change(client, user, told["fact_id"], text="Ana lives in Pisa.", invalid_at=None)

    assert again == first
    assert len(again["history"]) == 2


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({}, id="nothing"),
        pytest.param({"text": None, "kind": None, "subject": None, "valid_at": None}, id="null for what must be"),
        pytest.param({"text": "Ana  lives\nin Rome. ", "subject": " user "}, id="the same words"),
        pytest.param({"valid_at": "2024-07-01T02:00:00+02:00", "invalid_at": None}, id="the same times"),
        pytest.param({"event": {"from": "2024-05-01", "to": "2024-05-02"}, "confidence": 1}, id="the same event"),
    ],
)
def test_change_that_changes_nothing_leaves_no_history(client: httpx.Client, user: str, given: dict[str, Any]) -> None:
    told = tell(client, user, valid_at=JULY, confidence=1, event={"from": "2024-05-01"})

    assert change(client, user, told["fact_id"], **given) == told


def test_change_survives_that_its_session_is_extracted_again(client: httpx.Client, user: str) -> None:
    record(client, user, "I moved to Lisbon on 3 May 2024.", started_at="2024-06-12T15:30:00Z")
    (drawn,) = page(client, user)
    change(client, user, drawn["fact_id"], text="Ana moved to Faro.")

    record(client, user, "I moved to Lisbon on 3 May 2024.", "Nice.", started_at="2024-06-12T15:30:00Z")

    assert texts(client, user) == ["Ana moved to Faro."]


def test_fact_that_is_ended_by_a_change_holds_no_longer_and_can_be_opened_again(
    client: httpx.Client, user: str
) -> None:
    told = tell(client, user, valid_at=JULY)

    change(client, user, told["fact_id"], invalid_at=AUGUST)
    ended, before = texts(client, user), texts(client, user, valid_at="2024-07-31T23:59:59Z")
    opened = change(client, user, told["fact_id"], invalid_at=None)

    assert (ended, before) == ([], ["Ana lives in Rome."])
    assert (opened["invalid_at"], opened["expired_at"], texts(client, user)) == (None, None, ["Ana lives in Rome."])


def test_end_that_was_told_stands_against_a_later_supersession(client: httpx.Client, user: str) -> None:
    porto = home(client, user, "Porto", JULY)
    change(client, user, porto["fact_id"], invalid_at=AUGUST)

    home(client, user, "Faro", SEPTEMBER)

    assert read(client, user, porto["fact_id"])["invalid_at"] == AUGUST


def test_changed_fact_that_was_superseded_stays_so(client: httpx.Client, user: str) -> None:
    porto, faro = home(client, user, "Porto", JULY), home(client, user, "Faro", AUGUST)

    changed = change(client, user, porto["fact_id"], text="Ana lived in Porto.")

    assert (changed["superseded_by"], changed["invalid_at"]) == (faro["fact_id"], AUGUST)
    assert texts(client, user, include="superseded") == ["Ana lived in Porto.", "Ana lives in Faro."]


def test_end_moves_with_the_beginning_of_what_ended_it(client: httpx.Client, user: str) -> None:
    porto, faro = home(client, user, "Porto", JULY), home(client, user, "Faro", AUGUST)

    change(client, user, faro["fact_id"], valid_at=SEPTEMBER)

    assert read(client, user, porto["fact_id"])["invalid_at"] == SEPTEMBER


@pytest.mark.parametrize(
    ("given", "field"),
    [
        pytest.param({"text": " "}, "text", id="blank text"),
        pytest.param({"text": "x" * 2001}, "text", id="2,001 characters"),
        pytest.param({"text": "a\x00b"}, "text", id="NUL"),
        pytest.param({"kind": "no kind"}, "kind", id="no kind"),
        pytest.param({"subject": "a\nb"}, "subject", id="line break in the subject"),
        pytest.param({"subject": " "}, "subject", id="blank subject"),
        pytest.param({"slot": "a\u2028b"}, "slot", id="line separator in the slot"),
        pytest.param({"value": "a\x1bb"}, "value", id="control character in the value"),
        pytest.param({"value": "x" * 201}, "value", id="long value"),
        pytest.param({"confidence": 2}, "confidence", id="too confident"),
        pytest.param({"event": {"from": "2024-01-02", "to": "2024-01-01"}}, "event.to", id="event backwards"),
        pytest.param({"event": {"from": "9999-12-31"}}, "event.from", id="the end of the calendar"),
        pytest.param({"valid_at": "2024-01-01T00:00:00"}, "valid_at", id="no zone"),
        pytest.param({"invalid_at": "2024-06-30T23:59:59Z"}, "invalid_at", id="ended before it began"),
        pytest.param({"valid_at": SEPTEMBER, "invalid_at": AUGUST}, "invalid_at", id="both, in the wrong order"),
        pytest.param({"speaker": "Ben"}, "speaker", id="what cannot be changed"),
        pytest.param({"fact_id": NOBODYS}, "fact_id", id="its id"),
    ],
)
def test_bad_change_is_refused_and_changes_nothing(
    client: httpx.Client, user: str, given: dict[str, Any], field: str
) -> None:
    told = tell(client, user, valid_at=JULY)

    answer = client.patch(where(user, told["fact_id"]), json=given)

    status, error, fields = refused(answer)
    assert (status, error) == (422, "invalid_request")
    assert field in fields
    assert read(client, user, told["fact_id"]) == told


# Forgetting.


def test_forgotten_fact_is_gone_and_its_turn_stays(client: httpx.Client, user: str) -> None:
    record(client, user, "I moved to Lisbon on 3 May 2024.", started_at="2024-06-12T15:30:00Z")
    (drawn,) = page(client, user)

    gone = client.delete(where(user, drawn["fact_id"]))

    session = ok(client.get(path(user, "s1")))
    assert (gone.status_code, gone.json()) == (200, {"fact_id": drawn["fact_id"], "deleted": True})
    assert page(client, user, include="superseded") == []
    assert page(client, user, include="superseded", recorded_at=drawn["recorded_at"]) == []
    assert refused(client.get(where(user, drawn["fact_id"]))) == (404, "fact_not_found", [])
    assert (session["facts"], [turn["text"] for turn in session["turns"]]) == (
        [],
        ["I moved to Lisbon on 3 May 2024."],
    )


def test_forgotten_fact_cannot_be_forgotten_again(client: httpx.Client, user: str) -> None:
    fact_id = tell(client, user)["fact_id"]
    client.delete(where(user, fact_id))

    again = client.delete(where(user, fact_id))

    assert (again.status_code, again.json()) == (
        404,
        {"error": "fact_not_found", "detail": f"There is no fact {fact_id!r}."},
    )


def test_forgotten_fact_goes_with_what_says_the_same(client: httpx.Client, user: str) -> None:
    record(client, user, "I like red wine.", session="s1", started_at="2024-03-01T10:00:00Z")
    record(client, user, "I like red wine!", session="s2", started_at="2024-03-02T10:00:00Z")
    (kept,) = page(client, user)

    client.delete(where(user, kept["fact_id"]))

    sessions = [ok(client.get(path(user, session))) for session in ("s1", "s2")]
    assert page(client, user, include="superseded") == []
    assert [session["facts"] for session in sessions] == [[], []]


def test_what_a_forgotten_fact_had_ended_holds_again(client: httpx.Client, user: str) -> None:
    porto, faro = home(client, user, "Porto", JULY), home(client, user, "Faro", AUGUST)

    client.delete(where(user, faro["fact_id"]))

    again = read(client, user, porto["fact_id"])
    assert (again["invalid_at"], again["superseded_by"], again["expired_at"]) == (None, None, None)
    assert again["history"][-1]["reason"] == "what ended it is gone"
    assert texts(client, user) == ["Ana lives in Porto."]


def test_forgotten_fact_is_not_drawn_again(client: httpx.Client, user: str) -> None:
    record(client, user, "I moved to Lisbon on 3 May 2024.", started_at="2024-06-12T15:30:00Z")
    client.delete(where(user, page(client, user)[0]["fact_id"]))

    client.post(path(user, "s1", "/extract"))
    record(client, user, "I moved to Lisbon on 3 May 2024.", "Nice.", started_at="2024-06-12T15:30:00Z")

    assert page(client, user, include="superseded") == []


def test_forgotten_fact_can_be_told_again(client: httpx.Client, user: str) -> None:
    first = tell(client, user, valid_at=JULY)
    client.delete(where(user, first["fact_id"]))

    again = tell(client, user, valid_at=JULY)

    since = {"recorded_at": again["recorded_at"], "history": again["history"]}
    assert again == first | since
    assert again["history"] == [first["history"][0] | {"at": again["recorded_at"]}]
    assert page(client, user, include="superseded") == [listed(again)]


def test_forgotten_fact_can_be_told_again_of_the_same_turn(client: httpx.Client, user: str) -> None:
    record(client, user, "Rome it is.")
    body = cited("Ana lives in Rome.", "Rome it is")
    first = ok(client.post(where(user), json=body), 201)
    client.delete(where(user, first["fact_id"]))

    again = client.post(where(user), json=body)

    assert again.status_code == 201, again.text
    assert texts(client, user) == ["Ana lives in Rome."]


def test_facts_of_a_forgotten_session_are_gone_and_what_they_ended_holds_again(client: httpx.Client, user: str) -> None:
    porto = home(client, user, "Porto", JULY)
    record(client, user, "Faro it is.", started_at=AUGUST)
    client.post(where(user), json=cited("Ana lives in Faro.", "Faro it is") | {"slot": "home", "value": "Faro"})

    client.delete(path(user, "s1"))

    assert [fact["fact_id"] for fact in page(client, user, include="superseded")] == [porto["fact_id"]]
    assert texts(client, user) == ["Ana lives in Porto."]


# Restoring.


def test_restored_fact_holds_beside_what_had_ended_it(client: httpx.Client, user: str) -> None:
    porto, faro = home(client, user, "Porto", JULY), home(client, user, "Faro", AUGUST)

    restored = ok(client.post(where(user, porto["fact_id"], "/restore")))

    assert restored | {"history": []} == porto | {"history": []}
    assert [(made["superseded_by"], made["reason"], made["decided_by"]) for made in restored["history"]] == [
        (None, "it is new", "rules"),
        (faro["fact_id"], "another home", "rules"),
        (None, "restored by the caller", "api"),
    ]
    assert texts(client, user) == ["Ana lives in Porto.", "Ana lives in Faro."]


def test_restored_statement_is_a_fact_of_its_own_again(client: httpx.Client, user: str) -> None:
    record(client, user, "I like red wine.", session="s1", started_at="2024-03-01T10:00:00Z")
    record(client, user, "I like red wine!", session="s2", started_at="2024-03-02T10:00:00Z")
    (outcome,) = ok(client.get(path(user, "s2", "/outcome")))["statements"]

    restored = ok(client.post(where(user, outcome["fact_id"], "/restore")))

    assert (restored["valid_at"], restored["history"][-1]["merged_into"]) == ("2024-03-02T10:00:00Z", None)
    assert [len(fact["sources"]) for fact in page(client, user)] == [1, 1]


def test_restored_fact_stays_restored_when_the_other_is_told_again(client: httpx.Client, user: str) -> None:
    porto = home(client, user, "Porto", JULY)
    faro = home(client, user, "Faro", AUGUST)
    client.post(where(user, porto["fact_id"], "/restore"))

    again = {"text": "Ana lives in Faro.", "slot": "home", "value": "Faro", "valid_at": SEPTEMBER}
    mentioned = ok(client.post(where(user), json=again))

    assert (mentioned["fact_id"], len(mentioned["sources"])) == (faro["fact_id"], 2)
    assert texts(client, user) == ["Ana lives in Porto.", "Ana lives in Faro."]
    assert read(client, user, porto["fact_id"])["history"][-1]["reason"] == "restored by the caller"


@pytest.mark.parametrize("ended", [False, True], ids=["current", "ended by a change"])
def test_what_is_not_superseded_cannot_be_restored(client: httpx.Client, user: str, ended: bool) -> None:
    fact_id = tell(client, user, valid_at=JULY)["fact_id"]
    if ended:
        change(client, user, fact_id, invalid_at=AUGUST)

    answer = client.post(where(user, fact_id, "/restore"))

    detail = f"Fact {fact_id!r} is not superseded; there is nothing to restore."
    assert (answer.status_code, answer.json()) == (409, {"error": "fact_not_superseded", "detail": detail})


def test_fact_is_restored_once(client: httpx.Client, user: str) -> None:
    porto = home(client, user, "Porto", JULY)
    home(client, user, "Faro", AUGUST)
    restored = ok(client.post(where(user, porto["fact_id"], "/restore")))

    again = client.post(where(user, porto["fact_id"], "/restore"))

    assert refused(again) == (409, "fact_not_superseded", [])
    assert read(client, user, porto["fact_id"]) == restored


# Who may.


def every_change(client: httpx.Client, user: str, fact_id: str, headers: dict[str, str]) -> list[httpx.Response]:
    return [
        client.patch(where(user, fact_id), json={"kind": "plan"}, headers=headers),
        client.post(where(user, fact_id, "/restore"), headers=headers),
        client.delete(where(user, fact_id), headers=headers),
    ]


def test_reading_key_changes_nothing(service: Service, client: httpx.Client, user: str) -> None:
    told, reader = tell(client, user), key(service, Scope.READ)

    answers = [
        client.post(where(user), json={"text": "Ana lives in Pisa."}, headers=reader),
        *every_change(client, user, told["fact_id"], reader),
    ]

    assert [refused(answer) for answer in answers] == [(403, "forbidden", [])] * 4
    assert page(client, user) == [listed(told)]


def test_writing_key_reads_nothing(service: Service, client: httpx.Client, user: str) -> None:
    told, writer = tell(client, user), key(service, Scope.WRITE)

    answers = [client.get(where(user, fact_id), headers=writer) for fact_id in ("", told["fact_id"])]

    assert [refused(answer) for answer in answers] == [(403, "forbidden", [])] * 2


def test_writing_key_may_change_all(service: Service, client: httpx.Client, user: str) -> None:
    writer = key(service, Scope.WRITE)
    porto = ok(client.post(where(user), json={"text": "Ana lives in Porto."}, headers=writer), 201)

    answers = every_change(client, user, porto["fact_id"], writer)

    assert [answer.status_code for answer in answers] == [200, 409, 200]


def test_without_a_key_nobody_is_served(client: httpx.Client, user: str) -> None:
    told = tell(client, user)
    with httpx.Client(base_url=client.base_url) as anybody:
        answers = [anybody.get(where(user, told["fact_id"])), *every_change(anybody, user, told["fact_id"], {})]

    assert [answer.status_code for answer in answers] == [401] * 4


def test_fact_of_another_user_is_not_there(client: httpx.Client, user: str) -> None:
    porto = home(client, user, "Porto", JULY)
    home(client, user, "Faro", AUGUST)
    other = f"{user}-2"

    answers = [client.get(where(other, porto["fact_id"])), *every_change(client, other, porto["fact_id"], {})]

    assert [refused(answer) for answer in answers] == [(404, "fact_not_found", [])] * 4
    assert texts(client, user) == ["Ana lives in Faro."]


def test_fact_of_another_workspace_is_not_there(service: Service, client: httpx.Client, user: str) -> None:
    theirs = key(service, Scope.READ, Scope.WRITE, workspace=f"workspace-{uuid4().hex[:8]}")
    porto = home(client, user, "Porto", JULY)
    home(client, user, "Faro", AUGUST)

    answers = [
        client.get(where(user, porto["fact_id"]), headers=theirs),
        *every_change(client, user, porto["fact_id"], theirs),
    ]

    never = client.get(where(user, NOBODYS), headers=theirs).json()
    assert [answer.status_code for answer in answers] == [404] * 4
    assert answers[0].json() == never | {"detail": never["detail"].replace(NOBODYS, porto["fact_id"])}
    assert texts(client, user) == ["Ana lives in Faro."]
