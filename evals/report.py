"""What a run found: a small JSON file for each config, and tables in Markdown."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evals import figures, results
from evals.asking import READING_BUDGET
from evals.data_sets import DATA_SETS
from evals.running import Finished, Outcome, Run
from memsvc import __version__

Summary = dict[str, Any]

_HEADLINES = (
    ("turn_recall@5", "turn share@5"),
    ("turn_recall@10", "turn share@10"),
    ("turn_recall_all@10", "turn all@10"),
    ("session_recall_any@5", "session any@5"),
    ("session_recall_all@5", "session all@5"),
    ("session_ndcg_official@10", "NDCG official@10"),
    ("context_whole@2000", "whole in 2,000"),
)
_COSTS = (
    "50 turns: ms p50 / p95",
    "context of 2,000: ms p50 / p95",
    "context tokens p50 / p95",
    "index bytes a turn",
)
_BY_CATEGORY = ("turn_recall@10", "session_recall_all@5")
NOT_RUN = "not run: no LLM configured (--llm-url and --llm-model)"


def summaries(request: Run, finished: Finished) -> list[Summary]:
    """Everything about each config that is worth keeping, for machines."""
    commit, is_dirty = results.commit()
    return [_summary(request, finished, outcome, commit, is_dirty) for outcome in finished.outcomes]


def write(summary: Summary, folder: Path) -> Path:
    """Write a summary beside its raw lines; one of a selection of questions does not take the whole's place."""
    chosen = summary["selection"]
    suffix = f"-first{chosen['limit']}" if chosen["limit"] else ""
    if chosen["ids"]:
        suffix += f"-{hashlib.sha256(' '.join(chosen['ids']).encode()).hexdigest()[:8]}"
    path = folder / f"{Path(summary['raw']).stem}{suffix}.json"
    path.write_text(json.dumps(summary, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return path


def markdown(request: Run, found: Sequence[Summary], finished: Finished) -> str:
    """The tables, one for each group of all questions, then by category, then what was left out."""
    data_set = DATA_SETS[request.data_set]
    parts = [
        f"# {request.data_set}: {found[0]['haystacks']} histories, {found[0]['questions']} questions",
        "## Evidence access",
    ]
    parts += [_headlines(group, found) for group in data_set.together if _asked(found, group)]
    categories = [group for group in found[0]["asked"] if group not in data_set.together]
    for name in _BY_CATEGORY:
        parts.append(_by_category(name, categories, found))
    parts.append(_costs(found))
    parts += _facts(found)
    parts.append("## Answer quality\n\n" + (_answers(found) if request.llm else NOT_RUN))
    parts.append("## Left out\n\n" + _left_out(found, finished))
    return "\n\n".join(parts) + "\n"


def _summary(request: Run, finished: Finished, outcome: Outcome, commit: str | None, is_dirty: bool | None) -> Summary:
    lines = outcome.cases
    asked: dict[str, int] = {}
    for line in lines:
        for group in line["groups"]:
            asked[group] = asked.get(group, 0) + 1
    return {
        "data_set": request.data_set,
        "data": {"file": request.path.name, "sha256": outcome.identity.sha256},
        "config": outcome.config.content(),
        "memsvc": {
            "version": __version__,
            "commit": commit,
            "is_dirty": is_dirty,
            "code": outcome.identity.code,
        },
        "metrics": figures.METRICS,
        "llm": {"url": request.llm.url, "model": request.llm.model} if request.llm else None,
        "selection": {"limit": request.selection.limit, "ids": list(request.selection.ids)},
        "haystacks": len(outcome.haystacks),
        "questions": len(lines),
        "asked": asked,
        "figures": figures.figures(lines),
        "cost": figures.cost(lines, outcome.haystacks),
        "facts": figures.facts(outcome.haystacks),
        "answers": figures.answers(lines),
        "left_out": {**finished.plan.left_out, **figures.skipped(lines), **figures.undrawn(outcome.haystacks)},
        "seconds": round(sum(line.get("record_s", 0.0) + line["ask_s"] for line in outcome.haystacks), 1),
        "processes": request.processes,
        "raw": outcome.path.name,
        "cases": [line["case"] for line in lines],
    }


def _asked(found: Sequence[Summary], group: str) -> bool:
    return any(group in summary["asked"] for summary in found)


def _headlines(group: str, found: Sequence[Summary]) -> str:
    rows = [
        [summary["config"]["name"], *(_cell(summary["figures"].get(group, {}), name) for name, _ in _HEADLINES)]
        for summary in found
    ]
    heads = [_head(group, name, label, found) for name, label in _HEADLINES]
    title = f"### {group}: {found[0]['asked'].get(group, 0)} asked; mean and 95 % interval over the n scored"
    return f"{title}\n\n" + table(["config", *heads], rows)


def _head(group: str, name: str, label: str, found: Sequence[Summary]) -> str:
    """A column's heading, with the number of questions scored."""
    counts = {held[name]["n"] for summary in found if name in (held := summary["figures"].get(group, {}))}
    return f"{label} (n {', '.join(map(str, sorted(counts)))})" if counts else label


def _by_category(name: str, categories: Sequence[str], found: Sequence[Summary]) -> str:
    rows = []
    for summary in found:
        held = [summary["figures"].get(category, {}) for category in categories]
        rows.append([summary["config"]["name"], *(_cell(figures_, name, with_n=True) for figures_ in held)])
    return f"### {name} by category (n)\n\n" + table(["config", *categories], rows)


def _costs(found: Sequence[Summary]) -> str:
    rows = []
    for summary in found:
        cost = summary["cost"]
        times = [_times(cost["recall_ms"].get(name)) for name in ("turn", f"context@{READING_BUDGET}")]
        size, marginal = cost["index_bytes_a_turn"], cost["index_bytes_a_turn_marginal"]
        bytes_ = "–" if size is None else f"{size:,.0f} ({marginal or 0:,.0f} without an empty index's)"  # noqa: RUF001
        rows.append([summary["config"]["name"], *times, _pair(cost["context_tokens"], 0), bytes_])
    note = (
        "\n\nTimes are the client's, with the service's own beside them. Contexts are those of a budget of 2,000 "
        "tokens; the lengths of random's and full's are characters / 4."
    )
    if found[0]["processes"] > 1:
        note += f" {found[0]['processes']} processes kept the machine busy: times of one process are shorter."
    return "### Cost\n\n" + table(["config", *_COSTS], rows) + note


def _times(ms: Mapping[str, Any] | None) -> str:
    return _pair(None, 1) if ms is None else f"{_pair(ms['client'], 1)} (service {_pair(ms['service'], 1)})"


def _facts(found: Sequence[Summary]) -> list[str]:
    """How many facts were drawn and by whom, and what extraction took; nothing where no service was asked."""
    rows = []
    for summary in found:
        held = summary["facts"]
        if held is None:
            continue
        means, spent = held["a_history"], held["extraction"]
        took = ["–"] * 3  # noqa: RUF001
        if spent is not None:
            tokens = [f"{spent[name]:,}" for name in ("prompt_tokens", "completion_tokens")]
            took = [f"{spent['calls']:,} ({spent['cached_calls']:,})", *tokens]
        counts = [f"{means.get(source, 0):,.1f}" for source in ("llm", "rules")]
        rows.append([summary["config"]["name"], *counts, *took])
    heads = [
        "config",
        "facts a history, by llm",
        "by rules",
        "calls sent (from the cache)",
        "prompt tokens",
        "answers'",
    ]
    note = "Calls and tokens are those of all histories together, for extraction and comparison."
    return [f"### Facts\n\n{table(heads, rows)}\n\n{note}"] if rows else []


def _answers(found: Sequence[Summary]) -> str:
    rows = []
    for summary in found:
        held = summary["answers"]
        if held is None:
            continue
        for group, figures_ in held["figures"].items():
            accuracy = _cell(figures_, "answer_accuracy", with_n=True)
            rows.append([summary["config"]["name"], group, accuracy, str(held["kept"].get(group, 0))])
        mean = _number(held["mean_over_types"])
        rows.append([summary["config"]["name"], f"mean over {held['types']} types", mean, ""])
    note = "Read from the context of 2,000 tokens (full: from the whole history)."
    return f"{note}\n\n" + table(["config", "questions", "accuracy (n)", "from the cache"], rows)


def _left_out(found: Sequence[Summary], finished: Finished) -> str:
    """What the loader left out, once; then what each config could not be scored on, where that is more."""
    lines = [f"- {count} {reason}" for reason, count in finished.plan.left_out.items()]
    for summary in found:
        own = {reason: count for reason, count in summary["left_out"].items() if reason not in finished.plan.left_out}
        lines += [f"- {summary['config']['name']}: {count} {reason}" for reason, count in own.items()]
    return "\n".join(lines) or "Nothing."


def _cell(held: Mapping[str, Any], name: str, *, with_n: bool = False) -> str:
    figure, note = held.get(name), ""
    if figure is None and name in figures.CONTEXTS:
        # The whole history keeps to no budget; its length stands in the table of costs.
        figure, note = held.get(figures.FULL), " (no budget)"
    if figure is None:
        return "–"  # noqa: RUF001
    if with_n:
        return f"{_number(figure['mean'])} ({figure['n']})"
    return f"{_number(figure['mean'])} [{_number(figure['low'])}, {_number(figure['high'])}]{note}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"  # noqa: RUF001


def _pair(spread: Mapping[str, float] | None, digits: int) -> str:
    return "–" if spread is None else f"{spread['p50']:,.{digits}f} / {spread['p95']:,.{digits}f}"  # noqa: RUF001


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns line up as plain text too."""
    widths = [max(len(row[column]) for row in [heads, *rows]) for column in range(len(heads))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in [heads, *rows]
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
