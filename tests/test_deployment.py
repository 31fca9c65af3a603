"""The deployment: its files agree with the package, and its topology works as real processes."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import yaml
from sqlalchemy import create_engine, text
from sqlalchemy.engine import make_url

from memsvc import __version__
from memsvc.settings import Settings
from memsvc.store.database import make_engine
from tests.doubles import QdrantDouble, listening
from tests.factories import session_body
from tests.processes import Process

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text("utf-8")
COMPOSE_TEXT = (ROOT / "docker-compose.yml").read_text("utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(COMPOSE_TEXT)
SERVICES: dict[str, Any] = COMPOSE["services"]
ENV_EXAMPLE = (ROOT / ".env.example").read_text("utf-8")


def instructions(name: str) -> list[str]:
    """The Dockerfile's instructions of a kind, in order, continued lines joined."""
    joined = re.sub(r"\\\n\s*", "", DOCKERFILE)
    return re.findall(rf"^{name} (.*)$", joined, re.MULTILINE)


def seconds(duration: str) -> int:
    """A duration of a compose file, which here is always in seconds."""
    found = re.fullmatch(r"(\d+)s", duration)
    assert found, duration
    return int(found[1])


def one_shot(service: dict[str, Any]) -> bool:
    return bool(service["restart"] == "no")


# The files


def test_compose_has_the_services_of_the_topology() -> None:
    assert set(SERVICES) == {"migrate", "api", "worker", "postgres", "qdrant"}
    assert [name for name in SERVICES if one_shot(SERVICES[name])] == ["migrate"]
    assert SERVICES["migrate"]["command"] == ["memsvc", "migrate"]
    assert SERVICES["api"]["command"] == ["memsvc", "serve", "--host", "0.0.0.0"]
    assert SERVICES["worker"]["command"] == ["memsvc", "worker"]


