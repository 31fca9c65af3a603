"""Answer quality: a reader answers out of a context, and a judge holds the answer to the data set's own rule."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from evals.asking import Line
from evals.cases import Case
from evals.data_sets import ADVERSARIAL
from evals.kept import JUDGE, READ, KeptModel
from evals.llm import ChatModel, LLMAccess, LLMFailed, Model, Said
from memsvc.inference.llm_cache import ResponseCache

_READER = (
    "You answer questions about past conversations. You are given what a memory found in them; each line has its date "
    "and speaker. Use nothing else. Work out dates and counts from the lines, and prefer later statements where they "
    "contradict earlier ones. If the lines do not tell the answer, say that it is not known from the conversations. "
    "Answer in one or two sentences."
)
_JUDGE = "You check answers to questions about past conversations. Reply with one word: yes or no."

PLAIN = (
    "Is the response correct? It is when it says what the correct answer says, in other words or with more detail, or "
    "holds every step that leads to it. It is not when it holds only a part of what is asked for."
)
ABSTAINING = (
    "The conversations do not tell the answer. Is the response correct? It is when it says that the question cannot be "
    "answered, that the information is missing, or that something else was said but not this. It is not when it gives "
    "an answer."
)
LOCOMO = (
    "Is the response correct? It is when it means the same as the correct answer, however long or short; a date or a "
    "span of time may be told in another form as long as it is the same one."
)
# LongMemEval's own rules for a type of question, in our words; types that are not here are judged by the plain one.
LONGMEMEVAL = {
    "temporal-reasoning": PLAIN
    + " Where a number of days, weeks or months is asked for, being off by one is no mistake: 19 for "
    "18 days is correct.",
    "knowledge-update": PLAIN
    + " The fact has changed over time: a response that tells older values too is correct as long as it gives the "
    "newest as the answer.",
    "single-session-preference": (
        "The correct answer describes what a good, personal response would take into account. Is the response "
        "correct? It need not meet every point: it is correct when it recalls the user's own circumstances rightly and "
        "uses them."
    ),
}


def rule_of(data_set: str, case: Case) -> str:
    """The rule that the judge holds an answer to."""
    if case.is_abstention or (data_set == "locomo" and case.category == ADVERSARIAL):
        return ABSTAINING
    return LONGMEMEVAL.get(case.category, PLAIN) if data_set == "longmemeval" else LOCOMO


class Reader(Protocol):
    """Answers a question out of a context."""

    def read(self, case: Case, context: str) -> Said:
        """The answer; raises LLMFailed."""
        ...


class Judge(Protocol):
    """Says whether an answer is right."""

    def judge(self, case: Case, rule: str, hypothesis: str) -> Said:
        """The verdict as the judge words it; raises LLMFailed."""
        ...


@dataclass(frozen=True, slots=True)
class ModelReader:
    """A language model as reader."""

    model: Model

    def read(self, case: Case, context: str) -> Said:
        """The answer; raises LLMFailed."""
        asked = f"Today is {case.asked_at:%A, %Y-%m-%d %H:%M}.\n\n{context}\n\nQuestion: {case.question}"
        return self.model.complete(_messages(_READER, asked), max_tokens=512)


@dataclass(frozen=True, slots=True)
class ModelJudge:
    """A language model as judge."""

    model: Model

    def judge(self, case: Case, rule: str, hypothesis: str) -> Said:
        """The verdict as the model words it; raises LLMFailed."""
        correct = "" if rule is ABSTAINING else f"Correct answer: {case.answer}\n"
        asked = f"{rule}\n\nQuestion: {case.question}\n{correct}Response: {hypothesis}\n\nIs the response correct?"
        return self.model.complete(_messages(_JUDGE, asked), max_tokens=16)


@dataclass(frozen=True, slots=True)
class Assessor:
    """Has each question read and judged. A call that fails, or a verdict that is none, is skipped: it is not wrong.

    Raises AnswerPending where nothing may be sent and an answer is not on record.
    """

    data_set: str
    reader: Reader
    judge: Judge

    def answer(self, case: Case, context: str) -> Line:
        """What was answered, whether it is right, and what that took."""
        try:
            read = self.reader.read(case, context)
        except LLMFailed as exc:
            return _answered(None, None, f"reader: {exc}", [], calls=1)
        try:
            said = self.judge.judge(case, rule_of(self.data_set, case), read.text)
        except LLMFailed as exc:
            return _answered(read.text, None, f"judge: {exc}", [read], calls=2)
        verdict = verdict_of(said.text)
        reason = "judge: neither yes nor no" if verdict is None else None
        return _answered(read.text, verdict, reason, [read, said], calls=2)


def answering_with(access: LLMAccess, data_set: str) -> Assessor:
    """An assessor that reads and judges with one model."""
    chat = ChatModel(access) if access.url is not None else None
    return Assessor(data_set, ModelReader(_model(access, chat, READ)), ModelJudge(_model(access, chat, JUDGE)))


def _model(access: LLMAccess, chat: ChatModel | None, task: str) -> Model:
    if access.cache is not None:
        return KeptModel(ResponseCache(access.cache), access.model, task, live=chat)
    return chat or ChatModel(access)


def verdict_of(text: str) -> bool | None:
    """True for yes, False for no, None for what is neither or both."""
    found = {word.lower() for word in re.findall(r"\b(yes|no)\b", text, re.IGNORECASE)}
    return found == {"yes"} if len(found) == 1 else None


def _answered(
    hypothesis: str | None, verdict: bool | None, reason: str | None, came: Sequence[Said], *, calls: int
) -> Line:
    return {
        "hypothesis": hypothesis,
        "is_right": verdict,
        "skipped": reason,
        "llm_calls": calls,
        "llm_kept": sum(said.is_kept for said in came),
        "llm_tokens": sum(said.tokens for said in came),
    }


def _messages(system: str, asked: str) -> list[dict[str, str]]:
    return [{"role": "system", "content": system}, {"role": "user", "content": asked}]
