"""What was measured of times in text: a small JSON file, and tables in Markdown with every miss."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evals import report, results
from evals.times import HALF, PREFER, Measured, Reading, faults, figures
from memsvc import __version__
from memsvc.intervals import Expression, Interval

NAME = "time"

Summary = dict[str, Any]


def summary(measured: Measured, path: Path, identity: results.Identity) -> Summary:
    """Everything that is worth keeping, for machines."""
    return {
        "data_set": identity.data_set,
        "data": {"file": path.name, "sha256": identity.sha256},
        "config": identity.config,
        "memsvc": memsvc_as_it_is(identity.code),
        "figures": figures(measured.timed),
        "without_time": {"n": len(measured.timeless), "false_positives": len(faults(measured.timeless))},
        "overruled": dict(Counter(each.overruled for each in faults(measured.readings) if each.overruled)),
        "misses": [_for_machines(each) for each in faults(measured.timed)],
        "false_positives": [_for_machines(each) for each in faults(measured.timeless)],
        "stale": [
            {"text": each.text, "reference": each.reference.isoformat(), "why": why} for each, why in measured.stale
        ],
        "skipped": dict(measured.skipped),
    }


def memsvc_as_it_is(code: str) -> Summary:
    """What is measured: version, commit, and the checksum of the code."""
    commit, is_dirty = results.commit()
    return {"version": __version__, "commit": commit, "is_dirty": is_dirty, "code": code}


def identity_of(sha256: str) -> results.Identity:
    """What a result of this evaluation is the result of."""
    return results.Identity(NAME, sha256, {"name": PREFER, "prefer": PREFER}, results.code_checksum())


def write(found: Summary, folder: Path, *, stem: str) -> Path:
    """Write a summary as JSON."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{stem}.json"
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return path


def markdown(measured: Measured) -> str:
    """The tables: headlines, then every row that is not read as the corpus has it, ours before the overruled ones."""
    timed, timeless = measured.timed, measured.timeless
    parts = [
        f"# {NAME}: {len(timed)} rows with a time, {len(timeless)} without",
        "## Rows with a time",
        _headlines(timed),
        "## Misses",
        f"{_faults_in_words(timed)} of {len(timed)} rows with a time are not exact.",
        *_listed(timed),
        "## False positives",
        f"{_faults_in_words(timeless)} of {len(timeless)} rows without a time had one found in them.",
        *_listed(timeless),
        "## Stale overrulings",
        "\n".join(f'- "{each.text}", {_plain(each.reference)}: {why}' for each, why in measured.stale) or "None.",
        "## Left out",
        "\n".join(f"- {count} {reason}" for reason, count in measured.skipped.items()) or "Nothing.",
    ]
    return "\n\n".join(parts) + "\n"


def _for_machines(reading: Reading) -> Summary:
    row = reading.row
    return {
        "text": row.text,
        "reference": row.reference.isoformat(),
        "span": row.span,
        "source": row.source,
        "expected": _ends(row.meant) if row.meant else None,
        "found": [{"words": each.text, **_ends(each.interval)} for each in reading.found],
        "counted": reading.found.index(reading.counted) if reading.counted else None,
        "iou": round(reading.iou, 6),
        "overruled": reading.overruled,
    }


def _ends(interval: Interval) -> Summary:
    return {name: end and end.isoformat() for name, end in (("start", interval.start), ("end", interval.end))}


def _headlines(readings: Sequence[Reading]) -> str:
    rows = [
        [name, str(held["n"]), _with_bounds(held["exact"]), _with_bounds(held[f"iou@{HALF}"]), str(held["not_found"])]
        for name, held in figures(readings).items()
    ]
    without = sum(reading.row.offsets is None for reading in readings)
    note = (
        "Shares with 95 % intervals. Exact: start and end to the second. IoU: of the found and the meant interval, "
        "0 when an end is open. Both are strict: an overruled row counts against us like any other. "
        "Of several expressions the one counts that has most of the row's span; "
        f"in {without} rows, whose text holds no such span, the first."
    )
    return report.table(["rows", "n", "exact", f"IoU ≥ {HALF}", "not found"], rows) + "\n\n" + note


def _with_bounds(share: Mapping[str, float]) -> str:
    return f"{share['mean']:.3f} [{share['low']:.3f}, {share['high']:.3f}]"


def _faults_in_words(readings: Sequence[Reading]) -> str:
    held = faults(readings)
    overruled = sum(each.overruled is not None for each in held)
    return f"{len(held)} ({len(held) - overruled} ours, {overruled} overruled)"


def _listed(readings: Sequence[Reading]) -> list[str]:
    """The faults in tables: those that are ours, then the overruled ones by reason."""
    by_reason: dict[str | None, list[Reading]] = {}
    for each in faults(readings):
        by_reason.setdefault(each.overruled, []).append(each)
    ours = by_reason.pop(None, [])
    groups = [("Ours", ours)] if ours else []
    groups += [(f"Overruled: {reason}", held) for reason, held in by_reason.items()]
    heads = ["text", "reference", "expected", "found", "IoU"]
    return [
        part
        for title, held in groups
        for part in (f"### {title} ({len(held)})", report.table(heads, [_cells(each) for each in held]))
    ]


def _cells(reading: Reading) -> list[str]:
    row = reading.row
    # A line break or a bar would break the table.
    return [
        " ".join(cell.split()).replace("|", "\\|")
        for cell in (
            row.text,
            _plain(row.reference),
            _stretch(row.meant) if row.meant else "no time",
            _found_in_words(reading),
            f"{reading.iou:.2f}",
        )
    ]


def _found_in_words(reading: Reading) -> str:
    if reading.row.meant and reading.counted:
        return _expression(reading.counted)
    told = "; ".join(map(_expression, reading.found)) or "nothing"
    return f"elsewhere {told}" if reading.row.meant and reading.found else told


def _expression(found: Expression) -> str:
    return f'"{found.text}": {_stretch(found.interval)}'


def _stretch(interval: Interval) -> str:
    return " to ".join("open" if end is None else _plain(end) for end in (interval.start, interval.end))


def _plain(moment: datetime) -> str:
    """The time without its zone, which is UTC everywhere here; at midnight the day alone."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(sep=" ").removesuffix(" 00:00:00")
