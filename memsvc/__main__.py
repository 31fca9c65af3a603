"""The command line: serve · worker · migrate · keys · workspaces · extract · rebuild · doctor · demo."""

import argparse
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

import uvicorn
from pydantic import ValidationError

from memsvc import __version__, demo, doctor, logs
from memsvc.app import (
    build,
    create_app,
    extractor_of,
    open_store,
    owe_extraction,
)
from memsvc.clock import SystemClock
from memsvc.domain import Scope
from memsvc.errors import BadSetting, MemsvcError
from memsvc.language_models import has_language_model, read_answers
from memsvc.memory.access import Gatekeeper
from memsvc.settings import Settings
from memsvc.store import schema
from memsvc.store.database import Store, make_data_dir

_BACKLOG = 2048


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; 0 when it did what it says, 1 with a sentence on standard error when it could not."""
    options = _parser().parse_args(arguments)
    try:
        settings = _settings(options)
        logs.configure(log_format=settings.log_format, level=settings.log_level)
        return int(options.run(settings, options) or 0)
    except MemsvcError as exc:
        print(f"memsvc: {exc}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def serve(settings: Settings, _options: argparse.Namespace) -> int:
    """Answer HTTP until SIGTERM; with the embedded index, also do what is owed."""
    _refuse_unsafe_address(settings)
    service = build(settings)
    app = create_app(service)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        # A client's address is its socket's: what a header says of it is not believed.
        proxy_headers=False,
        timeout_graceful_shutdown=int(settings.grace_s),
    )
    listening = _listen(settings.host, settings.port)
    host, port = listening.getsockname()[:2]
    print(f"memsvc {__version__} answers on http://{f'[{host}]' if ':' in host else host}:{port}", flush=True)
    # The server ends in order at these signals, then raises them again: an end that was asked for is no failure.
    _until_signal()
    uvicorn.Server(config).run(sockets=[listening])
    return 0


def work(settings: Settings, _options: argparse.Namespace) -> int:
    """Do what is owed until SIGTERM, beside any number of other workers."""
    if settings.embedded_index:
        raise BadSetting(
            "The embedded index admits one process, and `memsvc serve` has a worker of its own. Set "
            "MEMSVC_QDRANT_URL and MEMSVC_DATABASE_URL to run workers as processes."
        )
    service = build(settings, threads=max(1, settings.workers))
    stopping = _until_signal()
    service.start()
    print("memsvc worker is ready", flush=True)
    while not stopping() and not service.workers.wait(seconds=0.2):
        pass
    service.stop()
    service.close()
    if service.workers.failure is not None:
        raise service.workers.failure
    return 0


def migrate(settings: Settings, options: argparse.Namespace) -> int:
    """Bring the database's schema to the newest revision, or to a named one."""
    if settings.embedded_database:
        make_data_dir(settings.data_dir.resolve())
    with closing(Store(settings.store_url, busy_s=settings.busy_s)) as store:
        schema.migrate(store.engine, to=options.to)
        print(f"The schema is at revision {schema.current(store.engine) or 'none'}.")
    return 0


def rebuild(settings: Settings, _options: argparse.Namespace) -> int:
    """Fill a new collection from the database, then put it in the place of the old one."""
    service = build(settings, threads=0, to_rebuild=True)
    try:
        rounds = service.rebuilder.rebuild(progress=_print_progress)
    finally:
        service.close()
    print(f"The index holds {rounds} rounds, encoded with {service.encoder.name}.")
    return 0


def extract(settings: Settings, options: argparse.Namespace) -> int:
    """Draw facts from every session that holds what was not extracted, or by rules only."""
    if options.batch is None:
        return _owe_extraction(settings, options.workspace)
    batch = {"llm_requests": options.batch, "llm_cache": settings.llm_cache or settings.data_dir / "llm-cache"}
    settings = settings.model_copy(update=batch)
    if options.responses is not None:
        taken, skipped = read_answers(settings, options.responses)
        print(f"{taken} answers of the batch were read.")
        for reason in skipped:
            print(f"Left out: {reason}", file=sys.stderr)
    with closing(open_store(settings)) as store:
        done = extractor_of(settings, store).extract_all(options.workspace, progress=_print_extracted)
    print(f"{done.extracted} sessions are extracted; {done.waiting} wait for answers to {options.batch}.")
    if done.failed:
        print(f"{done.failed} could not be extracted; the log says why.", file=sys.stderr)
    return 1 if done.failed else 0


def _owe_extraction(settings: Settings, workspace: str | None) -> int:
    with closing(open_store(settings)) as store:
        owed = owe_extraction(settings, store, workspace)
    by = "the language model" if has_language_model(settings) else "rules: no language model is configured"
    print(f"{owed} sessions are to be extracted, by {by}. `memsvc serve` or `memsvc worker` does it.")
    return 0


def create_key(settings: Settings, options: argparse.Namespace) -> int:
    """Make an API key and print it, once."""
    with _gatekeeper(settings) as gatekeeper:
        text, key = gatekeeper.create_key(options.workspace, options.scope or [Scope.READ, Scope.WRITE])
    print(text)
    print(f"Keep it: it is not shown again. Its prefix is {key.prefix}.", file=sys.stderr)
    return 0


def list_keys(settings: Settings, options: argparse.Namespace) -> int:
    """List API keys by their prefixes."""
    with _gatekeeper(settings) as gatekeeper:
        keys = gatekeeper.keys(options.workspace)
    for key in keys:
        state = f"revoked {key.revoked_at:%Y-%m-%d}" if key.revoked_at else "in force"
        scopes = ",".join(sorted(key.scopes))
        print(f"{key.prefix}  {key.workspace}  {scopes}  created {key.created_at:%Y-%m-%d}  {state}")
    return 0


