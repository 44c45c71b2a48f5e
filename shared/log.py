"""Logs: structlog to standard output, one canonical line per unit of work, nothing personal in any of them.

JSON by default, pretty on a terminal. What is bound with `structlog.contextvars` (`intent_id`, `attempt`, …) joins
every line. Values under the names in `REDACTED` are replaced wherever they nest; of an exception only its type and
the words of its author are written, since database details and validation errors quote the data they choke on.
This module must never be the reason that a payment fails.
"""

import logging
import sys
import traceback
from collections.abc import Mapping
from types import TracebackType
from typing import Final, Literal, TextIO

import structlog
from pydantic import ValidationError
from structlog.typing import EventDict, Processor, WrappedLogger

REDACTED: Final = frozenset(
    {
        # people
        "from_name", "to_name", "comment", "proxy", "phone", "national_id", "email", "name_on_account",
        # secrets
        "secret", "previous_secret", "signature", "password", "authorization", "keyring", "key_ring", "token",
        "x_signature", "x_approver_signature", "cookie",
        # whatever carries either
        "body", "fields", "operation", "redis_url", "database_url",
    }
)  # fmt: skip
"""Keys whose values never reach a log, compared in lower case with ``-`` read as ``_``."""

HIDDEN: Final = "[redacted]"
_DEPTH_MAX: Final = 4
_TEXT_MAX: Final = 512
_FRAMES_MAX: Final = 30

ExceptionInfo = tuple[type[BaseException], BaseException, TracebackType | None]


def configure(
    service: str,
    *,
    mode: Literal["auto", "json", "pretty"] = "auto",
    level: str = "info",
    stream: TextIO | None = None,
) -> None:
    """Set logging up for this process; `structlog.get_logger()` and the standard library end in the same lines.

    Args:
        service: joins every line as `service`.
        mode: `auto` is pretty on a terminal and JSON elsewhere.
        level: the least level that is written.
        stream: where to, standard output unless given.
    """
    target = sys.stdout if stream is None else stream
    pretty = mode == "pretty" or (mode == "auto" and target.isatty())
    number = logging.getLevelNamesMapping()[level.upper()]
    shared_processors = _processors(service)
    handler = logging.StreamHandler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, structlog.stdlib.ExtraAdder(), *shared_processors],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, _renderer(pretty=pretty)],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(number)
    structlog.configure(
        processors=[*shared_processors, _renderer(pretty=pretty)],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(target),
        cache_logger_on_first_use=False,
    )


def _processors(service: str) -> list[Processor]:
    def add_service(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["service"] = service
        return event

    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        add_service,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        describe_exception,
        redact,
    ]


def _renderer(*, pretty: bool) -> Processor:
    if pretty:
        return structlog.dev.ConsoleRenderer(colors=True)
    return structlog.processors.JSONRenderer(sort_keys=False, default=repr)


def redact(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Replace what stands under a redacted name, at any depth."""
    return {key: _clean(key, value, _DEPTH_MAX) for key, value in event.items()}


def _clean(key: object, value: object, depth: int) -> object:
    if isinstance(key, str) and key.lower().replace("-", "_") in REDACTED:
        return HIDDEN
    if isinstance(value, Mapping):
        return {inner: _clean(inner, held, depth - 1) for inner, held in value.items()} if depth else HIDDEN
    if isinstance(value, list | tuple):
        return [_clean(None, held, depth - 1) for held in value] if depth else HIDDEN
    if isinstance(value, BaseException):
        return describe(value)
    return value


def describe(error: BaseException) -> str:
    """Say what went wrong without the data it went wrong on: ``Type: words``, 512 characters at most.

    Fit for logs, health answers and dead letters.
    """
    name = type(error).__name__
    if isinstance(error, ValidationError):
        first = error.errors(include_input=False, include_context=False, include_url=False)[0]
        words = ".".join(str(part) for part in first["loc"]) + f": {first['type']}"
    elif isinstance(error, OSError) and error.strerror:
        words = error.strerror
    else:
        # The first argument is the author's sentence; a database error keeps the row it refused in its detail.
        words = str(error.args[0]) if error.args else ""
    return f"{name}: {words}"[:_TEXT_MAX] if words else name


def describe_exception(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Write an exception as its description, its causes and the places it passed."""
    info = event.pop("exc_info", None)
    if info is True:
        info = sys.exc_info()
    error = info[1] if isinstance(info, tuple) else info
    if isinstance(error, BaseException):
        event["error"] = describe(error)
        event["trace"] = _trace(error)
    return event


def _trace(error: BaseException) -> list[str]:
    lines: list[str] = []
    current: BaseException | None = error
    while current is not None and len(lines) < _FRAMES_MAX:
        if current is not error:
            lines.append(f"caused by {describe(current)}")
        lines += [
            f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(current.__traceback__)
        ]
        if isinstance(current, BaseExceptionGroup):
            lines += [f"contains {describe(inner)}" for inner in current.exceptions]
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return lines[:_FRAMES_MAX]
