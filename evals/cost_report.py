"""What extraction would cost: a small JSON file, and a table in Markdown with the aim beside it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evals import report, results
from evals.cases import Haystack
from evals.cost import AIM, Counted, figures
from evals.data_sets import DATA_SETS, Selection, checksum
from evals.errors import WrongUse
from evals.time_report import Summary, memsvc_as_it_is

NAME = "cost"

_SPREADS = (
    ("calls", "calls", 2),
    ("own_tokens", "tokens of its own", 0),
    ("prompt_tokens", "prompt tokens", 0),
    ("ratio", f"prompt tokens / own (aim: < {AIM})", 3),
    ("ratio_with_schema", "… with the JSON schema", 3),
)


@dataclass(frozen=True, slots=True)
class Request:
    """Whose sessions are counted: of the first `limit` questions' histories, or of all; and how they are cut."""

    data_set: str
    path: Path
    limit: int | None
    chunk_tokens: int

    def haystacks(self) -> Iterator[Haystack]:
        """The selected haystacks."""
        return Selection(self.limit).of(DATA_SETS[self.data_set].load(self.path))

    def identity(self) -> results.Identity:
        """What the result is the result of; raises DataUnreadable for a file that is not there."""
        sha256 = checksum(self.path, DATA_SETS[self.data_set].source)
        first = f"-first{self.limit}" if self.limit else ""
        config = {
            "name": f"{self.data_set}{first}",
            "extract_tokens": self.chunk_tokens,
            "limit": self.limit,
        }
        return results.Identity(NAME, sha256, config, results.code_checksum())


def summary(request: Request, counted: Counted, identity: results.Identity) -> Summary:
    """Everything that is worth keeping, for machines; raises WrongUse when there is nothing."""
    if not counted.sessions:
        raise WrongUse(f"{request.path} holds no session that anything would be asked about.")
    return {
        "data_set": request.data_set,
        "data": {"file": request.path.name, "sha256": identity.sha256},
        "config": identity.config,
        "memsvc": memsvc_as_it_is(identity.code),
        "aim": AIM,
        **figures(counted),
    }


def markdown(found: Summary) -> str:
    """The table, the sums, and what was left out."""
    total, held = found["total"], found["a_session"]
    rows = [[label, *_cells(held[name], digits)] for name, label, digits in _SPREADS]
    left_out = [f"- {count} {reason}" for reason, count in found["left_out"].items()]
    parts = [
        f"# {NAME}: {found['sessions']} distinct sessions of {found['data_set']}, nothing sent",
        report.table(["a session", "mean", "median", "p95"], rows),
        f"In all {total['calls']:,} calls with {total['prompt_tokens']:,} prompt tokens for {total['own_tokens']:,} "
        f"tokens of chat: {_ratio(total['ratio'])} (aim: < {AIM}); with the JSON schema, "
        f"{total['schema_tokens']:,} tokens more: {_ratio(total['ratio_with_schema'])}.",
        "Tokens are counted as the service counts them, by its encoder; a request holds about "
        f"{found['config']['extract_tokens']:,} of chat. Not counted are the comparisons of what is drawn with what is "
        "known, repairs, and answers.",
        "## Left out",
        "\n".join(left_out) or "Nothing.",
    ]
    return "\n\n".join(parts) + "\n"


def _cells(spread: Mapping[str, float], digits: int) -> Sequence[str]:
    return [f"{spread[name]:,.{digits}f}" for name in ("mean", "median", "p95")]


def _ratio(value: float) -> str:
    return f"{value:.3f} times as many"