def revoke_key(settings: Settings, options: argparse.Namespace) -> int:
    """End an API key at once."""
    with _gatekeeper(settings) as gatekeeper:
        gatekeeper.revoke_key(options.prefix)
    print(f"Key {options.prefix} is revoked.")
    return 0


def set_workspace(settings: Settings, options: argparse.Namespace) -> int:
    """Set the time zone in which a workspace's times without one are read."""
    with _gatekeeper(settings) as gatekeeper:
        gatekeeper.set_time_zone(options.workspace, options.time_zone or None)
    print(
        f"Workspace {options.workspace} reads times without a zone in {options.time_zone or 'none: they are refused'}."
    )
    return 0


def list_workspaces(settings: Settings, _options: argparse.Namespace) -> int:
    """List the workspaces."""
    with _gatekeeper(settings) as gatekeeper:
        names = gatekeeper.workspaces()
    for name in names:
        print(name)
    return 0


def run_doctor(settings: Settings, _options: argparse.Namespace) -> int:
    """Check everything the service stands on, and say what to do."""
    findings = doctor.examine(settings)
    for finding in findings:
        print(finding)
    return 0 if all(finding.is_well for finding in findings) else 1


def run_demo(_settings: Settings, options: argparse.Namespace) -> int:
    """Record a history over HTTP and ask it eight questions."""
    # Ended by a signal, the demonstration still ends the service that it has started.
    signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    return demo.run(url=options.url, api_key=options.api_key)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="memsvc", description="A conversational long-term memory service.")
    parser.add_argument("--version", action="version", version=f"memsvc {__version__}")
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    served = _command(commands, "serve", serve)
    served.add_argument("--host", help="address to listen on (MEMSVC_HOST)")
    served.add_argument("--port", type=int, help="port to listen on; 0 picks a free one (MEMSVC_PORT)")
    _command(commands, "worker", work)
    migrated = _command(commands, "migrate", migrate)
    migrated.add_argument("--to", default="head", help="revision to go to; `base` removes every table")
    _add_keys(commands)
    workspaces = commands.add_parser("workspaces", help="settings of workspaces").add_subparsers(required=True)
    _command(workspaces, "list", list_workspaces)
    zoned = _command(workspaces, "set", set_workspace)
    zoned.add_argument("workspace")
    zoned.add_argument("--time-zone", required=True, help="like Europe/Berlin; empty to refuse times without a zone")
    _add_extract(commands)
    _command(commands, "rebuild", rebuild)
    _command(commands, "doctor", run_doctor)
    shown = _command(commands, "demo", run_demo)
    shown.add_argument("--url", help="a running service; without it, one is started for the demonstration")
    shown.add_argument("--api-key", help="API key for the running service")
    return parser


def _add_extract(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    extracted = _command(commands, "extract", extract)
    extracted.add_argument(
        "--all", action="store_true", required=True, help="every session; there is no other choice yet"
    )
    extracted.add_argument("--workspace", help="only this workspace's sessions")
    extracted.add_argument(
        "--batch", type=Path, metavar="FILE", help="write questions to FILE (OpenAI batch format) instead of asking"
    )
    extracted.add_argument(
        "--responses", type=Path, metavar="FILE", help="read the batch's answers first; needs --batch, again"
    )


def _add_keys(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    keys = commands.add_parser("keys", help="create, list and revoke API keys").add_subparsers(required=True)
    created = _command(keys, "create", create_key)
    created.add_argument("--workspace", default="default", help="workspace the key belongs to; made if it is new")
    created.add_argument(
        "--scope",
        action="append",
        type=Scope,
        choices=list(Scope),
        help="may be given several times; read and write if not",
    )
    listed = _command(keys, "list", list_keys)
    listed.add_argument("--workspace", help="only this workspace's keys")
    _command(keys, "revoke", revoke_key).add_argument("prefix")


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]",
    name: str,
    run: Callable[[Settings, argparse.Namespace], int],
) -> argparse.ArgumentParser:
    sentence = (run.__doc__ or "").strip()
    parser = commands.add_parser(name, help=sentence, description=sentence)
    parser.set_defaults(run=run)
    return parser


def _settings(options: argparse.Namespace) -> Settings:
    given = {name: getattr(options, name) for name in ("host", "port") if getattr(options, name, None) is not None}
    try:
        return Settings(**given)
    except ValidationError as exc:
        found = exc.errors()[0]
        name = "MEMSVC_" + "_".join(str(place) for place in found["loc"]).upper()
        raise BadSetting(f"{name} cannot be used: {found['msg']}.") from exc


def _refuse_unsafe_address(settings: Settings) -> None:
    with _gatekeeper(settings) as gatekeeper:
        gatekeeper.require_safe(settings.host)


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # Named as TCP, the socket's connections send small answers at once.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host.strip("[]"), port))
        listening.listen(_BACKLOG)
    except OSError as exc:
        listening.close()
        raise BadSetting(f"Cannot listen on {host}:{port}: {exc.strerror}. Give another --host or --port.") from exc
    return listening


def _until_signal() -> Callable[[], bool]:
    caught: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda caught_number, _frame: caught.append(caught_number))
    return lambda: bool(caught)


@contextmanager
def _gatekeeper(settings: Settings) -> Iterator[Gatekeeper]:
    with closing(open_store(settings)) as store:
        yield Gatekeeper(store, SystemClock())


def _print_progress(done: int, total: int) -> None:
    print(f"{done} of {total} rounds", file=sys.stderr)


def _print_extracted(done: int, total: int) -> None:
    print(f"{done} of {total} sessions", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
