"""Processes killed between each two steps of the path: what was acknowledged is there exactly once."""

import time
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from starlette.responses import Response

from memsvc.app import open_index
from memsvc.settings import Settings
from memsvc.store.database import Store
from tests.crashing import EXTRACTION, FORGETTING, INDEXING, NOWHERE, RECORDING
from tests.doubles import HashEncoder, QdrantDouble
from tests.factories import session_body
from tests.llm import Body, said, scripted_llm
from tests.processes import Process

SESSIONS = {
    "pets": session_body("My tortoise Admiral sleeps in the cellar.", "Good night, Admiral!", "He wakes in April."),
    "work": session_body("I lead the heat forecasting team since June.", "Congratulations on leading it!"),
    "trip": session_body("We cancelled the ferry to the islands.", "A cabin by the lake instead?", "Yes, in July."),
}
# What the rules draw from them, word for word, and the model in its own words.
DRAWN = {
    "pets": "My tortoise Admiral sleeps in the cellar.",
    "work": "I lead the heat forecasting team since June.",
    "trip": "We cancelled the ferry to the islands.",
}
KILLED = -9
TIMEOUT_S = 60


@pytest.mark.parametrize("point", [*RECORDING, *INDEXING, *EXTRACTION])
def test_service_killed_while_recording_indexing_and_extracting(point: str, tmp_path: Path) -> None:
    environment = _environment(MEMSVC_DATA_DIR=str(tmp_path / "data"))

    with _run(point, "serve", "--port", "0", env=environment) as dying:
        acknowledged = _record_all(dying.url())
        assert dying.ended() == KILLED
    with _run(NOWHERE, "serve", "--port", "0", env=environment) as living:
        url = living.url()
        kept = {session_id for session_id in SESSIONS if _is_on_disk(url, session_id)}
        assert acknowledged <= kept
        assert _record_all(url) == set(SESSIONS)
        _wait_until_done(url)
        _assert_each_turn_is_found_once(url)
        _assert_each_fact_is_found_once(url)
        assert living.stop() == 0
    _assert_points_match_rows(Settings(_env_file=None, data_dir=tmp_path / "data"))


@pytest.mark.parametrize("point", EXTRACTION)
def test_service_killed_while_a_language_model_extracts(point: str, tmp_path: Path) -> None:
    with scripted_llm() as llm:
        llm.answers = _draw
        environment = _environment(
            MEMSVC_DATA_DIR=str(tmp_path / "data"),
            MEMSVC_LLM_BASE_URL=llm.url,
            MEMSVC_LLM_MODEL="scripted",
            MEMSVC_LLM_DEADLINE_S="1",
        )
        with _run(point, "serve", "--port", "0", env=environment) as dying:
            _record_all(dying.url())
            assert dying.ended() == KILLED
        with _run(NOWHERE, "serve", "--port", "0", env=environment) as living:
            url = living.url()
            assert _record_all(url) == set(SESSIONS)
            _wait_until_done(url)
            _assert_each_fact_is_found_once(url, by="llm")
            assert living.stop() == 0
    _assert_points_match_rows(Settings(_env_file=None, data_dir=tmp_path / "data"))


@pytest.mark.parametrize("point", FORGETTING)
def test_service_killed_while_forgetting(point: str, tmp_path: Path) -> None:
    environment = _environment(MEMSVC_DATA_DIR=str(tmp_path / "data"))

    with _run(NOWHERE, "serve", "--port", "0", env=environment) as recording:
        _record_all(recording.url())
        _wait_until_done(recording.url())
        recording.kill()
    with _run(point, "serve", "--port", "0", env=environment) as dying:
        with pytest.raises(httpx.TransportError):
            httpx.delete(f"{dying.url()}/v1/users/ana/sessions/pets")
        assert dying.ended() == KILLED
    with _run(NOWHERE, "serve", "--port", "0", env=environment) as living:
        url = living.url()
        assert not _is_on_disk(url, "pets")
        _wait_until_done(url)
        _assert_each_turn_is_found_once(url, without="pets")
        _assert_each_fact_is_found_once(url, without="pets")
        assert living.stop() == 0
    _assert_points_match_rows(Settings(_env_file=None, data_dir=tmp_path / "data"))


