"""The settings: what the environment may say, and that the README's table says the same."""

import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo

from memsvc.settings import INDEX_FIELDS, Settings

README = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
FIELDS: dict[str, FieldInfo] = Settings.model_fields


def test_readmes_table_is_that_of_the_settings() -> None:
    between = re.search(r"<!-- settings -->\n(.*?)<!-- /settings -->", README, re.DOTALL)

    assert between is not None
    assert between[1].strip() == _table(), f"Between the markers the README has to hold:\n\n{_table()}\n"


@pytest.mark.parametrize("name", FIELDS)
def test_setting_says_what_it_means_in_a_sentence(name: str) -> None:
    description = FIELDS[name].description or ""

    assert description.endswith(".")
    assert "|" not in description


@pytest.mark.parametrize(
    ("variable", "value", "field", "expected"),
    [
        pytest.param("MEMSVC_DATA_DIR", "/srv/memsvc", "data_dir", Path("/srv/memsvc"), id="path"),
        pytest.param("MEMSVC_PORT", "0", "port", 0, id="number"),
        pytest.param("MEMSVC_ENCODER_DOWNLOAD", "true", "encoder_download", True, id="switch"),
        pytest.param("MEMSVC_LOG_FORMAT", "json", "log_format", "json", id="choice"),
        pytest.param("MEMSVC_QDRANT_API_KEY", "s3cret", "qdrant_api_key", SecretStr("s3cret"), id="secret"),
        pytest.param("MEMSVC_LEGS", "late,bm25", "legs", "late,bm25", id="several choices"),
        pytest.param("MEMSVC_LATE_INTERACTION", "false", "late_interaction", False, id="switch that is on"),
        pytest.param("MEMSVC_LLM_CACHE", "/srv/llm", "llm_cache", Path("/srv/llm"), id="path that is none"),
        pytest.param(
            "MEMSVC_LLM_TASK_MODELS",
            "answer=large, extract=qwen3:8b",
            "llm_task_models",
            "answer=large, extract=qwen3:8b",
            id="models by task",
        ),
        pytest.param("memsvc_poll_s", "0.1", "poll_s", 0.1, id="any case"),
    ],
)
def test_variable_of_the_environment_is_read(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, field: str, expected: object
) -> None:
    monkeypatch.setenv(variable, value)

    read = Settings(_env_file=None)

    assert getattr(read, field) == expected


@pytest.mark.parametrize("field", ["llm_cache", "llm_requests"])
def test_path_that_is_left_empty_is_none(monkeypatch: pytest.MonkeyPatch, field: str) -> None:
    # So it stands in the README's table, and in .env files.
    monkeypatch.setenv(f"MEMSVC_{field.upper()}", "")

    read = Settings(_env_file=None)

    assert getattr(read, field) is None


def test_env_file_is_read_and_the_environment_outweighs_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("MEMSVC_PORT=9001\nMEMSVC_HOST=::1\nOTHER=1\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEMSVC_PORT", "9002")

    read = Settings()

    assert (read.host, read.port) == ("::1", 9002)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("port", "70000"),
        ("port", "http"),
        ("workers", "17"),
        ("lease_s", "0"),
        ("log_level", "LOUD"),
        ("qdrant_prefix", "a/b"),
        ("qdrant_shards", "0"),
        ("max_attempts", "0"),
        ("depth", "0"),
        ("legs", ""),
        ("legs", "dense,graph"),
        ("legs", "dense;late"),
        ("fusion", "best"),
        ("speaker_boost", "0.5"),
        ("time_mode", "hide"),
        ("time_boost", "0.5"),
        ("time_tolerance_days", "-1"),
        ("recency_half_life_days", "-1"),
        ("encoder_precision", "int4"),
        ("reranker_depth", "0"),
        ("facts_boost", "0.5"),
        ("time_llm_timeout_s", "0"),
        ("llm_task_models", "answer"),
        ("llm_task_models", "judge=large"),
        ("llm_task_models", "answer=large;extract=small"),
        ("llm_timeout_s", "0"),
        ("llm_deadline_s", "0"),
        ("llm_attempts", "0"),
        ("llm_concurrency", "0"),
        ("llm_daily_tokens", "-1"),
        ("extract_tokens", "199"),
    ],
    ids=lambda value: value,
)
def test_value_that_cannot_be_used_is_refused(field: str, value: str) -> None:
    given: dict[str, Any] = {field: value}

    with pytest.raises(ValidationError) as refused:
        Settings(_env_file=None, **given)

    assert [error["loc"] for error in refused.value.errors()] == [(field,)]


def test_defaults_are_the_embedded_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)

    read = Settings(_env_file=None)

    assert read.embedded_database
    assert read.embedded_index
    assert read.store_url == f"sqlite:///{tmp_path}/memsvc-data/memsvc.sqlite3"
    assert read.index_dir == tmp_path / "memsvc-data" / "index"


def test_converted_encoder_is_kept_in_the_data_folder_unless_said(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("MEMSVC_ENCODER_DIR")

    unsaid = Settings(_env_file=None, data_dir=tmp_path)
    said = Settings(_env_file=None, data_dir=tmp_path, encoder_dir=tmp_path / "models")

    assert (unsaid.converted_dir, said.converted_dir) == (tmp_path / "encoders", tmp_path / "models")


@pytest.mark.parametrize("name", sorted(INDEX_FIELDS))
def test_field_that_fills_an_index_is_a_setting(name: str) -> None:
    assert name in FIELDS


@pytest.mark.parametrize(
    ("given", "workers"),
    [
        pytest.param({}, 1, id="embedded index"),
        pytest.param({"qdrant_url": "http://qdrant:6333"}, 0, id="server"),
        pytest.param({"workers": 3}, 3, id="as said"),
        pytest.param({"workers": 0}, 0, id="none"),
    ],
)
def test_workers_of_serve_follow_the_index_unless_said(given: dict[str, Any], workers: int) -> None:
    assert Settings(_env_file=None, **given).worker_threads == workers


def test_secret_does_not_show_in_what_is_printed() -> None:
    read = Settings(_env_file=None, qdrant_api_key=SecretStr("s3cret"), llm_api_key=SecretStr("s3cret"))

    assert "s3cret" not in f"{read!r} {read} {read.model_dump_json()}"


def _table() -> str:
    """The README's table: one row a setting, in the order of the class."""
    rows = [
        f"| `MEMSVC_{name.upper()}` | {_shown(field.default)} | {field.description} |" for name, field in FIELDS.items()
    ]
    return "\n".join(["| Variable | Default | Meaning |", "|---|---|---|", *rows])


def _shown(default: object) -> str:
    value = default.get_secret_value() if isinstance(default, SecretStr) else default
    if value is None:
        return "empty"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return f"`{text}`" if text else "empty"