def test_compose_file_is_valid_for_docker() -> None:
    compose = ["docker", "compose"]
    if not shutil.which("docker") or subprocess.run([*compose, "version"], capture_output=True).returncode != 0:
        pytest.skip("the compose plugin of Docker is not installed")
    secrets = {"POSTGRES_PASSWORD": "a password", "QDRANT_API_KEY": "a key"}

    done = subprocess.run(
        [*compose, "--file", str(ROOT / "docker-compose.yml"), "config", "--quiet"],
        env={**os.environ, **secrets},
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_has_a_health_check_or_ends_by_itself(name: str) -> None:
    service = SERVICES[name]

    if one_shot(service):
        assert service["healthcheck"] == {"disable": True}
    else:
        assert service["healthcheck"]["test"][0] in ("CMD", "CMD-SHELL")
        assert service["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", ["api", "worker"])
def test_processes_wait_for_what_they_stand_on(name: str) -> None:
    assert SERVICES[name]["depends_on"] == {
        "postgres": {"condition": "service_healthy"},
        "qdrant": {"condition": "service_healthy"},
        "migrate": {"condition": "service_completed_successfully"},
    }


def test_migration_waits_for_the_database_alone() -> None:
    assert SERVICES["migrate"]["depends_on"] == {"postgres": {"condition": "service_healthy"}}


def test_worker_can_be_scaled() -> None:
    assert not {"container_name", "ports"} & SERVICES["worker"].keys()


def test_api_is_published_on_loopback_unless_told_otherwise() -> None:
    assert SERVICES["api"]["ports"] == ["${API_ADDRESS:-127.0.0.1:8000}:8000"]
    assert [name for name in SERVICES if "ports" in SERVICES[name]] == ["api"]


@pytest.mark.parametrize("name", ["migrate", "api", "worker"])
def test_engine_waits_longer_than_the_grace_period(name: str) -> None:
    service = SERVICES[name]

    assert seconds(service["stop_grace_period"]) > float(service["environment"]["MEMSVC_GRACE_S"])


@pytest.mark.parametrize("name", SERVICES)
def test_log_files_are_bounded(name: str) -> None:
    assert SERVICES[name]["logging"]["options"] == {"max-size": "20m", "max-file": "5"}


def test_what_must_last_lies_in_named_volumes() -> None:
    mounted = {name: service["volumes"] for name, service in SERVICES.items() if "volumes" in service}

    assert mounted == {
        "postgres": ["postgres-data:/var/lib/postgresql"],
        "qdrant": ["qdrant-storage:/qdrant/storage"],
    }
    assert set(COMPOSE["volumes"]) == {"postgres-data", "qdrant-storage"}


@pytest.mark.parametrize("variable", ["POSTGRES_PASSWORD", "QDRANT_API_KEY"])
def test_secrets_come_from_the_environment_or_nothing_starts(variable: str) -> None:
    used = re.findall(rf"\$\{{{variable}(.*?)\}}", COMPOSE_TEXT)

    assert len(used) == 2
    assert all(rest.startswith(":?Set ") for rest in used)


def test_every_variable_of_compose_is_in_the_example() -> None:
    used = set(re.findall(r"\$\{(\w+)", COMPOSE_TEXT))
    listed = set(re.findall(r"^#? ?([A-Z_]+)=", ENV_EXAMPLE, re.MULTILINE))

    assert listed == used


def test_example_says_the_defaults_that_compose_uses() -> None:
    defaults = dict(re.findall(r"\$\{(\w+):-([^}]+)\}", COMPOSE_TEXT))

    assert dict(re.findall(r"^# ([A-Z_]+)=(.+)$", ENV_EXAMPLE, re.MULTILINE)) == defaults


@pytest.mark.parametrize("file", ["Dockerfile", "docker-compose.yml", ".env.example", ".dockerignore"])
def test_every_variable_named_is_a_setting(file: str) -> None:
    named = set(re.findall(r"MEMSVC_([A-Z_]+)", (ROOT / file).read_text("utf-8")))

    assert {name.lower() for name in named} <= Settings.model_fields.keys()


def test_settings_of_the_containers_are_accepted() -> None:
    environment = SERVICES["api"]["environment"]
    plain = {name: value for name, value in environment.items() if name.startswith("MEMSVC_") and "${" not in value}

    settings = Settings.model_validate({name.removeprefix("MEMSVC_").lower(): value for name, value in plain.items()})

    assert not settings.embedded_database
    assert not settings.embedded_index
    assert settings.log_format == "json"


def test_images_are_pinned_by_version() -> None:
    images = [service["image"] for service in SERVICES.values()]
    images += [line.split()[0] for line in instructions("FROM")]

    assert all(re.fullmatch(r"[a-z/]+:v?\d+\.\d+[\w.-]*", image) for image in images), images
    assert SERVICES["api"]["image"] == f"memsvc:{__version__}"


def test_qdrant_server_is_one_that_the_client_supports() -> None:
    server = re.search(r":v1\.(\d+)", SERVICES["qdrant"]["image"])
    client = re.match(r"1\.(\d+)", version("qdrant-client"))

    # Qdrant's own rule: client and server are at most one minor version apart.
    assert server is not None
    assert client is not None
    assert abs(int(client[1]) - int(server[1])) <= 1


def test_image_has_the_torch_that_the_project_pins() -> None:
    dependencies = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["dependencies"]
    pinned = next(dependency for dependency in dependencies if dependency.startswith("torch=="))

    installed = re.findall(r"torch==[\w.]+", DOCKERFILE)

    assert installed == [pinned]


def test_image_is_built_only_with_the_index_of_torch() -> None:
    guard = next(line for line in instructions("RUN") if "TORCH_INDEX_URL is empty" in line)

    without = subprocess.run(["sh", "-c", guard], env={"TORCH_INDEX_URL": ""}, capture_output=True, text=True)
    given = subprocess.run(["sh", "-c", guard], env={"TORCH_INDEX_URL": "https://index.invalid"}, capture_output=True)

    assert without.returncode == 1
    assert without.stderr.startswith("TORCH_INDEX_URL is empty: give --build-arg TORCH_INDEX_URL=")
    assert given.returncode == 0


def test_image_runs_as_a_user_of_its_own_on_a_data_volume() -> None:
    last_stage = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]

    assert re.findall(r"^USER (.*)$", last_stage, re.MULTILINE) == ["10001:10001"]
    assert "useradd --uid 10001 --gid memsvc" in last_stage
    assert instructions("VOLUME") == ["/data"]
    assert "MEMSVC_DATA_DIR=/data" in last_stage
    assert json.loads(instructions("CMD")[-1]) == ["memsvc", "serve", "--host", "0.0.0.0"]
    assert last_stage.index("--owner memsvc --group memsvc /data") < last_stage.index("VOLUME /data")


