"""Facts over HTTP, on both databases: none are drawn yet, but both clocks are asked for."""

import httpx
import pytest


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
    ],
    ids=["no zone", "no instant", "unknown include", "no limit", "no cursor", "NUL"],
)
def test_bad_questions_are_refused(client: httpx.Client, params: dict[str, str]) -> None:
    answer = client.get("/v1/users/ana/facts", params=params)

    assert answer.status_code == 422
