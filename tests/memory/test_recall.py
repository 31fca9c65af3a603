"""Recall, from a query to evidence: over a real store, a real index and the hashing encoder."""

from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from math import sqrt

import numpy as np
import pytest

from memsvc.app import Service, _wire, build, open_store, variant
from memsvc.domain import Draft, KeyKind, Owner, Query, Recollection, Unit
from memsvc.errors import IndexUnavailable
from memsvc.index.base import Legs, Probe
from memsvc.index.edge import EdgeIndex
from memsvc.index.lexical import Lexicon
from memsvc.inference.encoders import Encoder
from memsvc.inference.rerankers import Reranker
from memsvc.intervals import Mode, On, Precision, Window
from memsvc.memory.indexing import shape_of
from memsvc.memory.rarity import Rarity
from memsvc.memory.recall import QUERY_TOKENS, Recaller, Recipe
from memsvc.settings import Settings
from memsvc.store.facts import FactFilter
from tests.doubles import HashEncoder
from tests.factories import OWNER, STARTED, draft, fact_of, fact_points_of, indexer_of, points_of, round_of, turn

BEN = Owner(OWNER.workspace, "ben")
NAMESAKE = Owner("acme", OWNER.user_id)
ANYTIME = datetime(2025, 1, 1, tzinfo=UTC)


class Watched(EdgeIndex):
    """An embedded index that keeps what it was asked."""

    probes: list[Probe]

    def search(self, owner: Owner, probe: Probe) -> Legs:
        self.probes = [*getattr(self, "probes", []), probe]
        return super().search(owner, probe)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """As everywhere, but ranks decide: the shipped network knows real conversations, not a few hashed words."""
    return settings.model_copy(update={"fusion": "ranks", "time_boost": 3.0, "time_tolerance_days": 2.0})


def test_round_that_answers_is_evidence_with_its_turns(service: Service) -> None:
    _remember(service, "s1", draft("I adopted a grey kitten."), draft("Congratulations!", "assistant"))

    found = _recall(service, "grey kitten", limit=1)

    evidence = found.evidence[0]
    assert (evidence.unit, evidence.session_id, evidence.session_started_at) == (Unit.ROUND, "s1", STARTED)
    assert evidence.rank == 1
    assert evidence.score == 0.5
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

    # The words leg finds turns by those before them too.
    found = _recall(_with(service, legs="dense,late"), "grey kitten", unit=Unit.SESSION)

    assert sorted(item.session_id for item in found.evidence) == ["s1", "s2"]
    assert {item.unit for item in found.evidence} == {Unit.SESSION}
    for item in found.evidence:
        assert [each.text for each in item.turns] == [f"{item.session_id} kitten", "grey kitten", "a kitten, grey"]


def test_limit_counts_the_unit(service: Service) -> None:
    for number in range(4):
        _remember(service, f"s{number}", draft(f"I have grey kitten {number}."), draft("a grey kitten", "assistant"))

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
    for number, word in enumerate(words):
        _remember(service, f"s{number}", draft(word))

    found = _recall(service, "grey kitten")

    scores = [item.score for item in found.evidence]
    assert [item.rank for item in found.evidence] == [1, 2, 3, 4, 5]
    assert scores == sorted(scores, reverse=True)
    assert _texts(found)[0] == ["grey kitten"]
    assert all(0 < score <= 1 for score in scores)


def test_trace_tells_the_place_in_each_leg(service: Service) -> None:
    _remember(service, "s1", draft("grey kitten"))
    _remember(service, "s2", draft("a kitten of hers"))

    found = _recall(service, "grey kitten", unit=Unit.TURN, explain=True)

    first, second = (item.trace for item in found.evidence)
    assert {leg: place for leg, (place, _) in first.legs.items()} == {"dense": 1, "bm25": 1, "late": 1}
    assert {leg: place for leg, (place, _) in second.legs.items()} == {"dense": 2, "bm25": 2, "late": 2}
    # By hand: words in common over the roots of both lengths; what is quantised is near it.
    assert first.legs["dense"][1] == pytest.approx(2 / sqrt(2 * 3), abs=0.01)
    assert second.legs["dense"][1] == pytest.approx(1 / sqrt(2 * 5), abs=0.01)
    assert (first.boosts, second.boosts) == ({}, {})


