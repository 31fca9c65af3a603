"""Recall, from a query to evidence: over a real store, a real index and the hashing encoder."""

from datetime import UTC, datetime, timedelta

import pytest

from memsvc.app import Service
from memsvc.domain import Draft, Owner, Query, Recollection, Unit, Window
from memsvc.errors import IndexUnavailable
from tests.factories import OWNER, STARTED, draft, indexer_of, points_of, round_of, turn

BEN = Owner(OWNER.workspace, "ben")
NAMESAKE = Owner("acme", OWNER.user_id)


def test_round_that_answers_is_evidence_with_its_turns(service: Service) -> None:
    _remember(service, "s1", draft("I adopted a grey kitten."), draft("Congratulations!", "assistant"))

    found = _recall(service, "grey kitten", limit=1)

    evidence = found.evidence[0]
    assert (evidence.unit, evidence.session_id, evidence.session_started_at) == (Unit.ROUND, "s1", STARTED)
    assert evidence.rank == 1
    assert evidence.score == pytest.approx(1.0, abs=0.01)
    assert evidence.turns == (
        turn("I adopted a grey kitten.", turn_id="0"),
        turn("Congratulations!", "assistant", turn_id="1"),
    )
    assert "0" in evidence.matched


def test_unit_turn_gives_exactly_one_turn_an_item(service: Service) -> None:
    _remember(service, "s1", draft("I adopted a grey kitten."), draft("Is the kitten grey?", "assistant"))

    found = _recall(service, "grey kitten", unit=Unit.TURN)

    assert {item.turns[0].text for item in found.evidence} == {"I adopted a grey kitten.", "Is the kitten grey?"}
    assert [(len(item.turns), item.matched) for item in found.evidence] == [
        (1, frozenset({item.turns[0].turn_id})) for item in found.evidence
    ]


def test_unit_round_gives_whole_rounds(service: Service) -> None:
    _remember(
        service,
        "s1",
        *(draft("I adopted a grey kitten."), draft("Congratulations!", "assistant")),
        *(draft("Where is the lighthouse?"), draft("On Amrum.", "assistant")),
    )

    found = _recall(service, "lighthouse", unit=Unit.ROUND, limit=1)

    assert _texts(found) == [["Where is the lighthouse?", "On Amrum."]]


def test_unit_session_gives_each_session_once_with_its_best_turns(service: Service) -> None:
    for session in ("s1", "s2"):
        words = [f"{session} kitten", "something else", "grey kitten", "nothing at all", "a kitten, grey"]
        _remember(service, session, *(draft(word) for word in words))

    found = _recall(service, "grey kitten", unit=Unit.SESSION)

    assert sorted(item.session_id for item in found.evidence) == ["s1", "s2"]
    assert {item.unit for item in found.evidence} == {Unit.SESSION}
    for item in found.evidence:
        assert [each.text for each in item.turns] == [f"{item.session_id} kitten", "grey kitten", "a kitten, grey"]


def test_limit_counts_the_unit(service: Service) -> None:
    for number in range(4):
        _remember(service, f"s{number}", draft("grey kitten"), draft("a grey kitten", "assistant"))

    counts = {
        (unit, limit): len(_recall(service, "grey kitten", unit=unit, limit=limit).evidence)
        for unit in Unit
        for limit in (1, 3, 100)
    }

    assert counts == {(unit, limit): min(limit, 8 if unit is Unit.TURN else 4) for unit, limit in counts}


def test_deep_limit_is_filled(service: Service) -> None:
    _remember(service, "s1", *(draft(f"grey kitten number {number}") for number in range(120)))

    found = _recall(service, "grey kitten", limit=100)

    assert len({item.turns[0].turn_id for item in found.evidence}) == 100


def test_evidence_is_ordered_by_rank_with_descending_scores(service: Service) -> None:
    words = ["grey kitten", "grey sky", "kitten food", "a grey kitten sleeps", "something else"]
    _remember(service, "s1", *(draft(word) for word in words))

    found = _recall(service, "grey kitten")

    scores = [item.score for item in found.evidence]
    assert [item.rank for item in found.evidence] == [1, 2, 3, 4, 5]
    assert scores == sorted(scores, reverse=True)
    assert _texts(found)[0] == ["grey kitten"]
    assert all(0 < score <= 1 for score in scores)


def test_trace_tells_the_place_in_each_list(service: Service) -> None:
    _remember(service, "s1", draft("grey kitten"), draft("a grey kitten, really", "assistant"))

    found = _recall(service, "grey kitten", unit=Unit.TURN, explain=True)

    first, second = (item.trace for item in found.evidence)
    assert {leg: place for leg, (place, _) in first.legs.items()} == dict.fromkeys(_ALL_LISTS, 1)
    assert {leg: place for leg, (place, _) in second.legs.items()} == {
        "dense": 2,
        "bm25": 2,
        "dense_round": 1,
        "bm25_round": 1,
    }
    assert first.legs["dense"][1] > second.legs["dense"][1]
    assert first.boosts == {}


