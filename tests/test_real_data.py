"""A real conversation of the LoCoMo data, recorded in full: each turn is found by its own words."""

import json
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from memsvc.app import build, create_app
from memsvc.inference.encoders import Encoder
from memsvc.settings import Settings
from tests.doubles import listening

DATA = Path(os.environ.get("MEMSVC_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
LOCOMO = DATA / "locomo_dev.json"


@pytest.fixture(scope="module")
def conversation() -> dict[str, Any]:
    """The longest of the conversations: two people over many sessions."""
    if not LOCOMO.is_file():
        pytest.skip(f"{LOCOMO} is not there; MEMSVC_TEST_DATA names the folder that holds it")
    told = [entry["conversation"] for entry in json.loads(LOCOMO.read_text("utf-8"))]
    return max(told, key=lambda each: sum(len(session["turns"]) for _, session in _sessions(each)))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, real_encoder: Encoder) -> Iterator[httpx.Client]:
    """A client of a service with the shipped encoder, on SQLite and the embedded index."""
    folder = tmp_path_factory.mktemp("locomo")
    # Turns are asked for by their own words, not by questions: a name in them is whom they speak to.
    settings = Settings(_env_file=None, data_dir=folder, poll_s=0.05, speaker_boost=1)
    app = create_app(build(settings, encoder=real_encoder))
    with listening(app) as url, httpx.Client(base_url=f"{url}/v1/users/caroline", timeout=120) as opened:
        yield opened


def test_every_turn_is_found_by_its_own_text_among_the_first_three(
    client: httpx.Client, conversation: dict[str, Any]
) -> None:
    sessions = dict(_sessions(conversation))
    for session_id, session in sessions.items():
        client.put(f"/sessions/{session_id}", json=session).raise_for_status()
    for session_id, session in sessions.items():
        done = client.put(f"/sessions/{session_id}?wait=indexed&wait_s=60", json=session)
        assert done.json()["status"] == {"indexed": True, "extracted": "off", "error": None, "degraded": None}

    missed = [
        (session_id, turn["turn_id"], turn["text"], found)
        for session_id, session in sessions.items()
        for turn in session["turns"]
        if turn["text"] not in (found := _found(client, turn["text"]))
    ]

    turns = sum(len(session["turns"]) for session in sessions.values())
    assert turns > 300
    assert missed == [], f"{len(missed)} of {turns} turns are not among the first three"


def test_recorded_conversation_reads_back_as_it_was_told(client: httpx.Client, conversation: dict[str, Any]) -> None:
    session_id, session = next(iter(_sessions(conversation)))
    client.put(f"/sessions/{session_id}", json=session).raise_for_status()

    told = client.get(f"/sessions/{session_id}").json()

    assert told["started_at"] == session["started_at"]
    assert [
        {name: turn[name] for name in ("turn_id", "role", "speaker", "text", "images")} for turn in told["turns"]
    ] == (session["turns"])


def _sessions(conversation: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The sessions as the wire takes them; both speakers are people."""
    number = 1
    while turns := conversation.get(f"session_{number}"):
        began = datetime.strptime(f"{conversation[f'session_{number}_date_time']} +0000", "%I:%M %p on %d %B, %Y %z")
        yield (
            f"session {number}",
            {
                "started_at": f"{began:%Y-%m-%dT%H:%M:%SZ}",
                "turns": [_turn(turn) for turn in turns],
            },
        )
        number += 1


def _turn(turn: dict[str, Any]) -> dict[str, Any]:
    return {
        "turn_id": turn["dia_id"],
        "role": "user",
        "speaker": turn["speaker"],
        "text": turn["text"],
        "images": [{"caption": turn["blip_caption"]}] if turn.get("blip_caption") else [],
    }


def _found(client: httpx.Client, text: str) -> list[str]:
    answer = client.post("/recall", json={"query": text, "unit": "turn", "limit": 3, "token_budget": 0})
    answer.raise_for_status()
    return [item["turns"][0]["text"] for item in answer.json()["evidence"]]
