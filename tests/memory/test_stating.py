"""Statements by rules: which sentences are taken, as what, and that they are the turn's own words."""

import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memsvc.domain import Role, Turn
from memsvc.facts import Origin, Statement
from memsvc.intervals import Interval, Locale, Precision
from memsvc.memory.stating import stated

SAID_AT = datetime(2023, 5, 30, 12, tzinfo=UTC)  # A Tuesday.

FACT, EVENT, PREFERENCE, PLAN, INSTRUCTION = "fact", "event", "preference", "plan", "instruction"


def _stated(text: str, role: Role = Role.USER, locale: Locale | None = None) -> list[Statement]:
    return stated(Turn("t1", role, "Ana", text, SAID_AT), locale or Locale())


def _told(text: str) -> list[tuple[str, str]]:
    return [(one.kind, one.text) for one in _stated(text)]


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        # States.
        (FACT, "I live in Porto with two cats."),
        (FACT, "i live in porto"),
        (FACT, "I'm a nurse."),
        (FACT, "I\u2019m a nurse at the children's hospital."),
        (FACT, "My sister lives in Berlin."),
        (FACT, "my parents live in a village near Graz"),
        (FACT, "We have two kids and a dog."),
        (FACT, "I've been learning the cello since 2019."),
        (FACT, "I've been using my new lens for a few weeks now."),
        (FACT, "I used to play football at school."),
        (FACT, "I work from home on Fridays."),
        (FACT, "I have an appointment book from Mr. Jones of St. Ives."),
        (FACT, "My name is Ana Sousa."),
        (FACT, "Our dog is called Biscuit."),
        (FACT, "I was born in Lagos."),
        (FACT, "I usually wake up around six."),
        (FACT, "I'm having trouble sleeping lately."),
        (FACT, "I think my knee is getting worse."),
        (FACT, "I am currently reading a novel by Elena Ferrante."),
        (FACT, "My wife and I are both teachers."),
        (FACT, "One of my brothers is a pilot."),
        (FACT, "The car I drive is a 2018 Honda Civic."),
        (FACT, "I'm trying to eat healthier."),
        (FACT, "I am Danish."),
        (FACT, "my daughter is three and my son is five"),
        (FACT, "I'm looking for a gift for my sister, who just turned 30."),
        # What came about once.
        (EVENT, "We adopted a greyhound in March."),
        (EVENT, "Last Friday we went to the opera."),
        (EVENT, "Yesterday I ran ten kilometres."),
        (EVENT, "I just got back from a trip to Rome."),
        (EVENT, "I recently bought a pair of black boots."),
        (EVENT, "I've just finished my thesis."),
        (EVENT, "I've finally sold the old boat."),
        (EVENT, "My brother proposed to his girlfriend on September 20th."),
        (EVENT, "My daughter graduated last week."),
        (EVENT, "I did get rid of about twenty books last week."),
        (EVENT, "I was out of town on February 14th."),
        (EVENT, "I had a long talk with my boss yesterday."),
        (EVENT, "I worked from home on Thursday."),
        (EVENT, "Two weeks ago I broke my arm."),
        (EVENT, "On Sunday, we baked bread with the neighbours."),
        (EVENT, "After the meeting yesterday I quit my job."),
        (EVENT, "We moved to Oslo three years ago."),
        (EVENT, "Picked up the new bike on Saturday with dad."),
        (EVENT, "I remember last week when I was at the mall, I saw a huge sale."),
        (EVENT, "I'm happy to say that my team won the cup yesterday."),
        # Likes and dislikes.
        (PREFERENCE, "I love Italian food."),
        (PREFERENCE, "I hate early meetings."),
        (PREFERENCE, "I prefer tea to coffee."),
        (PREFERENCE, "I can't stand loud restaurants."),
        (PREFERENCE, "My favourite author is Ursula Le Guin."),
        (PREFERENCE, "My favorite color is green."),
        (PREFERENCE, "I'm allergic to peanuts."),
        (PREFERENCE, "My son is allergic to bees."),
        (PREFERENCE, "I don't eat meat."),
        (PREFERENCE, "I don't like horror films."),
        (PREFERENCE, "I'm a vegetarian."),
        (PREFERENCE, "I'm a big fan of the Mets."),
        (PREFERENCE, "I've been really into jazz lately."),
        (PREFERENCE, "I'm not a morning person."),
        (PREFERENCE, "I'm really interested in street photography."),
        (PREFERENCE, "I really enjoy long train rides."),
        (PREFERENCE, "I'd rather take the train than fly."),
        (PREFERENCE, "I'd prefer a quiet hotel near the sea."),
        # What is to come.
        (PLAN, "I'm going to run a marathon in October."),
        (PLAN, "We're planning to move to Spain."),
        (PLAN, "I'm planning a trip to Japan in April."),
        (PLAN, "I'm thinking of getting a second dog."),
        (PLAN, "We're flying to Lisbon next week."),
        (PLAN, "I'll start my new job on June 12th."),
        (PLAN, "I want to learn how to sail."),
        (PLAN, "I'd like to visit Iceland next summer."),
        (PLAN, "I need to renew my passport."),
        (PLAN, "I've been meaning to call my grandmother."),
        (PLAN, "I have a dentist appointment tomorrow."),
        (PLAN, "My cousin is getting married next month."),
        (PLAN, "I'm considering upgrading my aquarium to a larger tank."),
        (PLAN, "I'm looking forward to my holiday in Crete."),
        (PLAN, "I was thinking of taking Max to the vet soon."),
        (PLAN, "I think I'll try the lemon-tahini sauce."),
        # What to do from now on.
        (INSTRUCTION, "From now on, answer in French."),
        (INSTRUCTION, "Please always use metric units."),
        (INSTRUCTION, "Please never suggest seafood to me."),
        (INSTRUCTION, "Always give prices in euros."),
        (INSTRUCTION, "Never call me by my full name."),
        (INSTRUCTION, "Call me Al."),
        (INSTRUCTION, "Please call me Dr. Sousa."),
        (INSTRUCTION, "Remember that I'm allergic to nuts."),
        (INSTRUCTION, "Please remember that my daughter is called Mia."),
        (INSTRUCTION, "Don't ever mention my ex."),
        (INSTRUCTION, "Don't use emojis in your answers."),
        (INSTRUCTION, "Keep your answers short."),
        (INSTRUCTION, "In future, please skip the disclaimers."),
        (INSTRUCTION, "Going forward, only use British spelling."),
        (INSTRUCTION, "Whenever I ask for recipes, leave out the nuts and keep them simple."),
        (INSTRUCTION, "Can you please call me Ana from now on?"),
        (INSTRUCTION, "I'd like you to always answer in German."),
        (INSTRUCTION, "Stop using bullet points."),
        (INSTRUCTION, "Keep in mind that I live on the fifth floor."),
        (INSTRUCTION, "I prefer your answers short and without lists."),
    ],
    ids=lambda value: value[:40].strip(" .") if isinstance(value, str) else None,
)
def test_a_sentence_about_who_speaks_is_a_statement_of_its_kind(kind: str, text: str) -> None:
    found = _told(text)

    assert found == [(kind, text)]


