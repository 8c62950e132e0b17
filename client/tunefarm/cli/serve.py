"""`tunefarm serve`: becomes the coordinator's own program, which takes its options."""

from __future__ import annotations

import os
import sys

import typer

from tunefarm.extras import require_extras


def serve(context: typer.Context) -> int:
    """Run the coordinator ([--listen HOST:PORT] [--store URL] [--ray-address ADDR]; --help for all)."""
    require_extras(["coordinator"], "the coordinator")
    os.execv(sys.executable, [sys.executable, "-m", "tunefarm_coordinator", "serve", *context.args])