def test_late_leg_weighs_words_by_their_rarity_among_the_users_turns(service: Service) -> None:
    _remember(service, "s1", draft("grey"))
    _remember(service, "s2", draft("kitten"))
    _remember(service, "s3", draft("kitten"))
    _remember(service, "s1", *[draft("grey")] * 9, owner=BEN)

    legs = service.use_cases.recaller.search(OWNER, Query("grey kitten", asked_at=ANYTIME))

    # One turn of three holds the first word and two the second: weights of .990 and .686, which add up to one.
    grey, kitten = 0.9904 / 1.676, 0.6856 / 1.676
    assert [hit.score for hit in legs["late"]] == [pytest.approx(each, abs=0.03) for each in (grey, kitten, kitten)]


def test_query_of_stop_words_is_answered_without_the_words_leg(service: Service) -> None:
    _remember(service, "s1", draft("and the of"))

    found = _recall(service, "and the of")

    assert _texts(found) == [["and the of"]]
    assert set(found.evidence[0].trace.legs) == {"dense", "late"}


def test_query_without_any_token_is_answered_by_the_dense_leg(service: Service) -> None:
    _remember(service, "s1", draft("grey kitten"))

    found = _recall(service, " ")

    assert _texts(found) == [["grey kitten"]]
    assert set(found.evidence[0].trace.legs) == {"dense"}


def test_long_query_is_compared_by_its_rarest_tokens(settings: Settings) -> None:
    encoder = HashEncoder(max_tokens=300)
    with closing(_watched(settings, encoder)) as service:
        _remember(service, "s1", *[draft("common words")] * 3, draft("kitten"))

        _recall(service, " ".join(["common"] * 50 + ["kitten"] + ["words"] * 50))

        probe, of_facts = service.index.probes  # type: ignore[attr-defined]
        lengths = np.linalg.norm(probe.tokens, axis=1)
        (kitten,) = encoder.encode(["kitten"])[0].tokens
        assert probe.tokens.shape == (QUERY_TOKENS, encoder.token_dimension)
        assert lengths.sum() == pytest.approx(1)
        assert np.argmax(lengths) == 50
        assert probe.tokens[50] / lengths[50] == pytest.approx(kitten)
        # Which facts bear on the query is asked of the dense leg alone.
        assert (of_facts.bounds.kind, of_facts.sparse, of_facts.tokens) == (KeyKind.FACT, None, None)


@pytest.mark.parametrize(("limit", "depth"), [(1, 100), (50, 100), (51, 102), (100, 200)])
def test_depth_grows_with_the_limit(settings: Settings, limit: int, depth: int) -> None:
    with closing(_watched(settings, HashEncoder())) as service:
        _recall(service, "grey kitten", limit=limit)

        probes = [(probe.bounds.kind, probe.depth) for probe in service.index.probes]  # type: ignore[attr-defined]
        assert probes == [(KeyKind.TURN, depth), (KeyKind.FACT, depth)]


@pytest.mark.parametrize(
    "legs", ["dense", "bm25", "late", "dense,bm25", "bm25,late", "dense,late", "late,bm25,dense", "dense,dense"]
)
def test_legs_are_those_of_the_settings(service: Service, legs: str) -> None:
    _remember(service, "s1", draft("grey kitten"), draft("something else"))

    found = _recall(_with(service, legs=legs), "grey kitten", unit=Unit.TURN)

    assert set(found.evidence[0].trace.legs) == set(legs.split(","))
    assert found.evidence[0].turns[0].text == "grey kitten"
    assert found.evidence[0].score == 0.5