def test_what_the_image_is_built_from_is_sent_to_the_engine() -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines() if line.startswith("!")}
    copied = {source for line in instructions("COPY") if "--from" not in line for source in line.split()[:-1]}

    assert copied == sent
    assert all((ROOT / source).exists() for source in copied)


def test_requirements_of_the_image_are_those_of_the_project(tmp_path: Path) -> None:
    line = next(line for line in instructions("RUN") if "requirements.txt" in line)
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

    written = line.split(" && ")[0].replace("python", shlex.quote(sys.executable), 1)
    subprocess.run(["sh", "-c", written], cwd=tmp_path, check=True)

    expected = [*project["dependencies"], *project["optional-dependencies"]["postgres"]]
    assert (tmp_path / "requirements.txt").read_text().splitlines() == expected


@pytest.mark.parametrize(
    "name",
    ["Dockerfile", "docker-compose.yml", ".env.example", ".dockerignore", "Makefile", ".ci/run", "pyproject.toml"],
)
def test_build_names_no_host_but_its_own(name: str) -> None:
    hosts = set(re.findall(r"https?://([^:/\s\"']+)", (ROOT / name).read_text("utf-8")))

    assert hosts <= {"127.0.0.1", "qdrant", "postgres"}


def test_api_without_any_key_ends_with_what_to_do(tmp_path: Path) -> None:
    with Process.start("serve", "--host", "0.0.0.0", env={"MEMSVC_DATA_DIR": str(tmp_path)}) as server:
        status = server.ended()

    assert status == 1
    assert "memsvc keys create" in server.stderr_text


# The topology


@dataclass(frozen=True)
class Topology:
    """PostgreSQL, a stand-in for Qdrant, two workers and the API, as processes that know one another by URL alone."""

    url: str
    key: str
    env: dict[str, str]
    database_url: str
    qdrant: QdrantDouble
    api: Process
    workers: list[Process]

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers={"Authorization": f"Bearer {self.key}"}, timeout=60)

    def ask(self, statement: str) -> int:
        """A number from the database."""
        engine = make_engine(self.database_url)
        try:
            with engine.connect() as connection:
                return int(connection.execute(text(statement)).scalar_one())
        finally:
            engine.dispose()

    def points(self) -> int:
        """How many points the index holds."""
        answer = httpx.post(f"{self.env['MEMSVC_QDRANT_URL']}/collections/{self._collection()}/points/count", json={})
        return int(answer.json()["result"]["count"])

    def puts(self, since: int = 0) -> Counter[str]:
        """How often each point was put, from a number of requests on."""
        return Counter(
            point["id"]
            for method, path, body in self.qdrant.requests[since:]
            if method == "PUT" and path.endswith("/points")
            for point in json.loads(body)["points"]
        )

    def _collection(self) -> str:
        aliases = httpx.get(f"{self.env['MEMSVC_QDRANT_URL']}/aliases").json()["result"]["aliases"]
        return str(aliases[0]["collection_name"])


# What has points: the windows of turns, and the facts that were drawn from them.
KEYS = "SELECT sum(key_count) FROM rounds"
FACTS = "SELECT count(*) FROM facts WHERE gone_at IS NULL"
FACTS_OF_WRITERS = FACTS + " AND user_id LIKE 'writer-%'"


