"""What every index does, whichever engine holds it: one suite over all of its homes."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from unittest.mock import ANY
from uuid import UUID

import numpy as np
import pytest

from memsvc.domain import Hit, KeyKind, Owner, Round, Window
from memsvc.index.base import BM25, DENSE, Index, Legs
from memsvc.index.lexical import SparseVector
from tests.doubles import HashEncoder
from tests.factories import OWNER, points_of, probe_of, round_of, turn

# What the library's local mode says of itself.
pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant")

NAMESAKE = Owner("acme", OWNER.user_id)
NEIGHBOUR = Owner(OWNER.workspace, "ben")

KITTEN = round_of(turn("I adopted a grey kitten."))


def test_point_that_was_put_is_found_by_both_legs(index: Index) -> None:
    index.put(points_of(OWNER, KITTEN))

    legs = index.search(OWNER, probe_of("grey kitten"))

    hit = Hit(KITTEN.row_id, KITTEN.session_row, KeyKind.TURN, ("0",), rank=1, score=ANY)
    assert legs == {DENSE: [hit], BM25: [hit]}


def test_dense_score_is_the_cosine_of_the_vectors(index: Index) -> None:
    index.put(points_of(OWNER, KITTEN))

    legs = index.search(OWNER, probe_of("grey kitten"))

    key, query = HashEncoder().encode(["user: I adopted a grey kitten.", "grey kitten"])
    assert legs[DENSE][0].score == pytest.approx(float(np.dot(key, query)), abs=1e-5)


def test_hits_are_ranked_from_one_by_descending_score(index: Index) -> None:
    index.put(points_of(OWNER, *_rounds("grey kitten", "a grey kitten sleeps", "grey sky over the harbour today")))

    legs = index.search(OWNER, probe_of("grey kitten"))

    for hits in legs.values():
        assert [hit.rank for hit in hits] == [1, 2, 3]
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert hits[0].score > hits[2].score


def test_hit_of_a_window_over_several_turns_names_them_all(index: Index) -> None:
    talk = round_of(turn("Where is the lighthouse?", turn_id="a"), turn("On Amrum.", "assistant", turn_id="b"))
    index.put(points_of(OWNER, talk))

    legs = index.search(OWNER, probe_of("lighthouse on Amrum"))

    assert {(hit.kind, hit.turn_ids) for hit in legs[DENSE]} == {
        (KeyKind.TURN, ("a",)),
        (KeyKind.TURN, ("b",)),
        (KeyKind.ROUND, ("a", "b")),
    }


def test_empty_index_finds_nothing(index: Index) -> None:
    legs = index.search(OWNER, probe_of("grey kitten"))

    assert legs == {DENSE: [], BM25: []}


def test_count_is_of_everybody_of_an_owner_or_of_a_session(index: Index) -> None:
    index.put(points_of(OWNER, *_rounds("one", "two", session="s1"), *_rounds("three", session="s2")))
    index.put(points_of(NEIGHBOUR, *_rounds("four", session="s3")))

    counts = (index.count(), index.count(OWNER), index.count(OWNER, _session("s1")), index.count(NAMESAKE))

    assert counts == (4, 3, 2, 0)


def test_points_put_twice_are_there_once(index: Index) -> None:
    points = points_of(OWNER, KITTEN)
    index.put(points)

    index.put(points)

    assert index.count() == 1
    assert _found(index.search(OWNER, probe_of("kitten"))) == _both(KITTEN)


def test_point_of_the_same_id_is_replaced_whole(index: Index) -> None:
    index.put(points_of(OWNER, KITTEN))
    grown = replace(KITTEN, turns=(replace(KITTEN.turns[0], text="I adopted a puppy.", turn_id="new"),))

    index.put(points_of(OWNER, grown))

    assert index.count() == 1
    assert index.search(OWNER, probe_of("kitten"))[BM25] == []
    assert [hit.turn_ids for hit in index.search(OWNER, probe_of("puppy"))[BM25]] == [("new",)]


def test_point_that_loses_its_words_leaves_the_bm25_leg(index: Index) -> None:
    index.put(points_of(OWNER, KITTEN))

    index.put([replace(point, sparse=SparseVector([], [])) for point in points_of(OWNER, KITTEN)])

    assert _found(index.search(OWNER, probe_of("kitten"))) == {DENSE: [KITTEN.row_id], BM25: []}


def test_putting_nothing_changes_nothing(index: Index) -> None:
    index.put([])

    assert index.count() == 0


@pytest.mark.parametrize("stranger", [NAMESAKE, NEIGHBOUR], ids=["same user id in another workspace", "other user"])
def test_search_finds_the_points_of_its_owner_alone(index: Index, stranger: Owner) -> None:
    theirs = _rounds("my grey kitten purrs", session="theirs")[0]
    index.put([*points_of(OWNER, KITTEN), *points_of(stranger, theirs)])

    mine, foreign = (index.search(owner, probe_of("grey kitten")) for owner in (OWNER, stranger))

    assert _found(mine) == _both(KITTEN)
    assert _found(foreign) == _both(theirs)


def test_drop_removes_one_session_of_one_owner(index: Index) -> None:
    gone, kept = _rounds("grey kitten", session="s1"), _rounds("grey kitten", session="s2")
    # The very same session id under other owners: the filter has to name all three.
    namesakes = [round_of(turn("grey kitten"), session="s1", position=position) for position in (10, 20)]
    index.put(
        [*points_of(OWNER, *gone, *kept), *points_of(NAMESAKE, namesakes[0]), *points_of(NEIGHBOUR, namesakes[1])]
    )

    index.drop(OWNER, _session("s1"))

    assert _found(index.search(OWNER, probe_of("kitten"))) == _both(*kept)
    assert [index.count(owner) for owner in (OWNER, NAMESAKE, NEIGHBOUR)] == [1, 1, 1]


def test_drop_may_be_repeated(index: Index) -> None:
    index.put(points_of(OWNER, KITTEN))

    for _ in range(2):
        index.drop(OWNER, KITTEN.session_row)

    assert index.count() == 0


_NOON = datetime(2024, 3, 1, 12, tzinfo=UTC)
_TOKYO = timezone(timedelta(hours=9))
_NEW_YORK = timezone(timedelta(hours=-5))


@pytest.mark.parametrize(
    ("said_at", "window", "is_in"),
    [
        pytest.param(_NOON, Window(_NOON, None), True, id="its start is inside"),
        pytest.param(_NOON, Window(None, _NOON), False, id="its end is outside"),
        pytest.param(_NOON - timedelta(seconds=1), Window(None, _NOON), True, id="just before its end"),
        pytest.param(_NOON - timedelta(seconds=1), Window(_NOON, None), False, id="just before its start"),
        pytest.param(_NOON, Window(None, None), True, id="open on both sides"),
        pytest.param(_NOON.astimezone(_TOKYO), Window(_NOON, None), True, id="point in Tokyo, at its start"),
        pytest.param(_NOON.astimezone(_NEW_YORK), Window(None, _NOON), False, id="point in New York, at its end"),
        pytest.param(_NOON, Window(_NOON.astimezone(_TOKYO), None), True, id="start in Tokyo"),
        pytest.param(_NOON, Window(None, _NOON.astimezone(_NEW_YORK)), False, id="end in New York"),
        pytest.param(
            datetime(2024, 3, 1, 0, 30, tzinfo=_TOKYO),
            Window(datetime(2024, 3, 1, tzinfo=UTC), None),
            False,
            id="the same date on the clock is the day before in UTC",
        ),
    ],
)
def test_window_is_half_open_over_instants(index: Index, said_at: datetime, window: Window, is_in: bool) -> None:
    kitten = round_of(turn("a grey kitten", said_at=said_at))
    index.put(points_of(OWNER, kitten))

    legs = index.search(OWNER, probe_of("grey kitten", window=window))

    assert _found(legs) == _both(*[kitten] * is_in)


def test_query_of_stop_words_alone_has_no_bm25_leg(index: Index) -> None:
    index.put(points_of(OWNER, KITTEN))

    legs = index.search(OWNER, probe_of("and the of"))

    assert list(legs) == [DENSE]


def test_each_leg_brings_back_as_many_hits_as_asked(index: Index) -> None:
    index.put(points_of(OWNER, *_rounds(*(f"grey kitten {number}" for number in range(8)))))

    legs = index.search(OWNER, probe_of("grey kitten", depth=3))

    assert {leg: len(hits) for leg, hits in legs.items()} == {DENSE: 3, BM25: 3}


@pytest.mark.parametrize(
    ("text", "query"),
    [
        pytest.param("昨日は東京で寿司を食べました。", "東京の寿司", id="Japanese"),
        pytest.param("昨日は東京で寿司を食べました。", "寿司", id="Japanese, kanji alone"),
        pytest.param("我昨天在上海吃了面条。", "上海 面条", id="Chinese"),
        pytest.param("어제 부산에서 국수를 먹었어요", "부산에서", id="Korean"),
        pytest.param("زرت المتحف في القاهرة أمس", "المتحف القاهرة", id="Arabic"),
        pytest.param("Pizza again 🍕🍕 with Zoë", "pizza zoë", id="emoji beside words"),
    ],
)
def test_every_script_is_found_by_its_words(index: Index, text: str, query: str) -> None:
    meant = round_of(turn(text), session="meant")
    index.put(points_of(OWNER, meant, *_rounds("我喜欢猫。", "猫が好きです。", "I like cats 🐈", session="others")))

    legs = index.search(OWNER, probe_of(query))

    assert legs[BM25][0].round_row == meant.row_id


def test_rebuild_is_filled_beside_the_live_collection(index: Index) -> None:
    puppy = round_of(turn("I adopted a puppy."), session="s2")
    index.put(points_of(OWNER, KITTEN))
    fresh = index.rebuilt()

    fresh.put(points_of(OWNER, puppy))

    assert _found(index.search(OWNER, probe_of("adopted"))) == _both(KITTEN)
    fresh.discard()


def test_swap_puts_the_rebuild_in_the_place_of_the_old_collection(index: Index) -> None:
    puppy, parrot = (round_of(turn(f"I adopted a {pet}."), session=pet) for pet in ("puppy", "parrot"))
    index.put(points_of(OWNER, KITTEN))
    fresh = index.rebuilt()
    fresh.put(points_of(OWNER, puppy))

    fresh.swap()

    assert _found(index.search(OWNER, probe_of("adopted"))) == _both(puppy)
    index.put(points_of(OWNER, parrot))
    assert index.count() == 2


def test_discarded_rebuild_leaves_the_live_collection_as_it_was(index: Index) -> None:
    index.put(points_of(OWNER, KITTEN))
    fresh = index.rebuilt()
    fresh.put(points_of(OWNER, *_rounds("I adopted a puppy.", session="s2")))

    fresh.discard()

    assert _found(index.search(OWNER, probe_of("adopted"))) == _both(KITTEN)
    assert index.count() == 1


def test_rebuild_of_a_rebuild_works_the_same(index: Index) -> None:
    for pet in ("puppy", "parrot"):
        fresh = index.rebuilt()
        fresh.put(points_of(OWNER, round_of(turn(f"a {pet}"), session=pet)))
        fresh.swap()

    assert [hit.session_row for hit in index.search(OWNER, probe_of("puppy parrot"))[BM25]] == [_session("parrot")]


def _rounds(*texts: str, session: str = "s1") -> list[Round]:
    return [round_of(turn(text), session=session, position=position) for position, text in enumerate(texts)]


def _session(name: str) -> UUID:
    return round_of(turn("anything"), session=name).session_row


def _both(*rounds: Round) -> dict[str, list[UUID]]:
    """These rounds, in this order, in both legs."""
    return {leg: [round_.row_id for round_ in rounds] for leg in (DENSE, BM25)}


def _found(legs: Legs) -> dict[str, list[UUID]]:
    return {leg: [hit.round_row for hit in hits] for leg, hits in legs.items()}