def test_variant_changes_nothing_of_the_service_it_was_made_of(service: Service) -> None:
    _remember(service, "s1", draft("grey kitten"))

    other = _with(service, legs="bm25")

    assert set(_recall(other, "grey kitten").evidence[0].trace.legs) == {"bm25"}
    assert set(_recall(service, "grey kitten").evidence[0].trace.legs) == {"dense", "bm25", "late"}
    shared = ("store", "index", "encoder", "workers", "rebuilder")
    assert [getattr(other, name) is getattr(service, name) for name in shared] == [True] * 5
    assert other.use_cases.recorder is service.use_cases.recorder
    assert (other.settings.legs, service.settings.legs) == ("bm25", "dense,bm25,late")


def test_variant_recalls_what_the_first_recorded_and_both_forget(service: Service) -> None:
    other = _with(service, legs="late")
    _remember(service, "s1", draft("grey kitten"))
    before = _texts(_recall(other, "grey kitten"))

    other.use_cases.forgetter.forget_session(OWNER, "s1")

    assert before == [["grey kitten"]]
    assert [_recall(each, "grey kitten").evidence for each in (service, other)] == [(), ()]


@pytest.mark.parametrize("legs", ["dense,bm25,late", "dense,bm25"])
# Facts are fused by their ranks: the network was trained on turns.
@pytest.mark.parametrize("unit", [Unit.TURN, Unit.ROUND, Unit.SESSION])
def test_learned_fusion_finds_the_same_as_ranks_in_an_order_of_its_own(service: Service, unit: Unit, legs: str) -> None:
    words = ["grey kitten", "Is the kitten grey?", "kitten food", "something else", "a grey sky"]
    _remember(service, "s1", *(draft(word) for word in words))
    _remember(service, "s2", draft("A kitten!"), draft("Congratulations!", "assistant"))

    by_ranks, learned = (
        _recall(_with(service, legs=legs, fusion=fusion), "grey kitten", unit=unit, limit=100)
        for fusion in ("ranks", "learned")
    )

    assert sorted(_texts(learned)) == sorted(_texts(by_ranks))
    assert [item.score for item in learned.evidence] != [item.score for item in by_ranks.evidence]
    scores = [item.score for item in learned.evidence]
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)


def test_turns_of_the_speaker_whom_the_query_names_come_first(service: Service) -> None:
    _remember(service, "s1", draft("a grey kitten", speaker="Ben"))
    _remember(service, "s2", draft("grey kitten", speaker="Ana"))
    boosted, plain = (_with(service, speaker_boost=factor) for factor in (4, 1))

    found, without = (_recall(each, "Has Ben got a grey kitten", unit=Unit.TURN) for each in (boosted, plain))

    assert {item.turns[0].speaker: item.trace.boosts for item in found.evidence} == {
        "Ben": {"speaker": 4.0},
        "Ana": {"speaker": 0.25},
    }
    assert found.evidence[0].turns[0].speaker == "Ben"
    assert [item.trace.boosts for item in without.evidence] == [{}, {}]
    odds = [
        {item.turns[0].speaker: item.score / (1 - item.score) for item in each.evidence} for each in (found, without)
    ]
    assert odds[0] == {"Ben": pytest.approx(4 * odds[1]["Ben"]), "Ana": pytest.approx(odds[1]["Ana"] / 4)}


def test_speaker_boost_puts_the_named_before_a_better_match(service: Service) -> None:
    _remember(service, "s1", draft("something else", speaker="Ben"))
    _remember(service, "s2", draft("grey kitten", speaker="Ana"))

    speakers = [
        [item.turns[0].speaker for item in _recall(_with(service, speaker_boost=factor), query).evidence]
        for factor, query in [(1, "grey kitten, Ben?"), (9, "grey kitten, Ben?"), (9, "grey kitten?")]
    ]

    assert speakers == [["Ana", "Ben"], ["Ben", "Ana"], ["Ana", "Ben"]]


def test_query_about_the_user_or_the_assistant_names_nobody(service: Service) -> None:
    _remember(service, "s1", draft("a grey kitten"), draft("grey kitten", "assistant"))

    found = _recall(_with(service, speaker_boost=9), "What did the user tell the assistant?", unit=Unit.TURN)

    assert [item.trace.boosts for item in found.evidence] == [{}, {}]


