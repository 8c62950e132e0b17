"""What this machine can do at most, measured by a small program that its own compiler makes (machine_limit.c)."""

import json
import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).with_name("machine_limit.c")
# Working sets in KiB: from the second cache to memory.
SETS = (64, 256, 1024, 4096, 16384, 65536)


@dataclass(frozen=True)
class Limit:
    """`gflops`: multiply-adds, two operations each; `gbytes`: bytes read and written, by KiB of the working set."""

    gflops: float
    gbytes: dict[int, float]

    def seconds(self, flops: float, size: int) -> tuple[float, str]:
        """(the least time that computing `flops` and moving `size` bytes takes, which of the two it is)."""
        fits = [kib for kib in sorted(self.gbytes) if kib * 1024 >= size]
        bandwidth = self.gbytes[fits[0] if fits else max(self.gbytes)]
        computing, moving = flops / self.gflops / 1e9, size / bandwidth / 1e9
        return (computing, "adds") if computing > moving else (moving, "bytes")


def measured(threads: int) -> Limit:
    """Compiles and runs the program. Raises RuntimeError where there is no compiler."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        raise RuntimeError("no C compiler for the machine's limit: install one, or name it in CC")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        program = Path(folder) / "machine_limit"
        subprocess.run([compiler, "-O3", "-march=native", "-pthread", "-o", program, SOURCE], check=True)
        done = subprocess.run([program, str(threads), *map(str, SETS)], check=True, capture_output=True, text=True)
    found = json.loads(done.stdout)
    return Limit(found["gflops"], {int(kib): rate for kib, rate in found["gbytes"].items()})
