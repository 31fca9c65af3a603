"""What a token tells about one user's turns: counted by hand, kept, and counted anew."""

from collections.abc import Iterator
from contextlib import closing
from math import log, sqrt
from pathlib import Path

import numpy as np
import pytest

from memsvc.domain import Owner
from memsvc.index.edge import EdgeIndex
from memsvc.inference.encoders import Ids
from memsvc.memory import rarity as room
from memsvc.memory.indexing import shape_of
from memsvc.memory.rarity import Rarity
from memsvc.store.database import Store
from tests.doubles import HashEncoder, together
from tests.factories import OWNER, draft
from tests.memory import Memory

BEN = Owner(OWNER.workspace, "ben")
NAMESAKE = Owner("acme", OWNER.user_id)


@pytest.fixture
def memory(store: Store, tmp_path: Path) -> Iterator[Memory]:
    with closing(EdgeIndex(tmp_path / "index", shape_of(HashEncoder()))) as index:
        yield Memory(store, index)


@pytest.fixture
def rarity(store: Store) -> Rarity:
    return Rarity(store)


def test_weight_is_the_root_of_the_inverse_document_frequency(memory: Memory, rarity: Rarity) -> None:
    memory.record("s1", "a tortoise", "a ferry", "another ferry")
    memory.drain()

    weights = rarity.weights(OWNER, _ids("tortoise ferry piano"))

    # Of three turns, one holds the first, two the second and none the third.
    told = [sqrt(log(1 + 2.5 / 1.5)), sqrt(log(1 + 1.5 / 2.5)), sqrt(log(1 + 3.5 / 0.5))]
    assert told == [pytest.approx(0.990368), pytest.approx(0.685568), pytest.approx(1.442027)]
    assert weights.tolist() == pytest.approx([each / sum(told) for each in told])
    assert weights.dtype == np.float32


def test_token_that_comes_twice_in_a_query_has_its_weight_twice(memory: Memory, rarity: Rarity) -> None:
    memory.record("s1", "a tortoise", "a ferry", "another ferry")
    memory.drain()

    first, ferry, again = rarity.weights(OWNER, _ids("tortoise ferry tortoise"))

    assert first == again > ferry
    assert first + ferry + again == pytest.approx(1)


def test_turn_counts_once_however_often_and_in_however_many_windows_it_holds_a_token(
    memory: Memory, rarity: Rarity
) -> None:
    memory.record("s1", "A ferry, a ferry! " * 40, "a tortoise")
    memory.drain()

    weights = rarity.weights(OWNER, _ids("ferry tortoise"))

    assert memory.index.count() > 2
    assert weights.tolist() == [0.5, 0.5]


def test_words_of_a_context_are_not_the_turns_own(memory: Memory, rarity: Rarity) -> None:
    memory.record("s1", "a tortoise", "a ferry", "a ferry")
    memory.drain()

    tortoise, ferry = rarity.weights(OWNER, _ids("tortoise ferry"))

    # The second turn is read behind the first: both words would be in two turns.
    assert tortoise > ferry


def test_nothing_is_known_of_a_user_without_turns(rarity: Rarity) -> None:
    weights = rarity.weights(Owner("default", "nobody"), _ids("a tortoise ferry piano"))

    assert weights.tolist() == [0.25] * 4


@pytest.mark.parametrize("stranger", [BEN, NAMESAKE], ids=["other user", "same user id in another workspace"])
def test_turns_of_others_never_count(memory: Memory, rarity: Rarity, stranger: Owner) -> None:
    memory.record("s1", "a tortoise", "a ferry")
    memory.drain()
    alone = rarity.weights(OWNER, _ids("tortoise ferry piano"))

    memory.record("s1", *["a ferry and a piano"] * 9, owner=stranger)
    memory.drain()

    assert Rarity(memory.store).weights(OWNER, _ids("tortoise ferry piano")).tolist() == alone.tolist()
    assert rarity.weights(OWNER, _ids("tortoise ferry piano")).tolist() == alone.tolist()
    assert rarity.weights(stranger, _ids("tortoise ferry")).tolist() == pytest.approx(_weights(9, 0, 9))


def test_turn_counts_once_it_is_indexed(memory: Memory, rarity: Rarity) -> None:
    memory.record("s1", "a tortoise")
    before = rarity.weights(OWNER, _ids("tortoise ferry"))

    memory.drain()

    assert before.tolist() == [0.5, 0.5]
    # One turn of one, and none of one.
    told = sqrt(log(1 + 0.5 / 1.5)), sqrt(log(1 + 1.5 / 0.5))
    assert rarity.weights(OWNER, _ids("tortoise ferry")).tolist() == pytest.approx([each / sum(told) for each in told])