def test_age_changes_nothing_without_a_half_life(service: Service) -> None:
    _remember(service, "old", draft("grey kitten"), started_at=ANYTIME - timedelta(days=3000))
    _remember(service, "new", draft("kitten"), started_at=ANYTIME)

    found = _recall(service, "grey kitten")

    assert [(item.session_id, item.trace.boosts) for item in found.evidence] == [("old", {}), ("new", {})]
    assert found.evidence[0].score == 0.5


def test_odds_halve_with_each_half_life(service: Service) -> None:
    _remember(service, "old", draft("grey kitten"), started_at=ANYTIME - timedelta(days=30))
    _remember(service, "new", draft("kitten"), started_at=ANYTIME)

    found = _recall(_with(service, recency_half_life_days=10), "grey kitten")

    # Odds of one, three half-lives ago: an eighth. The other is second in each leg: six sevenths.
    assert [item.session_id for item in found.evidence] == ["new", "old"]
    assert [item.score for item in found.evidence] == [pytest.approx(6 / 13), pytest.approx(1 / 9)]
    assert [item.trace.boosts for item in found.evidence] == [{}, {"recency": pytest.approx(1 / 8)}]


def test_fraction_of_a_day_is_a_half_life_too(service: Service) -> None:
    _remember(service, "s1", draft("grey kitten"), started_at=ANYTIME - timedelta(hours=6))

    found = _recall(_with(service, recency_half_life_days=0.25), "grey kitten")

    assert found.evidence[0].trace.boosts == {"recency": pytest.approx(0.5)}


@pytest.mark.parametrize("fusion", ["learned", "ranks"])
def test_service_without_token_vectors_recalls_by_the_other_legs(settings: Settings, fusion: str) -> None:
    changed = settings.model_copy(update={"fusion": fusion})
    with closing(build(changed, encoder=HashEncoder(token_dimension=0))) as service:
        _remember(service, "s1", draft("grey kitten"), draft("something else"))

        found = _recall(service, "grey kitten", unit=Unit.TURN)

        assert found.evidence[0].turns[0].text == "grey kitten"
        assert set(found.evidence[0].trace.legs) == {"dense", "bm25"}
        assert "late" not in service.use_cases.recaller.search(OWNER, Query("grey kitten", asked_at=ANYTIME))


def test_setting_switches_the_token_vectors_of_the_shipped_encoder_off(settings: Settings) -> None:
    changed = settings.model_copy(update={"late_interaction": False, "fusion": "learned"})
    with closing(build(changed)) as service:
        _remember(service, "s1", draft("I adopted a grey kitten."), draft("The ferry leaves at noon."))

        found = _recall(service, "What pet do I have?", unit=Unit.TURN, limit=1)

        assert service.encoder.token_dimension == 0
        assert _texts(found) == [["I adopted a grey kitten."]]
        assert "late" not in found.evidence[0].trace.legs


def test_recall_as_shipped_finds_by_meaning(settings: Settings, real_encoder: Encoder) -> None:
    shipped = settings.model_copy(update={"fusion": "learned"})
    with closing(build(shipped, encoder=real_encoder)) as service:
        _remember(
            service,
            "s1",
            *(
                draft("Do you keep any pets?", speaker="Ben"),
                draft("Yes, since May. She is called Tiger.", speaker="Ana"),
            ),
            *(draft("How is work?", speaker="Ben"), draft("Busy, we move to a new office.", speaker="Ana")),
        )

        found = _recall(service, "What is the name of Ana's cat?", unit=Unit.TURN, limit=1)

        # What was asked is known to the reply by its context.
        assert _texts(found) == [["Yes, since May. She is called Tiger."]]
        assert set(found.evidence[0].trace.legs) >= {"dense", "late"}
        assert found.evidence[0].trace.boosts == {"speaker": 1.35}


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
    _remember(service, "gone", draft("I have a grey kitten."))
    _remember(service, "kept", draft("I have a grey kitten too."))

    service.use_cases.forgetter.forget_session(OWNER, "gone")

    found = [_recall(service, "grey kitten", unit=unit) for unit in Unit]
    assert [[item.session_id for item in each.evidence] for each in found] == [["kept"]] * len(Unit)


