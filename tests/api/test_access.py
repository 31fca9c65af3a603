"""Who is let in: clients of this machine while there is no key, and afterwards keys with their scopes."""

import asyncio
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from memsvc.app import Service, create_app
from memsvc.domain import Scope
from memsvc.settings import Settings
from tests.api import DATABASES, key, made, module_service, path, serving
from tests.factories import session_body

SEND_A_KEY = {"error": "unauthorized", "detail": "Send an API key: Authorization: Bearer <key>."}
NOT_KNOWN = {"error": "unauthorized", "detail": "This API key is not known, or was revoked."}
NOT_OF_THE_FORM = {
    "error": "unauthorized",
    "detail": "The Authorization header is not of the form: Bearer mem_<prefix>_<secret>.",
}
OWN_MACHINE_ONLY = {
    "error": "unauthorized",
    "detail": "Without any API key the service answers clients of its own machine only.",
}

# One request for every scope: method, path, body.
READ: list[tuple[str, str, Any]] = [
    ("GET", path("ana"), None),
    ("GET", path("ana", "s1"), None),
    ("POST", "/v1/users/ana/recall", {"query": "hello"}),
    ("GET", "/v1/users", None),
]
WRITE: list[tuple[str, str, Any]] = [
    ("PUT", path("ana", "s1"), session_body("hello")),
    ("POST", path("ana", "s1", "/turns"), {"turns": [{"role": "user", "text": "more"}]}),
    ("DELETE", path("ana", "s1"), None),
]
ADMIN: list[tuple[str, str, Any]] = [
    ("GET", "/v1/tasks", None),
    ("POST", "/v1/tasks/00000000-0000-0000-0000-000000000000/retry", None),
    ("DELETE", "/v1/users/ana", None),
]


@pytest.fixture(scope="module", params=DATABASES)
def keyless(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service for tests that make no key."""
    with module_service(request, tmp_path_factory) as made:
        yield made


@pytest.fixture(scope="module")
def local(keyless: Service) -> Iterator[httpx.Client]:
    with serving(keyless) as opened:
        yield opened


@pytest.fixture(scope="module", params=DATABASES)
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service that has a key."""
    with module_service(request, tmp_path_factory) as made:
        key(made, Scope.READ, workspace="elsewhere")
        yield made


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    with serving(service) as opened:
        yield opened


@pytest.fixture
def workspace() -> str:
    return f"workspace-{uuid4().hex[:8]}"


def shape(answer: httpx.Response) -> tuple[int, Any, str | None]:
    return answer.status_code, answer.json(), answer.headers.get("WWW-Authenticate")


# Without any key.


def test_without_a_key_a_local_client_may_do_everything(local: httpx.Client) -> None:
    local.put(path("ana", "s1"), json=session_body("hello"))

    answers = [local.request(method, where, json=body) for method, where, body in [*READ, *ADMIN]]

    assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 200, 404, 200]


def test_without_a_key_a_client_is_of_the_default_workspace(settings: Settings, database_url: str) -> None:
    service = made(settings, database_url=database_url)
    with serving(service) as client:
        client.put(path("ana", "s1"), json=session_body("hello"))
        admin = key(service, Scope.ADMIN, workspace="default")

        users = client.get("/v1/users", headers=admin).json()["users"]

        assert [user["user_id"] for user in users] == ["ana"]


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param({"X-Forwarded-For": "203.0.113.7"}, id="a proxy's client"),
        pytest.param({"X-Forwarded-For": "127.0.0.1"}, id="a proxy's client who claims to be local"),
        pytest.param({"Forwarded": "for=203.0.113.7"}, id="a proxy's client, by the standard header"),
        pytest.param({"Host": "memory.example.com"}, id="a foreign name"),
        pytest.param({"Host": "localhost.example.com"}, id="a name that begins like ours"),
        pytest.param({"Host": "127.0.0.1.example.com:8000"}, id="a name that begins like our address"),
        pytest.param({"Host": "192.168.0.7:8000"}, id="another address"),
        pytest.param({"Host": ""}, id="no name"),
    ],
)
def test_without_a_key_nobody_else_is_served(local: httpx.Client, headers: dict[str, str]) -> None:
    refused = local.get("/v1/users", headers=headers)

    assert shape(refused) == (401, OWN_MACHINE_ONLY, "Bearer")


@pytest.mark.parametrize("host", ["localhost", "localhost:8000", "127.0.0.1:1", "127.1.2.3", "[::1]", "[::1]:8000"])
def test_without_a_key_every_name_of_this_machine_is_served(local: httpx.Client, host: str) -> None:
    answer = local.get("/v1/users", headers={"Host": host})

    assert answer.status_code == 200


