"""Runs evaluations and compares their results: `python -m evals locomo --data PATH`, `python -m evals compare A B`.

`python -m evals time` and `python -m evals sample` are about the times that texts name, and `python -m evals cost` is
about what drawing facts of chats would take: they need no service.
"""

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from evals import comparing, configs, cost, cost_report, model_options, report, running, sampling, time_report, times
from evals.data_sets import DATA_SETS, DataSet, Selection, checksum
from evals.errors import EvaluationFailed, WrongUse
from evals.histories import Target
from memsvc.inference.encoders import Encoder, open_encoder
from memsvc.settings import Settings
from memsvc.temporal import find


def main(arguments: Sequence[str] | None = None, *, encoder: Encoder | None = None) -> int:
    """Run what is asked for; 0 when all went well, 2 with a sentence when not, 130 when it was interrupted.

    `encoder` takes the place of the one that the configs name.
    """
    options = _parser().parse_args(arguments)
    try:
        if options.command == "compare":
            print(comparing.markdown(comparing.compare(options.before, options.after)), end="")
            return 0
        if options.command == time_report.NAME:
            return _measure_times(options)
        if options.command == sampling.NAME:
            return _sample_times(options)
        if options.command == cost_report.NAME:
            return _count_cost(options, encoder)
        return _evaluate(options, encoder)
    except EvaluationFailed as exc:
        print(exc, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted. What was answered is kept: the same command goes on from there.", file=sys.stderr)
        return 130


def _evaluate(options: argparse.Namespace, encoder: Encoder | None) -> int:
    key = os.environ.get(model_options.KEY)
    for name in [name for name in os.environ if name.startswith("MEMSVC_") and name != model_options.KEY]:
        del os.environ[name]  # What is measured is what the config says.
    logging.disable(logging.WARNING)
    request = _request(options, key, encoder)
    console = Console(stderr=True)
    model_options.take_responses(options, console)
    finished = running.run(request, console)
    if finished.pending:
        return _tell_pending(request, finished, console)
    found = report.summaries(request, finished)
    written = [report.write(summary, request.out) for summary in found]
    print(report.markdown(request, found, finished))
    _tell(written, console)
    console.print(f"{finished.seconds:.0f} s", highlight=False)
    return 0


def _tell_pending(request: running.Run, finished: running.Finished, console: Console) -> int:
    """What waits for a model; no result is written, since it would be one of a part."""
    print(finished.pending.in_words())
    if request.requests is None:
        print(
            "No answers to these are on record, and nobody is there to be asked: give --llm-url, or --llm-requests to "
            "have them written for a batch.",
            file=sys.stderr,
        )
        return 2
    _tell([request.requests], console)
    return 0


def _count_cost(options: argparse.Namespace, encoder: Encoder | None) -> int:
    chunk_tokens = Settings.model_fields["extract_tokens"].default
    path = _path_of(options.data_set, options.data)
    request = cost_report.Request(options.data_set, path, options.limit, chunk_tokens)
    identity = request.identity()
    with tempfile.TemporaryDirectory(prefix="memsvc-evals-") as folder:
        count_tokens = (encoder or open_encoder(folder=Path(folder))).count_tokens
        counted = cost.count(request.haystacks(), count_tokens=count_tokens, chunk_tokens=chunk_tokens)
    found = cost_report.summary(request, counted, identity)
    written = time_report.write(found, options.out, stem=identity.stem)
    print(cost_report.markdown(found), end="")
    _tell([written], Console(stderr=True))
    return 0


def _path_of(data_set: str, given: Path | None) -> Path:
    path = given or DATA_SETS[data_set].default
    if path is None:
        raise WrongUse(f"Say with --data where the file is. {DATA_SETS[data_set].source}")
    return path


def _measure_times(options: argparse.Namespace) -> int:
    identity = time_report.identity_of(checksum(options.data, times.SOURCE))
    measured = times.measure(times.load(options.data), times.load_overrulings(), find=find)
    summary = time_report.summary(measured, options.data, identity)
    written = time_report.write(summary, options.out, stem=identity.stem)
    print(time_report.markdown(measured), end="")
    _tell([written], Console(stderr=True))
    return 0


def _sample_times(options: argparse.Namespace) -> int:
    paths = {"locomo": options.locomo, "longmemeval": options.longmemeval}
    request = sampling.Request(paths, options.turns, options.draw, options.seed)
    told, written = sampling.run(request, options.out, find=find)
    print(told, end="")
    _tell(written, Console(stderr=True))
    return 0


def _tell(written: Sequence[Path], console: Console) -> None:
    for path in written:
        console.print(f"Written: {path}", highlight=False, soft_wrap=True)


def _request(options: argparse.Namespace, key: str | None, encoder: Encoder | None) -> running.Run:
    path = _path_of(options.command, options.data)
    llm = model_options.access_of(options, key)
    return running.Run(
        data_set=options.command,
        path=path,
        configs=tuple(configs.load(options.config, is_remote=options.url is not None, has_llm=llm is not None)),
        out=options.out,
        target=Target(options.url, options.api_key),
        selection=Selection(options.limit, tuple(options.questions)),
        processes=options.processes,
        llm=llm,
        requests=options.llm_requests,
        encoder=encoder,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m evals",
        description="Measures what a client of memsvc gets, over HTTP, against baselines of the same run.",
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for data_set in DATA_SETS.values():
        _add_data_set(commands.add_parser(data_set.name, help=data_set.source, description=data_set.source), data_set)
    _add_time(
        commands.add_parser(time_report.NAME, help="how exactly times are read out of text", description=times.SOURCE)
    )
    _add_sample(commands.add_parser(sampling.NAME, help="times found in real turns, drawn for people to judge"))
    _add_cost(commands.add_parser(cost_report.NAME, help="calls and prompt tokens that drawing facts of chats takes"))
    compare = commands.add_parser("compare", help="what changed from one result to another, and whether by chance")
    compare.add_argument("before", type=Path, metavar="A.json")
    compare.add_argument("after", type=Path, metavar="B.json")
    return parser


def _add_data_set(parser: argparse.ArgumentParser, data_set: DataSet) -> None:
    shipped = " (default: the shipped file)" if data_set.default else ""
    parser.add_argument("--data", type=Path, metavar="PATH", help=f"the data set's file, plain or gzip{shipped}")
    parser.add_argument(
        "--config",
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME",
        help=f"configs by name, or paths of TOML files (default: {' '.join(configs.DEFAULT)})",
    )
    parser.add_argument("--url", help="ask a running service instead of starting one")
    parser.add_argument("--api-key", metavar="KEY", help="key of the running service")
    parser.add_argument("--limit", type=_positive, metavar="N", help="ask the first N questions only")
    parser.add_argument("--questions", nargs="+", default=[], metavar="ID", help="ask these questions only")
    _add_out(parser)
    parser.add_argument("--processes", type=_positive, default=1, metavar="N", help="default: %(default)s")
    model_options.add(parser)


def _add_cost(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data-set", choices=tuple(DATA_SETS), default="longmemeval", help="default: %(default)s")
    parser.add_argument("--data", type=Path, metavar="PATH", help="its file, plain or gzip")
    parser.add_argument("--limit", type=_positive, metavar="N", help="histories of the first N questions only")
    _add_out(parser)


def _add_time(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, metavar="PATH", help="JSON Lines, plain or gzip")
    _add_out(parser)


def _add_sample(parser: argparse.ArgumentParser) -> None:
    for name in ("locomo", "longmemeval"):
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="PATH", help=DATA_SETS[name].source)
    parser.add_argument("--turns", type=_positive, default=5000, metavar="N", help="of both, default: %(default)s")
    parser.add_argument("--draw", type=_positive, default=200, metavar="N", help="expressions, default: %(default)s")
    parser.add_argument("--seed", type=_positive, default=7, metavar="N", help="default: %(default)s")
    _add_out(parser)


def _add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, default=Path("evals-results"), metavar="DIR", help="default: %(default)s")


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("give a number above 0")
    return number


if __name__ == "__main__":
    sys.exit(main())