@pytest.mark.parametrize(
    "text",
    [
        # Questions and requests of the moment.
        "Where can I buy a good tent?",
        "Can you explain how vaccines work?",
        "Could you help me with my essay?",
        "Do you have any recommendations?",
        "I was wondering if you could recommend a book.",
        "I'd like you to explain photosynthesis.",
        "I need help with a spreadsheet.",
        "I need some advice on fonts.",
        "I'd like to know more about black holes.",
        "I want to understand how engines work.",
        "I'm looking for some tips on portrait photography.",
        "I'm interested in learning more about glazing.",
        "Please write an essay about the sea.",
        "Write a poem for a wedding.",
        "Tell me more about Rome.",
        "Let me know if that works.",
        "What should we do?",
        "Did I tell you about the kayak?",
        "Should I bring an umbrella?",
        "I have another question.",
        "I have a quick question about SQL.",
        "I also wanted to ask about museums in Berlin.",
        # Thanks and greetings.
        "Thanks for the great suggestions!",
        "Thank you so much, that's really helpful.",
        "I appreciate your help.",
        "Hello there!",
        "Good morning, how are you?",
        # Hypotheticals.
        "If I had a million dollars, I would buy a boat.",
        "Suppose I live in Paris and work in Lyon.",
        "I would have gone by train.",
        "I wish I could fly.",
        "Imagine I am a pirate.",
        "I should've gone through those.",
        # Opinions on the chat and the world.
        "I think that's a good idea.",
        "I see.",
        "I understand what you mean.",
        "I agree with you.",
        "I like the idea of a treasure hunt.",
        "I love that!",
        "I like your second suggestion.",
        "I'll definitely check those out.",
        "I'll give them a try.",
        "I'll look into your suggestions.",
        "I'll keep that in mind.",
        "I had no idea it was so complicated.",
        "I didn't know that.",
        "I never thought of that.",
        "I'm not sure what to say.",
        "I'm glad you asked.",
        "I can see why people like it.",
        "I guess so.",
        "I hope this helps.",
        "I believe the government is wrong.",
        "I heard that the museum is closed.",
        "It's amazing how leaders shape the world.",
        "That sounds great.",
        # What says nothing alone.
        "I did.",
        "I do too!",
        "Me too",
        "I've opened it.",
        "I told him so.",
        "I'll do that.",
        "I'm excited!",
        "I say nothing.",
        "Every night while I'm packing my lunch.",
        "I've had some issues with them in the past.",
        "I have a lot of those in the fridge right now.",
        "I have a [phone model].",
        "my kind of dog",
        "We did it!",
        "I love it.",
        # Roles and what others say.
        "Act as a travel guide. I am in Paris and I want to visit museums.",
        "You are an expert chef. I live in Rome.",
        "I want you to act as an interviewer. I am a candidate for the job.",
        "Pretend to be my boss. I work in sales.",
        "From now on you will act as my doctor. I have a headache.",
        'She said "I live in Porto with my cats" and left.',
        "The committee meets every second Tuesday in the town hall.",
        "You said I was right.",
        # Forms, logs, code, letters, lists and quotations.
        "> I live in Porto with two cats.",
        "```\nI live in Porto.\nmy = 3\n```",
        "https://example.com/i-live-in-porto",
        "I LIVE IN PORTO",
        "ABOUT MY FAMILY",
        "2024-03-01T10:00:00 INFO I started my service",
        "[10:24] I moved to Porto last year.",
        "| I | live | in Porto |",
        "I live at [Your Address] in Porto.",
        "Dear Professor,\nI work at your faculty in Porto.\nBest regards,\nAna",
        "Subject: my holiday\nI live in Porto and need a week off.",
        "Anna: I live in Porto.\nBen: I live in Rome.",
        "Rewrite this: I live in Porto with two cats.",
        "Translate the following text:\nI moved to Porto last year. My sister lives in Rome.",
        "Proofread: I has a dog. My dog is brown.",
        "print(my_name); # I live in Porto",
        "1\n00:00:01,000 --> 00:00:03,000\n",
        # Other languages.
        "Vivo no Porto com dois gatos.",
        "Ich wohne in Graz und habe einen Hund.",
        "",
        "   \n\n  ",
    ],
    ids=lambda text: repr(text[:40]),
)
def test_what_says_nothing_about_who_speaks_is_no_statement(text: str) -> None:
    found = _told(text)

    assert found == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("By the way, I just got back from a trip to Rome.", [(EVENT, "I just got back from a trip to Rome.")]),
        ("Oh, and by the way, my sister lives in Berlin!", [(FACT, "my sister lives in Berlin!")]),
        ("Thanks! Also, I'm allergic to nuts.", [(PREFERENCE, "I'm allergic to nuts.")]),
        ("Hi, I'm a nurse. Can you help me?", [(FACT, "I'm a nurse.")]),
        ("That's great, I live in Porto.", [(FACT, "I live in Porto.")]),
        ("And I got a cat on Friday.", [(EVENT, "I got a cat on Friday.")]),
        (
            "I'm planning a trip to Japan in April, can you suggest places?",
            [(PLAN, "I'm planning a trip to Japan in April")],
        ),
        ("I'm flying to Rome next week and was wondering what to pack.", [(PLAN, "I'm flying to Rome next week")]),
        ("I bought a tent yesterday - any tips for camping?", [(EVENT, "I bought a tent yesterday")]),
        ("Since I'll be visiting in November, what can I expect?", [(PLAN, "I'll be visiting in November")]),
        ("What should I cook, since I don't eat meat?", [(PREFERENCE, "I don't eat meat")]),
        (
            "Can you suggest a place, as my wife and I are celebrating our anniversary on Friday?",
            [(PLAN, "my wife and I are celebrating our anniversary on Friday")],
        ),
        (
            "I'm a college student, so I think I'll sign up for the savings pass.",
            [(FACT, "I'm a college student"), (PLAN, "I think I'll sign up for the savings pass.")],
        ),
        (
            "I got a new cat, and I took it to the vet on Friday.",
            [(EVENT, "I got a new cat, and I took it to the vet on Friday.")],
        ),
        (
            "I'm looking for a cleaning kit, and I was wondering which suits my Canon that I got at a fair.",
            [
                (
                    FACT,
                    "I'm looking for a cleaning kit, and I was wondering which suits my Canon that I got at a fair.",
                )
            ],
        ),
        (
            "About me:\n- I live in Porto\n- My dog is called Rex",
            [(FACT, "I live in Porto"), (FACT, "My dog is called Rex")],
        ),
        ("My old house was near the sea\nand had a garden.", [(FACT, "My old house was near the sea")]),
        (
            "I have lived for years in a small house by the river with my\ntwo cats and a very old parrot.",
            [(FACT, "I have lived for years in a small house by the river with my\ntwo cats and a very old parrot.")],
        ),
        ("I see Dr. Smith on Fridays at 5 p.m. in Porto.", [(FACT, "I see Dr. Smith on Fridays at 5 p.m. in Porto.")]),
        (
            "\u0130yi! I LIVE in Porto. my sister lives in Rome",
            [(FACT, "I LIVE in Porto."), (FACT, "my sister lives in Rome")],
        ),
        ("(I moved to Porto today.)", [(EVENT, "I moved to Porto today.")]),
        ("Speaking of my progress, I've been using a new scale.", [(FACT, "I've been using a new scale.")]),
        ("PS: I live in Porto.", [(FACT, "I live in Porto.")]),
        ('I\'m reading "The Crown" with my mom.', [(FACT, 'I\'m reading "The Crown" with my mom.')]),
        ("Summarize this:\nI am rich. My house is big.", []),
        ("I run a bakery.\n\nTranslate this: I am rich. My house is big.", [(FACT, "I run a bakery.")]),
        (
            "I'm a teacher.\nDear parents,\nI work at your school.\nKind regards,\nAna\nI live in Porto.",
            [(FACT, "I'm a teacher."), (FACT, "I live in Porto.")],
        ),
    ],
    ids=lambda value: repr(value[:50]) if isinstance(value, str) else "",
)
def test_a_clause_that_stands_alone_is_cut_out(text: str, told: list[tuple[str, str]]) -> None:
    found = _told(text)

    assert found == told