@pytest.mark.parametrize("address", ["203.0.113.7", "192.168.0.7", "10.0.0.1", "2001:db8::1", "testclient"])
def test_without_a_key_another_machine_is_not_served(keyless: Service, address: str) -> None:
    transport = httpx.ASGITransport(create_app(keyless), client=(address, 40_000))

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as remote:
            return await remote.get("/v1/users")

    refused = asyncio.run(ask())

    assert shape(refused) == (401, OWN_MACHINE_ONLY, "Bearer")


def test_without_a_key_a_sent_one_is_unknown(local: httpx.Client) -> None:
    refused = local.get("/v1/users", headers={"Authorization": "Bearer mem_0123456789ab_secret"})

    assert shape(refused) == (401, NOT_KNOWN, "Bearer")


@pytest.mark.parametrize("where", ["/healthz", "/readyz", "/openapi.json", "/docs"])
def test_anybody_may_ask_how_the_service_is(client: httpx.Client, where: str) -> None:
    answer = client.get(where, headers={"X-Forwarded-For": "203.0.113.7"})

    assert answer.status_code == 200


# Once there is a key.


@pytest.mark.parametrize(("method", "where", "body"), [*READ, *WRITE, *ADMIN])
def test_no_request_is_served_without_the_key(client: httpx.Client, method: str, where: str, body: Any) -> None:
    refused = client.request(method, where, json=body)

    assert shape(refused) == (401, SEND_A_KEY, "Bearer")


@pytest.mark.parametrize(
    ("authorization", "body"),
    [
        pytest.param("Bearer mem_0123456789ab_secret", NOT_KNOWN, id="unknown"),
        pytest.param("", NOT_OF_THE_FORM, id="empty"),
        pytest.param("Bearer", NOT_OF_THE_FORM, id="no key"),
        pytest.param("Bearer secret", NOT_OF_THE_FORM, id="not of memsvc"),
        pytest.param("Bearer mem_0123456789ab", NOT_OF_THE_FORM, id="no secret"),
        pytest.param("Bearer mem__secret", NOT_OF_THE_FORM, id="no prefix"),
        pytest.param("Basic bWVtOnNlY3JldA==", NOT_OF_THE_FORM, id="basic"),
        pytest.param("mem_0123456789ab_secret", NOT_OF_THE_FORM, id="no kind"),
        pytest.param("Bearer mem_%_secret", NOT_KNOWN, id="wildcard"),
        pytest.param("Bearer mem_é_sécret", NOT_KNOWN, id="not ASCII"),
        pytest.param("Bearer mem_" + "a" * 5000 + "_secret", NOT_KNOWN, id="long"),
    ],
)
def test_wrong_key_is_refused(client: httpx.Client, authorization: str, body: dict[str, str]) -> None:
    refused = client.get("/v1/users", headers=[(b"Authorization", authorization.encode())])

    assert shape(refused) == (401, body, "Bearer")


def test_known_prefix_with_another_secret_is_refused(service: Service, client: httpx.Client) -> None:
    known = key(service, Scope.READ)["Authorization"]
    forged = known[:-1] + ("A" if known[-1] != "A" else "B")

    refused = client.get("/v1/users", headers={"Authorization": forged})

    assert shape(refused) == (401, NOT_KNOWN, "Bearer")


def test_revoked_key_is_refused_at_once(service: Service, client: httpx.Client) -> None:
    text, revoked = service.use_cases.gatekeeper.create_key("default", [Scope.ADMIN])
    headers = {"Authorization": f"Bearer {text}"}
    before = client.get("/v1/users", headers=headers)

    service.use_cases.gatekeeper.revoke_key(revoked.prefix)

    assert before.status_code == 200
    assert shape(client.get("/v1/users", headers=headers)) == (401, NOT_KNOWN, "Bearer")


def test_revoking_the_last_key_lets_nobody_in_without_one(settings: Settings, database_url: str) -> None:
    service = made(settings, database_url=database_url)
    _, only = service.use_cases.gatekeeper.create_key("default", [Scope.ADMIN])
    with serving(service) as client:
        service.use_cases.gatekeeper.revoke_key(only.prefix)

        refused = client.get("/v1/users")

        assert shape(refused) == (401, SEND_A_KEY, "Bearer")


def test_key_is_taken_from_wherever_its_bearer_is(service: Service, client: httpx.Client) -> None:
    headers = {**key(service, Scope.READ), "X-Forwarded-For": "203.0.113.7", "Host": "memory.example.com"}

    answer = client.get("/v1/users", headers=headers)

    assert answer.status_code == 200


