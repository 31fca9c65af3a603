"""The embedded index: what it keeps on disk, and whom it lets in."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import qdrant_edge

from memsvc.domain import Owner, Shape
from memsvc.errors import EncoderMismatch, IndexLocked, IndexUnavailable
from memsvc.index.base import BM25, DENSE, LATE, Point, Probe
from memsvc.index.edge import EdgeIndex, stored_shard
from memsvc.index.lexical import Lexicon
from memsvc.inference.encoders import Encoder, Matrix, unit
from memsvc.memory.indexing import Projector, shape_of
from tests.factories import OWNER, points_of, probe_of, round_of, turn

Open = Callable[..., EdgeIndex]

KITTEN = round_of(turn("I adopted a grey kitten."))
PUPPY = round_of(turn("I adopted a brown puppy."), session="s2")
SHAPE = Shape("hash-64", 64, 64)

_OPENER = """
import sys
from pathlib import Path
from memsvc.domain import Shape
from memsvc.errors import IndexLocked
from memsvc.index.edge import EdgeIndex

try:
    EdgeIndex(Path(sys.argv[1]), Shape("hash-64", 64, 64)).close()
except IndexLocked as exc:
    print(exc)
    sys.exit(7)
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the index lies."""
    return tmp_path / "index"


@pytest.fixture
def opened(folder: Path) -> Iterator[Open]:
    """Opens the index in the folder; what was opened is closed at the end."""
    indexes: list[EdgeIndex] = []

    def open_it(shape: Shape = SHAPE, *, to_rebuild: bool = False) -> EdgeIndex:
        indexes.append(EdgeIndex(folder, shape, to_rebuild=to_rebuild))
        return indexes[-1]

    yield open_it
    for index in indexes:
        index.close()


def test_points_are_there_after_closing_and_opening_again(opened: Open) -> None:
    before = opened()
    before.put(points_of(OWNER, KITTEN))
    legs = before.search(OWNER, probe_of("grey kitten"))
    before.close()

    after = opened()

    assert after.search(OWNER, probe_of("grey kitten")) == legs
    assert after.count(OWNER) == 1


def test_points_of_a_process_that_was_killed_are_there(folder: Path, opened: Open) -> None:
    script = (
        "import os, signal; from pathlib import Path; from memsvc.index.edge import EdgeIndex; "
        "from tests.index.test_edge import KITTEN, SHAPE; from tests.factories import OWNER, points_of; "
        f"index = EdgeIndex(Path({str(folder)!r}), SHAPE); "
        "index.put(points_of(OWNER, KITTEN)); os.kill(os.getpid(), signal.SIGKILL)"
    )
    killed = subprocess.run([sys.executable, "-c", script], check=False, cwd=Path(__file__).parents[2])

    index = opened()

    assert killed.returncode == -9
    legs = index.search(OWNER, probe_of("kitten"))
    assert [hit.found.round_row for leg in (DENSE, BM25, LATE) for hit in legs[leg]] == [KITTEN.row_id] * 3


def test_second_process_is_refused_while_the_index_is_open(folder: Path, opened: Open) -> None:
    index = opened()
    index.put(points_of(OWNER, KITTEN))

    second = subprocess.run([sys.executable, "-c", _OPENER, folder], capture_output=True, text=True, check=False)

    assert (second.returncode, second.stderr) == (7, "")
    assert second.stdout == (
        f"The embedded index in {folder} is open in another process, and admits one only. Stop that process, or set "
        "MEMSVC_QDRANT_URL to share a Qdrant server.\n"
    )
    assert index.count() == 1


def test_second_process_may_open_the_index_once_it_is_closed(folder: Path, opened: Open) -> None:
    opened().close()

    second = subprocess.run([sys.executable, "-c", _OPENER, folder], capture_output=True, text=True, check=False)

    assert (second.returncode, second.stdout, second.stderr) == (0, "", "")


def test_refused_opening_removes_nothing(folder: Path, opened: Open) -> None:
    index = opened()
    rebuild = index.rebuilt()
    rebuild.put(points_of(OWNER, PUPPY))

    with pytest.raises(IndexLocked):
        opened(to_rebuild=True)

    rebuild.swap()
    assert [hit.found.round_row for hit in index.search(OWNER, probe_of("puppy"))[BM25]] == [PUPPY.row_id]


def test_folder_holds_one_shard_and_its_pointer(folder: Path, opened: Open) -> None:
    opened()

    shard = stored_shard(folder)

    assert shard is not None
    assert shard.startswith("memsvc-hash-64-64-t64-k4-")
    assert {path.name for path in folder.iterdir()} == {"CURRENT", shard}


def test_swap_moves_the_pointer_and_removes_the_old_shard(folder: Path, opened: Open) -> None:
    index = opened()
    old = stored_shard(folder)

    index.rebuilt().swap()

    new = stored_shard(folder)
    assert new != old
    assert {path.name for path in folder.iterdir()} == {"CURRENT", new}


def test_what_a_swap_overtakes_is_put_into_the_new_shard(opened: Open) -> None:
    index = opened()
    rebuild = index.rebuilt()

    class Overtaken(list[Point]):
        def __iter__(self) -> Iterator[Point]:
            if index.count() == 1:
                rebuild.swap()
            return super().__iter__()

    index.put(points_of(OWNER, KITTEN))
    index.put(Overtaken(points_of(OWNER, PUPPY)))

    assert index.count() == index.count(OWNER, PUPPY.session_row) == 1


def test_swapped_shard_is_the_one_that_opens_again(opened: Open) -> None:
    index = opened()
    index.put(points_of(OWNER, KITTEN))
    fresh = index.rebuilt()
    fresh.put(points_of(OWNER, PUPPY))
    fresh.swap()
    index.close()

    again = opened()

    assert [hit.found.round_row for hit in again.search(OWNER, probe_of("adopted"))[DENSE]] == [PUPPY.row_id]


def test_discarded_rebuild_leaves_no_folder(folder: Path, opened: Open) -> None:
    index = opened()
    live = stored_shard(folder)

    index.rebuilt().discard()

    assert {path.name for path in folder.iterdir()} == {"CURRENT", live}


def test_leftovers_of_an_interrupted_rebuild_go_at_the_next_opening(folder: Path, opened: Open) -> None:
    index = opened()
    index.put(points_of(OWNER, KITTEN))
    index.rebuilt().put(points_of(OWNER, PUPPY))
    live = stored_shard(folder)
    (folder / "CURRENT.new").write_text("memsvc-hash-64-64-t64-k4-half\n")
    index.close()

    again = opened()

    assert {path.name for path in folder.iterdir() if path.is_dir()} == {live}
    assert again.count() == 1


def test_what_is_not_the_indexs_own_stays_in_the_folder(folder: Path, opened: Open) -> None:
    opened().close()
    (folder / "notes").mkdir()
    (folder / "readme.txt").write_text("mine")

    opened()

    assert {"notes", "readme.txt"} <= {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    "shape",
    [
        pytest.param(replace(SHAPE, encoder="other"), id="another model"),
        pytest.param(replace(SHAPE, dimension=32), id="another dimension"),
        pytest.param(replace(SHAPE, encoder="hash"), id="a name that the stored one begins with"),
        pytest.param(replace(SHAPE, token_dimension=32), id="another dimension of token vectors"),
        pytest.param(replace(SHAPE, token_dimension=0), id="no token vectors"),
        pytest.param(replace(SHAPE, form=1), id="another form of keys"),
    ],
)
def test_shard_of_another_shape_is_refused(folder: Path, opened: Open, shape: Shape) -> None:
    opened().close()
    live = stored_shard(folder)

    with pytest.raises(EncoderMismatch, match="memsvc rebuild"):
        opened(shape)

    assert stored_shard(folder) == live


def test_refused_shape_is_named_beside_the_stored_one_and_no_encoder_is_made_of_either(opened: Open) -> None:
    opened().close()

    with pytest.raises(EncoderMismatch) as refused:
        opened(replace(SHAPE, token_dimension=0))

    assert str(refused.value) == (
        "The index was filled with the encoder memsvc-hash-64-64-t64-k4, but this process would fill it with "
        "memsvc-hash-64-64-t0-k4. Run `memsvc rebuild` to fill a new collection with memsvc-hash-64-64-t0-k4."
    )


def test_shard_that_an_earlier_version_named_is_refused(folder: Path, opened: Open) -> None:
    (folder / "memsvc-hash-64-64-0a1b2c3d").mkdir(parents=True)
    (folder / "CURRENT").write_text("memsvc-hash-64-64-0a1b2c3d\n")

    with pytest.raises(EncoderMismatch, match="memsvc rebuild"):
        opened()

    assert stored_shard(folder) == "memsvc-hash-64-64-0a1b2c3d"


def test_shard_of_another_shape_opens_to_be_rebuilt(folder: Path, opened: Open) -> None:
    older = Shape("older", 32, form=1)
    opened(older).close()
    index = opened(to_rebuild=True)
    fresh = index.rebuilt()
    fresh.put(points_of(OWNER, PUPPY))

    fresh.swap(replaced=older)

    stored = stored_shard(folder)
    assert stored is not None
    assert stored.startswith("memsvc-hash-64-64-t64-k4-")
    assert [path.name for path in folder.iterdir() if path.is_dir()] == [stored]
    assert [hit.found.round_row for hit in index.search(OWNER, probe_of("puppy"))[DENSE]] == [PUPPY.row_id]


@pytest.mark.parametrize(
    "pointer",
    [None, "", "\n", "memsvc-hash-64-64-t64-k4-gone\n"],
    ids=["none", "empty", "blank", "a shard that is gone"],
)
def test_folder_without_a_live_shard_names_none(folder: Path, pointer: str | None) -> None:
    folder.mkdir()
    if pointer is not None:
        (folder / "CURRENT").write_text(pointer)

    shard = stored_shard(folder)

    assert shard is None


@pytest.mark.parametrize("pointer", ["", "memsvc-hash-64-64-t64-k4-gone\n"], ids=["empty", "a shard that is gone"])
def test_folder_without_a_live_shard_is_given_one(folder: Path, opened: Open, pointer: str) -> None:
    folder.mkdir()
    (folder / "CURRENT").write_text(pointer)

    index = opened()

    assert index.count() == 0


def test_idf_is_computed_over_the_owners_points_alone(opened: Open) -> None:
    index = opened()
    index.put(points_of(OWNER, KITTEN, PUPPY))
    alone = index.search(OWNER, probe_of("grey adopted"))[BM25]
    strangers = (Owner("acme", OWNER.user_id), Owner(OWNER.workspace, "ben"))
    for stranger in strangers:
        texts = [round_of(turn("a grey day"), session=stranger.workspace, position=place) for place in range(20)]
        index.put([*points_of(stranger, *texts)])

    beside_others = index.search(OWNER, probe_of("grey adopted"))[BM25]

    assert beside_others == alone


def test_word_that_is_rare_for_the_owner_weighs_more(opened: Open) -> None:
    index = opened()
    plain = [round_of(turn("the adopted dog"), session="plain", position=place) for place in range(20)]
    index.put(points_of(OWNER, *plain, KITTEN))

    hits = index.search(OWNER, probe_of("adopted kitten"))[BM25]

    assert hits[0].found.round_row == KITTEN.row_id
    assert hits[0].score > 3 * hits[1].score


def test_search_raises_when_the_bm25_leg_cannot_answer(folder: Path, opened: Open) -> None:
    shard = folder / "memsvc-hash-64-64-t64-k4-dense"
    shard.mkdir(parents=True)
    only_dense = {DENSE: qdrant_edge.EdgeVectorParams(64, qdrant_edge.Distance.Cosine)}
    qdrant_edge.EdgeShard.create(str(shard), qdrant_edge.EdgeConfig(vectors=only_dense)).close()
    (folder / "CURRENT").write_text(f"{shard.name}\n")
    index = opened()

    with pytest.raises(IndexUnavailable, match="bm25"):
        index.search(OWNER, replace(probe_of("kitten"), tokens=None))


def test_search_raises_when_the_late_leg_cannot_answer(folder: Path, opened: Open) -> None:
    opened(replace(SHAPE, token_dimension=0)).close()
    shard = stored_shard(folder)
    assert shard is not None
    named_otherwise = folder / shard.replace("-t0-", "-t64-")
    (folder / shard).rename(named_otherwise)
    (folder / "CURRENT").write_text(f"{named_otherwise.name}\n")
    index = opened()

    with pytest.raises(IndexUnavailable, match="tokens"):
        index.search(OWNER, replace(probe_of("kitten"), dense=None, sparse=None))


def test_engines_errors_are_ours(opened: Open) -> None:
    index = opened()
    index.put(points_of(OWNER, KITTEN))
    three_numbers = np.ones(3, dtype=np.float32)

    with pytest.raises(IndexUnavailable, match="dimension"):
        index.search(OWNER, replace(probe_of("kitten"), dense=three_numbers))


def test_token_vectors_of_another_length_are_refused(opened: Open) -> None:
    index = opened()
    index.put(points_of(OWNER, KITTEN))

    with pytest.raises(IndexUnavailable, match="dimension"):
        index.search(OWNER, replace(probe_of("kitten"), tokens=np.ones((2, 3), dtype=np.float32)))


def test_refused_point_does_no_harm_to_the_others(opened: Open) -> None:
    index = opened()
    bad = [replace(point, dense=np.ones(3, dtype=np.float32)) for point in points_of(OWNER, PUPPY)]

    with pytest.raises(IndexUnavailable, match="dimension"):
        index.put(bad)

    index.put(points_of(OWNER, KITTEN))
    index.close()
    assert opened().count() == 1


def test_dense_scores_keep_three_places_of_the_cosine(opened: Open) -> None:
    index, random = opened(Shape("random", 384, 128)), np.random.default_rng(3)
    points, query = _random_points(random, 300), _directions(random, 1, 384)[0]
    index.put(points)

    hits = index.search(OWNER, Probe(300, dense=query))[DENSE]

    exact = {point.key.position: float(point.dense @ query) for point in points}
    errors = [hit.score - exact[hit.found.position] for hit in hits]
    assert len(errors) == 300
    assert np.abs(errors).max() < 5e-4


def test_late_scores_keep_two_places_of_the_exact_ones(opened: Open) -> None:
    index, random = opened(Shape("random", 384, 128)), np.random.default_rng(3)
    points = _random_points(random, 300)
    weights = random.dirichlet(np.ones(8)).astype(np.float32)
    query = _directions(random, 8, 128) * weights[:, None]
    index.put(points)

    hits = index.search(OWNER, Probe(300, tokens=query))[LATE]

    exact = {point.key.position: _max_sim(query, point.tokens) for point in points}
    errors = np.array([hit.score - exact[hit.found.position] for hit in hits])
    assert len(errors) == 300
    # Four bits a number: off by less than a hundredth, and to neither side.
    assert np.sqrt((errors**2).mean()) < 0.01
    assert np.abs(errors).max() < 0.04
    assert abs(errors.mean()) < 0.003


def test_real_encoders_scores_come_back_from_the_disk(opened: Open, real_encoder: Encoder) -> None:
    pets = ("a kitten", "a brown puppy", "a parrot", "two goldfish", "an old tortoise")
    places = ("in Lisbon", "after the storm", "with my sister", "at the harbour")
    texts = [f"We found {pet} {place}." for pet in pets for place in places]
    rounds = [(OWNER, round_of(turn(text), position=position)) for position, text in enumerate(texts)]
    points, _ = Projector(real_encoder, Lexicon()).project(rounds)
    before = opened(shape_of(real_encoder))
    before.put(points)
    before.close()
    query = real_encoder.encode(["Which bird did you find by the sea?"])[0]
    weighted = query.tokens / np.float32(len(query.tokens))

    legs = opened(shape_of(real_encoder)).search(OWNER, Probe(20, dense=query.dense, tokens=weighted))

    assert {hit.found.position: hit.score for hit in legs[DENSE]} == pytest.approx(
        {point.key.position: float(point.dense @ query.dense) for point in points}, abs=5e-4
    )
    assert {hit.found.position: hit.score for hit in legs[LATE]} == pytest.approx(
        {point.key.position: _max_sim(weighted, point.tokens) for point in points}, abs=0.02
    )
    assert [texts[legs[leg][0].found.position] for leg in (DENSE, LATE)] == ["We found a parrot at the harbour."] * 2


@pytest.mark.parametrize(
    "call",
    [
        pytest.param(lambda index: index.put(points_of(OWNER, KITTEN)), id="put"),
        pytest.param(lambda index: index.drop(OWNER, KITTEN.session_row), id="drop"),
        pytest.param(lambda index: index.search(OWNER, probe_of("kitten")), id="search"),
        pytest.param(lambda index: index.count(), id="count"),
    ],
)
def test_closed_index_says_that_it_is_unavailable(opened: Open, call: Callable[[EdgeIndex], object]) -> None:
    index = opened()
    index.close()

    with pytest.raises(IndexUnavailable):
        call(index)


def test_folder_that_cannot_be_written_is_unavailable(folder: Path, opened: Open) -> None:
    folder.write_text("a file where the folder should be")

    with pytest.raises(IndexUnavailable):
        opened()


def _random_points(random: np.random.Generator, count: int) -> list[Point]:
    rounds = [round_of(turn(f"text {position}"), position=position) for position in range(count)]
    return [
        replace(point, dense=_directions(random, 1, 384)[0], tokens=_directions(random, 1 + position % 12, 128))
        for position, point in enumerate(points_of(OWNER, *rounds))
    ]


def _directions(random: np.random.Generator, count: int, dimension: int) -> Matrix:
    """Unit vectors that point anywhere."""
    return unit(random.normal(size=(count, dimension)).astype(np.float32))


def _max_sim(query: Matrix, tokens: Matrix) -> float:
    return float((query @ tokens.T).max(axis=1).sum())


def test_log_stays_short_however_much_is_written(folder: Path, opened: Open) -> None:
    # A hundred megabytes are written; the engine keeps pieces of 32 MiB, and one that is being filled.
    index = opened()
    ones = np.full((1000, SHAPE.token_dimension), 0.125, dtype=np.float32)

    for position in range(400):
        points = points_of(OWNER, round_of(turn("grey kitten"), position=position))
        index.put([replace(point, tokens=ones) for point in points])

    log = sum(path.stat().st_blocks * 512 for path in folder.rglob("wal/*"))
    assert log < 80 * 2**20 < 400 * 1000 * SHAPE.token_dimension * 4
    assert index.count() == 400
