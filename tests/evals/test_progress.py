"""Progress: a bar on a terminal, else a line now and then."""

import io

from rich.console import Console

from evals import progress
from evals.progress import Shown


def test_terminal_shows_a_bar_with_the_time_left() -> None:
    shown_on = io.StringIO()
    console = Console(file=shown_on, force_terminal=True, width=120)

    with Shown("locomo", 4, console) as shown:
        shown.advance(3)

    assert "locomo" in shown_on.getvalue()
    assert "75%" in shown_on.getvalue()
    assert "left:" in shown_on.getvalue()


def test_quick_run_without_a_terminal_says_nothing() -> None:
    shown_on = io.StringIO()

    with Shown("locomo", 4, Console(file=shown_on)) as shown:
        shown.advance(3)

    assert shown_on.getvalue() == ""


def test_long_run_without_a_terminal_says_a_line_now_and_then() -> None:
    shown_on, now = io.StringIO(), iter([0.0, 30.0, 61.0, 62.0, 130.0])

    with Shown("locomo", 200, Console(file=shown_on), clock=lambda: next(now)) as shown:
        for _ in range(4):
            shown.advance(25)

    # After 61 of about 244 seconds, and after 130 of 260; begun minutes count.
    assert shown_on.getvalue().splitlines() == [
        "locomo: 25%, about 4 min left",
        "locomo: 50%, about 3 min left",
    ]
    assert progress.EVERY_S == 60