def test_forgotten_session_is_not_recalled_while_its_points_are_still_there(service: Service) -> None:
    _remember(service, "gone", draft("I have a grey kitten."))
    with service.store.read() as tx:
        gone = tx.rounds.page(after=None, limit=1)[0][1]
        (fact,) = tx.facts.of_rounds(OWNER, [gone.row_id], FactFilter(STARTED))[gone.row_id]
    service.use_cases.forgetter.forget_session(OWNER, "gone")

    service.index.put([*points_of(OWNER, gone), *fact_points_of(OWNER, gone, fact)])

    assert service.index.count(OWNER) > 0
    assert [_recall(service, "grey kitten", unit=unit).evidence for unit in Unit] == [()] * len(Unit)


def test_session_recorded_again_after_it_was_forgotten_is_recalled_as_it_is_now(service: Service) -> None:
    _remember(service, "s1", draft("grey kitten, first telling"))
    service.use_cases.forgetter.forget_session(OWNER, "s1")

    _remember(service, "s1", draft("grey kitten, second telling"))

    assert _texts(_recall(service, "grey kitten")) == [["grey kitten, second telling"]]


@pytest.mark.parametrize("stale", [1, 9, 40], ids=lambda number: f"{number} stale")
def test_stale_points_are_skipped_and_the_limit_is_filled(service: Service, stale: int) -> None:
    for number in range(5):
        _remember(service, f"s{number}", draft(f"I have the grey kitten {number}"))
    gone = [round_of(turn("grey kitten"), session=f"gone {number}") for number in range(stale)]
    service.index.put(points_of(OWNER, *gone))
    for stranded in gone:
        service.index.put(fact_points_of(OWNER, stranded, fact_of(stranded, "grey kitten")))

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


_MARCH = Window(
    datetime(2024, 3, 1, tzinfo=UTC),
    datetime(2024, 4, 1, tzinfo=UTC),
    precision=Precision.MONTH,
    mode=Mode.BOOST,
    on=On.EITHER,
    source="query",
    text="March 2024",
)


@pytest.fixture
def spring(service: Service) -> Service:
    """A service that was told of kittens in February, in March, and in May of a March."""
    _remember(
        service, "february", draft("I have a grey kitten that purrs"), started_at=datetime(2024, 2, 1, tzinfo=UTC)
    )
    _remember(service, "march", draft("I have a grey kitten that slept"), started_at=datetime(2024, 3, 20, tzinfo=UTC))
    _remember(
        service, "may", draft("I adopted my grey kitten in March 2024"), started_at=datetime(2024, 5, 1, tzinfo=UTC)
    )
    return service


def _sessions(found: Recollection) -> set[str]:
    return {item.session_id for item in found.evidence}


def test_time_that_a_query_names_ranks_higher_what_lies_in_it(spring: Service) -> None:
    found = _recall(spring, "grey kitten in March 2024", unit=Unit.TURN)

    boosts = {item.session_id: item.trace.boosts.get("time", 1.0) for item in found.evidence}
    assert found.window == _MARCH
    # From the first of February to March it is 29 days, of which two are tolerated.
    assert boosts == {"february": pytest.approx(1 + 2 * 0.5 ** (27 / 30.44)), "march": 3.0, "may": 3.0}


def test_query_that_names_no_time_has_no_window(spring: Service) -> None:
    found = _recall(spring, "grey kitten")

    assert (found.window, found.plan, found.count) == (None, None, None)
    assert [item.trace.boosts for item in found.evidence] == [{}] * 3


