"""The Extractor on either database: sessions become facts, by a scripted model or by rules, and nothing is lost."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from starlette.responses import Response

from memsvc.domain import Draft, Owner, Status, TaskKind
from memsvc.errors import LlmAnswerCutOff, LlmUnavailable, SessionNotFound
from memsvc.facts import Fact
from memsvc.index.base import Index
from memsvc.index.edge import EdgeIndex
from memsvc.inference.encoders import Encoder
from memsvc.inference.llm import ChatLlm, LlmAccess
from memsvc.intervals import AsOf
from memsvc.memory.curating import Curator, Told
from memsvc.memory.duties import Patience
from memsvc.memory.extracting import Extractor
from memsvc.memory.indexing import shape_of
from memsvc.memory.metering import Meter
from memsvc.memory.reading import Reader
from memsvc.memory.reconciling import Reconciler
from memsvc.store.database import Store, Transaction
from memsvc.store.workspaces import Extraction
from tests.doubles import HashEncoder, together
from tests.factories import OWNER, STARTED, draft, turn
from tests.llm import Body, PausedTime, ScriptedLlm, cut_off, empty, said, scripted_llm, status
from tests.memory import ATTEMPTS, LEASE_S, Memory

BEN = Owner("default", "ben")
LONGEST_WAIT_S = 450.0
BY_RULES = "drawn by rules: there was no language model, or the budget of the day was used up"
_NUMBERED = re.compile(r"^\[(\d+)[^\]]*\] (.*(?:\n(?!\[).*)*)", re.MULTILINE)

Reply = Callable[[Body], Response]


class Reading:
    """A model that draws each statement it knows from the turn in which the quote stands, and finds no two related."""

    def __init__(self, known: dict[str, str | dict[str, Any]]) -> None:
        self._known = known

    def __call__(self, body: Body) -> Response:
        if task_of(body) == "reconcile":
            numbers = re.findall(r"^(\d+): S", body["messages"][1]["content"], re.MULTILINE)
            pairs = [{"pair": int(number), "relation": "independent", "reason": "scripted"} for number in numbers]
            return said({"pairs": pairs})
        return said({"statements": [*self._statements(chat_of(body))]})

    def _statements(self, chat: str) -> Iterator[dict[str, Any]]:
        for number, line in _NUMBERED.findall(chat):
            for quote, made in self._known.items():
                if quote in line:
                    more = {"text": made} if isinstance(made, str) else made
                    yield statement(quote, int(number), **more)


def statement(quote: str, number: int = 1, **told: Any) -> dict[str, Any]:
    """A statement as a model answers it."""
    return {
        "text": quote,
        "kind": "fact",
        "subject": "user",
        "slot": None,
        "value": None,
        "turn": number,
        "quote": quote,
        "when": None,
        "from": None,
        "to": None,
        "confidence": 0.9,
        **told,
    }


def task_of(body: Body) -> str:
    """The task that a request is about."""
    return str(body["response_format"]["json_schema"]["name"])


def chat_of(body: Body) -> str:
    """The chat in a request."""
    return str(body["messages"][1]["content"].split("<chat>\n")[1].split("\n</chat>")[0])


def chats_of(llm: ScriptedLlm) -> list[str]:
    """The chats of all requests to extract."""
    return [chat_of(body) for body in llm.requests if task_of(body) == "extract"]


class Drawing(Memory):
    """The use cases with an Extractor."""

    def __init__(
        self,
        store: Store,
        index: Index,
        llm: ChatLlm | None,
        *,
        chunk_tokens: int = 4000,
        daily_tokens: int = 0,
        encoder: Encoder | None = None,
    ) -> None:
        super().__init__(store, index, encoder)
        encoder = encoder or HashEncoder()
        self.meter = Meter(store, llm, self.clock, daily_tokens=daily_tokens)
        self.reconciler = Reconciler(store, encoder, self.meter, self.clock)
        self.reader = Reader(store, self.clock, has_llm=llm is not None)
        self.curator = Curator(store, self.recorder, self.reconciler, self.clock, owed=lambda: None)
        self.extractor = Extractor(
            store,
            self.reconciler,
            self.meter,
            self.clock,
            Patience(LEASE_S, ATTEMPTS),
            count_tokens=encoder.count_tokens,
            chunk_tokens=chunk_tokens,
        )

    def say(self, session_id: str, *drafts: Draft, owner: Owner = OWNER) -> None:
        """Record a session."""
        self.recorder.record(owner, session_id, drafts, started_at=STARTED)

    def extract(self) -> None:
        """Do all that is due, the index's part too."""
        self.drain()

    def facts(self, owner: Owner = OWNER, *, superseded: bool = False) -> list[Fact]:
        return self.reader.facts(owner, AsOf(), superseded=superseded, limit=200)

    def texts(self, owner: Owner = OWNER) -> list[str]:
        return sorted(fact.text for fact in self.facts(owner))

    def outcome(self, session_id: str, owner: Owner = OWNER) -> list[tuple[str, str, str]]:
        """Of each statement its text, what became of it, and why."""
        found = self.curator.outcome(owner, session_id)
        return [(one.decision.text, one.became, one.decision.reason) for one in found]

    def status(self, session_id: str, owner: Owner = OWNER) -> Status:
        return self.reader.status(owner, session_id)

    def row(self, session_id: str, owner: Owner = OWNER) -> UUID:
        with self.store.read() as tx:
            session = tx.sessions.find(owner, session_id)
        assert session is not None
        return session.row_id

    def unindexed(self, owner: Owner = OWNER) -> int:
        """Of how many sessions a fact waits for the index."""
        with self.store.read() as tx:
            return len(tx.facts.sessions_to_index(owner))

    def points(self) -> int:
        """How many points of facts there are in the index."""
        with self.store.read() as tx:
            return self.index.count() - tx.rounds.counts()[2]


