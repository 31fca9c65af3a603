"""BM25 vectors: which words count, and how much."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memsvc.index.lexical import AVERAGE_KEY_TOKENS, Lexicon, SparseVector

LEXICON = Lexicon()

# Robertson and Zaragoza (2009): term frequency saturates with k, and is normalised by length with b.
K, B = 1.2, 0.75


def test_word_weighs_as_bm25_says() -> None:
    vector = LEXICON.document("tortoise tortoise lodger")

    length = K * (1 - B + B * 3 / AVERAGE_KEY_TOKENS)
    expected = sorted([1 * (K + 1) / (1 + length), 2 * (K + 1) / (2 + length)])
    assert sorted(vector.values) == pytest.approx(expected)


def test_query_weighs_each_distinct_word_once() -> None:
    vector = LEXICON.query("tortoise tortoise lodger")

    assert sorted(vector.indices) == sorted(LEXICON.document("tortoise lodger").indices)
    assert vector.values == [1.0, 1.0]


@pytest.mark.parametrize(
    ("text", "query"),
    [
        pytest.param("She was running home", "runs", id="inflected verbs"),
        pytest.param("Two kittens", "KITTEN", id="plural and case"),
        pytest.param("Tomas's lodger", "Tomas", id="possessive"),
        pytest.param("meet at Quendelbach, 9.5 km", "quendelbach", id="beside punctuation"),
        pytest.param("昨日は東京で寿司を食べました。", "東京の寿司", id="Japanese"),
        pytest.param("昨日は東京で寿司を食べました。", "寿司", id="Japanese, a word of kanji alone"),
        pytest.param("桜子さんと映画を見ました。", "桜子", id="Japanese, a name of kanji alone"),
        pytest.param("我昨天在上海吃了面条。", "面条", id="Chinese"),
        pytest.param("ภาษาไทยสนุกมาก", "สนุก", id="Thai"),
        pytest.param("어제 부산에서 국수를 먹었어요", "부산에서", id="Korean"),
        pytest.param("ﾗｰﾒﾝを食べた", "ラーメン", id="half-width letters"),
        pytest.param("Zoë's café", "ZOË CAFÉ", id="accents"),
    ],
)
def test_query_meets_the_words_of_a_document(text: str, query: str) -> None:
    shared = set(LEXICON.document(text).indices) & set(LEXICON.query(query).indices)

    assert shared


@pytest.mark.parametrize(
    "text", ["", "  \n", "and the of", "?!", "🍕"], ids=["empty", "blank", "stop", "marks", "emoji"]
)
def test_text_without_a_word_is_an_empty_vector(text: str) -> None:
    vectors = LEXICON.document(text), LEXICON.query(text)

    assert vectors == (SparseVector([], []), SparseVector([], []))
    assert not any(vectors)


def test_word_that_a_query_does_not_share_is_not_met() -> None:
    shared = set(LEXICON.document("a grey kitten").indices) & set(LEXICON.query("brown puppy").indices)

    assert shared == set()


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_becomes_a_vector_the_engine_takes(text: str) -> None:
    vector = LEXICON.document(text)

    assert len(vector.indices) == len(set(vector.indices)) == len(vector.values)
    assert all(0 <= index < 2**32 for index in vector.indices)
    assert all(value > 0 for value in vector.values)
