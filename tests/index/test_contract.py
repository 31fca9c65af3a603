"""What every index does, whichever engine holds it: one suite over all of its homes."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from unittest.mock import ANY
from uuid import UUID

import numpy as np
import pytest

from memsvc.domain import Found, Hit, KeyKind, Owner, Role, Round, Shape
from memsvc.errors import IndexUnavailable
from memsvc.index.base import BM25, DENSE, LATE, LEGS, Bounds, Index, Legs, Matrix, Point, Probe
from memsvc.index.lexical import Lexicon, SparseVector
from memsvc.inference.encoders import unit
from memsvc.intervals import AsOf, Interval, On, Precision, Window
from tests.doubles import HashEncoder
from tests.factories import OWNER, STARTED, fact_of, fact_points_of, points_of, probe_of, round_of, turn

# What the library's local mode says of itself.
pytestmark = pytest.mark.filterwarnings("ignore:Payload indexes have no effect in the local Qdrant")

NAMESAKE = Owner("acme", OWNER.user_id)
NEIGHBOUR = Owner(OWNER.workspace, "ben")

KITTEN = round_of(turn("I adopted a grey kitten."))

# Dense vectors are kept as float16; the numbers of token vectors in four bits, which a score's weights average out.
DENSE_ERROR = 1e-3
LATE_ERROR = 0.03


def test_point_that_was_put_is_found_by_every_leg(index: Index) -> None:
    index.put(points_of(OWNER, KITTEN))

    legs = index.search(OWNER, probe_of("grey kitten"))

    found = Found(
        round_row=KITTEN.row_id,
        session_row=KITTEN.session_row,
        turn_id="0",
        position=0,
        role=Role.USER,
        speaker="user",
        said_at=STARTED,
        length=24,
        asks=0,
    )
    hit = Hit(found, rank=1, score=ANY)
    assert legs == {DENSE: [hit], BM25: [hit], LATE: [hit]}


@pytest.mark.parametrize(
    ("text", "asks"),
    [
        pytest.param("Shall we sail?", 2, id="ends with a question mark"),
        pytest.param("Shall we sail? \n", 2, id="and blanks behind it"),
        pytest.param("Shall we? I would like to sail.", 1, id="holds one"),
        pytest.param("I would like to sail.", 0, id="holds none"),
    ],
)
def test_hit_says_how_long_its_turn_is_and_whether_it_asks(index: Index, text: str, asks: int) -> None:
    index.put(points_of(OWNER, round_of(turn(text))))

    legs = index.search(OWNER, probe_of("sail"))

    assert [(hit.found.length, hit.found.asks) for hit in legs[DENSE]] == [(len(text.strip()), asks)]


def test_hit_says_who_said_it_where_and_at_which_local_time(index: Index) -> None:
    said_at = datetime(2024, 3, 1, 22, 30, tzinfo=timezone(timedelta(hours=9)))
    reply = turn("On Amrum.", "assistant", turn_id="D1:2", speaker="Zoë", said_at=said_at, captions=("a lighthouse",))
    index.put(points_of(OWNER, round_of(reply, position=7)))

    found = index.search(OWNER, probe_of("lighthouse on Amrum"))[LATE][0].found

    assert (found.turn_id, found.position, found.role, found.speaker) == ("D1:2", 7, Role.ASSISTANT, "Zoë")
    assert (found.said_at, found.said_at.utcoffset()) == (said_at, timedelta(hours=9))
    assert found.length == len("On Amrum.\n[image: a lighthouse]")


def test_dense_score_is_the_cosine_of_the_vectors(index: Index) -> None:
    index.put(points_of(OWNER, KITTEN))

    legs = index.search(OWNER, probe_of("grey kitten"))

    key, query = HashEncoder().encode(["user: I adopted a grey kitten.", "grey kitten"])
    assert legs[DENSE][0].score == pytest.approx(float(np.dot(key.dense, query.dense)), abs=DENSE_ERROR)


def test_late_score_is_the_weighted_sum_of_each_tokens_best_likeness(index: Index) -> None:
    tokens = np.zeros((3, 64), dtype=np.float32)
    tokens[0, 5] = tokens[1, 9] = 1.0
    tokens[2, [5, 20]] = 0.6, 0.8
    index.put([replace(points_of(OWNER, KITTEN)[0], tokens=tokens)])
    query = np.zeros((3, 64), dtype=np.float32)
    # Weights .5, .3 and .2; likenesses 1 (with the first), .8 (with the last) and, opposite to the second, 0.
    query[0, 5], query[1, 20], query[2, 9] = 0.5, 0.3, -0.2

    legs = index.search(OWNER, replace(probe_of("kitten"), tokens=query))

    assert legs[LATE][0].score == pytest.approx(0.5 * 1.0 + 0.3 * 0.8 + 0.2 * 0.0, abs=LATE_ERROR)


def test_late_scores_of_many_points_are_those_of_numpy(index: Index) -> None:
    random = np.random.default_rng(7)
    points = [
        replace(point, tokens=_directions(random, 1 + number % 9))
        for number, point in enumerate(points_of(OWNER, *_rounds(*(f"text {number}" for number in range(40)))))
    ]
    index.put(points)
    query = _directions(random, 6) * np.array([[0.4], [0.25], [0.15], [0.1], [0.06], [0.04]], dtype=np.float32)

    hits = index.search(OWNER, Probe(40, tokens=query))[LATE]

    assert {hit.found.position: hit.score for hit in hits} == pytest.approx(
        {point.key.position: float((query @ point.tokens.T).max(axis=1).sum()) for point in points}, abs=LATE_ERROR
    )


def test_late_leg_scores_what_the_others_found_and_nothing_else(index: Index) -> None:
    near, worded, alike = rounds = _rounds("a lighthouse", "seven herons", "the violin")
    index.put(points_of(OWNER, *rounds))
    encoded = {text: HashEncoder().encode([text])[0] for text in ("lighthouse", "violin")}

    legs = index.search(
        OWNER,
        Probe(
            depth=1,
            dense=encoded["lighthouse"].dense,
            sparse=Lexicon().query("herons"),
            tokens=encoded["violin"].tokens,
        ),
    )

    assert _found(legs)[DENSE] == [near.row_id]
    assert _found(legs)[BM25] == [worded.row_id]
    assert set(_found(legs)[LATE]) == {near.row_id, worded.row_id}
    assert _found(index.search(OWNER, Probe(1, tokens=encoded["violin"].tokens))) == {LATE: [alike.row_id]}


def test_late_leg_ranks_by_its_own_score(index: Index) -> None:
    # The dense leg prefers the short text; the long one holds both words.
    short, long = rounds = _rounds("kitten", f"a grey kitten {' '.join(f'slept{number}' for number in range(20))}")
    index.put(points_of(OWNER, *rounds))

    legs = index.search(OWNER, probe_of("grey kitten"))

    assert _found(legs)[DENSE] == [short.row_id, long.row_id]
    assert _found(legs)[LATE] == [long.row_id, short.row_id]


_LEGS_ALONE = {
    DENSE: replace(probe_of("grey kitten"), sparse=None, tokens=None),
    BM25: replace(probe_of("grey kitten"), dense=None, tokens=None),
    LATE: replace(probe_of("grey kitten"), dense=None, sparse=None),
}

_LEGS_BUT_ONE = {
    DENSE: replace(probe_of("grey kitten"), dense=None),
    BM25: replace(probe_of("grey kitten"), sparse=None),
    LATE: replace(probe_of("grey kitten"), tokens=None),
}


@pytest.mark.parametrize("leg", LEGS)
def test_leg_searches_alone_within_its_owners_points(index: Index, leg: str) -> None:
    strangers = {owner: _rounds("my grey kitten", session=str(owner)) for owner in (NAMESAKE, NEIGHBOUR)}
    index.put(points_of(OWNER, KITTEN))
    index.put([point for owner, theirs in strangers.items() for point in points_of(owner, *theirs)])

    legs = index.search(OWNER, _LEGS_ALONE[leg])

    assert _found(legs) == {leg: [KITTEN.row_id]}
    assert index.count() == 3


@pytest.mark.parametrize("leg", LEGS)
def test_leg_searches_alone_within_the_window(index: Index, leg: str) -> None:
    early, late = (
        round_of(turn("a grey kitten", said_at=STARTED + timedelta(days=day)), position=day) for day in (0, 2)
    )
    index.put(points_of(OWNER, early, late))

    bounds = Bounds(Window(STARTED + timedelta(days=1), None))
    legs = index.search(OWNER, replace(_LEGS_ALONE[leg], bounds=bounds))

    assert _found(legs) == {leg: [late.row_id]}


@pytest.mark.parametrize("left_out", LEGS)
def test_leg_that_is_left_out_does_not_run(index: Index, left_out: str) -> None:
    index.put(points_of(OWNER, KITTEN))

    legs = index.search(OWNER, _LEGS_BUT_ONE[left_out])

    assert _found(legs) == {leg: [KITTEN.row_id] for leg in LEGS if leg != left_out}


def test_probe_of_nothing_finds_nothing(index: Index) -> None:
    index.put(points_of(OWNER, KITTEN))

    legs = index.search(OWNER, Probe(10))

    assert legs == {}


def test_index_without_token_vectors_searches_by_the_other_legs(open_index: Callable[[Shape], Index]) -> None:
    index = open_index(Shape("hash-64", 64))
    index.put([_without_tokens(point) for point in points_of(OWNER, KITTEN)])

    legs = index.search(OWNER, replace(probe_of("grey kitten"), tokens=None))

    assert _found(legs) == {DENSE: [KITTEN.row_id], BM25: [KITTEN.row_id]}


def test_index_without_token_vectors_refuses_them(open_index: Callable[[Shape], Index]) -> None:
    index = open_index(Shape("hash-64", 64))
    index.put([_without_tokens(point) for point in points_of(OWNER, KITTEN)])

    with pytest.raises(IndexUnavailable):
        index.search(OWNER, probe_of("grey kitten"))
    with pytest.raises(IndexUnavailable):
        index.put(points_of(OWNER, KITTEN))


def test_token_vectors_of_a_rebuilt_collection_are_compared_too(index: Index) -> None:
    fresh = index.rebuilt()
    fresh.put(points_of(OWNER, KITTEN))

    fresh.swap()

    late = index.search(OWNER, _LEGS_ALONE[LATE])[LATE]
    assert [(hit.found.round_row, round(hit.score, 1)) for hit in late] == [(KITTEN.row_id, 1.0)]


def test_hits_are_ranked_from_one_by_descending_score(index: Index) -> None:
    index.put(points_of(OWNER, *_rounds("grey kitten", "a grey kitten sleeps", "grey sky over the harbour today")))

    legs = index.search(OWNER, probe_of("grey kitten"))

    assert list(legs) == [DENSE, BM25, LATE]
    for hits in legs.values():
        assert [hit.rank for hit in hits] == [1, 2, 3]
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert hits[0].score > hits[2].score


def test_every_turn_of_a_round_is_found_by_itself(index: Index) -> None:
    talk = round_of(
        turn("Where is the lighthouse?", turn_id="a"), turn("On Amrum.", "assistant", turn_id="b"), position=4
    )
    index.put(points_of(OWNER, talk))

    legs = index.search(OWNER, probe_of("lighthouse on Amrum"))

    for leg in (DENSE, LATE):
        assert {(hit.found.round_row, hit.found.turn_id, hit.found.position) for hit in legs[leg]} == {
            (talk.row_id, "a", 4),
            (talk.row_id, "b", 5),
        }


def test_windows_of_a_long_turn_all_lead_to_it(index: Index) -> None:
    points = points_of(OWNER, round_of(turn(" ".join(f"Sentence {number} of it." for number in range(30)))))
    index.put(points)

    legs = index.search(OWNER, probe_of("sentence"))

    assert len(points) > 1
    assert [hit.found for hit in legs[DENSE]] == [legs[DENSE][0].found] * len(points)


def test_empty_index_finds_nothing(index: Index) -> None:
    legs = index.search(OWNER, probe_of("grey kitten"))

    assert legs == {DENSE: [], BM25: [], LATE: []}


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
    assert _found(index.search(OWNER, probe_of("kitten"))) == _all_legs(KITTEN)


def test_point_of_the_same_id_is_replaced_whole(index: Index) -> None:
    index.put(points_of(OWNER, KITTEN))
    grown = replace(KITTEN, turns=(replace(KITTEN.turns[0], text="I adopted a puppy.", turn_id="new"),))

    index.put(points_of(OWNER, grown))

    assert index.count() == 1
    assert index.search(OWNER, probe_of("kitten"))[BM25] == []
    assert [hit.found.turn_id for hit in index.search(OWNER, probe_of("puppy"))[BM25]] == ["new"]
    assert index.search(OWNER, _LEGS_ALONE[LATE])[LATE][0].score < 0.1


def test_point_that_loses_its_words_leaves_the_bm25_leg(index: Index) -> None:
    index.put(points_of(OWNER, KITTEN))

    index.put([replace(point, sparse=SparseVector([], [])) for point in points_of(OWNER, KITTEN)])

    assert _found(index.search(OWNER, probe_of("kitten"))) == {
        DENSE: [KITTEN.row_id],
        BM25: [],
        LATE: [KITTEN.row_id],
    }


def test_putting_nothing_changes_nothing(index: Index) -> None:
    index.put([])

    assert index.count() == 0


@pytest.mark.parametrize("stranger", [NAMESAKE, NEIGHBOUR], ids=["same user id in another workspace", "other user"])
def test_search_finds_the_points_of_its_owner_alone(index: Index, stranger: Owner) -> None:
    theirs = _rounds("my grey kitten purrs", session="theirs")[0]
    index.put([*points_of(OWNER, KITTEN), *points_of(stranger, theirs)])

    mine, foreign = (index.search(owner, probe_of("grey kitten")) for owner in (OWNER, stranger))

    assert _found(mine) == _all_legs(KITTEN)
    assert _found(foreign) == _all_legs(theirs)


def test_drop_removes_one_session_of_one_owner(index: Index) -> None:
    gone, kept = _rounds("grey kitten", session="s1"), _rounds("grey kitten", session="s2")
    # The very same session id under other owners: the filter has to name all three.
    namesakes = [round_of(turn("grey kitten"), session="s1", position=position) for position in (10, 20)]
    index.put(
        [*points_of(OWNER, *gone, *kept), *points_of(NAMESAKE, namesakes[0]), *points_of(NEIGHBOUR, namesakes[1])]
    )

    index.drop(OWNER, _session("s1"))

    assert _found(index.search(OWNER, probe_of("kitten"))) == _all_legs(*kept)
    assert [index.count(owner) for owner in (OWNER, NAMESAKE, NEIGHBOUR)] == [1, 1, 1]


def test_drop_may_be_repeated(index: Index) -> None:
    index.put(points_of(OWNER, KITTEN))

    for _ in range(2):
        index.drop(OWNER, KITTEN.session_row)

    assert index.count() == 0


def test_remove_takes_single_points_of_one_owner(index: Index) -> None:
    gone, kept = facts = [fact_of(KITTEN, text) for text in ("Ana has a kitten.", "The kitten is grey.")]
    index.put([*points_of(OWNER, KITTEN), *fact_points_of(OWNER, KITTEN, *facts)])

    index.remove(OWNER, [gone.fact_id])

    legs = index.search(OWNER, probe_of("kitten", kind=KeyKind.FACT))
    assert _facts(legs) == {leg: [kept.fact_id] for leg in LEGS}
    assert _found(index.search(OWNER, probe_of("kitten"))) == _all_legs(KITTEN)


@pytest.mark.parametrize("stranger", [NAMESAKE, NEIGHBOUR], ids=["same user id in another workspace", "other user"])
def test_strangers_point_is_not_removed(index: Index, stranger: Owner) -> None:
    points = points_of(OWNER, KITTEN)
    index.put(points)

    index.remove(stranger, [point.key.point_id for point in points])

    assert index.count(OWNER) == len(points)


def test_remove_may_be_repeated(index: Index) -> None:
    index.put(points_of(OWNER, *_rounds("one", "two")))

    for _ in range(2):
        index.remove(OWNER, [point.key.point_id for point in points_of(OWNER, _rounds("one")[0])])

    assert index.count() == 1


def test_removing_nothing_changes_nothing(index: Index) -> None:
    index.put(points_of(OWNER, KITTEN))

    index.remove(OWNER, [])

    assert index.count() == 1


def test_drop_removes_the_facts_of_a_session_too(index: Index) -> None:
    index.put([*points_of(OWNER, KITTEN), *fact_points_of(OWNER, KITTEN, fact_of(KITTEN, "Ana has a kitten."))])

    index.drop(OWNER, KITTEN.session_row)

    assert index.count() == 0


def test_search_keeps_to_one_kind_of_keys(index: Index) -> None:
    fact = fact_of(KITTEN, "Ana has a grey kitten.", kind="event")
    index.put([*points_of(OWNER, KITTEN), *fact_points_of(OWNER, KITTEN, fact)])

    turns, facts = (index.search(OWNER, probe_of("grey kitten", kind=kind)) for kind in KeyKind)

    said = turns[DENSE][0].found
    of_the_turn, of_the_fact = Hit(said, 1, ANY), Hit(replace(said, fact=fact.fact_id, fact_kind="event"), 1, ANY)
    assert (said.fact, said.fact_kind) == (None, None)
    assert turns == {leg: [of_the_turn] for leg in LEGS}
    assert facts == {leg: [of_the_fact] for leg in LEGS}


@pytest.mark.parametrize("leg", LEGS)
def test_leg_searches_alone_within_the_kind(index: Index, leg: str) -> None:
    fact = fact_of(KITTEN, "Ana has a grey kitten.")
    index.put([*points_of(OWNER, KITTEN), *fact_points_of(OWNER, KITTEN, fact)])
    probe = _LEGS_ALONE[leg]

    legs = index.search(OWNER, replace(probe, bounds=replace(probe.bounds, kind=KeyKind.FACT)))

    assert _facts(legs) == {leg: [fact.fact_id]}


def test_words_of_facts_do_not_make_those_of_turns_common(index: Index) -> None:
    index.put(points_of(OWNER, *_rounds("a grey kitten", "a brown puppy")))
    alone = index.search(OWNER, probe_of("grey puppy"))[BM25]

    index.put(fact_points_of(OWNER, KITTEN, *(fact_of(KITTEN, f"grey day {number}") for number in range(20))))

    assert index.search(OWNER, probe_of("grey puppy"))[BM25] == alone


def test_fact_is_searched_by_the_time_it_tells_of(index: Index) -> None:
    day = Interval(datetime(2023, 5, 7, tzinfo=UTC), datetime(2023, 5, 8, tzinfo=UTC))
    dated = fact_of(KITTEN, "Ana met the kitten.", event=day, precision=Precision.DAY)
    undated = fact_of(KITTEN, "Ana has a kitten.")
    index.put(fact_points_of(OWNER, KITTEN, dated, undated))

    window = Window(day.start, day.end, on=On.EVENT)
    legs = index.search(OWNER, probe_of("kitten", window=window, kind=KeyKind.FACT))

    assert _facts(legs) == {leg: [dated.fact_id] for leg in LEGS}


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

    assert _found(legs) == _all_legs(*[kitten] * is_in)


_JANUARY, _MARCH, _APRIL, _MAY = (datetime(2023, month, 1, tzinfo=UTC) for month in (1, 3, 4, 5))
_IN_JANUARY = Interval(_JANUARY, datetime(2023, 2, 1, tzinfo=UTC))
_IN_MARCH = Interval(_MARCH, _APRIL)
_IN_MAY = Interval(_MAY, datetime(2023, 6, 1, tzinfo=UTC))
_MARCH_WINDOW = Window(_MARCH, _APRIL)
_NOON_IN_MARCH = datetime(2023, 3, 15, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("on", "said_at", "events", "is_in"),
    [
        pytest.param(On.SAID, _NOON_IN_MARCH, [_IN_MAY], True, id="said in it"),
        pytest.param(On.SAID, _NOON, [_IN_MARCH], False, id="said elsewhere, of it"),
        pytest.param(On.EVENT, _NOON, [_IN_MARCH], True, id="tells of it"),
        pytest.param(On.EVENT, _NOON_IN_MARCH, [_IN_MAY], False, id="said in it, of something else"),
        pytest.param(On.EVENT, _NOON_IN_MARCH, [], False, id="tells of no time"),
        pytest.param(On.EVENT, _NOON, [_IN_JANUARY, _IN_MAY], False, id="no event has both ends"),
        pytest.param(On.EVENT, _NOON, [_IN_JANUARY, _IN_MARCH, _IN_MAY], True, id="one of three events"),
        pytest.param(On.EITHER, _NOON_IN_MARCH, [_IN_MAY], True, id="either: said in it"),
        pytest.param(On.EITHER, _NOON, [_IN_MARCH], True, id="either: tells of it"),
        pytest.param(On.EITHER, _NOON, [_IN_JANUARY, _IN_MAY], False, id="neither"),
        pytest.param(On.EITHER, _NOON, [], False, id="neither, without any event"),
    ],
)
def test_window_looks_at_the_time_of_saying_of_the_event_or_either(
    index: Index, on: On, said_at: datetime, events: list[Interval], is_in: bool
) -> None:
    kitten = round_of(turn("a grey kitten", said_at=said_at))
    index.put(_dated(kitten, *events))

    legs = index.search(OWNER, probe_of("grey kitten", window=replace(_MARCH_WINDOW, on=on)))

    assert _found(legs) == _all_legs(*[kitten] * is_in)


@pytest.mark.parametrize(
    ("event", "window", "is_in"),
    [
        pytest.param(Interval(_JANUARY, _MARCH), _MARCH_WINDOW, False, id="ends where it starts"),
        pytest.param(Interval(_APRIL, _MAY), _MARCH_WINDOW, False, id="starts where it ends"),
        pytest.param(Interval(_JANUARY, _MAY), _MARCH_WINDOW, True, id="is longer than it"),
        pytest.param(Interval(_JANUARY, _MARCH + timedelta(seconds=1)), _MARCH_WINDOW, True, id="its first second"),
        pytest.param(Interval(_APRIL - timedelta(seconds=1), _MAY), _MARCH_WINDOW, True, id="its last second"),
        pytest.param(_IN_MARCH, Window(_MAY, None), False, id="before an open window"),
        pytest.param(_IN_MAY, Window(_MAY, None), True, id="in an open window"),
        pytest.param(_IN_MARCH, Window(None, _MARCH), False, id="after a window without a start"),
        pytest.param(_IN_JANUARY, Window(None, _MARCH), True, id="in a window without a start"),
        pytest.param(_IN_MARCH, Window(None, None), True, id="open on both sides"),
        pytest.param(
            Interval(datetime(1890, 1, 1, tzinfo=UTC), datetime(1891, 1, 1, tzinfo=UTC)),
            Window(None, datetime(1900, 1, 1, tzinfo=UTC)),
            True,
            id="before the count of seconds begins",
        ),
        pytest.param(
            Interval(datetime(2, 1, 1, tzinfo=UTC), datetime(9998, 1, 1, tzinfo=UTC)),
            _MARCH_WINDOW,
            True,
            id="the whole calendar",
        ),
    ],
)
def test_event_lies_in_a_window_that_it_overlaps(index: Index, event: Interval, window: Window, is_in: bool) -> None:
    kitten = round_of(turn("a grey kitten"))
    index.put(_dated(kitten, event))

    legs = index.search(OWNER, probe_of("grey kitten", window=replace(window, on=On.EVENT)))

    assert _found(legs) == _all_legs(*[kitten] * is_in)


def test_events_come_back_with_what_was_found(index: Index) -> None:
    tokyo = Interval(_NOON.astimezone(_TOKYO), _NOON.astimezone(_TOKYO) + timedelta(hours=1))
    index.put(_dated(KITTEN, _IN_MAY, tokyo))

    legs = index.search(OWNER, probe_of("grey kitten"))

    assert [[hit.found.events for hit in hits] for hits in legs.values()] == [[(_IN_MAY, tokyo)]] * 3


@pytest.mark.parametrize(
    ("as_of", "is_known"),
    [
        pytest.param(AsOf(), True, id="now"),
        pytest.param(AsOf(valid=_NOON), True, id="said at that very instant"),
        pytest.param(AsOf(valid=_NOON - timedelta(seconds=1)), False, id="not said yet"),
        pytest.param(AsOf(recorded=_NOON + timedelta(days=1)), True, id="recorded at that very instant"),
        pytest.param(AsOf(recorded=_NOON), False, id="said but not recorded yet"),
        pytest.param(AsOf(valid=_NOON, recorded=_NOON + timedelta(days=1)), True, id="both, inclusive"),
        pytest.param(AsOf(valid=_NOON, recorded=_NOON), False, id="one of both is not enough"),
        pytest.param(AsOf(valid=(_NOON - timedelta(seconds=1)).astimezone(_TOKYO)), False, id="in Tokyo"),
    ],
)
def test_search_knows_what_was_said_and_on_record_at_two_instants(index: Index, as_of: AsOf, is_known: bool) -> None:
    kitten = round_of(turn("a grey kitten", said_at=_NOON, recorded_at=_NOON + timedelta(days=1)))
    index.put(points_of(OWNER, kitten))

    legs = index.search(OWNER, replace(probe_of("grey kitten"), bounds=Bounds(as_of=as_of)))

    assert _found(legs) == _all_legs(*[kitten] * is_known)


@pytest.mark.parametrize(
    ("sessions", "expected"),
    [
        pytest.param(None, {"s1", "s2", "s3"}, id="any"),
        pytest.param({"s2"}, {"s2"}, id="one"),
        pytest.param({"s1", "s3"}, {"s1", "s3"}, id="two"),
        pytest.param({"elsewhere"}, set(), id="one that is not there"),
        pytest.param(set(), set(), id="none"),
    ],
)
def test_search_keeps_to_certain_sessions(index: Index, sessions: set[str] | None, expected: set[str]) -> None:
    rounds = {name: _rounds("a grey kitten", session=name)[0] for name in ("s1", "s2", "s3")}
    index.put(points_of(OWNER, *rounds.values()))
    rows = None if sessions is None else frozenset(_session(name) for name in sessions)

    legs = index.search(OWNER, replace(probe_of("grey kitten"), bounds=Bounds(sessions=rows)))

    meant = {rounds[name].row_id for name in expected}
    assert [(leg, set(found)) for leg, found in _found(legs).items()] == [(leg, meant) for leg in LEGS]


def test_bounds_hold_together_and_within_the_owner(index: Index) -> None:
    known = turn("a grey kitten", said_at=_NOON_IN_MARCH, recorded_at=_NOON_IN_MARCH)
    meant = round_of(known, session="meant")
    late = round_of(replace(known, recorded_at=_MAY), session="meant", position=2)
    early = round_of(replace(known, said_at=_JANUARY), session="meant", position=4)
    elsewhere = round_of(known, session="elsewhere")
    theirs = round_of(known, session="meant", position=6)
    index.put([*points_of(OWNER, meant, late, early, elsewhere), *points_of(NEIGHBOUR, theirs)])
    bounds = Bounds(_MARCH_WINDOW, AsOf(recorded=_APRIL), frozenset({meant.session_row}))

    legs = index.search(OWNER, replace(probe_of("grey kitten"), bounds=bounds))

    assert _found(legs) == _all_legs(meant)


def test_query_of_stop_words_alone_has_no_bm25_leg(index: Index) -> None:
    index.put(points_of(OWNER, KITTEN))

    legs = index.search(OWNER, probe_of("and the of"))

    assert list(legs) == [DENSE, LATE]


def test_each_leg_brings_back_as_many_hits_as_asked(index: Index) -> None:
    index.put(points_of(OWNER, *_rounds(*(f"grey kitten {number}" for number in range(8)))))

    legs = index.search(OWNER, probe_of("grey kitten", depth=3))

    found = _found(legs)
    assert (len(found[DENSE]), len(found[BM25])) == (3, 3)
    assert sorted(found[LATE]) == sorted({*found[DENSE], *found[BM25]})


def test_late_leg_alone_brings_back_as_many_hits_as_asked(index: Index) -> None:
    index.put(points_of(OWNER, *_rounds(*(f"grey kitten {number}" for number in range(8)))))

    legs = index.search(OWNER, replace(_LEGS_ALONE[LATE], depth=3))

    assert [hit.rank for hit in legs[LATE]] == [1, 2, 3]


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

    assert legs[BM25][0].found.round_row == meant.row_id


def test_rebuild_is_filled_beside_the_live_collection(index: Index) -> None:
    puppy = round_of(turn("I adopted a puppy."), session="s2")
    index.put(points_of(OWNER, KITTEN))
    fresh = index.rebuilt()

    fresh.put(points_of(OWNER, puppy))

    assert _found(index.search(OWNER, probe_of("adopted"))) == _all_legs(KITTEN)
    fresh.discard()


def test_swap_puts_the_rebuild_in_the_place_of_the_old_collection(index: Index) -> None:
    puppy, parrot = (round_of(turn(f"I adopted a {pet}."), session=pet) for pet in ("puppy", "parrot"))
    index.put(points_of(OWNER, KITTEN))
    fresh = index.rebuilt()
    fresh.put(points_of(OWNER, puppy))

    fresh.swap()

    assert _found(index.search(OWNER, probe_of("adopted"))) == _all_legs(puppy)
    index.put(points_of(OWNER, parrot))
    assert index.count() == 2


def test_discarded_rebuild_leaves_the_live_collection_as_it_was(index: Index) -> None:
    index.put(points_of(OWNER, KITTEN))
    fresh = index.rebuilt()
    fresh.put(points_of(OWNER, *_rounds("I adopted a puppy.", session="s2")))

    fresh.discard()

    assert _found(index.search(OWNER, probe_of("adopted"))) == _all_legs(KITTEN)
    assert index.count() == 1


def test_rebuild_of_a_rebuild_works_the_same(index: Index) -> None:
    for pet in ("puppy", "parrot"):
        fresh = index.rebuilt()
        fresh.put(points_of(OWNER, round_of(turn(f"a {pet}"), session=pet)))
        fresh.swap()

    assert [hit.found.session_row for hit in index.search(OWNER, probe_of("puppy parrot"))[BM25]] == [
        _session("parrot")
    ]


def _rounds(*texts: str, session: str = "s1") -> list[Round]:
    return [round_of(turn(text), session=session, position=position) for position, text in enumerate(texts)]


def _dated(round_: Round, *events: Interval) -> list[Point]:
    """The points of a round whose turns tell of these times."""
    return [replace(point, events=events) for point in points_of(OWNER, round_)]


def _session(name: str) -> UUID:
    return round_of(turn("anything"), session=name).session_row


def _all_legs(*rounds: Round) -> dict[str, list[UUID]]:
    """These rounds, in this order, in every leg."""
    return {leg: [round_.row_id for round_ in rounds] for leg in LEGS}


def _found(legs: Legs) -> dict[str, list[UUID]]:
    return {leg: [hit.found.round_row for hit in hits] for leg, hits in legs.items()}


def _facts(legs: Legs) -> dict[str, list[UUID | None]]:
    return {leg: [hit.found.fact for hit in hits] for leg, hits in legs.items()}


def _without_tokens(point: Point) -> Point:
    return replace(point, tokens=np.empty((0, 0), dtype=np.float32))


def _directions(random: np.random.Generator, count: int) -> Matrix:
    """Unit vectors that point anywhere."""
    return unit(random.normal(size=(count, 64)).astype(np.float32))


def test_probe_without_a_token_has_no_late_leg(index: Index) -> None:
    index.put(points_of(OWNER, KITTEN))

    legs = index.search(OWNER, replace(probe_of("kitten"), tokens=np.empty((0, 64), dtype=np.float32)))

    assert list(legs) == [DENSE, BM25]


def test_point_without_tokens_is_found_by_the_other_legs(index: Index) -> None:
    index.put([replace(point, tokens=np.empty((0, 64), np.float32)) for point in points_of(OWNER, KITTEN)])

    legs = index.search(OWNER, probe_of("kitten"))

    assert {leg: len(hits) for leg, hits in legs.items()} == {DENSE: 1, BM25: 1, LATE: 0}