@pytest.fixture
def llm() -> Iterator[ScriptedLlm]:
    with scripted_llm() as scripted:
        yield scripted


@pytest.fixture
def edge(tmp_path: Path) -> Iterator[Index]:
    with closing(EdgeIndex(tmp_path / "index", shape_of(HashEncoder()))) as index:
        yield index


@contextmanager
def chatting(llm: ScriptedLlm) -> Iterator[ChatLlm]:
    """A client of the scripted model, for which pauses take no time."""
    time = PausedTime()
    with closing(ChatLlm(LlmAccess(llm.url, "a-model"), monotonic=time.monotonic, sleep=time.sleep)) as chat:
        yield chat


@pytest.fixture
def chat(llm: ScriptedLlm) -> Iterator[ChatLlm]:
    with chatting(llm) as opened:
        yield opened


@pytest.fixture
def drawing(store: Store, edge: Index, chat: ChatLlm) -> Drawing:
    return Drawing(store, edge, chat)


@pytest.fixture
def ruled(store: Store, edge: Index) -> Drawing:
    """The same without a model."""
    return Drawing(store, edge, None)


PORTO, CATS = "I live in Porto", "I have two cats"
KNOWN: dict[str, str | dict[str, Any]] = {PORTO: "The user lives in Porto.", CATS: "The user has two cats."}


# ---- With a model.


def test_what_a_session_says_becomes_facts(drawing: Drawing, llm: ScriptedLlm) -> None:
    llm.answers = Reading(KNOWN)
    drawing.say("s1", draft(f"Hi, {PORTO}.", turn_id="a"), draft("How nice!", "assistant"), draft(f"Yes. {CATS}."))

    drawing.extract()

    porto, cats = sorted(drawing.facts(), key=lambda fact: "cats" in fact.text)
    assert (porto.text, porto.source, porto.trust, porto.speaker) == ("The user lives in Porto.", "llm", "user", "user")
    assert (porto.valid_at, porto.invalid_at, porto.recorded_at) == (STARTED, None, drawing.clock.now())
    assert [(one.session_id, one.turn_id, one.quote, one.start, one.end) for one in porto.sources] == [
        ("s1", "a", PORTO, 4, 19)
    ]
    assert (cats.text, cats.sources[0].turn_id) == ("The user has two cats.", "2")
    assert drawing.status("s1") == Status(indexed=True, extracted="done")
    assert [(text, became) for text, became, _ in drawing.outcome("s1")] == [
        ("The user lives in Porto.", "added"),
        ("The user has two cats.", "added"),
    ]
    assert (drawing.points(), drawing.reader.backlog().due) == (2, 0)


def test_session_that_says_nothing_is_done(drawing: Drawing, llm: ScriptedLlm) -> None:
    llm.answers = Reading({})
    drawing.say("s1", draft("Hello!"))

    drawing.extract()

    assert (drawing.facts(), drawing.outcome("s1")) == ([], [])
    assert drawing.status("s1") == Status(indexed=True, extracted="done")


def test_session_of_the_systems_words_alone_is_done_unasked(drawing: Drawing, llm: ScriptedLlm) -> None:
    drawing.say("s1", draft("You are a pirate.", "system"))

    drawing.extract()

    assert llm.requests == []
    assert drawing.status("s1") == Status(indexed=True, extracted="done")


