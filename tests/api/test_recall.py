"""Recall on the wire: what comes back for a question, in which units, order and room."""

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from memsvc.app import Service
from tests.api import DATABASES, module_service, path, serving, turn_texts
from tests.factories import session_body


@pytest.fixture(scope="module", params=DATABASES)
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    # The shipped network knows real conversations, not a few hashed words: here the ranks decide.
    with module_service(request, tmp_path_factory, fusion="ranks", time_boost=3.0) as made:
        yield made


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[httpx.Client]:
    with serving(service) as opened:
        yield opened


@pytest.fixture
def user() -> str:
    return f"user-{uuid4().hex[:8]}"


def record(client: httpx.Client, user: str, session: str, *texts: str, started_at: str) -> None:
    recorded = client.put(
        path(user, session), params={"wait": "indexed"}, json=session_body(*texts, started_at=started_at)
    )
    assert recorded.json()["status"]["indexed"]


def recall(client: httpx.Client, user: str, query: str, **more: Any) -> dict[str, Any]:
    found = client.post(f"/v1/users/{user}/recall", json={"query": query, **more})
    assert found.status_code == 200
    body: dict[str, Any] = found.json()
    return body


@pytest.fixture
def history(client: httpx.Client, user: str) -> str:
    """Three sessions of a user, a month apart."""
    record(client, user, "march", "I bought a red bicycle.", "Ride safely!", started_at="2024-03-01T10:00:00Z")
    record(client, user, "april", "The bicycle was stolen.", "I am sorry.", started_at="2024-04-01T10:00:00Z")
    record(
        client,
        user,
        "may",
        "Police found my bicycle!",
        "Wonderful!",
        "Its bell is missing.",
        "Buy a new bell.",
        started_at="2024-05-01T10:00:00+02:00",
    )
    return user


def test_evidence_tells_all_that_is_known_of_it(client: httpx.Client, user: str) -> None:
    body = session_body("Look!", "A fine dog, yesterday.", started_at="2024-03-01T10:00:00+01:00")
    body["turns"][0] |= {"turn_id": "D1:1", "speaker": "Ana", "images": [{"caption": "a dog on a beach"}]}
    client.put(path(user, "s1"), params={"wait": "indexed"}, json=body)

    found = recall(client, user, "dog on a beach")

    took_ms = found.pop("took_ms")
    [item] = found["evidence"]
    assert found == {
        "evidence": [
            {
                "unit": "round",
                "session_id": "s1",
                "session_started_at": "2024-03-01T10:00:00+01:00",
                "score": item["score"],
                "rank": 1,
                "turns": [
                    {
                        "turn_id": "D1:1",
                        "role": "user",
                        "speaker": "Ana",
                        "text": "Look!",
                        "said_at": "2024-03-01T10:00:00+01:00",
                        "images": [{"caption": "a dog on a beach"}],
                        "times": [],
                        "matched": True,
                    },
                    {
                        "turn_id": "1",
                        "role": "assistant",
                        "speaker": "assistant",
                        "text": "A fine dog, yesterday.",
                        "said_at": "2024-03-01T10:00:00+01:00",
                        "images": [],
                        "times": [
                            {
                                "from": "2024-02-29",
                                "to": "2024-03-01",
                                "precision": "day",
                                "text": "yesterday",
                                "start": 12,
                                "end": 21,
                                "relative": True,
                            }
                        ],
                        "matched": True,
                    },
                ],
                "facts": [],
                "also": [],
                "trace": None,
            }
        ],
        "instructions": [],
        "context": (
            "[2024-03-01 10:00] Ana: Look!\n  [image: a dog on a beach]\n"
            "[2024-03-01 10:00] assistant: A fine dog, yesterday."
        ),
        "context_tokens": 17,
        "window": None,
        "plan": None,
    }
    assert 0 < item["score"] <= 1
    assert sorted(took_ms) == ["encode", "load", "search", "total"]
    assert 0 < took_ms["encode"] + took_ms["search"] + took_ms["load"] <= took_ms["total"]


def test_user_nobody_knows_has_no_evidence(client: httpx.Client, user: str) -> None:
    found = recall(client, user, "anything")

    assert (found["evidence"], found["context"], found["context_tokens"]) == ([], "", 0)


