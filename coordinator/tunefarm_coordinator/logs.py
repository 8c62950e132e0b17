"""Structured logs on stderr."""

import logging
import sys
from typing import Any

import structlog

from tunefarm_proto.trust import mask


def configure(level: str, json_lines: bool) -> None:
    """Every log record as one line: JSON for machines, or coloured text for people."""
    shared: list[structlog.types.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]
    final: list[structlog.types.Processor] = (
        [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer()]
        if json_lines
        else [
            structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
        ]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *final, _masked],
        )
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def _masked(_logger: object, _name: str, line: Any) -> str:
    """The whole line, whatever came into it, without the secrets of tokens."""
    return mask(str(line))
