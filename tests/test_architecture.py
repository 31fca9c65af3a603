"""The shape of the code: who imports whom, how long a module is, and whose rows a statement touches."""

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from sqlalchemy import event

from memsvc.app import Service, build
from memsvc.clock import SystemClock
from memsvc.domain import Query, Scope, TaskKind, Unit
from memsvc.intervals import AsOf, Locale, Window
from memsvc.memory.curating import Told
from memsvc.plans import Spot, TurnFilter
from memsvc.settings import Settings
from memsvc.store.facts import Facts
from memsvc.store.ledger import Ledger
from memsvc.store.outbox import Outbox
from memsvc.store.rounds import Rounds
from memsvc.store.sessions import Sessions
from memsvc.store.tables import metadata
from memsvc.store.times import Times
from memsvc.store.usage import Usage
from memsvc.store.workspaces import Workspaces
from tests.doubles import HashEncoder
from tests.factories import OWNER, STARTED, draft, indexer_of, row_id, turn
from tests.llm import Body, said, scripted_llm

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "memsvc").rglob("*.py"))
TREES = {path: ast.parse(path.read_text("utf-8")) for path in MODULES}

OWNED_TABLES = sorted(
    name for name, table in metadata.tables.items() if {"workspace", "user_id"} <= set(table.c.keys())
)

# Statements over more than one owner's rows, each with the reason why it may.
OVER_ALL_OWNERS = {
    "Outbox.claim": "a worker takes what is due, whoever owns it; each task carries its owner",
    "Outbox.renew": "by the leases of tasks in hand",
    "Outbox.complete": "by the lease of a task in hand",
    "Outbox.put_off": "by the lease of a task in hand",
    "Outbox.give_up": "by the lease of a task in hand",
    "Outbox.renew_versions": "a rebuild has swapped the index of everybody",
    "Outbox.backlog": "how much is owed is asked of the whole process",
    "Facts.unindexed": "by the sessions of tasks in hand; each fact comes with its owner",
    "Facts.with_rounds": "by the rounds that a rebuild has in hand; each fact comes with its owner",
    "Facts.mark_indexed": "by the ids of facts in hand",
    "Facts.set_vectors": "by the ids of facts in hand",
    "Facts.owed_since": "a rebuild owes what changed meanwhile, of everybody; each session comes with its owner",
    "Facts.indexed": "how full the index has to be is asked of the whole process",
    "Rounds.unindexed": "by the sessions of tasks in hand; each round comes with its owner",
    "Rounds.page": "a rebuild walks through the rounds of everybody; each comes with its owner",
    "Rounds.mark_indexed": "by the ids of rounds in hand",
    "Rounds.set_made": "by the ids of rounds in hand",
    "Rounds.counts": "how full the index has to be is asked of the whole process",
    "Rounds.owed_since": "a rebuild owes what changed meanwhile, of everybody; each session comes with its owner",
    "Rounds.sessions_to_draw": "a new model extracts the sessions of everybody; each comes with its owner",
    "Rounds.undrawn": "the turns before the rounds in hand, by their ids",
    "Sessions.alive": "by the sessions of tasks in hand",
    "Sessions.forget_answers": "answers of everybody are kept equally long",
    "Workspaces.lock_users": "the owners of what a worker has in hand, or everybody at the end of a rebuild",
}

# Methods that say nothing by themselves, but by another one.
BY_OTHERS = {"Outbox.owe_all": "by Outbox.owe"}

# Statements over the rows of a workspace, which its own callers ask for.
OVER_A_WORKSPACE = {
    "Outbox.failed": "an administrator reads the failed tasks of the workspace",
    "Outbox.retry": "an administrator retries a task of the workspace",
    "Rounds.sessions_to_draw": "a new model extracts the sessions of one workspace; each comes with its owner",
    "Workspaces.users": "the users of the workspace are listed",
}


def test_import_contracts_hold() -> None:
    lint = Path(sys.executable).parent / "lint-imports"

    done = subprocess.run([lint, "--no-cache"], cwd=ROOT, capture_output=True, text=True)

    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_module_fits_on_a_few_screens(path: Path) -> None:
    lines = path.read_text("utf-8").splitlines()

    assert len(lines) <= 400, "a module past 400 lines becomes two"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_module_opens_with_a_sentence(path: Path) -> None:
    docstring = ast.get_docstring(TREES[path])

    assert docstring
    assert docstring.split("\n\n")[0].rstrip().endswith(".")