@pytest.mark.parametrize(
    ("unit", "texts"),
    [
        pytest.param("turn", [["Its bell is missing."], ["Buy a new bell."]], id="turn"),
        pytest.param("round", [["Its bell is missing.", "Buy a new bell."]], id="round"),
        pytest.param(
            "session",
            [["Police found my bicycle!", "Wonderful!", "Its bell is missing.", "Buy a new bell."]],
            id="session",
        ),
    ],
)
def test_evidence_comes_in_the_unit_asked_for(
    client: httpx.Client, history: str, unit: str, texts: list[list[str]]
) -> None:
    found = recall(client, history, "bell", unit=unit, limit=len(texts))

    assert [item["unit"] for item in found["evidence"]] == [unit] * len(texts)
    assert sorted([turn["text"] for turn in item["turns"]] for item in found["evidence"]) == sorted(texts)
    assert {item["session_id"] for item in found["evidence"]} == {"may"}


@pytest.mark.parametrize(("unit", "held"), [("turn", 8), ("round", 4), ("session", 3)])
@pytest.mark.parametrize("limit", [1, 2, 100])
def test_limit_counts_units(client: httpx.Client, history: str, unit: str, held: int, limit: int) -> None:
    found = recall(client, history, "bicycle", unit=unit, limit=limit)

    assert [item["rank"] for item in found["evidence"]] == list(range(1, min(limit, held) + 1))
    scores = [item["score"] for item in found["evidence"]]
    assert scores == sorted(scores, reverse=True)


def test_turn_is_never_given_twice(client: httpx.Client, history: str) -> None:
    found = recall(client, history, "bicycle bell", unit="turn", limit=100)

    shown = [(item["session_id"], item["turns"][0]["turn_id"]) for item in found["evidence"]]
    assert [len(item["turns"]) for item in found["evidence"]] == [1] * 8
    assert len(set(shown)) == 8


def test_context_stands_in_the_order_of_time(client: httpx.Client, history: str) -> None:
    found = recall(client, history, "stolen bicycle", limit=3, unit="session")

    assert found["context"].splitlines() == [
        "[2024-03-01 10:00] user: I bought a red bicycle.",
        "[2024-03-01 10:00] assistant: Ride safely!",
        "[2024-04-01 10:00] user: The bicycle was stolen.",
        "[2024-04-01 10:00] assistant: I am sorry.",
        "[2024-05-01 10:00] user: Police found my bicycle!",
        "[2024-05-01 10:00] assistant: Wonderful!",
        "[2024-05-01 10:00] user: Its bell is missing.",
        "[2024-05-01 10:00] assistant: Buy a new bell.",
    ]


def test_context_stands_in_the_order_of_rank_when_asked_to(client: httpx.Client, history: str) -> None:
    found = recall(client, history, "The bicycle was stolen.", order="rank", unit="turn", limit=2)

    assert found["context"].splitlines()[0] == "[2024-04-01 10:00] user: The bicycle was stolen."
    assert turn_texts_of(found) == [line.split(": ", 1)[1] for line in found["context"].splitlines()]


def turn_texts_of(found: dict[str, Any]) -> list[str]:
    return [turn["text"] for item in found["evidence"] for turn in item["turns"]]


@pytest.mark.parametrize("budget", [0, 1, 5, 10, 30, 2000])
def test_context_keeps_within_its_budget(client: httpx.Client, history: str, budget: int) -> None:
    found = recall(client, history, "bicycle", token_budget=budget)

    # The hashing encoder counts words.
    assert found["context_tokens"] == len(found["context"].split())
    assert found["context_tokens"] <= budget
    assert len(found["evidence"]) == 4


def test_window_holds_its_beginning_and_not_its_end(client: httpx.Client, history: str) -> None:
    window = {"from": "2024-03-01T10:00:00Z", "to": "2024-04-01T10:00:00Z"}

    found = recall(client, history, "bicycle", window=window)

    assert [item["session_id"] for item in found["evidence"]] == ["march"]
    assert found["window"] == {
        "from": "2024-03-01T10:00:00Z",
        "to": "2024-04-01T10:00:00Z",
        "precision": "second",
        "source": "caller",
        "mode": "filter",
        "on": "said",
        "text": None,
    }