@pytest.mark.parametrize("point", [*INDEXING, *EXTRACTION])
def test_worker_killed_beside_another(
    point: str, postgres_template: str, fresh_postgres: Callable[[str], str], qdrant: tuple[QdrantDouble, str]
) -> None:
    database_url, (_, qdrant_url) = fresh_postgres(postgres_template), qdrant
    environment = _environment(MEMSVC_DATABASE_URL=database_url, MEMSVC_QDRANT_URL=qdrant_url)

    with _run(NOWHERE, "serve", "--port", "0", env=environment) as api:
        url = api.url()
        assert _record_all(url) == set(SESSIONS)
        with _run(point, "worker", env=environment) as dying:
            assert dying.ended() == KILLED
        with _run(NOWHERE, "worker", env=environment) as living:
            living.line_with("worker is ready")
            _wait_until_done(url)
            _assert_each_turn_is_found_once(url)
            _assert_each_fact_is_found_once(url)
            assert living.stop() == 0
        assert api.stop() == 0
    _assert_points_match_rows(Settings(_env_file=None, database_url=database_url, qdrant_url=qdrant_url))


def _environment(**more: str) -> dict[str, str]:
    """A short lease, so that what a killed process had in hand is soon another's; the tests must be importable."""
    root = str(Path(__file__).parents[1])
    return {"MEMSVC_ENCODER": "hash-64", "MEMSVC_LEASE_S": "1", "MEMSVC_POLL_S": "0.05", "PYTHONPATH": root, **more}


def _run(point: str, *command: str, env: dict[str, str]) -> Process:
    return Process.start(point, *command, env=env, module="tests.crashing")


def _record_all(url: str) -> set[str]:
    """The sessions whose recording was acknowledged."""
    acknowledged = set()
    for session_id, body in SESSIONS.items():
        try:
            answer = httpx.put(f"{url}/v1/users/ana/sessions/{session_id}", json=body, timeout=TIMEOUT_S)
        except httpx.TransportError:
            continue
        assert answer.status_code in (200, 201), answer.text
        acknowledged.add(session_id)
    return acknowledged


def _is_on_disk(url: str, session_id: str) -> bool:
    return httpx.get(f"{url}/v1/users/ana/sessions/{session_id}", timeout=TIMEOUT_S).status_code == 200


def _wait_until_done(url: str) -> None:
    deadline = time.monotonic() + 60
    while (backlog := httpx.get(f"{url}/readyz", timeout=TIMEOUT_S).json()["checks"]["backlog"])["due"]:
        assert time.monotonic() < deadline, backlog
        time.sleep(0.05)
    assert backlog == {"due": 0, "failed": 0, "oldest_s": 0.0}
    assert httpx.get(f"{url}/v1/tasks", timeout=TIMEOUT_S).json() == {"tasks": []}


def _assert_each_turn_is_found_once(url: str, *, without: str = "") -> None:
    expected = sorted(
        turn["text"] for session_id, body in SESSIONS.items() if session_id != without for turn in body["turns"]
    )
    query = {"query": " ".join(expected), "unit": "turn", "limit": 100}
    found = httpx.post(f"{url}/v1/users/ana/recall", json=query, timeout=TIMEOUT_S).json()["evidence"]
    assert sorted(item["turns"][0]["text"] for item in found) == expected


def _assert_each_fact_is_found_once(url: str, *, by: str = "rules", without: str = "") -> None:
    expected = [(session_id, DRAWN[session_id], by) for session_id in sorted(SESSIONS) if session_id != without]
    listed = httpx.get(f"{url}/v1/users/ana/facts", timeout=TIMEOUT_S).json()["facts"]
    query = {"query": " ".join(DRAWN.values()), "unit": "fact", "limit": 100}
    found = httpx.post(f"{url}/v1/users/ana/recall", json=query, timeout=TIMEOUT_S).json()["evidence"]
    for facts in (listed, [fact for item in found for fact in item["facts"]]):
        told = [(source["session_id"], fact["text"], fact["source"]) for fact in facts for source in fact["sources"]]
        assert sorted(told) == expected


def _draw(body: Body) -> Response:
    """The statements of a chat, as a language model draws them; none of them bears on another."""
    chat = body["messages"][1]["content"]
    if body["response_format"]["json_schema"]["name"] == "reconcile":
        pairs = [{"pair": number, "relation": "independent", "reason": "two matters"} for number in range(1, 41)]
        return said({"pairs": pairs})
    unknown = dict.fromkeys(("slot", "value", "when", "from", "to"))
    statement = {"kind": "fact", "subject": "user", "turn": 1, "confidence": 0.9, **unknown}
    return said({"statements": [{"text": text, "quote": text, **statement} for text in DRAWN.values() if text in chat]})


def _assert_points_match_rows(settings: Settings) -> None:
    """No point without a row, and no key without a point."""
    store, index = Store(settings.store_url), open_index(settings, HashEncoder())
    try:
        with store.read() as tx:
            total, indexed, keys = tx.rounds.counts()
            facts = tx.facts.indexed()
        assert (indexed, index.count()) == (total, keys + facts)
    finally:
        index.close()
        store.close()
