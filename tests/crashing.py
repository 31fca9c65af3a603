"""memsvc's command line with a trap in it: `python -m tests.crashing POINT COMMAND …` kills itself at a point.

The kill is SIGKILL, from within, the first time the point is reached: nothing is flushed, closed or caught. The hashing
encoder takes the model's place, so that a process starts at once.
"""

import os
import signal
import sys
from collections.abc import Callable
from typing import Any

from memsvc import __main__, app
from memsvc.index.edge import EdgeIndex
from memsvc.index.server import ServerIndex
from memsvc.memory.extracting import Extractor
from memsvc.memory.forgetting import Forgetter
from memsvc.memory.indexing import Indexer, Projector
from memsvc.memory.reconciling import Reconciler
from memsvc.memory.recording import Recorder
from memsvc.store.facts import Facts
from memsvc.store.outbox import Outbox
from memsvc.store.rounds import Rounds
from tests.doubles import HashEncoder

# Each point lies between two steps of a path: (class, method, whether the method has run).
Points = dict[str, list[tuple[type, str, bool]]]
RECORDING: Points = {
    "rows written, not committed": [(Outbox, "owe", True)],
    "committed, not answered": [(Recorder, "record", True)],
}
INDEXING: Points = {
    "claimed, not read": [(Indexer, "_do_together", False)],
    "encoded, not put": [(Projector, "project", True)],
    "put, not marked": [(EdgeIndex, "put", True), (ServerIndex, "put", True)],
    "marked, not completed": [(Indexer, "_finish", False)],
    "completed": [(Indexer, "_finish", True)],
}
EXTRACTION: Points = {
    "claimed, not drawn": [(Extractor, "extract", False)],
    "drawn, not written": [(Reconciler, "_write", False)],
    "facts written, not committed": [(Rounds, "mark_drawn", True)],
    "facts committed, their indexing not owed": [(Reconciler, "reconcile", True)],
    "facts' indexing owed, not completed": [(Extractor, "_write", True)],
    "extraction completed": [(Extractor, "_do", True)],
    "facts put, not marked": [(Facts, "mark_indexed", False)],
    "facts marked, not committed": [(Facts, "mark_indexed", True)],
}
FORGETTING: Points = {
    "rows deleted, points not dropped": [(Forgetter, "_receipt", False)],
    "points dropped, not answered": [(EdgeIndex, "drop", True), (ServerIndex, "drop", True)],
}
NOWHERE = "nowhere"
POINTS: Points = {**RECORDING, **INDEXING, **EXTRACTION, **FORGETTING, NOWHERE: []}


def main() -> int:
    """Set the trap, then run the command."""
    point, *arguments = sys.argv[1:]
    # The encoder that the settings name is made of words' hashes, whatever its name.
    setattr(app, "open_encoder", lambda name, **_more: HashEncoder(name))  # noqa: B010
    for owner, name, has_run in POINTS[point]:
        setattr(owner, name, _trapped(getattr(owner, name), has_run=has_run))
    return __main__.main(arguments)


def _trapped(method: Callable[..., Any], *, has_run: bool) -> Callable[..., Any]:
    def trap(*args: Any, **more: Any) -> None:
        if has_run:
            method(*args, **more)
        os.kill(os.getpid(), signal.SIGKILL)

    return trap


if __name__ == "__main__":
    sys.exit(main())
