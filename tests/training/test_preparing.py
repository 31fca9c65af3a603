"""Training data become token ids: the very keys that memsvc indexes, in several versions."""

import json
from collections import Counter
from pathlib import Path

import pytest

from memsvc.inference.reading import TokenEncoder
from training import configuration, data
from training.data import CHATS
from training.prepare import Prepared, hashes, in_company, prepare, read, renamed_to, speakers_of, write
from training.signals import keys_in


@pytest.fixture
def prepared(data: Path, reader: TokenEncoder) -> list[Prepared]:
    """The small data, each chat in three versions."""
    return list(prepare(list(_load(data)), reader, renamed=2, seed=0))


def test_all_files_are_read_and_later_questions_stand_behind_the_first(data: Path) -> None:
    haystacks = list(_load(data))

    assert [haystack.haystack_id for haystack in haystacks] == ["a", "b", "c", "l"]
    assert [len(haystack.cases) for haystack in haystacks] == [4, 3, 3, 3]
    assert haystacks[0].cases[-1].question == "Who likes it?"
    # Sessions stand in time order, whatever the order of the batch.
    assert [sorted(case.evidence_turns) for case in haystacks[3].cases] == [[(0, 0)], [(0, 1), (1, 1)], [(0, 0)]]


def test_each_file_of_chats_is_read_in_its_order(data: Path) -> None:
    chat = json.loads((data / "chats_train.jsonl").read_text().splitlines()[0])
    for name in CHATS:
        (data / name).write_text(json.dumps(chat | {"id": name}) + "\n")

    assert [haystack.haystack_id for haystack in _load(data)] == [*CHATS, "l"]


def test_shipped_data_hold_what_their_readme_says() -> None:
    haystacks = list(data.load(data.DATA))

    chats = [haystack for haystack in haystacks if speakers_of(haystack)]
    told = (data.DATA / "README.md").read_text()
    counts = {
        "chats": len(chats),
        "questions on chats": sum(len(chat.cases) for chat in chats),
        "questions on sessions": sum(len(one.cases) for one in haystacks) - sum(len(chat.cases) for chat in chats),
    }
    assert {name: f"{count:,} {name}" in told for name, count in counts.items()} == dict.fromkeys(counts, True)


def test_shipped_data_for_the_fusion_are_what_their_readme_says() -> None:
    haystacks = list(data.load_for_fusion(data.DATA))

    chats = [haystack for haystack in haystacks if speakers_of(haystack)]
    histories = [haystack for haystack in haystacks if not speakers_of(haystack)]
    told = (data.DATA / "README.md").read_text()
    for kind, kept in (("chats", chats), ("histories", histories)):
        assert f"{len(kept)} {kind}, {sum(len(one.cases) for one in kept):,} questions" in told
    assert {turn.role for one in histories for session in one.sessions for turn in session.turns} == {
        "user",
        "assistant",
    }


def test_what_is_for_the_encoder_for_the_fusion_and_for_evaluation_has_no_turn_in_common() -> None:
    from evals import chats

    sources = (data.load(data.DATA), data.load_for_fusion(data.DATA), chats.load(chats.SHIPPED))

    learned, fused, evaluated = (
        {turn.text for one in source for session in one.sessions for turn in session.turns if len(turn.text) > 40}
        for source in sources
    )

    assert (learned & fused, learned & evaluated, fused & evaluated) == (set(), set(), set())


def test_chats_come_as_they_are_and_renamed_and_batches_as_they_are(prepared: list[Prepared]) -> None:
    assert [(one.number, one.kind, one.version) for one in prepared] == [
        *((number, "chat", version) for number in range(3) for version in range(3)),
        (3, "assistant", 0),
    ]


def test_keys_are_those_of_the_index_with_their_turns(
    prepared: list[Prepared], data: Path, reader: TokenEncoder
) -> None:
    haystack = next(iter(_load(data)))

    keys = keys_in(haystack, reader)

    assert prepared[0].keys == reader.rows([key.text for key in keys], contexts=[key.context for key in keys])
    assert prepared[0].turns == list(range(7))
    assert prepared[0].sessions == [0, 0, 1, 1, 1, 2, 2]


def test_questions_name_their_evidence_by_turn(prepared: list[Prepared]) -> None:
    assert [evidence for _, evidence in prepared[0].questions] == [[0], [2], [3, 6], [3]]
    assert [evidence for _, evidence in prepared[-1].questions] == [[0], [1, 3], [0]]


def test_all_chats_of_a_version_have_the_same_two_names(prepared: list[Prepared], reader: TokenEncoder) -> None:
    opening = {
        version: {one.keys[place][1][0] for one in prepared if one.version == version for place in (0, 1)}
        for version in (1, 2)
    }

    assert [len(names) for names in opening.values()] == [2, 2]


def test_speakers_are_renamed_wherever_they_are_called(data: Path) -> None:
    haystack = next(iter(_load(data)))

    told = renamed_to(haystack, {"Tove": "Halvard", "Halvard": "Ann"})

    first, second = told.sessions[0].turns
    assert (first.speaker, first.text) == ("Halvard", "Ann, I bought a boat last week!")
    assert (second.speaker, second.text) == ("Ann", "Congratulations, Halvard. What does it cost?")
    assert [case.question for case in told.cases][1] == "What did Halvard's boat cost?"
    assert [case.evidence_turns for case in told.cases] == [case.evidence_turns for case in haystack.cases]


def test_company_comes_behind_under_the_same_names(data: Path) -> None:
    haystacks = list(_load(data))

    told = in_company(haystacks[0], haystacks, turns=20, seed=0)

    assert told.sessions[:3] == haystacks[0].sessions
    assert 20 <= told.turn_count < 24
    assert speakers_of(told) == ["Halvard", "Tove"]
    assert told.cases == haystacks[0].cases
    assert told == in_company(haystacks[0], haystacks, turns=20, seed=0)
    assert told != in_company(haystacks[0], haystacks, turns=20, seed=1)


def test_company_of_a_batch_is_of_its_kind(data: Path) -> None:
    haystacks = list(_load(data))

    assert in_company(haystacks[3], haystacks, turns=20, seed=0) == haystacks[3]


def test_what_is_written_is_read_again(prepared: list[Prepared], tmp_path: Path, data: Path) -> None:
    count = write(prepared, tmp_path / "prepared.json.gz", data=hashes(data))

    again, told = read(tmp_path / "prepared.json.gz")

    assert count == len(again) == 10
    assert [vars_of(one) for one in again] == [vars_of(one) for one in prepared]
    assert sorted(told) == sorted(path.name for path in data.iterdir())


def test_tokens_are_counted_once_a_turn(prepared: list[Prepared]) -> None:
    counted = prepared[0].turns_with()

    held = [set(own) for _, own in prepared[0].keys]
    assert counted == Counter(token for own in held for token in own)


def test_configuration_with_other_names_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "encoder.toml"
    path.write_text(configuration.DEFAULT.read_text().replace("epochs", "epoch"))

    with pytest.raises(ValueError, match="'epochs'"):
        configuration.load(path)
    with pytest.raises(ValueError, match="'speed'"):
        configuration.load(speed=2)


def vars_of(one: Prepared) -> tuple[object, ...]:
    """Its fields, to be compared."""
    return one.number, one.kind, one.version, one.keys, one.turns, one.sessions, one.questions


_load = data.load