def test_round_that_grows_counts_with_its_new_turn(memory: Memory, rarity: Rarity) -> None:
    memory.record("s1", "a tortoise")
    memory.drain()
    memory.recorder.append(OWNER, "s1", [draft("a ferry", "assistant")])

    memory.drain()

    assert rarity.weights(OWNER, _ids("tortoise ferry")).tolist() == [0.5, 0.5]


def test_counts_are_kept_until_a_fiftieth_more_turns_are_there(memory: Memory, rarity: Rarity) -> None:
    memory.record("s1", *["a tortoise"] * 100)
    memory.drain()
    told = []

    for session in ("s2", "s3", "s4"):
        told.append(rarity.weights(OWNER, _ids("tortoise ferry")).tolist())
        memory.record(session, "a ferry")
        memory.drain()

    assert told == [told[0]] * 3
    # With three more, which is over a fiftieth, they are counted anew.
    assert rarity.weights(OWNER, _ids("tortoise ferry")).tolist() == pytest.approx(_weights(103, 100, 3))
    assert told[0] == pytest.approx(_weights(100, 100, 0))


def test_counts_are_kept_until_a_fiftieth_fewer_turns_are_there(memory: Memory, rarity: Rarity) -> None:
    memory.record("s1", *["a tortoise"] * 97)
    for session in ("s2", "s3", "s4"):
        memory.record(session, "a ferry")
    memory.drain()
    told = []

    for session in ("s2", "s3", "s4"):
        told.append(rarity.weights(OWNER, _ids("tortoise ferry")).tolist())
        memory.forgetter.forget_session(OWNER, session)

    assert told == [pytest.approx(_weights(100, 97, 3))] * 3
    assert rarity.weights(OWNER, _ids("tortoise ferry")).tolist() == pytest.approx(_weights(97, 97, 0))


def test_forgotten_turns_stop_counting(memory: Memory, rarity: Rarity) -> None:
    memory.record("s1", "a tortoise", "a ferry")
    memory.record("s2", "a ferry")
    memory.drain()
    before = rarity.weights(OWNER, _ids("tortoise ferry")).tolist()

    memory.forgetter.forget_session(OWNER, "s2")

    assert before == pytest.approx(_weights(3, 1, 2))
    assert rarity.weights(OWNER, _ids("tortoise ferry")).tolist() == [0.5, 0.5]


def test_forgotten_user_starts_anew(memory: Memory, rarity: Rarity) -> None:
    memory.record("s1", "a tortoise", "another tortoise")
    memory.drain()
    rarity.weights(OWNER, _ids("tortoise"))

    memory.forgetter.forget_user(OWNER)

    assert rarity.weights(OWNER, _ids("tortoise ferry")).tolist() == [0.5, 0.5]


def test_counts_of_so_many_users_are_kept_at_most(
    memory: Memory, rarity: Rarity, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "USERS_KEPT", 2)
    owners = [Owner("default", f"user {number}") for number in range(4)]
    for owner in owners:
        memory.record("s1", "a tortoise", "a ferry", "a ferry", owner=owner)
    memory.drain()

    told = [rarity.weights(owner, _ids("tortoise ferry")).tolist() for owner in [*owners, *owners]]

    assert told == [pytest.approx(_weights(3, 1, 2))] * 8
    assert list(rarity._kept) == owners[2:]


def test_recalls_at_once_have_the_same_weights(memory: Memory, rarity: Rarity) -> None:
    memory.record("s1", "a tortoise", "a ferry", "a ferry")
    memory.drain()
    told: list[list[float]] = []

    raised = together(*[lambda: told.append(rarity.weights(OWNER, _ids("tortoise ferry")).tolist())] * 4)

    assert raised == []
    assert told == [pytest.approx(_weights(3, 1, 2))] * 4


def _ids(words: str) -> Ids:
    return HashEncoder().encode([words])[0].token_ids


def _weights(turns: int, *held: int) -> list[float]:
    """The weights of tokens that so many of the turns hold, by hand."""
    told = [sqrt(log(1 + (turns - count + 0.5) / (count + 0.5))) for count in held]
    return [each / sum(told) for each in told]