def test_a_statement_carries_its_turn_its_place_and_its_time() -> None:
    text = "That's helpful, thanks! By the way, I moved to Porto last Friday."

    found = _stated(text)

    quote = "I moved to Porto last Friday."
    friday = datetime(2023, 5, 26, tzinfo=UTC)
    assert found == [
        Statement(
            turn_id="t1",
            text=quote,
            kind=EVENT,
            subject="Ana",
            quote=quote,
            start=text.index(quote),
            end=len(text),
            when="last Friday",
            event=Interval(friday, friday + timedelta(days=1)),
            precision=Precision.DAY,
            reading=Origin.RULES,
        )
    ]


def test_a_statement_without_a_time_has_none() -> None:
    (found,) = _stated("I live in Porto.")

    assert (found.when, found.event, found.precision, found.reading) == (None, None, Precision.UNKNOWN, None)


def test_of_several_times_the_first_of_a_day_or_longer_counts() -> None:
    (found,) = _stated("I met my sister at 5 pm at the station and again on May 12th.")

    assert found.when == "May 12th"


def test_each_statement_has_the_time_of_its_own_clause() -> None:
    found = _stated("I moved to Porto last week. My sister is visiting me tomorrow.")

    assert [one.when for one in found] == ["last week", "tomorrow"]