@pytest.fixture(scope="module")
def topology(postgres: str) -> Iterator[Topology]:
    """The compose file's services in its order: the schema, the first key, then the API and two workers."""
    double = QdrantDouble()
    with ExitStack() as stack:
        database_url = stack.enter_context(_database(postgres))
        qdrant_url = stack.enter_context(listening(double.app))
        env = {
            "MEMSVC_DATABASE_URL": database_url,
            "MEMSVC_QDRANT_URL": qdrant_url,
            "MEMSVC_QDRANT_API_KEY": "a key",
            "MEMSVC_ENCODER_THREADS": "1",
            "MEMSVC_LOG_FORMAT": "json",
            "MEMSVC_POLL_S": "0.05",
            "MEMSVC_GRACE_S": "20",
            "MEMSVC_BUSY_S": "60",
        }
        _done("migrate", env=env)
        key = _done("keys", "create", "--workspace", "default", "--scope", "admin", env=env).strip()
        workers = [stack.enter_context(Process.start("worker", env=env)) for _ in range(2)]
        api = stack.enter_context(Process.start("serve", "--port", "0", env=env))
        for worker in workers:
            worker.line_with("memsvc worker is ready")
        yield Topology(api.url(), key, env, database_url, double, api, workers)


@contextmanager
def _database(postgres: str) -> Iterator[str]:
    """An empty database on the server, dropped at the end; its URL."""
    server = make_url(postgres).set(drivername="postgresql+psycopg")
    name = f"deployed_{uuid4().hex[:12]}"
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield server.set(drivername="postgresql", database=name).render_as_string(hide_password=False)
    with engine.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()


def _done(*command: str, env: dict[str, str]) -> str:
    """Run a command of memsvc to its end; what it printed."""
    with Process.start(*command, env=env) as process:
        assert process.ended() == 0, process.stderr_text
    return process.stdout_text


THINGS = ["passport", "violin", "tent", "ladder", "camera", "teapot", "kayak", "typewriter", "telescope", "umbrella"]
WRITERS = [f"writer-{number}" for number in range(8)]
NOTHING_OWED = {"due": 0, "failed": 0, "oldest_s": 0.0}


def write(topology: Topology, user: str) -> list[int]:
    """Record a session a thing, every second one in two requests; the statuses."""
    answered = []
    with topology.client() as client:
        for number, thing in enumerate(THINGS):
            path = f"/v1/users/{user}/sessions/{thing}"
            body = session_body(f"I put the {thing} into cupboard {number}.", f"The {thing} is in cupboard {number}.")
            answered.append(client.put(path, json=body).status_code)
            if number % 2:
                more = session_body(f"Now the {thing} is mine.", "Good.", started_at="2024-03-02T10:00:00Z")["turns"]
                answered.append(client.post(f"{path}/turns", json={"turns": more}).status_code)
    return answered


def until_nothing_is_owed(client: httpx.Client) -> dict[str, Any]:
    """The answer of /readyz once the workers are through."""
    deadline = time.monotonic() + 180
    while True:
        ready: dict[str, Any] = client.get("/readyz").json()
        if ready["checks"]["backlog"]["due"] == 0 or time.monotonic() > deadline:
            return ready
        time.sleep(0.05)


def recalled(client: httpx.Client, user: str, query: str) -> list[str]:
    """The sessions that answer a question, best first."""
    body = {"query": query, "unit": "session", "limit": 50}
    answer = client.post(f"/v1/users/{user}/recall", json=body)
    return [item["session_id"] for item in answer.json()["evidence"]]


def logged(process: Process) -> list[dict[str, Any]]:
    """The log lines so far; that there are no others is a test of its own."""
    return [json.loads(line) for line in process.stderr_text.splitlines() if line.startswith("{")]


def test_what_eight_writers_record_is_indexed_once_and_recalled_once(topology: Topology) -> None:
    before = len(topology.qdrant.requests)

    with ThreadPoolExecutor(len(WRITERS)) as pool:
        answered = list(pool.map(lambda user: write(topology, user), WRITERS))
    with topology.client() as client:
        ready = until_nothing_is_owed(client)
        found = {
            (user, thing): recalled(client, user, f"Where is the {thing}?") for user in WRITERS for thing in THINGS
        }

    assert answered == [[201, 201, 200] * 5] * len(WRITERS)
    assert ready == {
        "status": "ready",
        "checks": {"database": "ok", "index": "ok", "backlog": NOTHING_OWED},
    }
    assert all(sorted(sessions) == sorted(THINGS) for sessions in found.values())
    assert {key: sessions[0] for key, sessions in found.items()} == {key: key[1] for key in found}
    puts = topology.puts(since=before)
    assert set(puts.values()) == {1}
    assert len(puts) == topology.ask(KEYS + " WHERE user_id LIKE 'writer-%'") + topology.ask(FACTS_OF_WRITERS)
    assert topology.points() == topology.ask(KEYS) + topology.ask(FACTS)
    assert all(done_by(worker) > 0 for worker in topology.workers)


