"""Log lines on standard error: for people, or one JSON document each."""

import sys
from typing import Any

import structlog

from tunefarm_proto.trust import mask


def configure(as_json: bool) -> None:
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
            _masked,
        ],
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


def _masked(_logger: object, _name: str, line: Any) -> str:
    """The whole line, whatever came into it, without the secrets of tokens."""
    return mask(str(line))