def test_session_is_asked_about_in_chunks(store: Store, edge: Index, chat: ChatLlm, llm: ScriptedLlm) -> None:
    llm.answers = Reading(KNOWN)
    drawing = Drawing(store, edge, chat, chunk_tokens=6)
    drawing.say("s1", draft(f"{PORTO}."), draft("How nice!", "assistant"), draft(f"{CATS}."), draft("Ah!", "assistant"))

    drawing.extract()

    assert chats_of(llm) == [
        "[1] user: I live in Porto.\n[2] assistant: How nice!",
        "[before] user: I live in Porto.\n[before] assistant: How nice!\n"
        "[1] user: I have two cats.\n[2] assistant: Ah!",
    ]
    assert drawing.texts() == ["The user has two cats.", "The user lives in Porto."]


def test_growing_session_is_asked_about_its_new_turns_with_those_before(drawing: Drawing, llm: ScriptedLlm) -> None:
    llm.answers = Reading(KNOWN)
    drawing.say("s1", draft("Hello."), draft("Hi!", "assistant"), draft(f"{PORTO}."))
    drawing.extract()

    drawing.recorder.append(OWNER, "s1", [draft("How nice!", "assistant"), draft(f"{CATS}.")])
    drawing.extract()

    assert chats_of(llm)[1:] == [
        "[before] assistant: Hi!\n[before] user: I live in Porto.\n[1] assistant: How nice!\n[2] user: I have two cats."
    ]
    assert drawing.texts() == ["The user has two cats.", "The user lives in Porto."]
    assert drawing.status("s1") == Status(indexed=True, extracted="done")


def test_what_is_extracted_is_not_asked_about_again(drawing: Drawing, llm: ScriptedLlm) -> None:
    llm.answers = Reading(KNOWN)
    drawing.say("s1", draft(f"{PORTO}."))
    drawing.extract()

    drawing.extractor.owe_session(OWNER, "s1")
    drawing.extract()

    assert (len(llm.requests), drawing.extractor.owe()) == (1, 0)


def test_told_facts_are_not_extracted_and_leave_nothing_to_extract(drawing: Drawing, llm: ScriptedLlm) -> None:
    drawing.curator.tell(OWNER, Told("Ana keeps bees."))

    drawing.extract()

    assert (drawing.texts(), llm.requests, drawing.extractor.owe()) == (["Ana keeps bees."], [], 0)


def test_round_in_several_chunks_is_done_with_the_last(
    store: Store, edge: Index, chat: ChatLlm, llm: ScriptedLlm
) -> None:
    long = f"{PORTO}. {'So it goes. ' * 40}{CATS}."
    drawing = Drawing(store, edge, chat, chunk_tokens=60)
    drawing.say("s1", draft(long))
    known, failing = Reading({"Porto": "The user lives in Porto.", "cats": "The user has two cats."}), status(401)
    llm.answers = lambda body: known(body) if PORTO in chat_of(body) else failing

    with pytest.raises(LlmUnavailable):
        drawing.extractor.extract(OWNER, drawing.row("s1"))
    halfway = drawing.texts(), drawing.status("s1").extracted
    llm.answers = known
    drawing.extract()

    assert halfway == (["The user lives in Porto."], "pending")
    assert drawing.texts() == ["The user has two cats.", "The user lives in Porto."]
    assert drawing.status("s1") == Status(indexed=True, extracted="done")
    assert drawing.extractor.owe() == 0


def test_what_was_drawn_before_an_outage_stays_and_is_not_asked_about_again(
    store: Store, edge: Index, chat: ChatLlm, llm: ScriptedLlm
) -> None:
    drawing = Drawing(store, edge, chat, chunk_tokens=4)
    drawing.say("s1", draft(f"{PORTO}."), draft(f"{CATS}."))
    known = Reading(KNOWN)
    llm.answers = lambda body: known(body) if PORTO in chat_of(body).split("[1]")[1] else status(401)

    drawing.extract()
    halfway = drawing.texts(), drawing.status("s1")
    llm.answers = known
    drawing.clock.pass_time(seconds=LONGEST_WAIT_S)
    drawing.extract()

    assert halfway == (["The user lives in Porto."], Status(indexed=True, extracted="pending", is_drawing=True))
    assert drawing.texts() == ["The user has two cats.", "The user lives in Porto."]
    assert [chat.count(PORTO) for chat in chats_of(llm)] == [1, 1, 1]
    assert sum(PORTO in chat.split("[1]")[1] for chat in chats_of(llm)) == 1


def test_answer_that_is_cut_off_is_asked_for_in_halves(drawing: Drawing, llm: ScriptedLlm) -> None:
    known = Reading(KNOWN)
    llm.answers = lambda body: (
        cut_off('{"statements": [') if chat_of(body).count("[1]") and _both(body) else known(body)
    )
    drawing.say("s1", draft(f"{PORTO}."), draft("How nice!", "assistant"), draft(f"{CATS}."), draft("Ah!", "assistant"))

    drawing.extract()

    assert [chat.count("\n") + 1 for chat in chats_of(llm)] == [4, 2, 4]
    assert chats_of(llm)[2].startswith(
        "[before] user: I live in Porto.\n[before] assistant: How nice!\n[1] user: I have"
    )
    assert drawing.texts() == ["The user has two cats.", "The user lives in Porto."]
    assert drawing.status("s1") == Status(indexed=True, extracted="done")


