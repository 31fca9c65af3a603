"""Turns become rounds, and rounds the keys that are indexed."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memsvc.domain import Key, KeyKind, Round, Turn
from memsvc.inference.encoders import SentenceEncoder
from memsvc.memory.dividing import OVERLAP_TOKENS, joins, keys_of
from tests.doubles import HashEncoder
from tests.factories import round_of, turn

CountTokens = Callable[[Sequence[str]], list[int]]

WORDS = HashEncoder().count_tokens
SLOW = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize(
    ("roles", "first_positions"),
    [
        pytest.param("u:Ana a:bot u:Ana a:bot", [0, 2], id="user and assistant by turns"),
        pytest.param("u:Ana a:bot a:bot t:search a:bot", [0], id="several replies"),
        pytest.param("u:Ana u:Ana a:bot", [0, 1], id="a user who speaks twice opens two"),
        pytest.param("u:Ana u:Ben u:Ana u:Ben", [0, 2], id="two people by turns"),
        pytest.param("u:Ana u:Ana u:Ben u:Ana", [0, 1, 3], id="two people, one speaks twice"),
        pytest.param("u:Ana u:Ben u:Ben u:Ana", [0, 2], id="the second person goes on in a round of their own"),
        pytest.param("u:Ana u:Ben u:Cleo u:Ana", [0, 2], id="three people"),
        pytest.param("a:bot u:Ana a:bot", [0, 1], id="an assistant who begins"),
        pytest.param("s:system u:Ana a:bot", [0, 1], id="a system prompt stands alone"),
        pytest.param("a:bot a:bot t:search", [0], id="no user at all"),
        pytest.param("u:Ana u:Ben a:bot u:Ana", [0, 3], id="an assistant among people"),
        pytest.param("u:Ana a:bot u:Ben a:bot", [0, 2], id="after an assistant the other person opens"),
        pytest.param("u:Ana", [0], id="one turn"),
        pytest.param("", [], id="none"),
    ],
)
def test_round_is_a_turn_with_the_replies_to_it(roles: str, first_positions: list[int]) -> None:
    turns = [_spoken(word, position) for position, word in enumerate(roles.split())]

    rounds = _divided(turns)

    assert [int(divided[0].turn_id) for divided in rounds] == first_positions
    assert [spoken for divided in rounds for spoken in divided] == turns


def test_round_of_one_turn_has_one_key() -> None:
    kitten = round_of(turn("I adopted a kitten. It is grey.", speaker="Ana"))

    keys = keys_of(kitten, count_tokens=WORDS, max_tokens=40)

    assert keys == [Key(keys[0].point_id, kitten, KeyKind.TURN, "Ana: I adopted a kitten. It is grey.", ("0",))]


def test_round_of_two_turns_has_a_key_for_each_and_one_for_both() -> None:
    talk = round_of(
        turn("Any pets?", speaker="Ben", turn_id="a"),
        turn("A kitten.", "assistant", speaker="bot", turn_id="b"),
    )

    keys = keys_of(talk, count_tokens=WORDS, max_tokens=40)

    assert [(key.kind, key.turn_ids, key.text) for key in keys] == [
        (KeyKind.TURN, ("a",), "Ben: Any pets?"),
        (KeyKind.TURN, ("b",), "bot: A kitten."),
        (KeyKind.ROUND, ("a", "b"), "Ben: Any pets?\nbot: A kitten."),
    ]


def test_long_turn_is_cut_at_sentence_borders_with_overlap() -> None:
    sentences = [f"Sentence {number} has five words." for number in range(5)]
    long = round_of(turn(" ".join(sentences), speaker="Ana"))

    keys = keys_of(long, count_tokens=WORDS, max_tokens=16)

    # One token of the sixteen is the speaker's name; the last two sentences of a window open the next.
    assert [key.text for key in keys] == [
        "Ana: " + " ".join(sentences[0:3]),
        "Ana: " + " ".join(sentences[1:4]),
        "Ana: " + " ".join(sentences[2:5]),
    ]


def test_overlap_is_at_most_32_tokens() -> None:
    sentences = [f"{'word ' * 9}{number}." for number in range(30)]
    long = round_of(turn(" ".join(sentences), speaker="Ana"))

    keys = keys_of(long, count_tokens=WORDS, max_tokens=101)

    windows = [re.findall(r"\d+", key.text) for key in keys]
    overlaps = [sorted(set(before) & set(after), key=int) for before, after in pairwise(windows)]
    assert windows[0] == [str(number) for number in range(10)]
    assert overlaps[0] == ["7", "8", "9"]
    assert all(10 * len(overlap) <= OVERLAP_TOKENS for overlap in overlaps)


def test_window_over_several_turns_names_each_speaker() -> None:
    talk = round_of(
        turn("One two three. Four five six.", speaker="Ana Maria", turn_id="a"),
        turn("Seven eight nine. Ten eleven twelve.", "assistant", speaker="bot", turn_id="b"),
    )

    keys = keys_of(talk, count_tokens=WORDS, max_tokens=12)

    assert [key.text for key in keys if key.kind is KeyKind.ROUND] == [
        "Ana Maria: One two three. Four five six.\nbot: Seven eight nine.",
        "Ana Maria: Four five six.\nbot: Seven eight nine. Ten eleven twelve.",
    ]


def test_captions_are_part_of_what_a_turn_says() -> None:
    shown = round_of(turn("Look at this!", speaker="Ana", captions=("a dog on a beach", "the sea")))

    keys = keys_of(shown, count_tokens=WORDS, max_tokens=40)

    assert [key.text for key in keys] == ["Ana: Look at this! [image: a dog on a beach] [image: the sea]"]


def test_turn_of_captions_alone_has_a_key() -> None:
    shown = round_of(turn("", speaker="Ana", captions=("a dog on a beach",)))

    keys = keys_of(shown, count_tokens=WORDS, max_tokens=40)

    assert [key.text for key in keys] == ["Ana: [image: a dog on a beach]"]


@pytest.mark.parametrize(
    "sentences",
    [["昨日は東京で寿司を食べました。", "明日は京都へ行きます。"], ["我昨天吃了面条。", "今天吃米饭。", "明天呢。"]],
    ids=["Japanese", "Chinese"],
)
def test_sentences_without_spaces_are_cut_at_their_own_stops(
    real_encoder: SentenceEncoder, sentences: list[str]
) -> None:
    spoken = round_of(turn("".join(sentences), speaker="Ana"))
    room = 2 + max(real_encoder.count_tokens(sentences))

    keys = keys_of(spoken, count_tokens=real_encoder.count_tokens, max_tokens=room)

    assert [key.text for key in keys] == [f"Ana: {sentence}" for sentence in sentences]


def test_huge_word_is_halved_until_its_parts_fit() -> None:
    def letters(texts: Sequence[str]) -> list[int]:
        return [len(text.replace(" ", "")) for text in texts]

    spoken = round_of(turn("x" * 1000 + "y" * 24, speaker="A"))

    keys = keys_of(spoken, count_tokens=letters, max_tokens=66)

    assert "".join(key.text.removeprefix("A: ").replace(" ", "") for key in keys) == "x" * 1000 + "y" * 24
    assert all(letters([key.text])[0] <= 66 for key in keys)


_HUGE = {
    "sentences": "I went to the market and bought some apples. " * 2222,
    "words without a stop": "word " * 20_000,
    "one word": "x" * 100_000,
    "Chinese without a stop": "面" * 100_000,
    "punctuation": "?!" * 50_000,
    "one-letter sentences": "a. " * 33_333,
    "full-width stops": "。" * 100_000,
    "line ends": "a\n" * 50_000,
}


@pytest.mark.parametrize("text", _HUGE.values(), ids=_HUGE.keys())
def test_huge_turn_becomes_a_bounded_number_of_windows_that_fit(real_encoder: SentenceEncoder, text: str) -> None:
    spoken = round_of(turn(text, speaker="Ana"))

    keys = keys_of(spoken, count_tokens=real_encoder.count_tokens, max_tokens=254)

    # A window that overlaps still moves on by more than half of its room.
    tokens = max(real_encoder.count_tokens([text])[0], len(text.split()), text.count("。"))
    assert 1 <= len(keys) <= 1 + tokens // 110
    assert max(real_encoder.count_tokens([key.text for key in keys])) <= 254


@pytest.mark.parametrize(
    "text",
    ["...", "?!?!", "\u200b", "🍕🍕", "—", "\u200b.\n\u200b"],
    ids=["dots", "marks", "zero", "emoji", "dash", "mix"],
)
def test_turn_without_words_has_a_key_all_the_same(real_encoder: SentenceEncoder, text: str) -> None:
    spoken = round_of(turn(text, speaker="Ana"))

    keys = keys_of(spoken, count_tokens=real_encoder.count_tokens, max_tokens=254)

    assert len(keys) == 1
    assert keys[0].turn_ids == ("0",)
    assert keys[0].text.startswith("Ana: ")


@pytest.mark.parametrize(
    "speaker",
    ["Ana " * 63, "x" * 255, "名" * 255, "🦊" * 255, "a-" * 127],
    ids=["words", "one word", "Chinese", "emoji", "hyphens"],
)
def test_long_name_is_cut_and_leaves_room_for_what_is_said(real_encoder: SentenceEncoder, speaker: str) -> None:
    spoken = round_of(turn("I adopted a grey kitten. " * 100, speaker=speaker))

    keys = keys_of(spoken, count_tokens=real_encoder.count_tokens, max_tokens=254)

    assert all(key.text.startswith(f"{speaker[:64]}: I adopted a grey kitten.") for key in keys)
    assert max(real_encoder.count_tokens([key.text for key in keys])) <= 254


_names = st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=40).filter(str.strip)
_words = st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=12)
_texts = st.one_of(
    st.lists(_words, min_size=1, max_size=60).map(" ".join),
    st.lists(
        st.sampled_from(["I", "adopted", "cats.", "Why?", "No!", "grey\n", "日本。"]), min_size=1, max_size=150
    ).map(" ".join),
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200).filter(str.strip),
)
_turns = st.builds(
    lambda text, role, speaker: turn(text, role, speaker=speaker),
    _texts,
    st.sampled_from(["user", "assistant", "tool"]),
    _names,
)
_rounds = st.lists(_turns, min_size=1, max_size=5).map(
    lambda turns: round_of(*(replace(spoken, turn_id=str(place)) for place, spoken in enumerate(turns)))
)


@given(_rounds, st.integers(50, 120))
@SLOW
def test_each_window_fits_the_encoder(spoken: Round, max_tokens: int) -> None:
    keys = keys_of(spoken, count_tokens=WORDS, max_tokens=max_tokens)

    assert max(WORDS([key.text for key in keys])) <= max_tokens


@given(spoken=_rounds, max_tokens=st.sampled_from([126, 254]))
@SLOW
def test_each_window_fits_the_shipped_encoder(real_encoder: SentenceEncoder, spoken: Round, max_tokens: int) -> None:
    keys = keys_of(spoken, count_tokens=real_encoder.count_tokens, max_tokens=max_tokens)

    assert max(real_encoder.count_tokens([key.text for key in keys])) <= max_tokens


@given(_rounds)
@SLOW
def test_every_word_of_every_turn_is_in_some_window(spoken: Round) -> None:
    keys = keys_of(spoken, count_tokens=WORDS, max_tokens=50)

    for each in spoken.turns:
        found = {word for key in keys if each.turn_id in key.turn_ids for word in key.text.split()}
        assert set(each.said.split()) <= found


@given(_rounds)
@SLOW
def test_every_turn_has_windows_of_its_own(spoken: Round) -> None:
    keys = keys_of(spoken, count_tokens=WORDS, max_tokens=50)

    own = {turn_id for key in keys if key.kind is KeyKind.TURN for turn_id in key.turn_ids}
    assert own == {each.turn_id for each in spoken.turns}
    assert all(len(key.turn_ids) == 1 for key in keys if key.kind is KeyKind.TURN)
    assert all(len(key.turn_ids) > 1 for key in keys if key.kind is KeyKind.ROUND)


@given(_rounds)
@SLOW
def test_keys_have_distinct_ids_that_stay_the_same(spoken: Round) -> None:
    keys = keys_of(spoken, count_tokens=WORDS, max_tokens=50)

    ids = [key.point_id for key in keys]
    assert len(set(ids)) == len(ids)
    assert keys_of(spoken, count_tokens=WORDS, max_tokens=50) == keys


@given(_rounds, _turns)
@SLOW
def test_round_that_grows_keeps_its_keys(spoken: Round, reply: Turn) -> None:
    grown = replace(spoken, turns=(*spoken.turns, replace(reply, turn_id="reply")))

    before = {key.point_id: key for key in keys_of(spoken, count_tokens=WORDS, max_tokens=50)}
    after = {key.point_id: key for key in keys_of(grown, count_tokens=WORDS, max_tokens=50)}

    assert before.keys() <= after.keys()
    changed = [key for point_id, key in before.items() if after[point_id].text != key.text]
    last_of_the_round = [key for key in before.values() if key.kind is KeyKind.ROUND][-1:]
    assert changed in ([], last_of_the_round)


def test_same_text_at_another_place_has_other_ids() -> None:
    first, second = (round_of(turn("Hello there."), position=position) for position in (0, 2))

    ids = {key.point_id for each in (first, second) for key in keys_of(each, count_tokens=WORDS, max_tokens=50)}

    assert len(ids) == 2


def _spoken(word: str, position: int) -> Turn:
    role, _, speaker = word.partition(":")
    roles = {"u": "user", "a": "assistant", "s": "system", "t": "tool"}
    return turn("something", roles[role], turn_id=str(position), speaker=speaker)


def _divided(turns: Sequence[Turn]) -> list[list[Turn]]:
    rounds: list[list[Turn]] = []
    for spoken in turns:
        if not joins(rounds[-1] if rounds else [], spoken):
            rounds.append([])
        rounds[-1].append(spoken)
    return rounds