@pytest.mark.parametrize(
    ("changes", "window", "sessions", "is_boosted"),
    [
        pytest.param({"time_mode": "boost"}, _MARCH, {"february", "march", "may"}, True, id="boost"),
        pytest.param({"time_mode": "filter"}, replace(_MARCH, mode=Mode.FILTER), {"march", "may"}, False, id="filter"),
        pytest.param({"time_mode": "off"}, None, {"february", "march", "may"}, False, id="off"),
    ],
)
def test_setting_says_what_becomes_of_the_time_that_a_query_names(
    spring: Service, changes: dict[str, object], window: Window | None, sessions: set[str], is_boosted: bool
) -> None:
    found = _recall(_with(spring, **changes), "grey kitten in March 2024")

    assert found.window == window
    assert _sessions(found) == sessions
    assert {"time" in item.trace.boosts for item in found.evidence} == {is_boosted}


@pytest.mark.parametrize(
    ("changes", "boost"),
    [
        pytest.param({"time_tolerance_days": 0}, 1 + 2 * 0.5 ** (29 / 30.44), id="no tolerance"),
        pytest.param({"time_tolerance_days": 29}, 3, id="a month's tolerance"),
        pytest.param({"time_boost": 1}, 1, id="no boost"),
        pytest.param({"time_boost": 9, "time_tolerance_days": 29}, 9, id="a high boost"),
    ],
)
def test_settings_say_how_much_time_boosts_and_how_far(
    spring: Service, changes: dict[str, object], boost: float
) -> None:
    found = _recall(_with(spring, **changes), "grey kitten in March 2024")

    boosts = {item.session_id: item.trace.boosts.get("time", 1.0) for item in found.evidence}
    assert boosts["february"] == pytest.approx(boost)


@pytest.mark.parametrize(
    ("window", "sessions"),
    [
        pytest.param(Window(None, None, mode=Mode.FILTER), {"march"}, id="filter, on what was said"),
        pytest.param(Window(None, None, mode=Mode.FILTER, on=On.EVENT), {"may"}, id="filter, on what is told of"),
        pytest.param(Window(None, None, mode=Mode.FILTER, on=On.EITHER), {"march", "may"}, id="filter, on either"),
        pytest.param(Window(None, None, mode=Mode.BOOST), {"february", "march", "may"}, id="boost"),
        pytest.param(Window(None, None, mode=Mode.OFF), {"february", "march", "may"}, id="off"),
    ],
)
def test_caller_says_what_becomes_of_the_time_that_a_query_names(
    spring: Service, window: Window, sessions: set[str]
) -> None:
    found = _recall(spring, "grey kitten in March 2024", window=window)

    expected = None if window.mode is Mode.OFF else replace(_MARCH, mode=window.mode, on=window.on)
    assert found.window == expected
    assert _sessions(found) == sessions


def test_callers_window_takes_the_place_of_the_one_that_the_query_names(spring: Service) -> None:
    window = Window(None, datetime(2024, 3, 1, tzinfo=UTC))

    found = _recall(spring, "grey kitten in March 2024", window=window)

    assert (found.window, found.plan, _sessions(found)) == (window, None, {"february"})


def test_callers_window_boosts_when_the_caller_says_so(spring: Service) -> None:
    window = Window(None, datetime(2024, 3, 1, tzinfo=UTC), Precision.DAY, Mode.BOOST)

    found = _recall(_with(spring, time_mode="off"), "grey kitten", window=window, unit=Unit.TURN)

    boosts = {item.session_id: item.trace.boosts.get("time", 1.0) for item in found.evidence}
    # What was said in May tells of the time from the window's end on.
    assert found.window == window
    assert boosts == {"february": 3.0, "march": pytest.approx(1, abs=0.001), "may": 3.0}


@pytest.mark.parametrize(
    ("on", "sessions"),
    [
        pytest.param(On.SAID, {"march"}, id="said"),
        pytest.param(On.EVENT, {"may"}, id="event"),
        pytest.param(On.EITHER, {"march", "may"}, id="either"),
    ],
)
@pytest.mark.parametrize("unit", Unit)
def test_callers_window_filters_on_what_the_caller_says(
    spring: Service, on: On, sessions: set[str], unit: Unit
) -> None:
    window = Window(_MARCH.start, _MARCH.end, on=on)

    found = _recall(spring, "grey kitten", window=window, unit=unit)

    assert _sessions(found) == sessions