@pytest.mark.parametrize(
    ("window", "sessions"),
    [
        pytest.param({"from": "2024-04-01T10:00:00Z"}, {"april", "may"}, id="from"),
        pytest.param({"to": "2024-04-01T10:00:00Z"}, {"march"}, id="to"),
        pytest.param({"from": "2024-04-01T12:00:00+02:00", "to": "2024-04-01T12:00:01+02:00"}, {"april"}, id="zone"),
        pytest.param({"from": "2024-05-01T08:00:00Z", "to": "2024-05-01T08:00:01Z"}, {"may"}, id="turn in a zone"),
        pytest.param({"from": "2025-01-01T00:00:00Z"}, set(), id="after all"),
        pytest.param({}, {"march", "april", "may"}, id="open"),
    ],
)
def test_window_bounds_the_evidence(
    client: httpx.Client, history: str, window: dict[str, str], sessions: set[str]
) -> None:
    found = recall(client, history, "bicycle", window=window)

    assert {item["session_id"] for item in found["evidence"]} == sessions


def test_explained_evidence_shows_its_place_in_each_leg(client: httpx.Client, history: str) -> None:
    found = recall(client, history, "stolen", explain=True, unit="turn", limit=1)

    [item] = found["evidence"]
    legs = item["trace"]["legs"]
    assert item["turns"][0]["text"] == "The bicycle was stolen."
    assert item["trace"]["boosts"] == {}
    assert {"dense", "bm25"} <= set(legs)
    assert legs["bm25"]["rank"] == 1
    assert all(sorted(place) == ["rank", "score"] for place in legs.values())


def test_query_without_a_known_word_still_finds_by_likeness(client: httpx.Client, history: str) -> None:
    found = recall(client, history, "zzz", explain=True)

    assert len(found["evidence"]) == 4
    assert {leg for item in found["evidence"] for leg in item["trace"]["legs"]} == {"dense", "late"}


def test_explained_evidence_tells_its_boosts(client: httpx.Client, user: str) -> None:
    body = session_body("I bought a red bicycle.", "I bought a blue bicycle.")
    for turn, speaker in zip(body["turns"], ("Ana", "Ben"), strict=True):
        turn |= {"role": "user", "speaker": speaker}
    client.put(path(user, "s1"), params={"wait": "indexed"}, json=body)

    found = recall(client, user, "Which bicycle did Ben buy?", explain=True, unit="turn")

    boosts = {item["turns"][0]["speaker"]: item["trace"]["boosts"] for item in found["evidence"]}
    assert boosts == {"Ben": {"speaker": 1.35}, "Ana": {"speaker": pytest.approx(1 / 1.35)}}


@pytest.mark.parametrize("unit", ["turn", "round"])
def test_evidence_names_where_nearly_the_same_was_said(client: httpx.Client, user: str, unit: str) -> None:
    words = "I bought a red bicycle with a fine bell"
    for session in ("s1", "s2", "s3"):
        record(client, user, session, words, started_at="2024-03-01T10:00:00Z")

    [item] = recall(client, user, words, unit=unit)["evidence"]

    places = [(item["session_id"], "0"), *((said["session_id"], said["turn_id"]) for said in item["also"])]
    assert sorted(places) == [("s1", "0"), ("s2", "0"), ("s3", "0")]
    assert item["turns"][0]["text"] == words


def test_question_leaves_no_trace_of_its_user(client: httpx.Client, user: str) -> None:
    recall(client, user, "anything")

    missing = client.delete(f"/v1/users/{user}")

    assert missing.status_code == 404


@pytest.mark.parametrize(
    ("text", "query"),
    [
        pytest.param("昨天我在北京买了一只灰色的小猫。", "小猫", id="Chinese"),
        pytest.param("先週の金曜日に京都でお茶を飲みました。", "京都のお茶", id="Japanese"),
        pytest.param("어제 부산에서 친구를 만났어요.", "부산에서", id="Korean"),
        pytest.param("اشتريت دراجة حمراء أمس.", "دراجة حمراء", id="Arabic"),
        pytest.param("אתמול קניתי אופניים אדומים.", "אופניים אדומים", id="Hebrew"),
        pytest.param("Вчера я купил красный велосипед.", "красный велосипед", id="Russian"),
        pytest.param("เมื่อวานฉันซื้อจักรยานสีแดง", "จักรยาน", id="Thai"),
        pytest.param("Ich habe gestern ein Fahrrad für Jörg gekauft.", "Fahrrad für Jörg", id="German"),
    ],
)
def test_text_is_found_by_a_question_in_its_own_language(
    client: httpx.Client, user: str, text: str, query: str
) -> None:
    others = ["The weather is mild.", "Nothing new today.", "I slept well."]
    # A turn behind it would be found by its words too, which the hashing encoder cannot tell apart here.
    record(client, user, "s1", *others, text, started_at="2024-03-01T10:00:00Z")

    found = recall(client, user, query, unit="turn", limit=1)

    assert turn_texts_of(found) == [text]