def _both(body: Body) -> bool:
    numbered = [line for line in chat_of(body).splitlines() if not line.startswith("[before]")]
    return any(PORTO in line for line in numbered) and any(CATS in line for line in numbered)


def test_answer_that_is_cut_off_for_the_shortest_part_fails_by_its_name(drawing: Drawing, llm: ScriptedLlm) -> None:
    llm.answers = lambda _body: cut_off("{")
    drawing.say("s1", draft(f"{PORTO}."))

    for _ in range(ATTEMPTS):
        drawing.extract()
        drawing.clock.pass_time(seconds=LONGEST_WAIT_S)

    told = drawing.status("s1")
    assert (told.indexed, told.extracted, told.error) == (
        True,
        "failed",
        f"LlmAnswerCutOff: {LlmAnswerCutOff('it ends at 8192 tokens')}",
    )
    assert (drawing.facts(), drawing.recalled("Porto")) == ([], [f"{PORTO}."])


def test_failed_session_is_extracted_when_it_is_owed_again(drawing: Drawing, llm: ScriptedLlm) -> None:
    llm.answers = lambda _body: empty()
    drawing.say("s1", draft(f"{PORTO}."))
    for _ in range(ATTEMPTS):
        drawing.extract()
        drawing.clock.pass_time(seconds=LONGEST_WAIT_S)
    failed = drawing.status("s1").extracted

    llm.answers = Reading(KNOWN)
    drawing.extractor.owe_session(OWNER, "s1")
    drawing.extract()

    assert failed == "failed"
    assert drawing.status("s1") == Status(indexed=True, extracted="done")
    assert drawing.texts() == ["The user lives in Porto."]


def test_unknown_session_cannot_be_owed(drawing: Drawing) -> None:
    with pytest.raises(SessionNotFound):
        drawing.extractor.owe_session(OWNER, "nobody's")


def test_session_forgotten_while_the_model_is_asked_leaves_nothing(drawing: Drawing, llm: ScriptedLlm) -> None:
    known = Reading(KNOWN)

    def forgetting(body: Body) -> Response:
        drawing.forgetter.forget_session(OWNER, "s1")
        return known(body)

    llm.answers = forgetting
    drawing.say("s1", draft(f"{PORTO}."))

    drawing.extract()

    assert (drawing.facts(), drawing.index.count(), drawing.reader.backlog().due) == ([], 0, 0)


def test_user_forgotten_while_the_model_is_asked_leaves_nothing(drawing: Drawing, llm: ScriptedLlm) -> None:
    known = Reading(KNOWN)

    def forgetting(body: Body) -> Response:
        drawing.forgetter.forget_user(OWNER)
        return known(body)

    llm.answers = forgetting
    drawing.say("s1", draft(f"{PORTO}."))

    drawing.extract()

    assert (drawing.facts(), drawing.index.count(), drawing.reader.backlog().due) == ([], 0, 0)


def test_turns_that_come_while_the_model_is_asked_are_extracted_after(drawing: Drawing, llm: ScriptedLlm) -> None:
    known = Reading(KNOWN)

    def growing(body: Body) -> Response:
        llm.answers = known
        drawing.recorder.append(OWNER, "s1", [draft("How nice!", "assistant"), draft(f"Oh, {CATS}.")])
        return known(body)

    llm.answers = growing
    drawing.say("s1", draft(f"{PORTO}."))

    drawing.extract()

    assert drawing.texts() == ["The user has two cats.", "The user lives in Porto."]
    assert drawing.status("s1") == Status(indexed=True, extracted="done")


def test_worker_that_is_to_stop_gives_its_task_back(drawing: Drawing, llm: ScriptedLlm) -> None:
    drawing.say("s1", draft(f"{PORTO}."))

    claimed = drawing.extractor.drain(stopping=lambda: True)

    assert (claimed, llm.requests, drawing.reader.backlog().due) == (1, [], 2)
    llm.answers = Reading(KNOWN)
    drawing.extract()
    assert drawing.texts() == ["The user lives in Porto."]


