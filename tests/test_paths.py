"""The two paths end to end, over real HTTP: a session goes in, and comes back as evidence."""

import httpx

from tests.factories import session_body


def test_recorded_session_comes_back_as_evidence(client: httpx.Client) -> None:
    body = session_body("I adopted a grey kitten named Biscuit.", "Congratulations on the kitten!")

    recorded = client.put("/v1/users/ana/sessions/s1?wait=indexed", json=body)
    found = client.post("/v1/users/ana/recall", json={"query": "what is the kitten named", "unit": "turn"})

    assert recorded.status_code == 201
    assert recorded.json() == {
        "session_id": "s1",
        "turns": 2,
        "rounds": 1,
        "status": {"indexed": True, "extracted": "off", "error": None, "degraded": None},
    }
    assert found.status_code == 200
    assert {item["turns"][0]["text"] for item in found.json()["evidence"]} == {
        "I adopted a grey kitten named Biscuit.",
        "Congratulations on the kitten!",
    }
    # Which of the two stands first is the fusion's matter, and it was not trained on this encoder's hashes.
    assert sorted(found.json()["context"].splitlines()) == [
        "[2024-03-01 10:00] assistant: Congratulations on the kitten!",
        "[2024-03-01 10:00] user: I adopted a grey kitten named Biscuit.",
    ]