def test_forgotten_user_is_not_recalled(client: httpx.Client, history: str) -> None:
    client.delete(f"/v1/users/{history}")

    found = client.post(f"/v1/users/{history}/recall", json={"query": "bicycle"})

    assert turn_texts(found) == []
    assert found.json()["context"] == ""


def test_question_may_carry_every_field_of_the_wire(client: httpx.Client, history: str) -> None:
    question = {
        "query": "What happened to the bicycle?",
        "asked_at": "2024-10-22T10:00:00Z",
        "limit": 10,
        "unit": "round",
        "token_budget": 2000,
        "order": "time",
        "window": {"from": "2024-04-01T00:00:00Z", "to": "2024-05-01T00:00:00Z", "mode": "filter"},
        "as_of": {"valid": None, "recorded": None},
        "explain": False,
    }

    found = client.post(f"/v1/users/{history}/recall", json=question)

    assert found.status_code == 200
    assert turn_texts(found) == ["The bicycle was stolen.", "I am sorry."]


def test_times_of_a_turn_are_told_as_exactly_as_they_are(client: httpx.Client, user: str) -> None:
    text = "We met yesterday at 5 pm, in May 2023, since 2019. I will stay until Friday."
    record(client, user, "s1", text, started_at="2024-03-01T10:00:00+09:00")

    [item] = recall(client, user, "met")["evidence"]

    times = item["turns"][0]["times"]
    assert [(time["text"], time["from"], time["to"], time["precision"]) for time in times] == [
        ("yesterday at 5 pm", "2024-02-29T17:00:00+09:00", "2024-02-29T17:01:00+09:00", "hour"),
        ("May 2023", "2023-05-01", "2023-06-01", "month"),
        ("since 2019", "2019-01-01", None, "year"),
        ("until Friday", "2024-03-01T10:00:00+09:00", "2024-03-09T00:00:00+09:00", "day"),
    ]
    assert [text[time["start"] : time["end"]] for time in times] == [time["text"] for time in times]


@pytest.fixture
def spring(client: httpx.Client, user: str) -> str:
    """A user who was said something in April, and in May of April."""
    record(client, user, "april", "The bicycle was stolen.", started_at="2024-04-01T10:00:00Z")
    record(client, user, "may", "The bicycle is back since April 2024.", started_at="2024-05-01T10:00:00Z")
    record(client, user, "june", "The bicycle is old.", started_at="2024-06-01T10:00:00Z")
    return user


@pytest.mark.parametrize(
    ("window", "sessions"),
    [
        pytest.param({}, {"april"}, id="filter, on what was said"),
        pytest.param({"on": "said"}, {"april"}, id="said"),
        pytest.param({"on": "event"}, {"may"}, id="event"),
        pytest.param({"on": "either"}, {"april", "may"}, id="either"),
        pytest.param({"mode": "boost"}, {"april", "may", "june"}, id="boost"),
        pytest.param({"mode": "off"}, {"april", "may", "june"}, id="off"),
    ],
)
def test_window_does_what_its_mode_says_on_the_time_it_says(
    client: httpx.Client, spring: str, window: dict[str, str], sessions: set[str]
) -> None:
    april = {"from": "2024-04-01T00:00:00Z", "to": "2024-05-01T00:00:00Z"}

    found = recall(client, spring, "bicycle", window={**april, **window}, explain=True)

    assert {item["session_id"] for item in found["evidence"]} == sessions
    boosted = {item["session_id"] for item in found["evidence"] if item["trace"]["boosts"].get("time") == 3}
    assert boosted == ({"april", "may"} if window.get("mode") == "boost" else set())