def test_task_that_kills_its_worker_each_time_is_given_up(drawing: Drawing, llm: ScriptedLlm) -> None:
    drawing.say("s1", draft(f"{PORTO}."))
    for number in range(ATTEMPTS + 1):
        with drawing.store.begin() as tx:
            tx.outbox.claim(TaskKind.EXTRACT, limit=1, lease_s=LEASE_S, now=drawing.clock.now(), retried=number > 0)
        drawing.clock.pass_time(seconds=LEASE_S)

    drawing.extract()

    told = drawing.status("s1")
    assert (told.extracted, told.error) == ("failed", "The worker ended in the middle of every attempt.")
    assert llm.requests == []


# ---- Leases.


def slowly(drawing: Drawing, known: Reply, taken: list[int]) -> Reply:
    """A model that takes most of a lease for each answer; meanwhile another worker looks for work."""

    def answer(body: Body) -> Response:
        drawing.clock.pass_time(seconds=0.9 * LEASE_S)
        with drawing.store.begin() as tx:
            now = drawing.clock.now()
            taken.append(len(tx.outbox.claim(TaskKind.EXTRACT, limit=1, lease_s=0, now=now, retried=True)))
        return known(body)

    return answer


def test_lease_is_renewed_before_each_chunk(store: Store, edge: Index, chat: ChatLlm, llm: ScriptedLlm) -> None:
    drawing = Drawing(store, edge, chat, chunk_tokens=4)
    taken: list[int] = []
    llm.answers = slowly(drawing, Reading(KNOWN), taken)
    drawing.say("s1", draft(f"{PORTO}."), draft(f"{CATS}."), draft("That is all, folks."))

    drawing.extractor.drain()

    assert taken == [0, 0, 0]


def test_lease_is_renewed_before_each_half(drawing: Drawing, llm: ScriptedLlm) -> None:
    known, taken = Reading(KNOWN), list[int]()
    llm.answers = slowly(drawing, lambda body: cut_off("{") if _both(body) else known(body), taken)
    drawing.say("s1", draft(f"{PORTO}."), draft(f"{CATS}."))

    drawing.extractor.drain()

    assert taken == [0, 0, 0]


def test_lease_is_renewed_before_statements_are_compared(drawing: Drawing, llm: ScriptedLlm) -> None:
    taken: list[int] = []
    llm.answers = Reading({"I live": "The user lives in Porto near the sea."})
    drawing.say("s1", draft("I live in Porto near the sea."))
    drawing.extract()
    llm.answers = slowly(drawing, Reading({"I live": "The user lives in Porto near the bridge."}), taken)
    drawing.say("s2", draft("I live in Porto near the bridge."))

    drawing.extractor.drain()

    assert [task_of(body) for body in llm.requests] == ["extract", "extract", "reconcile"]
    assert taken == [0, 0]


# ---- Without a model, and with one later.


def test_without_a_model_facts_are_drawn_by_rules(ruled: Drawing) -> None:
    ruled.say(
        "s1", draft("Hi! I live in Porto with two cats. Where is the castle?"), draft("I live here.", "assistant")
    )

    ruled.extract()

    (fact,) = ruled.facts()
    assert (fact.text, fact.source, fact.trust) == ("I live in Porto with two cats.", "rules", "user")
    assert (fact.sources[0].quote, fact.sources[0].start) == ("I live in Porto with two cats.", 4)
    assert ruled.status("s1") == Status(indexed=True, extracted="off")
    assert [(text, became) for text, became, _ in ruled.outcome("s1")] == [("I live in Porto with two cats.", "added")]
    assert ruled.points() == 1


def test_rules_claim_no_end_of_anything(ruled: Drawing) -> None:
    ruled.say("s1", draft("I live in Porto with two cats."), draft("I live in Bonn with two cats."))
    ruled.say("s2", draft("I don't live in Porto any more."))

    ruled.extract()

    facts = ruled.facts(superseded=True)
    assert len(facts) >= 2
    assert {(fact.invalid_at, fact.superseded_by, fact.expired_at) for fact in facts} == {(None, None, None)}


def test_growing_session_is_read_by_rules_once(ruled: Drawing) -> None:
    ruled.say("s1", draft("I live in Porto with two cats."))
    ruled.extract()

    ruled.recorder.append(OWNER, "s1", [draft("Nice.", "assistant"), draft("I play the cello.")])
    ruled.extract()

    assert sorted(text for text, _, _ in ruled.outcome("s1")) == ["I live in Porto with two cats.", "I play the cello."]
    assert ruled.extractor.owe() == 0


@pytest.fixture
def upgraded(ruled: Drawing, edge: Index, chat: ChatLlm) -> Drawing:
    """The same memory, with a model since."""
    ruled.say("s1", draft("I live in Porto with two cats."))
    ruled.say("s2", draft("I play the cello."), owner=BEN)
    ruled.extract()
    later = Drawing(ruled.store, edge, chat)
    later.clock.pass_time(hours=1)
    return later


