"""A run: what is still to ask is asked, in this process or several, and every line is on disk as it comes."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from evals import results
from evals.asking import Answering, Asker, Line
from evals.batches import Pending, writing
from evals.cases import Case, Haystack
from evals.configs import Config
from evals.data_sets import DATA_SETS, Plan, Selection, checksum
from evals.histories import Historian, Target
from evals.judging import answering_with
from evals.kept import AnswerPending
from evals.llm import LLMAccess
from evals.processes import Todo, spread
from evals.progress import Shown
from evals.results import Identity, ResultFile
from evals.services import Workshop
from memsvc.inference.encoders import Encoder

# A question takes about as long as this many turns take to be indexed.
_STEPS_A_QUESTION = 2


@dataclass(frozen=True, slots=True)
class Run:
    """What is to be evaluated, and how; `requests` is where the requests go that a model without a URL leaves open."""

    data_set: str
    path: Path
    configs: tuple[Config, ...]
    out: Path
    target: Target = field(default_factory=Target)
    selection: Selection = field(default_factory=Selection)
    processes: int = 1
    llm: LLMAccess | None = None
    requests: Path | None = None
    encoder: Encoder | None = None

    def haystacks(self) -> Iterator[Haystack]:
        """The selected haystacks, read anew."""
        return self.selection.of(DATA_SETS[self.data_set].load(self.path))

    def asker(self) -> Asker:
        """What asks a haystack's questions, in whichever process."""
        answering: Answering | None = answering_with(self.llm, self.data_set) if self.llm else None
        threads = 0 if self.processes == 1 else max(1, (os.cpu_count() or 1) // self.processes)
        workshop = Workshop(encoder=self.encoder, threads=threads, llm=self.llm)
        # Answers are kept under what is asked, contexts and all: they are found again only if these come out the same.
        historian = Historian(self.target, workshop, one_by_one=self.llm is not None)
        return Asker(historian, DATA_SETS[self.data_set].groups_of, answering=answering)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One config's raw lines, as they are on disk after the run."""

    config: Config
    identity: Identity
    path: Path
    cases: Sequence[Line]
    haystacks: Sequence[Line]


@dataclass(frozen=True, slots=True)
class Finished:
    """All that a run brought. While anything is pending there are no outcomes: a part is no result."""

    plan: Plan
    outcomes: Sequence[Outcome]
    seconds: float
    notes: Sequence[str]
    pending: Pending = field(default_factory=Pending)


def run(request: Run, console: Console) -> Finished:
    """Ask what has not been asked; raises EvaluationFailed. What was answered until then is kept."""
    begun = time.monotonic()
    data_set = DATA_SETS[request.data_set]
    sha256 = checksum(request.path, data_set.source)
    plan = Plan.of(request.haystacks())
    code = request.target.url or results.code_checksum()
    with ExitStack() as stack:
        files: dict[str, ResultFile] = {}
        for config in request.configs:
            llm = request.llm.model if request.llm else None
            identity = Identity(request.data_set, sha256, results.tuned_as(config), code, llm)
            files[config.name] = ResultFile(request.out, identity)
            stack.callback(files[config.name].close)
        notes = [f"{name} starts anew: {file.replaced}." for name, file in files.items() if file.replaced]
        kept = sum(file.has(case_id) for file in files.values() for case_id in plan.case_ids())
        if kept:
            notes.append(f"{kept} answers of an earlier run were kept.")
        for note in notes:
            console.print(note, highlight=False, soft_wrap=True)
        with writing(request.requests) as pending:
            _read(request, files, pending)
            _ask(request, plan, files, pending, console)
    outcomes = [] if pending else [_outcome(config, files[config.name], plan) for config in request.configs]
    return Finished(plan, outcomes, time.monotonic() - begun, notes, pending)


def _read(request: Run, files: dict[str, ResultFile], pending: Pending) -> None:
    """What an earlier run has recalled is read from the very context it was given then, and judged."""
    if request.llm is None:
        return
    answering = answering_with(request.llm, request.data_set)
    for haystack in request.haystacks():
        for case in haystack.cases:
            for name, file in files.items():
                if not file.waits(case.case_id):
                    continue
                line = dict(file.cases[case.case_id])
                try:
                    answered = answering.answer(case, line.pop("reading"))
                except AnswerPending as exc:
                    pending.add(name, [case.case_id], [(exc.task, exc.request)])
                else:
                    file.add({**line, "answered": answered})


def _ask(request: Run, plan: Plan, files: dict[str, ResultFile], pending: Pending, console: Console) -> None:
    total = _steps(request.configs, plan, files)
    if not total:
        return
    with Shown(request.data_set, total, console) as shown:

        def emit(name: str, line: Line) -> None:
            if "pending" in line:
                pending.add(name, line["pending"], line["requests"])
                if "recalled" in line:
                    files[name].add(line["recalled"])
                shown.advance(_STEPS_A_QUESTION * len(line["pending"]))
                return
            files[name].add(line)
            if "case" in line:
                shown.advance(_STEPS_A_QUESTION)

        todo = _todo(request, files)
        spread(request.asker, request.processes, todo, emit=emit, advance=shown.advance)


def _todo(request: Run, files: dict[str, ResultFile]) -> Iterator[Todo]:
    """What is still to be asked, haystack by haystack, while the data are read."""
    for haystack in request.haystacks():
        missing = {name: _missing(haystack, file) for name, file in files.items()}
        configs = [config for config in request.configs if missing[config.name] is not None]
        if haystack.cases and configs:
            yield Todo(haystack, {config.name: missing[config.name] or () for config in configs}, tuple(configs))


def _missing(haystack: Haystack, file: ResultFile) -> tuple[Case, ...] | None:
    """The cases without a line; None when nothing is missing, not even the haystack's own line."""
    cases = tuple(case for case in haystack.cases if _is_to_ask(case.case_id, file))
    return cases if cases or haystack.haystack_id not in file.haystacks else None


def _is_to_ask(case_id: str, file: ResultFile) -> bool:
    return not file.has(case_id) and not file.waits(case_id)


def _steps(configs: Sequence[Config], plan: Plan, files: dict[str, ResultFile]) -> int:
    """The work ahead: turns to be indexed, once for each way of indexing, and questions to be asked."""
    steps = 0
    for haystack_id, case_ids in plan.cases.items():
        indexings = set()
        for config in configs:
            file = files[config.name]
            missing = sum(_is_to_ask(case_id, file) for case_id in case_ids)
            steps += _STEPS_A_QUESTION * missing
            if config.baseline is None and (missing or haystack_id not in file.haystacks):
                indexings.add(config.index_key())
        steps += len(indexings) * plan.turns[haystack_id]
    return steps


def _outcome(config: Config, file: ResultFile, plan: Plan) -> Outcome:
    cases = [file.cases[case_id] for case_id in plan.case_ids()]
    return Outcome(config, file.identity, file.path, cases, [file.haystacks[name] for name in plan.cases])