def test_window_of_the_query_is_told_with_its_words(client: httpx.Client, spring: str) -> None:
    found = recall(client, spring, "bicycle in April 2024")

    assert len(found["evidence"]) == 3
    assert found["window"] == {
        "from": "2024-04-01T00:00:00Z",
        "to": "2024-05-01T00:00:00Z",
        "precision": "month",
        "source": "query",
        "mode": "boost",
        "on": "either",
        "text": "April 2024",
    }


@pytest.mark.parametrize(
    ("window", "sessions"),
    [
        pytest.param({"mode": "filter", "on": "event"}, {"may"}, id="filter"),
        pytest.param({"mode": "boost"}, {"april", "may", "june"}, id="boost"),
    ],
)
def test_window_without_ends_says_what_becomes_of_the_one_of_the_query(
    client: httpx.Client, spring: str, window: dict[str, str], sessions: set[str]
) -> None:
    found = recall(client, spring, "bicycle in April 2024", window=window)

    assert {item["session_id"] for item in found["evidence"]} == sessions
    assert (found["window"]["mode"], found["window"]["source"]) == (window["mode"], "query")


def test_window_that_is_off_lets_the_query_name_none(client: httpx.Client, spring: str) -> None:
    found = recall(client, spring, "bicycle in April 2024", window={"mode": "off"})

    assert (len(found["evidence"]), found["window"], found["plan"]) == (3, None, None)


def test_plan_of_a_question_of_order_is_told(client: httpx.Client, spring: str) -> None:
    found = recall(client, spring, "What did I say in our second conversation?")

    assert turn_texts_of(found) == ["The bicycle is back since April 2024."]
    assert found["plan"] == {
        "sessions": [2, 2],
        "weekdays": [],
        "minutes": None,
        "window": None,
        "role": "user",
        "speaker": None,
        "after": None,
        "before": None,
        "alternatives": [],
        "picks": None,
        "about": "",
        "count": None,
    }


@pytest.mark.parametrize(
    ("as_of", "sessions"),
    [
        pytest.param({}, {"april", "may", "june"}, id="now"),
        pytest.param({"valid": None, "recorded": None}, {"april", "may", "june"}, id="null is now"),
        pytest.param({"valid": "2024-05-01T10:00:00Z"}, {"april", "may"}, id="said by then, included"),
        pytest.param({"valid": "2024-05-01T11:59:59+02:00"}, {"april"}, id="in a zone"),
        pytest.param({"recorded": "2024-07-01T00:00:00Z"}, set(), id="nothing was on record then"),
        pytest.param({"recorded": "9999-01-01T00:00:00Z"}, {"april", "may", "june"}, id="all is on record then"),
        pytest.param({"valid": "2024-04-02T00:00:00Z", "recorded": "9999-01-01T00:00:00Z"}, {"april"}, id="both"),
    ],
)
def test_evidence_is_what_was_known_at_two_instants(
    client: httpx.Client, spring: str, as_of: dict[str, str | None], sessions: set[str]
) -> None:
    found = recall(client, spring, "bicycle", as_of=as_of)

    assert {item["session_id"] for item in found["evidence"]} == sessions


def test_session_tells_the_times_of_its_turns_once_it_is_indexed(client: httpx.Client, user: str) -> None:
    record(client, user, "s1", "I sailed yesterday.", started_at="2024-03-01T10:00:00Z")

    read = client.get(path(user, "s1")).json()

    assert read["turns"][0]["times"] == [
        {
            "from": "2024-02-29",
            "to": "2024-03-01",
            "precision": "day",
            "text": "yesterday",
            "start": 9,
            "end": 18,
            "relative": True,
        }
    ]


@pytest.mark.parametrize(
    ("to", "precision"),
    [
        ("2024-03-02T00:00:00Z", "day"),
        ("2024-03-31T00:00:00Z", "month"),
        ("2024-03-09T00:00:00Z", "week"),
        ("2024-06-10T00:00:00Z", "season"),
    ],
)
def test_callers_window_that_boosts_is_true_to_the_longest_unit_it_holds(
    client: httpx.Client, to: str, precision: str
) -> None:
    window = {"from": "2024-03-01T00:00:00Z", "to": to, "mode": "boost"}

    answer = client.post("/v1/users/ana/recall", json={"query": "kitten", "window": window})

    assert (answer.json()["window"]["precision"], answer.json()["window"]["source"]) == (precision, "caller")
