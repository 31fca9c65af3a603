"""Pure: raw lines become a value for each question, and values become figures with their intervals."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from statistics import mean
from typing import Any

from evals import metrics
from evals.asking import BUDGETS, READING_BUDGET, WHOLE, Line

# The version of what the figures mean; results of two versions are not compared.
METRICS = 1

Values = dict[str, float]
# By group, then by figure.
Groups = dict[str, dict[str, "Figure"]]
Figure = dict[str, Any]

_TURNS = {
    **{f"turn_recall@{k}": partial(metrics.recall, k=k) for k in (5, 10, 20, 50)},
    "turn_recall_all@10": partial(metrics.recall_all, k=10),
}
_SESSIONS = {
    "session_recall_any@5": partial(metrics.recall_any, k=5),
    "session_recall_all@5": partial(metrics.recall_all, k=5),
    "session_recall_all@10": partial(metrics.recall_all, k=10),
    "session_ndcg@10": partial(metrics.ndcg, k=10),
    "session_ndcg_official@10": partial(metrics.ndcg_official, k=10),
}
CONTEXTS = tuple(f"context_whole@{budget}" for budget in BUDGETS)
FULL = "context_whole@all"
ACCESS = (*_TURNS, *_SESSIONS, *CONTEXTS, FULL)
ANSWERS = ("answer_accuracy",)


def values_of(line: Line) -> Values:
    """Every figure that this question has a value for."""
    values: Values = {}
    evidence = {tuple(place) for place in line["evidence"]}
    if evidence and line["turns"] is not None:
        ranking = [tuple(place) for place in line["turns"]]
        values |= {name: measure(ranking, evidence) for name, measure in _TURNS.items()}
    sessions = set(line["evidence_sessions"])
    if sessions and line["sessions"] is not None:
        values |= {name: measure(line["sessions"], sessions) for name, measure in _SESSIONS.items()}
    for budget, context in line["contexts"].items():
        if context["whole"] is not None:
            values[f"context_whole@{budget}"] = float(context["whole"])
    verdict = (line.get("answered") or {}).get("is_right")
    if verdict is not None:
        values["answer_accuracy"] = float(verdict)
    return values


def by_group(lines: Iterable[Line]) -> dict[str, dict[str, dict[str, float]]]:
    """Values by group, then by figure, then by question."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for line in lines:
        for name, value in values_of(line).items():
            for group in line["groups"]:
                found.setdefault(group, {}).setdefault(name, {})[line["case"]] = value
    return found


def figures(lines: Sequence[Line], names: Sequence[str] = ACCESS) -> Groups:
    """By group and figure: the mean, its 95 % interval, and how many questions were scored and skipped."""
    asked = Counter(group for line in lines for group in line["groups"])
    values = by_group(lines)
    return {
        group: {
            name: _figure(list(values[group][name].values()), asked[group])
            for name in names
            if values.get(group, {}).get(name)
        }
        for group in asked
    }


def skipped(lines: Sequence[Line]) -> dict[str, int]:
    """How many questions were asked but have no value, by reason."""
    reasons: Counter[str] = Counter()
    for line in lines:
        if not line["evidence"]:
            reasons["questions without evidence turns (their sessions are scored)"] += bool(line["evidence_sessions"])
            reasons["questions without any evidence"] += not line["evidence_sessions"]
        failure = (line.get("answered") or {}).get("skipped")
        if failure:
            reasons[f"answers: {failure}"] += 1
    return {reason: count for reason, count in reasons.items() if count}


def cost(lines: Sequence[Line], haystacks: Sequence[Line]) -> Figure:
    """What recall costs: milliseconds, tokens of the context that a reader is given, bytes of index for a turn."""
    contexts = [line["contexts"].get(str(READING_BUDGET), line["contexts"].get(WHOLE)) for line in lines]
    tokens = [context["tokens"] for context in contexts if context]
    names = sorted({name for line in lines for name in line["ms"]})
    measured = [line for line in haystacks if "index_bytes" in line]
    return {
        "recall_ms": {
            name: {
                "client": _spread([line["ms"][name][0] for line in lines if name in line["ms"]]),
                "service": _spread([line["ms"][name][1] for line in lines if name in line["ms"]]),
            }
            for name in names
        },
        "context_tokens": _spread(tokens),
        "index_bytes_a_turn": _bytes_a_turn(measured, without_empty=False),
        "index_bytes_a_turn_marginal": _bytes_a_turn(measured, without_empty=True),
        "turns_recorded_a_second": _rate(measured),
    }


def answers(lines: Sequence[Line]) -> Figure | None:
    """Answer quality: the mean over questions, the mean over types beside it, and its cost; None if not run."""
    answered = [line["answered"] for line in lines if line.get("answered")]
    if not answered:
        return None
    by_type: dict[str, list[float]] = {}
    for line in lines:
        value = values_of(line).get("answer_accuracy")
        if value is not None:
            by_type.setdefault(line["category"], []).append(value)
    calls = sum(found["llm_calls"] for found in answered)
    # An answer costs nothing when all of it was on record.
    kept = Counter(group for line in lines if _is_kept(line) for group in line["groups"])
    return {
        "figures": figures(lines, ANSWERS),
        "mean_over_types": mean(map(mean, by_type.values())) if by_type else None,
        "types": len(by_type),
        "kept": dict(kept),
        "llm_calls_a_question": calls / len(answered),
        "llm_tokens_a_question": sum(found["llm_tokens"] for found in answered) / len(answered),
    }


def facts(haystacks: Sequence[Line]) -> Figure | None:
    """What was drawn of the histories and how: means a history, and what it took in all; None where none was asked."""
    told = [line for line in haystacks if "facts" in line]
    if not told:
        return None
    spent = [line["extraction"] for line in told if "extraction" in line]
    sources = sorted({source for line in told for source in line["facts"]})
    return {
        "histories": len(told),
        "sessions": sum(line["sessions"] for line in told),
        "a_history": {source: mean(line["facts"].get(source, 0) for line in told) for source in sources},
        "undrawn_sessions": sum(line["undrawn"] for line in told),
        "extraction": {name: sum(line[name] for line in spent) for name in spent[0]} if spent else None,
    }


def undrawn(haystacks: Sequence[Line]) -> dict[str, int]:
    """How many sessions a language model was to draw facts of, and could not."""
    count = sum(line.get("undrawn", 0) for line in haystacks)
    return {"sessions of which no facts could be drawn": count} if count else {}


def _is_kept(line: Line) -> bool:
    found = line.get("answered") or {}
    return bool(0 < found.get("llm_calls", 0) == found.get("llm_kept", 0))


def _figure(values: Sequence[float], asked: int) -> Figure:
    low, high = metrics.interval(values)
    return {
        "mean": round(mean(values), 6),
        "low": round(low, 6),
        "high": round(high, 6),
        "n": len(values),
        "skipped": asked - len(values),
    }


def _spread(values: Sequence[float]) -> Mapping[str, float] | None:
    return {"p50": metrics.quantile(values, 0.5), "p95": metrics.quantile(values, 0.95)} if values else None


def _bytes_a_turn(haystacks: Sequence[Line], *, without_empty: bool) -> float | None:
    turns = sum(line["turns"] for line in haystacks)
    held = sum(line["index_bytes"] - without_empty * line["index_bytes_empty"] for line in haystacks)
    return round(held / turns, 1) if turns else None


def _rate(haystacks: Sequence[Line]) -> float | None:
    seconds = sum(line["record_s"] for line in haystacks)
    return round(sum(line["turns"] for line in haystacks) / seconds, 2) if seconds else None