def test_model_that_came_later_is_owed_what_rules_have_drawn(upgraded: Drawing, llm: ScriptedLlm) -> None:
    llm.answers = Reading(
        {"I live in Porto": "The user lives in Porto.", "play the cello": "The user plays the cello."}
    )
    before = upgraded.status("s1")

    owed = upgraded.extractor.owe()
    upgraded.extract()

    assert before == Status(indexed=True, extracted="done", degraded=BY_RULES)
    assert owed == 2
    assert (upgraded.texts(), upgraded.texts(BEN)) == (["The user lives in Porto."], ["The user plays the cello."])
    assert {fact.source for fact in upgraded.facts()} == {"llm"}
    assert upgraded.status("s1") == Status(indexed=True, extracted="done")
    assert [text for text, _, _ in upgraded.outcome("s1")] == ["The user lives in Porto."]
    assert (upgraded.points(), upgraded.extractor.owe()) == (2, 0)


def test_only_one_workspace_is_owed_where_one_is_named(upgraded: Drawing) -> None:
    assert (upgraded.extractor.owe("other"), upgraded.extractor.owe("default")) == (0, 2)


def test_one_session_is_owed_where_one_is_named(upgraded: Drawing, llm: ScriptedLlm) -> None:
    llm.answers = Reading({"I live in Porto": "The user lives in Porto."})

    upgraded.extractor.owe_session(OWNER, "s1")
    upgraded.extract()

    assert (upgraded.texts(), upgraded.texts(BEN)) == (["The user lives in Porto."], ["I play the cello."])


def test_statement_that_a_model_draws_word_for_word_as_the_rules_did_stays(upgraded: Drawing, llm: ScriptedLlm) -> None:
    llm.answers = Reading({"I live in Porto with two cats": "I live in Porto with two cats."})

    upgraded.extractor.owe()
    upgraded.extract()

    assert [(fact.text, fact.source) for fact in upgraded.facts()] == [("I live in Porto with two cats.", "llm")]
    assert [(text, became) for text, became, _ in upgraded.outcome("s1")] == [
        ("I live in Porto with two cats.", "added")
    ]


def test_what_rules_drew_stays_while_the_model_is_down(upgraded: Drawing, llm: ScriptedLlm) -> None:
    llm.answers = lambda _body: status(503)

    upgraded.extractor.owe()
    upgraded.extract()

    assert upgraded.texts() == ["I live in Porto with two cats."]
    assert upgraded.status("s1") == Status(True, "pending", is_drawing=True, degraded=BY_RULES)


def test_what_a_caller_has_changed_of_the_rules_facts_stays(upgraded: Drawing, llm: ScriptedLlm) -> None:
    llm.answers = Reading({})
    (fact,) = upgraded.facts()
    upgraded.curator.change(OWNER, fact.fact_id, lambda before: replace(before, text="Ana lives in Porto."))

    upgraded.extractor.owe()
    upgraded.extract()

    assert [(fact.text, fact.source) for fact in upgraded.facts()] == [("Ana lives in Porto.", "api")]


def test_what_was_forgotten_is_not_drawn_again(drawing: Drawing, llm: ScriptedLlm) -> None:
    llm.answers = Reading(KNOWN)
    drawing.say("s1", draft(f"{PORTO}."), draft("How nice!", "assistant"))
    drawing.extract()
    (fact,) = drawing.facts()

    drawing.curator.forget(OWNER, fact.fact_id)
    drawing.recorder.append(OWNER, "s1", [draft(f"{CATS}.")])
    drawing.extractor.owe_session(OWNER, "s1")
    drawing.extract()

    assert (drawing.texts(), drawing.points()) == (["The user has two cats."], 1)


# ---- Budgets.


def test_rest_of_a_session_is_drawn_by_rules_when_the_budget_is_used_up(
    store: Store, edge: Index, chat: ChatLlm, llm: ScriptedLlm
) -> None:
    known = Reading({PORTO: "The user lives in Porto."})
    llm.answers = known
    drawing = Drawing(store, edge, chat, chunk_tokens=4, daily_tokens=100)
    drawing.say("s1", draft(f"{PORTO}."), draft("I play the cello."), draft("I keep bees."))

    drawing.extract()

    assert [(fact.text, fact.source) for fact in sorted(drawing.facts(), key=lambda fact: fact.text)] == [
        ("I keep bees.", "rules"),
        ("I play the cello.", "rules"),
        ("The user lives in Porto.", "llm"),
    ]
    assert len(llm.requests) == 1
    assert drawing.status("s1") == Status(indexed=True, extracted="done", degraded=BY_RULES)
    assert "I play the cello." in drawing.recalled("cello")
    assert drawing.reader.backlog().due == 0