def test_window_is_read_on_the_users_wall_clock(service: Service) -> None:
    late = datetime(2024, 2, 29, 22, 30, tzinfo=UTC)
    service.use_cases.localizer.change(OWNER, lambda before: replace(before, time_zone="Asia/Tokyo"))
    _remember(service, "s1", draft("grey kitten"), started_at=late)

    found = _recall(_with(service, time_mode="filter"), "grey kitten in March 2024")

    assert found.window is not None
    assert found.window.start == datetime(2024, 2, 29, 15, tzinfo=UTC)
    assert _sessions(found) == {"s1"}


@pytest.mark.parametrize("zone", [None, "America/New_York", "Asia/Tokyo"])
@pytest.mark.parametrize(
    "asked_at",
    [datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, tzinfo=UTC)],
    ids=["the first instant", "the last minute"],
)
def test_question_at_the_calendars_edge_is_answered(service: Service, asked_at: datetime, zone: str | None) -> None:
    service.use_cases.localizer.change(OWNER, lambda before: replace(before, time_zone=zone))
    _remember(service, "s1", draft("grey kitten"))

    found = service.use_cases.recaller.recall(OWNER, Query("grey kitten of last week", asked_at=asked_at))

    assert _sessions(found) == {"s1"}


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
        _remember(
            service, f"s{number}", draft(f"I have grey kitten {number}\nand more of it"), draft("Yes.", "assistant")
        )

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


_LONG = "I adopted a grey kitten in May and called her Tiger"


def test_what_is_said_twice_is_one_item_that_tells_where(service: Service) -> None:
    _remember(service, "s1", draft(_LONG, turn_id="a"), draft("grey"))
    _remember(service, "s2", draft(f"{_LONG.upper()}!", turn_id="b"))
    _remember(service, "s3", draft(_LONG, turn_id="c", speaker="Ben"))

    found = _recall(service, _LONG, unit=Unit.TURN)

    first, other = found.evidence[:2]
    places = {("s1", "a"), ("s2", "b")}
    assert len(found.evidence) == 3
    assert {(item.session_id, item.turns[0].turn_id) for item in (first, other)} <= places | {("s3", "c")}
    (folded,) = [item for item in found.evidence if item.also]
    assert {
        (folded.session_id, folded.turns[0].turn_id),
        *((said.session_id, said.turn_id) for said in folded.also),
    } == (places)
    assert [item.rank for item in found.evidence] == [1, 2, 3]
    assert found.context.lower().count("tiger") == 2


@pytest.mark.parametrize("unit", [Unit.TURN, Unit.ROUND])
def test_limit_is_filled_behind_what_is_folded(service: Service, unit: Unit) -> None:
    for number in range(6):
        _remember(service, f"s{number}", draft(_LONG))
    _remember(service, "other", draft("a grey kitten"))

    found = _recall(service, _LONG, unit=unit, limit=2)

    assert [len(item.also) for item in found.evidence] == [5, 0]
    assert found.evidence[1].session_id == "other"


def test_sessions_are_never_folded(service: Service) -> None:
    for session in ("s1", "s2"):
        _remember(service, session, draft(_LONG))

    found = _recall(service, _LONG, unit=Unit.SESSION)

    assert [item.also for item in found.evidence] == [(), ()]


def test_forgotten_turn_is_not_told_as_said_again(service: Service) -> None:
    for session in ("s1", "s2"):
        _remember(service, session, draft(_LONG))

    service.use_cases.forgetter.forget_session(OWNER, "s1")

    (item,) = _recall(service, _LONG).evidence
    assert (item.session_id, item.also) == ("s2", ())