def test_times_are_read_on_the_users_wall_clock() -> None:
    (found,) = _stated("I moved to Porto yesterday.", locale=Locale("Pacific/Auckland"))

    assert found.event is not None
    assert found.event.start is not None
    assert found.event.start.isoformat() == "2023-05-30T00:00:00+12:00"


@pytest.mark.parametrize("role", [Role.ASSISTANT, Role.SYSTEM, Role.TOOL])
def test_only_users_speak_of_themselves(role: Role) -> None:
    assert _stated("I live in Porto.", role) == []


def test_a_sentence_of_too_many_words_is_none() -> None:
    assert _told("I live in Porto with " + "cats and dogs and " * 30 + "a parrot.") == []


def test_words_before_a_long_paste_are_told_and_the_paste_is_not() -> None:
    paste = "I am the hero of my story. My sister lives in Atlantis. " * 60

    found = _told(f"I'm writing a novel with my brother.\n\n{paste}\n\nBy the way, I live in Porto.")

    assert found == [(FACT, "I'm writing a novel with my brother."), (FACT, "I live in Porto.")]


def test_a_long_paste_behind_a_task_is_not_told() -> None:
    paste = "I am the hero of my story. My sister lives in Atlantis. " * 60

    assert _told(f"Please proofread this chapter:\n\n{paste}") == []