def test_next_day_what_rules_drew_is_drawn_by_the_model(
    store: Store, edge: Index, chat: ChatLlm, llm: ScriptedLlm
) -> None:
    llm.answers = Reading({PORTO: "The user lives in Porto.", "the cello": "The user plays the cello."})
    drawing = Drawing(store, edge, chat, chunk_tokens=4, daily_tokens=100)
    drawing.say("s1", draft(f"{PORTO}."), draft("I play the cello."))
    drawing.extract()

    drawing.clock.pass_time(days=1)
    owed = drawing.extractor.owe()
    drawing.extract()

    assert owed == 1
    assert drawing.texts() == ["The user lives in Porto.", "The user plays the cello."]
    assert drawing.status("s1") == Status(indexed=True, extracted="done")
    assert [chat.count(PORTO) for chat in chats_of(llm)] == [1, 1]


def test_budget_of_one_workspace_is_not_anothers(store: Store, edge: Index, chat: ChatLlm, llm: ScriptedLlm) -> None:
    other = Owner("other", "ana")
    llm.answers = Reading(KNOWN)
    drawing = Drawing(store, edge, chat)
    drawing.say("s1", draft(f"{PORTO}."))
    drawing.say("s1", draft(f"{PORTO}."), owner=other)
    with store.begin() as tx:
        tx.workspaces.set_extraction("other", Extraction(daily_tokens=0))

    drawing.extract()

    assert [fact.source for owner in (OWNER, other) for fact in drawing.facts(owner)] == ["llm", "rules"]


# ---- What would come of a chat.


def test_foreseeing_writes_nothing(drawing: Drawing, llm: ScriptedLlm) -> None:
    llm.answers = Reading({**KNOWN, "no such": "Never."})
    drawing.say("s1", draft(f"{PORTO}."))
    drawing.extract()

    later = STARTED + timedelta(days=1)
    foreseen = drawing.extractor.foresee(OWNER, [turn(f"Yes, {PORTO}.", said_at=later), turn(f"{CATS}.", turn_id="1")])

    assert [one.statement.text for one in foreseen.batch.sourced] == [
        "The user lives in Porto.",
        "The user has two cats.",
    ]
    assert [one.became for one in foreseen.outcomes] == ["merged", "added"]
    assert (drawing.texts(), drawing.reader.backlog().due) == (["The user lives in Porto."], 0)
    assert len(drawing.outcome("s1")) == 1


def test_foreseeing_for_a_user_nobody_knows_makes_none(drawing: Drawing, llm: ScriptedLlm) -> None:
    llm.answers = Reading(KNOWN)

    foreseen = drawing.extractor.foresee(Owner("default", "new"), [turn(f"{PORTO}.")])

    assert len(foreseen.outcomes) == 1
    assert drawing.reader.users("default", after=None, limit=10) == []


def test_foreseeing_without_a_model_is_by_rules(ruled: Drawing) -> None:
    foreseen = ruled.extractor.foresee(OWNER, [turn("I play the cello."), turn("Ah!", "assistant", turn_id="1")])

    assert [(one.statement.text, one.statement.kind) for one in foreseen.batch.sourced] == [
        ("I play the cello.", "fact")
    ]
    assert foreseen.batch.origin == "rules"


def test_guidelines_and_kinds_of_the_workspace_are_asked_for(drawing: Drawing, llm: ScriptedLlm) -> None:
    llm.answers = Reading({"nuts": {"text": "The user must not eat nuts.", "kind": "allergy"}})
    drawing.say("s1", draft("No nuts for me."))
    with drawing.store.begin() as tx:
        tx.workspaces.set_extraction("default", Extraction("Remember allergies.", {"allergy": "what not to eat"}))

    drawing.extract()

    (body,) = llm.requests
    kinds = body["response_format"]["json_schema"]["schema"]["properties"]["statements"]["items"]["properties"]["kind"]
    assert "Remember allergies." in body["messages"][0]["content"]
    assert kinds["enum"][-1] == "allergy"
    assert [(fact.text, fact.kind) for fact in drawing.facts()] == [("The user must not eat nuts.", "allergy")]


# ---- Several at once.


def test_two_sessions_of_one_user_at_once_say_the_same_once(store: Store, edge: Index, llm: ScriptedLlm) -> None:
    llm.answers = Reading(KNOWN)
    with chatting(llm) as one, chatting(llm) as other:
        workers = [Drawing(store, edge, chat) for chat in (one, other)]
        for session_id in ("s1", "s2"):
            workers[0].say(session_id, draft(f"{PORTO}."), draft(f"{CATS}."))

        raised = together(*[worker.extractor.drain for worker in workers])

    assert raised == []
    assert [(fact.text, len(fact.sources)) for fact in sorted(workers[0].facts(), key=lambda fact: fact.text)] == [
        ("The user has two cats.", 2),
        ("The user lives in Porto.", 2),
    ]
    became = sorted(one for session_id in ("s1", "s2") for _, one, _ in workers[0].outcome(session_id))
    assert became == ["added", "added", "merged", "merged"]