def done_by(worker: Process) -> int:
    """How many tasks a worker has logged as done."""
    return sum(line["tasks"] for line in logged(worker) if line["message"] == "tasks done")


def test_worker_told_to_stop_ends_in_order_and_another_takes_over(topology: Topology) -> None:
    with Process.start("worker", env=topology.env) as late, topology.client() as client:
        late.line_with("memsvc worker is ready")
        sessions = record_until_busy(topology, client, workers=len(topology.workers) + 1)

        status = late.stop(within_s=float(topology.env["MEMSVC_GRACE_S"]) + 10)
        ready = until_nothing_is_owed(client)
        found = recalled(client, "ana", "Where is the ladder?")

    assert status == 0
    assert ready["checks"]["backlog"] == NOTHING_OWED
    assert sorted(found) == sorted(sessions)
    assert topology.points() == topology.ask(KEYS) + topology.ask(FACTS)
    assert [line["message"] for line in logged(late) if line["level"] == "ERROR"] == []


def record_until_busy(topology: Topology, client: httpx.Client, *, workers: int) -> list[str]:
    """Record sessions until so many workers have tasks in hand: each claims under a lease of its own."""
    sessions: list[str] = []
    while topology.ask("SELECT count(DISTINCT lease) FROM outbox") < workers:
        assert len(sessions) < 40, "the workers do not work side by side"
        sessions.append(f"s{len(sessions)}")
        turns = [f"I moved the {thing} of house {len(sessions)}." for thing in THINGS]
        client.put(f"/v1/users/ana/sessions/{sessions[-1]}", json=session_body(*turns)).raise_for_status()
    return sessions


def test_every_log_line_of_every_process_is_json(topology: Topology) -> None:
    with topology.client() as client:
        client.get("/healthz", headers={"X-Request-ID": "a-request"})
    topology.api.line_with("a-request")

    texts = [process.stderr_text for process in (topology.api, *topology.workers)]

    lines = [json.loads(line) for said in texts for line in said.splitlines()]
    assert all({"message", "level", "logger", "timestamp"} <= line.keys() for line in lines)


def test_health_check_of_the_image_tells_whether_the_api_answers(topology: Topology) -> None:
    command = json.loads(instructions("HEALTHCHECK")[0].partition("CMD ")[2])

    statuses = [
        subprocess.run([sys.executable, *command[1:]], env={"MEMSVC_PORT": port}, capture_output=True).returncode
        for port in (port_of(topology.url), "1")
    ]

    assert command[0] == "python"
    assert statuses == [0, 1]


@pytest.mark.parametrize(("name", "port"), [("api", "8000"), ("qdrant", "6333")])
def test_health_check_of_a_service_asks_its_port(topology: Topology, name: str, port: str) -> None:
    kind, *command = SERVICES[name]["healthcheck"]["test"]
    command = [word.replace("python", sys.executable, 1) if word == "python" else word for word in command]

    statuses = [
        subprocess.run([word.replace(port, used) for word in command], capture_output=True).returncode
        for used in (port_of(topology.url), "1")  # memsvc's own /readyz stands for Qdrant's.
    ]

    assert kind == "CMD"
    assert statuses == [0, 1]


def test_health_check_of_a_worker_asks_the_database(topology: Topology) -> None:
    kind, command = SERVICES["worker"]["healthcheck"]["test"]
    gone = {**topology.env, "MEMSVC_DATABASE_URL": "postgresql://memsvc@127.0.0.1:1/memsvc"}

    with Process.start("keys", "list", env=topology.env) as well, Process.start("keys", "list", env=gone) as lost:
        statuses = [well.ended(), lost.ended()]

    assert (kind, command) == ("CMD-SHELL", "memsvc keys list > /dev/null")
    assert statuses == [0, 1]


def port_of(url: str) -> str:
    return url.rpartition(":")[2]
