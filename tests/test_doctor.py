"""The doctor: each finding, well and not well, with what to do."""

import shutil
from collections.abc import Callable
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from memsvc.app import build, open_store
from memsvc.clock import utc_now
from memsvc.doctor import Finding, examine
from memsvc.domain import KEY_FORM, Shape, TaskKind
from memsvc.index.edge import EdgeIndex
from memsvc.inference.encoders import Encoder
from memsvc.memory.indexing import shape_of
from memsvc.settings import Settings
from memsvc.store import schema
from memsvc.store.facts import FactFilter
from tests.doubles import HashEncoder
from tests.factories import OWNER, row_id
from tests.memory import Memory

REBUILD = "Run `memsvc rebuild` to fill the index again from the database."
SILENT = "The database does not answer; nothing was recorded. Try again."
MODEL = Finding("model", True, "memsvc-minilm-v2, 384 dimensions, on this machine")


@pytest.fixture
def filled(settings: Settings, real_encoder: Encoder) -> Settings:
    """Settings of a service that has indexed three rounds with the real encoder, and has ended."""
    with closing(build(settings, encoder=real_encoder)) as service:
        memory = Memory(service.store, service.index, real_encoder)
        memory.record("s1", "a tortoise", "a ferry")
        memory.record("s2", "a piano")
        memory.drain()
    return settings


def findings(settings: Settings) -> dict[str, Finding]:
    return {finding.subject: finding for finding in examine(settings)}


def owe(settings: Settings, *, age: timedelta, is_failed: bool = False) -> None:
    """Owe a task since some time, which may have failed."""
    since = utc_now() - age
    with closing(open_store(settings)) as store, store.begin() as tx:
        tx.outbox.owe(TaskKind.INDEX, OWNER, row_id("s1"), now=since)
        if is_failed:
            (task,) = tx.outbox.claim(TaskKind.INDEX, limit=1, lease_s=1, now=since)
            tx.outbox.give_up(task, error="ValueError: no", now=since)


def test_everything_is_well(filled: Settings) -> None:
    folder = filled.data_dir.resolve()

    found = examine(filled)

    assert found == [
        Finding("folder", True, f"{folder} can be written"),
        Finding("database", True, f"sqlite:///{folder}/memsvc.sqlite3 answers"),
        Finding("schema", True, f"revision {schema.head()}"),
        Finding("backlog", True, "0 owed, the oldest for 0 s; 0 failed"),
        MODEL,
        Finding("language", True, "no language model: facts are drawn by rules, /answer is refused"),
        Finding("index", True, "holds 3 points for 3 keys of 3 rounds"),
    ]


def test_service_on_a_server_that_was_never_started(
    settings: Settings, postgres_template: str, fresh_postgres: Callable[[str], str]
) -> None:
    url = fresh_postgres(postgres_template)

    found = findings(settings.model_copy(update={"database_url": url}))

    assert [finding.is_well for finding in found.values()] == [True] * 7
    assert found["database"].what.startswith("postgresql+psycopg://")
    assert found["index"] == Finding("index", True, "none yet; `memsvc serve` makes one")


def test_fresh_folder_has_no_schema_yet(settings: Settings) -> None:
    found = examine(settings)

    assert found[-1] == Finding("schema", False, "none yet", "Run `memsvc serve`: it makes one in a fresh database.")
    assert [finding.is_well for finding in found] == [True, True, False]