_ALL_LISTS = ("dense", "bm25", "dense_round", "bm25_round")


def test_query_of_stop_words_is_answered_by_the_dense_leg(service: Service) -> None:
    _remember(service, "s1", draft("and the of"))

    found = _recall(service, "and the of")

    assert _texts(found) == [["and the of"]]
    assert set(found.evidence[0].trace.legs) == {"dense"}


def test_user_of_whom_nothing_is_known_gets_no_evidence(service: Service) -> None:
    found = _recall(service, "grey kitten", owner=Owner("default", "nobody"))

    assert (found.evidence, found.context, found.context_tokens) == ((), "", 0)


@pytest.mark.parametrize("stranger", [BEN, NAMESAKE], ids=["other user", "same user id in another workspace"])
def test_evidence_is_the_owners_alone(service: Service, stranger: Owner) -> None:
    _remember(service, "s1", draft("my grey kitten"))
    _remember(service, "s1", draft("their grey kitten"), owner=stranger)

    mine, theirs = (_recall(service, "grey kitten", owner=owner) for owner in (OWNER, stranger))

    assert (_texts(mine), _texts(theirs)) == ([["my grey kitten"]], [["their grey kitten"]])


def test_foreign_round_is_no_evidence_even_where_a_point_leads_to_it(service: Service) -> None:
    _remember(service, "s1", draft("their grey kitten"), owner=BEN)
    with service.store.read() as tx:
        theirs = tx.rounds.page(after=None, limit=1)[0][1]
    service.index.put(points_of(OWNER, theirs))

    found = _recall(service, "grey kitten")

    assert found.evidence == ()


def test_forgotten_session_is_not_recalled(service: Service) -> None:
    _remember(service, "gone", draft("grey kitten"))
    _remember(service, "kept", draft("a grey kitten too"))

    service.use_cases.forgetter.forget_session(OWNER, "gone")

    found = [_recall(service, "grey kitten", unit=unit) for unit in Unit]
    assert [[item.session_id for item in each.evidence] for each in found] == [["kept"]] * 3


def test_forgotten_session_is_not_recalled_while_its_points_are_still_there(service: Service) -> None:
    _remember(service, "gone", draft("grey kitten"))
    with service.store.read() as tx:
        gone = tx.rounds.page(after=None, limit=1)[0][1]
    service.use_cases.forgetter.forget_session(OWNER, "gone")

    service.index.put(points_of(OWNER, gone))

    assert service.index.count(OWNER) > 0
    assert [_recall(service, "grey kitten", unit=unit).evidence for unit in Unit] == [()] * 3


def test_session_recorded_again_after_it_was_forgotten_is_recalled_as_it_is_now(service: Service) -> None:
    _remember(service, "s1", draft("grey kitten, first telling"))
    service.use_cases.forgetter.forget_session(OWNER, "s1")

    _remember(service, "s1", draft("grey kitten, second telling"))

    assert _texts(_recall(service, "grey kitten")) == [["grey kitten, second telling"]]


@pytest.mark.parametrize("stale", [1, 9, 40], ids=lambda number: f"{number} stale")
def test_stale_points_are_skipped_and_the_limit_is_filled(service: Service, stale: int) -> None:
    for number in range(5):
        _remember(service, f"s{number}", draft(f"one grey kitten, number {number}"))
    gone = [round_of(turn("grey kitten"), session=f"gone {number}") for number in range(stale)]
    service.index.put(points_of(OWNER, *gone))

    found = [_recall(service, "grey kitten", unit=unit, limit=5) for unit in Unit]

    for each in found:
        assert sorted(item.session_id for item in each.evidence) == ["s0", "s1", "s2", "s3", "s4"]
        assert [item.rank for item in each.evidence] == [1, 2, 3, 4, 5]


def test_turn_that_is_not_indexed_yet_stands_in_the_round_that_is(service: Service) -> None:
    _remember(service, "s1", draft("grey kitten"))
    service.use_cases.recorder.append(OWNER, "s1", [draft("What is it named?", "assistant")])

    found = _recall(service, "grey kitten")

    assert _texts(found) == [["grey kitten", "What is it named?"]]
    assert found.evidence[0].matched == frozenset({"0"})