@pytest.mark.parametrize("kind", ["bearer", "BEARER", "Bearer"])
def test_kind_of_the_header_is_known_in_any_letters(service: Service, client: httpx.Client, kind: str) -> None:
    text = key(service, Scope.READ)["Authorization"].removeprefix("Bearer ")

    answer = client.get("/v1/users", headers={"Authorization": f"{kind} {text}"})

    assert answer.status_code == 200


def test_refused_key_leaves_nothing_on_disk(service: Service, client: httpx.Client, workspace: str) -> None:
    reader = key(service, Scope.READ, workspace=workspace)

    client.put(path("ana", "s1"), json=session_body("hello"), headers=reader)
    client.put(path("ana", "s1"), json=session_body("hello"), headers={"Authorization": reader["Authorization"] + "x"})

    assert client.get("/v1/users", headers=reader).json() == {"users": [], "next_cursor": None}


# Scopes.


def without_scope(scope: str) -> tuple[int, dict[str, str], None]:
    return 403, {"error": "forbidden", "detail": f"This key does not have the scope '{scope}'."}, None


@pytest.mark.parametrize(("method", "where", "body"), WRITE)
def test_reading_key_cannot_write(service: Service, client: httpx.Client, method: str, where: str, body: Any) -> None:
    refused = client.request(method, where, json=body, headers=key(service, Scope.READ))

    assert shape(refused) == without_scope("write")


@pytest.mark.parametrize(("method", "where", "body"), READ)
def test_writing_key_cannot_read(service: Service, client: httpx.Client, method: str, where: str, body: Any) -> None:
    refused = client.request(method, where, json=body, headers=key(service, Scope.WRITE))

    assert shape(refused) == without_scope("read")


@pytest.mark.parametrize(("method", "where", "body"), ADMIN)
def test_reading_and_writing_key_cannot_administer(
    service: Service, client: httpx.Client, method: str, where: str, body: Any
) -> None:
    refused = client.request(method, where, json=body, headers=key(service, Scope.READ, Scope.WRITE))

    assert shape(refused) == without_scope("admin")


def test_each_scope_admits_to_its_own(service: Service, client: httpx.Client, workspace: str) -> None:
    reader, writer, admin = (
        key(service, scope, workspace=workspace) for scope in (Scope.READ, Scope.WRITE, Scope.ADMIN)
    )
    recorded = client.put(path("ana", "s1"), json=session_body("hello"), headers=writer)

    read = [client.request(method, where, json=body, headers=reader) for method, where, body in READ]
    administered = [client.request(method, where, json=body, headers=admin) for method, where, body in ADMIN]

    assert recorded.status_code == 201
    assert [answer.status_code for answer in read] == [200, 200, 200, 200]
    assert [answer.status_code for answer in administered] == [200, 404, 200]


def test_admin_key_may_do_everything(service: Service, client: httpx.Client, workspace: str) -> None:
    admin = key(service, Scope.ADMIN, workspace=workspace)

    answers = [client.request(method, where, json=body, headers=admin) for method, where, body in [*WRITE[:2], *READ]]

    assert [answer.status_code for answer in answers] == [201, 200, 200, 200, 200, 200]


def test_scope_is_told_before_the_request_is_read(service: Service, client: httpx.Client) -> None:
    headers = {**key(service, Scope.READ), "Content-Type": "application/json"}

    refused = client.put(path("ana", "s1"), content=b'{"turns": "?"}', headers=headers)

    assert shape(refused) == without_scope("write")


# Other workspaces.


def test_key_of_another_workspace_sees_nothing(service: Service, client: httpx.Client, workspace: str) -> None:
    ours, theirs = key(service, Scope.ADMIN, workspace=workspace), key(service, Scope.ADMIN, workspace=f"{workspace}-2")
    client.put(path("ana", "s1"), params={"wait": "indexed"}, json=session_body("hello"), headers=ours)

    read = client.get(path("ana", "s1"), headers=theirs)
    never = client.get(path("ana", "s2"), headers=theirs)
    found = client.post("/v1/users/ana/recall", json={"query": "hello"}, headers=theirs)

    # What is another's cannot be told from what never was.
    assert shape(read) == (404, {"error": "session_not_found", "detail": "User 'ana' has no session 's1'."}, None)
    assert shape(never) == (404, {"error": "session_not_found", "detail": "User 'ana' has no session 's2'."}, None)
    assert found.json()["evidence"] == []
    assert client.get("/v1/users", headers=theirs).json() == {"users": [], "next_cursor": None}