def test_no_module_has_a_name_that_says_nothing() -> None:
    names = {part for path in MODULES for part in path.relative_to(ROOT).with_suffix("").parts}

    assert (
        names & {"utils", "util", "common", "helpers", "helper", "core", "manager", "managers", "models", "misc"}
        == set()
    )


def test_nothing_but_the_command_line_prints() -> None:
    printing = {
        str(path.relative_to(ROOT))
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }

    assert printing <= {"memsvc/__main__.py", "memsvc/demo/__init__.py"}


def test_nothing_but_models_and_the_demonstration_speaks_http() -> None:
    clients = {"urllib.request", "urllib3", "requests", "httpx", "aiohttp", "http.client", "websockets", "smtplib"}

    speaking = {
        (str(path.relative_to(ROOT)), name)
        for path, tree in TREES.items()
        for name in _imports(tree)
        if any(name == client or name.startswith(f"{client}.") for client in clients)
    }

    assert speaking == {("memsvc/demo/__init__.py", "httpx"), ("memsvc/inference/llm_http.py", "httpx")}


def test_pure_modules_know_values_and_each_other_alone() -> None:
    pure = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): tree
        for path, tree in TREES.items()
        if (ast.get_docstring(tree) or "").startswith("Pure:")
    }

    known = {
        name: {module for module in _modules_of(tree) if module.startswith("memsvc")} for name, tree in pure.items()
    }

    assert {"memsvc.memory.dividing", "memsvc.memory.ranking", "memsvc.memory.packing"} <= set(pure)
    assert {"memsvc.facts", "memsvc.memory.extraction", "memsvc.memory.comparing", "memsvc.memory.ledger"} <= set(pure)
    assert {"memsvc.memory.dating", "memsvc.memory.placing", "memsvc.temporal", "memsvc.intervals"} <= set(pure)
    assert set().union(*known.values()) <= {"memsvc.domain", "memsvc.intervals", "memsvc.plans", *pure}


def test_nothing_but_the_store_asks_the_database() -> None:
    asking = {
        path.relative_to(ROOT).parts[1]
        for path, tree in TREES.items()
        if "sqlalchemy" in {name.split(".")[0] for name in _imports(tree)}
    }

    assert asking == {"store"}


def test_time_is_asked_for_in_one_place() -> None:
    asking = {
        str(path.relative_to(ROOT))
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in {"now", "utcnow", "today"}
        and _is_name(node.value, "datetime", "date")
    }

    assert asking == {"memsvc/clock.py"}


def test_owned_tables_are_those_with_a_users_rows() -> None:
    assert OWNED_TABLES == [
        "decisions",
        "fact_bonds",
        "fact_changes",
        "facts",
        "idempotency_keys",
        "outbox",
        "rounds",
        "sessions",
        "turn_times",
        "turns",
        "users",
    ]


def test_every_statement_on_a_users_rows_names_workspace_and_user(talking: Service) -> None:
    seen = _run_everything(talking, tables=OWNED_TABLES)

    over_all = {asked.method for asked in seen if not asked.names("workspace")}
    over_a_workspace = {asked.method for asked in seen if asked.names("workspace") and not asked.names("user_id")}
    assert over_all == set(OVER_ALL_OWNERS)
    assert over_a_workspace == set(OVER_A_WORKSPACE)


def test_every_method_of_the_store_is_among_the_statements_looked_at(talking: Service) -> None:
    seen = _run_everything(talking, tables=list(metadata.tables))

    assert {asked.method for asked in seen} == _METHODS - BY_OTHERS.keys()


@dataclass(frozen=True, slots=True)
class Asked:
    """A statement, and the store's method that said it."""

    method: str
    statement: str

    def names(self, column: str) -> bool:
        """Whether it is bounded by the column: as a condition, or as a value of a new row."""
        if self.statement.startswith("INSERT"):
            return re.search(rf"\({column}|, {column}", self.statement) is not None
        _, _, conditions = self.statement.partition(" WHERE ")
        return re.search(rf"\b{column} = \?", conditions) is not None


