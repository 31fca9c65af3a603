"""Log lines: fixed sentences with fields, for people (console) or for machines (JSON)."""

import logging
import sys

from pythonjsonlogger.json import JsonFormatter

from memsvc.api.middleware import request_id

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName", "color_message"}


def configure(*, log_format: str, level: str) -> None:
    """Send every log line to standard error, as `console` or `json`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_add_request_id)
    handler.setFormatter(_json_formatter() if log_format == "json" else ConsoleFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    for noisy in ("httpx", "httpcore", "apscheduler", "sentence_transformers", "alembic", "transformers"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, logging.getLevelNamesMapping()[level]))


class ConsoleFormatter(logging.Formatter):
    """One line for people: time, level, sentence, then the fields as name=value."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(message)s", datefmt="%H:%M:%S")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (the base class's name)
        """The line without a traceback."""
        fields = {name: value for name, value in vars(record).items() if name not in _STANDARD and value is not None}
        tail = " ".join(f"{name}={_on_one_line(value)}" for name, value in fields.items())
        return f"{super().formatMessage(record)}  {tail}".rstrip()


def _on_one_line(value: object) -> str:
    text = str(value)
    return text if text.isprintable() else repr(text)


def _json_formatter() -> logging.Formatter:
    return JsonFormatter(
        "%(message)s",
        timestamp=True,
        rename_fields={"levelname": "level", "name": "logger"},
        reserved_attrs=[*_STANDARD - {"levelname", "name"}],
    )


def _add_request_id(record: logging.LogRecord) -> bool:
    record.request_id = request_id.get()
    return True
