"""TVM's own RPC server and tracker, as processes on loopback."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

_START_SECONDS = 60.0


@contextlib.contextmanager
def plain_rpc(module: str, port: int, *options: str) -> Iterator[None]:
    """`tvm.exec.rpc_server` or `tvm.exec.rpc_tracker`, once it listens."""
    place = ("--host", "127.0.0.1", "--port", str(port), "--port-end", str(port + 1))
    with started(module, *place, *options):
        deadline = time.monotonic() + _START_SECONDS
        while not _listens(port):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{module} does not listen at {port}")
            time.sleep(0.05)
        yield


@contextlib.contextmanager
def started(module: str, *arguments: str) -> Iterator[None]:
    """A Python module that runs, and everything that it started: nothing is left of them."""
    process = subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # A stock server that ends leaves its workers behind: they go with the group.
        start_new_session=True,
    )
    try:
        yield
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _listens(port: int) -> bool:
    """Asked without a connection, which a stock server would take for a client."""
    wanted = f"0100007F:{port:04X}"
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[1] == wanted and row[3] == "0A" for row in rows)