def test_items_of_a_long_list_are_not_told() -> None:
    assert _told("\n".join(f"- I managed my team of {count} people" for count in range(100))) == []


_NASTY = {
    "sentences": "I went to Rome last week and saw my sister. " * 2300,
    "one word": "a" * 100_000,
    "no full stop": "i live in porto and my sister " * 3400,
    "i": "I " * 50_000,
    "quotes": '"I ' * 33_000,
    "open quotes": "\u201c" * 100_000,
    "backquotes": "` " * 50_000,
    "fences": "```\n" * 25_000,
    "items": "- may 3 I\n" * 10_000,
    "commas": "I, " * 33_000,
    "pipes": "|" * 100_000,
    "colons": "A: " * 33_000,
    "openers": "oh, and by the way, " * 5000,
    "line breaks": "\n" * 100_000,
    "spaces": "I" + " " * 100_000 + "live",
    "lines of spaces": (" " * 999 + "\n") * 100,
    "full stops": "." * 100_000,
    "braces": "{{" * 50_000,
    "brackets": "[A" * 50_000,
    "salutations": "dear I " * 14_000,
    "wrapped": ("i have lived in a house by the river for such a long time\n") * 1700,
    "tasks": "please can you write this\n" * 3800,
    "digits": "1 2 3 4 " * 12_500,
    "capitals with sharp s": "\u1e9e\u0130" * 50_000,
    "quote in a frame": "I " * 200 + '"' * 99_000,
}


@pytest.mark.parametrize("name", _NASTY)
def test_a_long_turn_takes_little_time(name: str) -> None:
    started = time.process_time()

    _stated(_NASTY[name])

    assert time.process_time() - started < 1.0


_PIECES = st.sampled_from(
    [
        "I live in Porto",
        "my sister",
        "I moved last week",
        ". ",
        "? ",
        "! ",
        ", and I ",
        " but ",
        "\n",
        "\n\n",
        "- ",
        "> ",
        '"',
        "“",
        "”",
        "\u2019",
        "```",
        "by the way, ",
        "can you help",
        "since I don't eat meat",
        "Dear Ana,\n",
        "Best,\n",
        "Dr. ",
        "…",
        ": ",
        "please always ",
        "call me ",
        "İ",
        "ß",
        "\u00a0",
        "\r\n",
        "\t",
        "😊",
        "x" * 300,
        "I'm going to Rome next week",
    ]
)
_TEXTS = st.one_of(st.text(max_size=300), st.lists(_PIECES, max_size=40).map("".join))


@settings(max_examples=300, deadline=None)
@given(_TEXTS)
def test_every_statement_is_a_stretch_of_the_turn_in_order(text: str) -> None:
    found = _stated(text)

    assert all(text[one.start : one.end] == one.quote == one.text and one.quote.strip() for one in found)
    assert all(one.end <= other.start for one, other in pairwise(found))
    assert all(one.when is None or one.when in one.quote for one in found)


@settings(max_examples=100, deadline=None)
@given(_TEXTS)
def test_the_same_turn_says_the_same_twice(text: str) -> None:
    assert _stated(text) == _stated(text)
