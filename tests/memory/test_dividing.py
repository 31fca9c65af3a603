"""Turns become rounds, and rounds the keys that are indexed."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memsvc.domain import Key, KeyKind, Round, Turn
from memsvc.inference.encoders import Encoder
from memsvc.memory.dividing import CONTEXT_TOKENS, OVERLAP_TOKENS, joins, keys_of
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
    said = turn("I adopted a kitten. It is grey.", speaker="Ana")
    kitten = round_of(said, position=4)

    keys = keys_of(kitten, count_tokens=WORDS, max_tokens=40)

    text = "Ana: I adopted a kitten. It is grey."
    assert keys == [Key(keys[0].point_id, kitten, KeyKind.TURN, text, said, position=4, context="")]


def test_each_turn_has_a_key_behind_the_turn_before_it() -> None:
    talk = round_of(
        turn("Any pets?", speaker="Ben", turn_id="a"),
        turn("A kitten.", "assistant", speaker="bot", turn_id="b"),
        turn("It is grey.", "assistant", speaker="bot", turn_id="c"),
        position=7,
    )

    keys = keys_of(talk, count_tokens=WORDS, max_tokens=40)

    assert [(key.turn.turn_id, key.position, key.context, key.text) for key in keys] == [
        ("a", 7, "", "Ben: Any pets?"),
        ("b", 8, "Ben: Any pets?", "bot: A kitten."),
        ("c", 9, "bot: A kitten.", "bot: It is grey."),
    ]


def test_first_turn_of_a_round_is_read_behind_the_turn_before_the_round() -> None:
    before = turn("It is grey.", "assistant", speaker="bot")
    talk = replace(round_of(turn("What is it named?", speaker="Ben")), before=before)

    keys = keys_of(talk, count_tokens=WORDS, max_tokens=40)

    assert [(key.context, key.text) for key in keys] == [("bot: It is grey.", "Ben: What is it named?")]


def test_context_of_several_windows_is_the_same() -> None:
    before = turn("Tell me all.", speaker="Ben")
    long = replace(round_of(turn("One two three four. " * 20, speaker="Ana")), before=before)

    keys = keys_of(long, count_tokens=WORDS, max_tokens=20)

    assert len(keys) > 3
    assert {key.context for key in keys} == {"Ben: Tell me all."}


@pytest.mark.parametrize(
    ("max_tokens", "context"),
    [
        pytest.param(400, "Ben: " + " ".join(f"{number} has four words." for number in range(6, 20)), id="sixty"),
        pytest.param(64, "Ben: 17 has four words. 18 has four words. 19 has four words.", id="a quarter, rounded"),
        pytest.param(20, "Ben: 19 has four words.", id="a sentence and the name"),
        # Two tokens are left beside the name: the last sentence is halved until a part fits.
        pytest.param(12, "Ben: four words.", id="less than a sentence"),
        pytest.param(4, "", id="no more than the name"),
    ],
)
def test_context_is_the_last_sentences_that_fit(max_tokens: int, context: str) -> None:
    before = turn(" ".join(f"{number} has four words." for number in range(20)), speaker="Ben")
    talk = replace(round_of(turn("Yes.", speaker="A")), before=before)

    keys = keys_of(talk, count_tokens=WORDS, max_tokens=max_tokens)

    assert [key.context for key in keys] == [context]


def test_context_holds_the_captions_of_the_turn_before() -> None:
    before = turn("Look!", speaker="Ben", captions=("a dog on a beach",))
    talk = replace(round_of(turn("How sweet.", speaker="Ana")), before=before)

    keys = keys_of(talk, count_tokens=WORDS, max_tokens=100)

    assert [key.context for key in keys] == ["Ben: Look! [image: a dog on a beach]"]


def test_long_turn_is_cut_at_sentence_borders_with_overlap() -> None:
    sentences = [f"Sentence {number} has five words." for number in range(5)]
    long = round_of(turn(" ".join(sentences), speaker="Ana"))

    keys = keys_of(long, count_tokens=WORDS, max_tokens=21)

    # Five tokens are kept for a context, one is the speaker's name; the last two sentences of a window open the next.
    assert [key.text for key in keys] == [
        "Ana: " + " ".join(sentences[0:3]),
        "Ana: " + " ".join(sentences[1:4]),
        "Ana: " + " ".join(sentences[2:5]),
    ]


def test_overlap_is_at_most_32_tokens() -> None:
    sentences = [f"{'word ' * 9}{number}." for number in range(30)]
    long = round_of(turn(" ".join(sentences), speaker="Ana"))

    keys = keys_of(long, count_tokens=WORDS, max_tokens=134)

    # A quarter of the room, 33 tokens, is kept for a context.
    windows = [re.findall(r"\d+", key.text) for key in keys]
    overlaps = [sorted(set(before) & set(after), key=int) for before, after in pairwise(windows)]
    assert windows[0] == [str(number) for number in range(10)]
    assert overlaps[0] == ["7", "8", "9"]
    assert all(10 * len(overlap) <= OVERLAP_TOKENS for overlap in overlaps)


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
def test_sentences_without_spaces_are_cut_at_their_own_stops(real_encoder: Encoder, sentences: list[str]) -> None:
    spoken = round_of(turn("".join(sentences), speaker="Ana"))
    room = 2 + max(real_encoder.count_tokens(sentences))
    # Beside a quarter for a context.
    max_tokens = next(tokens for tokens in range(room, 2 * room) if tokens - tokens // 4 == room)

    keys = keys_of(spoken, count_tokens=real_encoder.count_tokens, max_tokens=max_tokens)

    assert [key.text for key in keys] == [f"Ana: {sentence}" for sentence in sentences]


def test_huge_word_is_halved_until_its_parts_fit() -> None:
    def letters(texts: Sequence[str]) -> list[int]:
        return [len(text.replace(" ", "")) for text in texts]

    spoken = round_of(turn("x" * 1000 + "y" * 24, speaker="A"))

    keys = keys_of(spoken, count_tokens=letters, max_tokens=88)

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
def test_huge_turn_becomes_a_bounded_number_of_windows_that_fit(real_encoder: Encoder, text: str) -> None:
    spoken = round_of(turn(text, speaker="Ana"))

    keys = keys_of(spoken, count_tokens=real_encoder.count_tokens, max_tokens=254)

    # A window that overlaps still moves on by more than half of its room, which is 194 tokens beside a context.
    tokens = max(real_encoder.count_tokens([text])[0], len(text.split()), text.count("。"))
    assert 1 <= len(keys) <= 1 + tokens // 80
    assert max(real_encoder.count_tokens([key.text for key in keys])) <= 254 - CONTEXT_TOKENS


@pytest.mark.parametrize(
    "text",
    ["...", "?!?!", "\u200b", "🍕🍕", "—", "\u200b.\n\u200b"],
    ids=["dots", "marks", "zero", "emoji", "dash", "mix"],
)
def test_turn_without_words_has_a_key_all_the_same(real_encoder: Encoder, text: str) -> None:
    spoken = round_of(turn(text, speaker="Ana"))

    keys = keys_of(spoken, count_tokens=real_encoder.count_tokens, max_tokens=254)

    assert len(keys) == 1
    assert keys[0].turn == spoken.turns[0]
    assert keys[0].text.startswith("Ana: ")


@pytest.mark.parametrize(
    "speaker",
    ["Ana " * 63, "x" * 255, "名" * 255, "🦊" * 255, "a-" * 127],
    ids=["words", "one word", "Chinese", "emoji", "hyphens"],
)
def test_long_name_is_cut_and_leaves_room_for_what_is_said(real_encoder: Encoder, speaker: str) -> None:
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
_rounds = st.builds(
    lambda turns, before: replace(
        round_of(*(replace(spoken, turn_id=str(place)) for place, spoken in enumerate(turns))), before=before
    ),
    st.lists(_turns, min_size=1, max_size=5),
    st.none() | _turns,
)


@given(_rounds, st.integers(66, 120))
@SLOW
def test_each_window_fits_the_encoder_with_its_context(spoken: Round, max_tokens: int) -> None:
    keys = keys_of(spoken, count_tokens=WORDS, max_tokens=max_tokens)

    for key in keys:
        context, text = WORDS([key.context, key.text])
        assert context <= min(CONTEXT_TOKENS, max_tokens // 4)
        assert context + text <= max_tokens


@given(spoken=_rounds, max_tokens=st.sampled_from([126, 254]))
@SLOW
def test_each_window_fits_the_shipped_encoder_with_its_context(
    real_encoder: Encoder, spoken: Round, max_tokens: int
) -> None:
    keys = keys_of(spoken, count_tokens=real_encoder.count_tokens, max_tokens=max_tokens)

    contexts = real_encoder.count_tokens([key.context for key in keys])
    texts = real_encoder.count_tokens([key.text for key in keys])
    assert max(contexts) <= min(CONTEXT_TOKENS, max_tokens // 4)
    assert max(context + text for context, text in zip(contexts, texts, strict=True)) <= max_tokens


@given(_rounds)
@SLOW
def test_every_word_of_every_turn_is_in_some_window_of_its_own(spoken: Round) -> None:
    keys = keys_of(spoken, count_tokens=WORDS, max_tokens=66)

    for each in spoken.turns:
        found = {word for key in keys if key.turn == each for word in key.text.split()}
        assert set(each.said.split()) <= found


@given(_rounds)
@SLOW
def test_every_turn_has_windows_at_its_own_place(spoken: Round) -> None:
    moved = replace(spoken, first_position=10)

    keys = keys_of(moved, count_tokens=WORDS, max_tokens=66)

    places = {(key.position, key.turn) for key in keys}
    assert places == set(enumerate(moved.turns, 10))


@given(_rounds)
@SLOW
def test_no_words_of_a_context_are_words_of_another_turn_than_the_one_before(spoken: Round) -> None:
    before = dict(enumerate([spoken.before, *spoken.turns[:-1]]))

    keys = keys_of(spoken, count_tokens=WORDS, max_tokens=66)

    for key in keys:
        said = before[key.position]
        if said is None:
            assert key.context == ""
        elif key.context:
            label = f"{said.speaker[:64]}:"
            assert key.context.startswith(label)
            assert "".join(said.said.split()).endswith("".join(key.context.removeprefix(label).split()))


@given(_rounds)
@SLOW
def test_keys_have_distinct_ids_that_stay_the_same(spoken: Round) -> None:
    keys = keys_of(spoken, count_tokens=WORDS, max_tokens=66)

    ids = [key.point_id for key in keys]
    assert len(set(ids)) == len(ids)
    assert keys_of(spoken, count_tokens=WORDS, max_tokens=66) == keys


@given(_rounds, _turns)
@SLOW
def test_round_that_grows_keeps_every_key_as_it_is(spoken: Round, reply: Turn) -> None:
    grown = replace(spoken, turns=(*spoken.turns, replace(reply, turn_id="reply")))

    before = keys_of(spoken, count_tokens=WORDS, max_tokens=66)
    after = keys_of(grown, count_tokens=WORDS, max_tokens=66)

    assert [replace(key, round=grown) for key in before] == after[: len(before)]
    assert {key.turn for key in after[len(before) :]} == {grown.turns[-1]}


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