def test_session_that_two_workers_extract_at_once_is_extracted_once(
    store: Store, edge: Index, llm: ScriptedLlm
) -> None:
    llm.answers = Reading(KNOWN)
    with chatting(llm) as one, chatting(llm) as other:
        workers = [Drawing(store, edge, chat) for chat in (one, other)]
        workers[0].say("s1", draft(f"{PORTO}."), draft(f"{CATS}."))
        row = workers[0].row("s1")

        raised = together(*[lambda worker=worker: worker.extractor.extract(OWNER, row) for worker in workers])

    assert raised == []
    assert workers[0].texts() == ["The user has two cats.", "The user lives in Porto."]
    assert [became for _, became, _ in workers[0].outcome("s1")] == ["added", "added"]


# ---- Crashes.


class Crash(BaseException):
    """The process ends here: nothing is caught, and nothing is written any more."""


class Faltering(Store):
    """A store whose process ends before, or after, one of its transactions."""

    def __init__(self, below: Store) -> None:
        self.engine = below.engine
        self._below = below
        self.left = -1

    @contextmanager
    def begin(self) -> Iterator[Transaction]:
        self._step()
        with self._below.begin() as tx:
            yield tx
            self._step()
        self._step()

    @contextmanager
    def read(self) -> Iterator[Transaction]:
        self._step()
        with self._below.read() as tx:
            yield tx

    def _step(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Crash


def test_worker_that_crashes_between_any_two_steps_loses_nothing(
    store: Store, edge: Index, chat: ChatLlm, llm: ScriptedLlm
) -> None:
    llm.answers = Reading(KNOWN)
    whole = _survived(store, edge, chat, Owner("default", "calm"), step=0)
    assert whole is not None
    assert whole[0] == ["The user has two cats.", "The user lives in Porto."]
    step, crashes = 1, 0

    while (left := _survived(store, edge, chat, Owner("default", f"ana-{step}"), step=step)) is not None:
        assert left == whole, f"after a crash at step {step}"
        crashes, step = crashes + 1, step + 1

    assert crashes > 10


def _survived(store: Store, edge: Index, chat: ChatLlm, owner: Owner, *, step: int) -> tuple[object, ...] | None:
    """What is on record, and in the index, after a crash at a step and a second worker; None where none came so far."""
    faltering = Faltering(store)
    dying, living = (Drawing(each, edge, chat, chunk_tokens=10) for each in (faltering, store))
    living.say("s1", draft("There is nothing to it, nothing."), draft(f"{PORTO}, and {CATS}."), owner=owner)
    while living.indexer.drain():
        pass
    points = edge.count(owner)
    faltering.left = step
    try:
        dying.extractor.drain()
        if step:
            return None
    except Crash:
        pass
    living.clock.pass_time(seconds=2 * LEASE_S)
    living.extract()
    return (
        living.texts(owner),
        sorted(living.outcome("s1", owner)),
        living.status("s1", owner),
        edge.count(owner) - points,
        living.unindexed(owner),
        living.reader.backlog().due,
    )


def test_crash_while_rules_facts_are_replaced_leaves_one_or_the_other(
    store: Store, edge: Index, chat: ChatLlm, llm: ScriptedLlm
) -> None:
    llm.answers = Reading({"the cello": "The user plays the cello."})
    step = 1

    while (seen := _replaced(store, edge, chat, Owner("default", f"ana-{step}"), step=step)) is not None:
        halfway, after, unindexed = seen
        assert halfway in (["I play the cello."], ["The user plays the cello."])
        assert (after, unindexed) == (["The user plays the cello."], 0), f"after a crash at step {step}"
        step += 1

    assert step > 8


def _replaced(
    store: Store, edge: Index, chat: ChatLlm, owner: Owner, *, step: int
) -> tuple[Sequence[str], Sequence[str], int] | None:
    faltering = Faltering(store)
    ruled, dying, living = Drawing(store, edge, None), Drawing(faltering, edge, chat), Drawing(store, edge, chat)
    ruled.say("s1", draft("I play the cello."), owner=owner)
    ruled.extract()
    living.extractor.owe_session(owner, "s1")
    faltering.left = step
    try:
        dying.extractor.drain()
        return None
    except Crash:
        halfway = living.texts(owner)
    living.clock.pass_time(seconds=2 * LEASE_S)
    living.extract()
    return halfway, living.texts(owner), living.unindexed(owner)