def _run_everything(service: Service, *, tables: Sequence[str]) -> set[Asked]:
    """Live through every use case; the statements that name these tables."""
    seen: set[Asked] = set()
    named = re.compile(rf"\b({'|'.join(tables)})\b")

    @event.listens_for(service.store.engine, "before_cursor_execute")
    def note(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        flat = " ".join(statement.split())
        if named.search(flat):
            seen.add(Asked(_asking(), flat))

    _record_and_recall(service)
    _tell_time(service)
    _extract(service)
    _curate(service)
    _rebuild(service)
    _fail_and_retry(service)
    _administer(service)
    _forget(service)
    return seen


DRAFTS = [draft("I have lived in Lisbon since yesterday."), draft("two", "assistant")]
STATED: Body = {
    "text": "The user lives in Lisbon.",
    "kind": "fact",
    "subject": "user",
    "slot": None,
    "value": None,
    "turn": 1,
    "quote": "lived in Lisbon",
    "when": None,
    "from": None,
    "to": None,
    "confidence": 0.9,
}


@pytest.fixture
def talking(settings: Settings) -> Iterator[Service]:
    """A service with a language model, which draws the same from whatever it is shown."""
    with scripted_llm() as llm:
        llm.answers = lambda _body: said({"statements": [STATED]})
        built = build(
            settings.model_copy(update={"llm_base_url": llm.url, "llm_model": "scripted"}), encoder=HashEncoder()
        )
        yield built
        built.close()


def _record_once(service: Service) -> None:
    """Record a session under an Idempotency-Key."""
    service.use_cases.recorder.record(OWNER, "s1", DRAFTS, started_at=STARTED, metadata={"a": 1}, idempotency_key="key")


def _record_and_recall(service: Service) -> None:
    cases, asked_at = service.use_cases, STARTED
    for _ in range(2):
        _record_once(service)
    cases.recorder.record(OWNER, "s1", [*DRAFTS, draft("three", "assistant")], started_at=STARTED, metadata={})
    cases.recorder.append(OWNER, "s1", [draft("four", "assistant"), draft("five")], metadata={"b": 2})
    indexer_of(service).drain()
    for unit in Unit:
        cases.recaller.recall(OWNER, Query("one", asked_at, unit=unit))
    # A recall asks for it only some seconds after another of the same user.
    with service.store.read() as tx:
        tx.rounds.indexed_turns(OWNER)
    cases.reader.facts(OWNER, AsOf(), kind="event", speaker="user", start=asked_at, end=asked_at, limit=5)
    cases.reader.facts(OWNER, AsOf(asked_at, asked_at), superseded=True, after=(asked_at, row_id("fact")), limit=5)
    cases.reader.session(OWNER, "s1")
    cases.reader.status(OWNER, "s1")
    cases.reader.sessions(OWNER, before=(asked_at, "s2"), limit=5)
    cases.reader.users(OWNER.workspace, after="a", limit=5)
    cases.reader.backlog()


def _tell_time(service: Service) -> None:
    localizer, spot = service.use_cases.localizer, Spot(STARTED, row_id("s1"), 1)
    localizer.change(OWNER, lambda before: Locale("Europe/Berlin", before.week_start, before.language))
    localizer.locale(OWNER)
    window, as_of = Window(STARTED, STARTED + timedelta(days=1)), AsOf(STARTED, SystemClock().now())
    with service.store.read() as tx:
        for one in _turn_filters(window, spot, as_of):
            tx.times.placed(OWNER, one, limit=5)
            tx.times.sessions(OWNER, one)
        for bound in (window.start, None):
            tx.times.timeline(
                OWNER,
                start=bound,
                end=window.end,
                speaker="user" if bound else None,
                as_of=as_of if bound else AsOf(),
                after=(STARTED, row_id("time")) if bound else None,
                limit=5,
            )


def _turn_filters(window: Window, spot: Spot, as_of: AsOf) -> Iterator[TurnFilter]:
    """Every filter over turns, each by itself, and all at once."""
    each: dict[str, Any] = {
        "sessions": (1, 2),
        "asked_at": STARTED,
        "weekdays": frozenset({4}),
        "minutes": (600, 660),
        "window": window,
        "role": "user",
        "speaker": "user",
        "after": spot,
        "before": spot,
        "as_of": as_of,
    }
    assert set(each) == set(TurnFilter.__slots__)
    yield TurnFilter()
    yield TurnFilter(sessions=(-2, -1))
    yield TurnFilter(sessions=(2, -1))
    yield TurnFilter(minutes=(1380, 60))
    for name, wanted in each.items():
        yield TurnFilter(**{name: wanted})
    yield TurnFilter(**each)


def _extract(service: Service) -> None:
    """Extract by rules while there are no tokens, then by the language model."""
    cases = service.use_cases
    cases.extractor.foresee(OWNER, [turn("I live in Lisbon.")])
    cases.gatekeeper.change_extraction(OWNER.workspace, {"daily_tokens": 0})
    _drain(service)
    cases.gatekeeper.change_extraction(OWNER.workspace, {"daily_tokens": None})
    cases.extractor.owe_session(OWNER, "s1")
    for workspace in (OWNER.workspace, None):
        cases.extractor.owe(workspace)
    _drain(service)
    today = SystemClock().now().date()
    cases.meter.used(OWNER.workspace, today, today)
    cases.meter.budget(OWNER.workspace)
    cases.curator.outcome(OWNER, "s1")
    cases.profiler.profile(OWNER)
    cases.recaller.recall(OWNER, Query("Where do I live?", SystemClock().now(), unit=Unit.FACT))


def _curate(service: Service) -> None:
    """Tell two facts of which one ends the other, and mend them."""
    curator = service.use_cases.curator
    lived, lives = (
        curator.tell(OWNER, Told(f"Ana lives in {city}.", subject="Ana", slot="home city", value=city))
        for city in ("Porto", "Braga")
    )
    curator.restore(OWNER, lived.fact.fact_id)
    curator.change(OWNER, lives.fact.fact_id, lambda before: replace(before, text="Ana lives by the sea."))
    curator.fact(OWNER, lives.fact.fact_id)
    curator.forget(OWNER, lives.fact.fact_id)
    _drain(service)
    with service.store.read() as tx:
        tx.facts.indexed()


def _drain(service: Service) -> None:
    while service.use_cases.extractor.drain() + indexer_of(service).drain():
        pass


def _rebuild(service: Service) -> None:
    service.rebuilder.rebuild()
    indexer_of(service).drain()


def _fail_and_retry(service: Service) -> None:
    service.use_cases.recorder.record(OWNER, "s2", [draft("one")], started_at=STARTED)
    with service.store.begin() as tx:
        now = SystemClock().now()
        task = tx.outbox.claim(TaskKind.INDEX, limit=1, lease_s=60, now=now)[0]
        tx.outbox.put_off(task, until=now, error="broken", counts=True)
        again = tx.outbox.claim(TaskKind.INDEX, limit=1, lease_s=60, now=now, retried=True)[0]
        tx.outbox.give_up(again, error="broken", now=now)
    failed = service.use_cases.reader.failed_tasks(OWNER.workspace, limit=5)
    service.use_cases.reader.retry(OWNER.workspace, failed[0].task_id)


def _administer(service: Service) -> None:
    gatekeeper = service.use_cases.gatekeeper
    text, key = gatekeeper.create_key(OWNER.workspace, [Scope.READ])
    gatekeeper.keys()
    gatekeeper.caller(f"Bearer {text}", is_local=True)
    gatekeeper.require_safe("0.0.0.0")
    gatekeeper.set_time_zone(OWNER.workspace, "Europe/Berlin")
    gatekeeper.revoke_key(key.prefix)
    service.housekeeping.sweep()
    with service.store.read() as tx:
        tx.workspaces.names()


def _forget(service: Service) -> None:
    service.use_cases.forgetter.forget_session(OWNER, "s1")
    _record_once(service)  # The answer that was kept is of a session that is gone.
    service.use_cases.forgetter.forget_user(OWNER)


def _asking() -> str:
    """The public method of the store that a statement comes from."""
    frame: FrameType | None = sys._getframe()
    while frame is not None:
        name = frame.f_code.co_qualname
        if name in _METHODS:
            return name
        frame = frame.f_back
    raise AssertionError("a statement that no method of the store said")


_METHODS = {
    f"{kind.__name__}.{name}"
    for kind in (Facts, Ledger, Outbox, Rounds, Sessions, Times, Usage, Workspaces)
    for name, _ in inspect.getmembers(kind, inspect.isfunction)
    if not name.startswith("_")
}


def _modules_of(tree: ast.Module) -> Iterator[str]:
    """The modules that an import leads to: what is named after `import` may be one itself."""
    modules = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__") for path in MODULES}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            yield from names & modules or {node.module or ""}


def _imports(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _is_name(node: ast.expr, *names: str) -> bool:
    return isinstance(node, ast.Name) and node.id in names
