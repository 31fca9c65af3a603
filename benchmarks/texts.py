"""English chats from a seed: what people tell an assistant, in sentences put together from small parts."""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from memsvc.domain import Draft, Role


def _parts(text: str) -> list[str]:
    return [" ".join(part.split()) for part in text.split(";")]


_PEOPLE = _parts(
    """
    Ana; Bruno; Clara; David; Elif; Farid; Greta; Hugo; Ines; Jonas; Kira; Leo; Mina; Noah; Olga; Pablo; Rosa; Samir
    """
)
_PLACES = _parts(
    """
    Lisbon; Ghent; Oslo; Kyoto; Turin; Quito; Leeds; Tartu; Malmö; Accra; Austin; Perth; Hanoi; Zagreb; Cork; Izmir
    """
)
_THINGS = _parts(
    """
    a grey kitten; a second-hand bicycle; a pottery course; a new laptop; the garden shed; my grandmother's piano; a
    sourdough starter; the marathon; a night train; our kitchen sink; a tent for two; the quarterly report; a violin
    lesson; an old camera; the apartment lease; a jar of honey; my passport; the school play; a wool coat; the
    vegetable patch; a dentist's appointment; the ferry tickets; a chess tournament; the roof tiles
    """
)
_ACTS = _parts(
    """
    bought; lost; repaired; sold; painted; finally finished; forgot about; talked all evening about; wrote to my
    aunt about; dreamt of; gave up on; fell in love with; was late because of; paid too much for; returned;
    photographed
    """
)
_TIMES = _parts(
    """
    yesterday; last Friday; two weeks ago; this morning; on my birthday; in early spring; the day before we moved;
    after work; on the way to the station; at the weekend; three summers ago; on 7 May
    """
)
_FEELINGS = _parts(
    """
    It made me happier than I expected.; I am still a little annoyed.; Nobody else seemed to mind.; It rained the
    whole time, of course.; My sister laughed about it for an hour.; I would do it again tomorrow.; The doctor says
    I should take it slowly.; It cost more than our holiday did.; We celebrated with noodles.
    """
)
_ADVICE = _parts(
    """
    keep the receipt in case anything breaks; ask the neighbours whether they know someone; start with half an hour
    a day; write down what you want before you call; compare at least three offers; take the early train to avoid
    the crowds; let it rest overnight; tell them plainly what you need; read the small print about cancelling
    """
)


@dataclass(frozen=True, slots=True)
class Chat:
    """A session as a caller would send it."""

    user_id: str
    session_id: str
    started_at: datetime
    drafts: tuple[Draft, ...]


def chats(count: int, *, users: int, rounds: int = 6, seed: int = 7) -> Iterator[Chat]:
    """So many chats of `rounds` rounds each, dealt to the users in turn."""
    chance = random.Random(seed)
    begin = datetime(2023, 1, 2, 9, tzinfo=UTC)
    for number in range(count):
        drafts = tuple(draft for _ in range(rounds) for draft in (_told(chance), _replied(chance)))
        yield Chat(f"user-{number % users}", f"chat-{number}", begin + timedelta(hours=7 * number), drafts)


def questions(count: int, *, seed: int = 11) -> list[str]:
    """Questions about such chats."""
    chance = random.Random(seed)
    forms = (
        lambda: f"When did I say that I {chance.choice(_ACTS)} {chance.choice(_THINGS)}?",
        lambda: f"What happened with {chance.choice(_PEOPLE)} in {chance.choice(_PLACES)}?",
        lambda: f"What did you recommend about {chance.choice(_THINGS)} {chance.choice(_TIMES)}?",
        lambda: f"Who told me about {chance.choice(_THINGS)}, and where were we then?",
    )
    return [chance.choice(forms)() for _ in range(count)]


def _told(chance: random.Random) -> Draft:
    sentences = [
        f"I {chance.choice(_ACTS)} {chance.choice(_THINGS)} {chance.choice(_TIMES)}.",
        f"{chance.choice(_PEOPLE)} came along from {chance.choice(_PLACES)} and {chance.choice(_ACTS)} "
        f"{chance.choice(_THINGS)} as well.",
        chance.choice(_FEELINGS),
        f"Do you remember what I said about {chance.choice(_THINGS)}?",
    ]
    return Draft(Role.USER, " ".join(sentences[: chance.randint(1, 4)]))


def _replied(chance: random.Random) -> Draft:
    sentences = [
        f"You mentioned {chance.choice(_THINGS)} {chance.choice(_TIMES)}.",
        f"For {chance.choice(_THINGS)} I would {chance.choice(_ADVICE)}.",
        f"{chance.choice(_PEOPLE)} from {chance.choice(_PLACES)} may help; you could also {chance.choice(_ADVICE)}.",
        f"In any case, {chance.choice(_ADVICE)}, and then {chance.choice(_ADVICE)}.",
    ]
    return Draft(Role.ASSISTANT, " ".join(sentences[: chance.randint(2, 4)]))