class Backwards(Reranker):
    """A reranker that turns its list around; it keeps what it read."""

    def __init__(self) -> None:
        self.read: list[str] = []

    def scores(self, query: str, texts: Sequence[str]) -> list[float]:
        self.read += texts
        return [float(place) for place in range(len(texts))]


def test_reranker_orders_the_head_of_the_list(service: Service) -> None:
    for session, words in {"s1": "grey kitten", "s2": "a kitten of hers", "s3": "nothing"}.items():
        _remember(service, session, draft(words, speaker="Ana"))
    reranker = Backwards()
    recaller = _reranking(service, reranker, reranked=2)

    found = recaller.recall(OWNER, Query("grey kitten", asked_at=ANYTIME, unit=Unit.TURN))

    assert reranker.read == ["Ana: grey kitten", "Ana: a kitten of hers"]
    assert _texts(found) == [["a kitten of hers"], ["grey kitten"], ["nothing"]]
    assert [item.trace.legs.get("reranker") for item in found.evidence] == [(1, 1.0), (2, 0.0), None]
    assert [item.rank for item in found.evidence] == [1, 2, 3]


def test_reranker_reads_more_than_the_limit_and_the_limit_is_kept(service: Service) -> None:
    for number in range(8):
        _remember(service, f"s{number}", draft(" ".join(["kitten", *["grey"] * number])))
    reranker = Backwards()

    found = _reranking(service, reranker, reranked=5).recall(OWNER, Query("kitten", asked_at=ANYTIME, limit=2))

    assert len(reranker.read) == 5
    assert [item.turns[0].text for item in found.evidence] == [
        read.removeprefix("user: ") for read in reversed(reranker.read[3:])
    ]


def test_reranker_has_nothing_to_read_of_a_user_without_turns(service: Service) -> None:
    found = _reranking(service, Backwards(), reranked=5).recall(OWNER, Query("kitten", asked_at=ANYTIME))

    assert found.evidence == ()


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
    extractor, indexer = service.use_cases.extractor, indexer_of(service)
    while extractor.drain() + indexer.drain():
        pass


def _with(service: Service, **changes: object) -> Service:
    """The service, recalling by other settings."""
    return variant(service, service.settings.model_copy(update=changes))


def _watched(settings: Settings, encoder: Encoder) -> Service:
    """A service whose index keeps what it was asked."""
    store = open_store(settings)
    return _wire(settings, store, Watched(settings.index_dir, shape_of(encoder)), encoder, 1)


def _reranking(service: Service, reranker: Reranker, *, reranked: int) -> Recaller:
    """A recaller over the service's own parts that asks a reranker."""
    return Recaller(
        service.store,
        service.index,
        service.encoder,
        Lexicon(),
        Rarity(service.store),
        Recipe(reranked=reranked),
        reranker,
    )


def _recall(service: Service, text: str, *, owner: Owner = OWNER, **more: object) -> Recollection:
    query = Query(text, asked_at=ANYTIME, **more)  # type: ignore[arg-type]
    return service.use_cases.recaller.recall(owner, query)


def _texts(found: Recollection) -> list[list[str]]:
    return [[each.text for each in item.turns] for item in found.evidence]


def test_legs_without_a_network_of_their_own_are_fused_by_rank(service: Service) -> None:
    _remember(service, "s1", draft("grey kitten"), draft("a grey sky"))

    by_ranks, learned = (
        _recall(_with(service, legs="late", fusion=fusion), "grey kitten") for fusion in ("ranks", "learned")
    )

    assert learned.evidence == by_ranks.evidence
    assert len(learned.evidence) == 2


def test_questions_that_are_asked_again_are_not_folded_when_the_answers_differ(service: Service) -> None:
    for number, weight in enumerate(["71.5", "69.2", "66"]):
        asked = draft("Please look up on my scale what I weigh this morning")
        _remember(service, f"s{number}", asked, draft(f"The scale says {weight} kilograms.", "assistant"))

    found = _recall(service, "what do I weigh", unit=Unit.ROUND)

    assert len(found.evidence) == 3
    assert all(weight in found.context for weight in ("71.5", "69.2", "66"))