def test_folder_that_cannot_be_written(settings: Settings, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folder = tmp_path / "file" / "data"

    found = examine(settings.model_copy(update={"data_dir": folder}))

    assert found == [
        Finding(
            "folder",
            False,
            "data_dir_unusable",
            f"The data folder {folder} cannot be written: Not a directory. Set MEMSVC_DATA_DIR to a folder that this "
            "user can write, with free space.",
        ),
        Finding("database", False, "store_unavailable", SILENT),
        Finding("schema", False, "store_unavailable", SILENT),
    ]


def test_database_that_does_not_answer(settings: Settings) -> None:
    found = findings(settings.model_copy(update={"database_url": "postgresql://postgres@127.0.0.1:1/memsvc"}))

    assert found["database"] == Finding("database", False, "store_unavailable", SILENT)
    assert found["schema"] == Finding("schema", False, "store_unavailable", SILENT)


def test_password_of_the_database_is_not_shown(
    settings: Settings, postgres_template: str, fresh_postgres: Callable[[str], str]
) -> None:
    url = fresh_postgres(postgres_template)
    secret = url.replace("postgres:@", "postgres:secret@")

    found = findings(settings.model_copy(update={"database_url": secret}))

    assert secret != url
    assert "secret" not in str(found["database"])


def test_file_that_is_no_database(settings: Settings) -> None:
    settings.data_dir.mkdir()
    (settings.data_dir / "memsvc.sqlite3").write_bytes(b"no database " * 1000)

    found = findings(settings)

    assert [found["database"].is_well, found["schema"].is_well] == [False, False]


def test_schema_is_missing_on_a_server(settings: Settings, fresh_postgres: Callable[[str], str]) -> None:
    found = findings(settings.model_copy(update={"database_url": fresh_postgres("template1")}))

    advice = "The database has no memsvc schema yet. Run `memsvc migrate`."
    assert found["schema"] == Finding("schema", False, "schema_mismatch", advice)


def test_failed_task(filled: Settings) -> None:
    owe(filled, age=timedelta(seconds=1), is_failed=True)

    found = findings(filled)["backlog"]

    assert found == Finding(
        "backlog",
        False,
        "0 owed, the oldest for 0 s; 1 failed",
        "GET /v1/tasks lists the errors; POST /v1/tasks/{id}/retry tries again.",
    )


def test_old_backlog(filled: Settings) -> None:
    owe(filled, age=timedelta(hours=1))

    found = findings(filled)["backlog"]

    assert (found.is_well, found.advice) == (False, "Start `memsvc serve`, or more `memsvc worker` processes.")
    assert found.what.startswith("1 owed, the oldest for 36")


def test_young_backlog(filled: Settings) -> None:
    owe(filled, age=timedelta(seconds=200))

    found = findings(filled)["backlog"]

    assert (found.is_well, found.advice) == (True, "")


def test_index_of_another_encoder(settings: Settings, real_encoder: Encoder) -> None:
    build(settings, encoder=HashEncoder()).close()

    found = findings(settings)

    assert found["model"] == Finding(
        "model",
        False,
        f"memsvc-minilm-v2 (384 dimensions, 128 a token, keys of form {KEY_FORM}, {real_encoder.variant}), "
        f"but the index was filled with hash-64 (64 dimensions, 64 a token, keys of form {KEY_FORM})",
        "Run `memsvc rebuild`, or set MEMSVC_ENCODER=hash-64.",
    )
    assert not found["index"].is_well


def test_index_with_token_vectors_that_were_switched_off(filled: Settings, real_encoder: Encoder) -> None:
    found = findings(filled.model_copy(update={"late_interaction": False}))

    assert found["model"] == Finding(
        "model",
        False,
        f"memsvc-minilm-v2 (384 dimensions, no token vectors, keys of form {KEY_FORM}, int8), "
        "but the index was filled with "
        f"memsvc-minilm-v2 (384 dimensions, 128 a token, keys of form {KEY_FORM}, {real_encoder.variant})",
        "Run `memsvc rebuild`.",
    )
    assert not found["index"].is_well


def test_index_of_an_earlier_form(filled: Settings) -> None:
    with closing(open_store(filled)) as store, store.begin() as tx:
        tx.rounds.set_live_index(Shape("memsvc-minilm-v2", 384, token_dimension=0, form=1), now=utc_now())

    found = findings(filled)["model"]

    assert (found.is_well, found.advice) == (False, "Run `memsvc rebuild`.")
    assert found.what.endswith(
        "but the index was filled with memsvc-minilm-v2 (384 dimensions, no token vectors, keys of form 1)"
    )


def test_model_that_is_not_on_this_machine(settings: Settings) -> None:
    open_store(settings).close()

    found = findings(settings.model_copy(update={"encoder": "nobody/nothing"}))

    assert (found["model"].is_well, found["model"].what) == (False, "encoder_not_found")
    assert "MEMSVC_ENCODER_DOWNLOAD=true" in found["model"].advice


def test_deleted_index(filled: Settings) -> None:
    shutil.rmtree(filled.index_dir)

    found = findings(filled)["index"]

    assert found == Finding("index", False, "missing, but 3 rounds are indexed", REBUILD)


def test_index_with_points_missing(filled: Settings, real_encoder: Encoder) -> None:
    with closing(EdgeIndex(filled.index_dir, shape_of(real_encoder))) as index:
        with closing(open_store(filled)) as store, store.read() as tx:
            session = tx.sessions.find(OWNER, "s1")
            assert session is not None
        index.drop(OWNER, session.row_id)

    found = findings(filled)["index"]

    assert found == Finding("index", False, "holds 1 of 3 keys", REBUILD)


def test_index_with_points_of_facts_alone_missing(settings: Settings, real_encoder: Encoder) -> None:
    with closing(build(settings, encoder=real_encoder)) as service:
        memory = Memory(service.store, service.index, real_encoder)
        memory.record("s1", "I have a tortoise.", "I live in Lisbon.")
        memory.drain()
    whole = findings(settings)["index"]
    with closing(EdgeIndex(settings.index_dir, shape_of(real_encoder))) as index:
        with closing(open_store(settings)) as store, store.read() as tx:
            (fact, _) = tx.facts.page(OWNER, FactFilter(utc_now()), limit=9)
        index.remove(OWNER, [fact.fact_id])

    found = findings(settings)["index"]

    assert whole == Finding("index", True, "holds 4 points for 4 keys of 2 rounds")
    assert found == Finding("index", False, "holds 3 of 4 keys", REBUILD)


@pytest.mark.parametrize("key", ["", "a-secret-key"], ids=["without a key", "with a key"])
def test_language_model_is_named_without_its_key(filled: Settings, key: str) -> None:
    model = {"llm_base_url": "http://127.0.0.1:1/v1", "llm_model": "a-model", "llm_api_key": SecretStr(key)}

    found = findings(filled.model_copy(update=model))["language"]

    what = "a-model at http://127.0.0.1:1/v1; 2 sessions are not extracted by it"
    assert (found.is_well, found.what) == (True, what)
    assert "`memsvc extract --all`" in found.advice


def test_language_model_that_is_half_named(filled: Settings) -> None:
    found = findings(filled.model_copy(update={"llm_model": "a-model"}))["language"]

    assert (found.is_well, found.what) == (False, "bad_setting")
    assert "MEMSVC_LLM_BASE_URL" in found.advice


@pytest.mark.parametrize(
    "damaged",
    [
        pytest.param("edge_config.json", id="settings"),
        pytest.param("payload_index/*/tracker.dat", id="payloads"),
    ],
)
def test_damaged_index(filled: Settings, damaged: str) -> None:
    for file in filled.index_dir.rglob(damaged):
        file.write_bytes(b"\xff" * file.stat().st_size)

    found = findings(filled)["index"]

    assert not found.is_well
    assert "`memsvc rebuild`" in found.advice


def test_index_that_is_open_in_a_running_service(filled: Settings, real_encoder: Encoder) -> None:
    with closing(build(filled, encoder=real_encoder)):
        found = findings(filled)

    assert found["index"] == Finding("index", True, "open in another process; its /readyz tells how it is")
    assert [finding.is_well for finding in found.values()] == [True] * 7


def test_qdrant_server_that_does_not_answer(settings: Settings) -> None:
    open_store(settings).close()

    found = findings(settings.model_copy(update={"qdrant_url": "http://127.0.0.1:1"}))["index"]

    assert (found.is_well, found.what) == (False, "index_unavailable")
    assert found.advice.startswith("The Qdrant server does not answer as it should")


@pytest.mark.parametrize(
    ("finding", "line"),
    [
        pytest.param(MODEL, "ok    model      memsvc-minilm-v2, 384 dimensions, on this machine", id="well"),
        pytest.param(
            Finding("index", False, "missing", REBUILD), f"FAIL  index      missing\n      → {REBUILD}", id="not"
        ),
    ],
)
def test_finding_is_a_line_for_people(finding: Finding, line: str) -> None:
    assert str(finding) == line
