"""Runs benchmarks and prints what they found, as ratios to a floor that was measured in the same run."""

import argparse
import json
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from benchmarks import dating, indexing, recalling, recording, starting
from benchmarks.report import Report, show

Options = argparse.Namespace

BENCHMARKS: Mapping[str, Callable[[Options], Report]] = {
    "recording": lambda options: recording.measure(sessions=options.sessions),
    "indexing": lambda options: indexing.measure(sessions=options.indexed),
    "recall": lambda options: recalling.measure(keys=options.keys, recalls=options.recalls),
    "large": lambda options: recalling.measure(keys=options.large, recalls=options.recalls, users=1),
    "dating": lambda options: dating.measure(turns=options.turns),
    "start": lambda options: starting.measure(starts=options.starts, sessions=options.filled),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks that are named, or all."""
    options = _parser().parse_args(arguments)
    for name in [name for name in os.environ if name.startswith("MEMSVC_")]:
        del os.environ[name]  # What is measured are the defaults.
    logging.disable(logging.WARNING)
    console = Console()
    reports = []
    for name in BENCHMARKS if "all" in options.names else options.names:
        report = BENCHMARKS[name](options)
        show(report, console)
        reports.append(report.as_json())
    console.print(f"{os.cpu_count()} cores; load average at the end {os.getloadavg()[0]:.1f}", highlight=False)
    if options.out:
        options.out.write_text(json.dumps(reports, indent=1, ensure_ascii=False) + "\n", "utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measures memsvc against floors of the same run. Times depend on the machine and on what else it "
        "does; the ratios are what to compare.",
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        choices=[*BENCHMARKS, "all"],
        default="all",
        help=f"{', '.join(BENCHMARKS)}; all of them when none is named",
    )
    parser.add_argument("--sessions", type=_positive, default=500, help="recording: sessions to record (%(default)s)")
    parser.add_argument("--indexed", type=_positive, default=128, help="indexing: sessions to index (%(default)s)")
    parser.add_argument("--keys", type=_positive, default=100_000, help="recall: keys in the index (%(default)s)")
    parser.add_argument("--large", type=_positive, default=50_000, help="large: keys of the one user (%(default)s)")
    parser.add_argument("--recalls", type=_positive, default=500, help="recall: recalls to time (%(default)s)")
    parser.add_argument("--turns", type=_positive, default=1000, help="dating: turns to read (%(default)s)")
    parser.add_argument("--starts", type=_positive, default=3, help="start: how often to start (%(default)s)")
    parser.add_argument("--filled", type=_positive, default=30, help="start: sessions to weigh it with (%(default)s)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the figures to FILE as JSON too")
    return parser


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("give a number above 0")
    return number


if __name__ == "__main__":
    sys.exit(main())