_DAY = datetime(2024, 3, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        pytest.param(Window(None, None), {"first", "second", "third"}, id="open"),
        pytest.param(Window(_DAY, None), {"second", "third"}, id="from, included"),
        pytest.param(Window(None, _DAY), {"first"}, id="to, excluded"),
        pytest.param(Window(_DAY, _DAY + timedelta(days=1)), {"second"}, id="a day"),
        pytest.param(Window(_DAY + timedelta(days=9), None), set(), id="nothing was said then"),
        pytest.param(
            Window(datetime.fromisoformat("2024-03-02T09:00:00+09:00"), None), {"second", "third"}, id="in Tokyo's time"
        ),
    ],
)
def test_window_filters_by_the_time_it_was_said(service: Service, window: Window, expected: set[str]) -> None:
    for day, session in enumerate(("first", "second", "third")):
        _remember(service, session, draft("grey kitten"), started_at=_DAY + timedelta(days=day - 1))

    found = _recall(service, "grey kitten", window=window)

    assert {item.session_id for item in found.evidence} == expected
    assert found.window == window


@pytest.mark.parametrize(
    ("window", "expected"),
    [
        pytest.param(Window(None, _DAY), ["A grey kitten?"], id="before midnight"),
        pytest.param(Window(_DAY, None), ["Yes, a grey kitten."], id="after midnight"),
    ],
)
def test_turn_outside_the_window_is_no_evidence(service: Service, window: Window, expected: list[str]) -> None:
    _remember(
        service,
        "s1",
        draft("A grey kitten?", said_at=_DAY - timedelta(minutes=1)),
        draft("Yes, a grey kitten.", "assistant", said_at=_DAY + timedelta(minutes=1)),
    )

    found = _recall(service, "grey kitten", unit=Unit.TURN, window=window)

    assert [item.turns[0].text for item in found.evidence] == expected


def test_context_is_the_evidence_in_order_of_time(service: Service) -> None:
    _remember(service, "late", draft("grey kitten"), started_at=STARTED + timedelta(days=1))
    _remember(service, "early", draft("a grey kitten, perhaps"), started_at=STARTED)

    found = _recall(service, "grey kitten")

    assert [item.session_id for item in found.evidence] == ["late", "early"]
    assert found.context == "[2024-03-01 10:00] user: a grey kitten, perhaps\n[2024-03-02 10:00] user: grey kitten"


def test_context_is_in_order_of_rank_if_asked(service: Service) -> None:
    _remember(service, "late", draft("grey kitten"), started_at=STARTED + timedelta(days=1))
    _remember(service, "early", draft("a grey kitten, perhaps"), started_at=STARTED)

    found = _recall(service, "grey kitten", order="rank")

    assert found.context == "[2024-03-02 10:00] user: grey kitten\n[2024-03-01 10:00] user: a grey kitten, perhaps"


@pytest.mark.parametrize("unit", Unit)
def test_context_keeps_to_its_budget_and_says_its_length(service: Service, unit: Unit) -> None:
    for number in range(6):
        _remember(service, f"s{number}", draft(f"grey kitten {number}\nand more of it"), draft("Yes.", "assistant"))

    found = {
        budget: _recall(service, "grey kitten", unit=unit, token_budget=budget) for budget in (0, 3, 5, 11, 40, 2000)
    }

    for budget, each in found.items():
        assert each.context_tokens == service.encoder.count_tokens([each.context])[0]
        assert each.context_tokens <= budget
        assert len(each.evidence) == (10 if unit is Unit.TURN else 6)
    assert found[40].context_tokens > 20


def test_context_counts_no_turn_twice(service: Service) -> None:
    _remember(service, "s1", draft("grey kitten one"), draft("grey kitten two", "assistant"))

    found = _recall(service, "grey kitten", unit=Unit.SESSION)

    assert sorted(found.context.splitlines()) == [
        "[2024-03-01 10:00] assistant: grey kitten two",
        "[2024-03-01 10:00] user: grey kitten one",
    ]


def test_recall_raises_rather_than_answering_without_the_index(service: Service) -> None:
    _remember(service, "s1", draft("grey kitten"))
    service.index.close()

    with pytest.raises(IndexUnavailable):
        _recall(service, "grey kitten")


def test_time_spent_is_told_by_stage(service: Service) -> None:
    _remember(service, "s1", draft("grey kitten"))

    took = _recall(service, "grey kitten").took_ms

    stages = (took.encode, took.search, took.load)
    assert all(stage > 0 for stage in stages)
    assert took.total >= sum(stages) - 0.01


def _remember(
    service: Service, session_id: str, *drafts: Draft, owner: Owner = OWNER, started_at: datetime = STARTED
) -> None:
    """Record a session and do what is owed for it."""
    service.use_cases.recorder.record(owner, session_id, drafts, started_at=started_at)
    indexer = indexer_of(service)
    while indexer.drain():
        pass


def _recall(service: Service, text: str, *, owner: Owner = OWNER, **more: object) -> Recollection:
    query = Query(text, asked_at=datetime(2025, 1, 1, tzinfo=UTC), **more)  # type: ignore[arg-type]
    return service.use_cases.recaller.recall(owner, query)


def _texts(found: Recollection) -> list[list[str]]:
    return [[each.text for each in item.turns] for item in found.evidence]
