"""The process that times a row's programs in turn (kernel_turns.py), as the benchmark sees it."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Turns:
    """A kernel_turns.py process, started again when it hangs or dies."""

    def __init__(self, threads: int) -> None:
        self._threads = threads
        self._process = self._start()

    def ask(self, contenders: Mapping[str, dict[str, Any]], rounds: int) -> dict[str, list[float]]:
        """Seconds by contender. Raises RuntimeError with what went wrong."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"contenders": contenders, "rounds": rounds, "threads": self._threads}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            self.close()
            self._process = self._start()
            raise RuntimeError("the process that times died")
        found = json.loads(line)
        if "error" in found:
            raise RuntimeError(found["error"])
        return dict(found["seconds"])

    def close(self) -> None:
        self._process.kill()
        self._process.wait()

    def _start(self) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-W", "ignore", str(Path(__file__).with_name("kernel_turns.py"))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "TVM_NUM_THREADS": str(self._threads), "OMP_NUM_THREADS": str(self._threads)},
        )
