"""CUDA source to machine code with the toolkit's compiler, a process for each source."""

import re
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path


class Nvcc:
    """The compiler. `version`: as in "13.0.88"."""

    name = "nvcc"

    def __init__(self, path: str) -> None:
        """Raises OSError: it can't be run."""
        self._path = path
        said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
        found = re.search(r"V(\d[\d.]*)", said)
        self.version = found.group(1) if found else said.strip()[:40]

    def compile(self, source: str, arch: str, options: tuple[str, ...]) -> bytes:
        """The image for `arch` ("sm_90"), an ELF file. Raises RuntimeError with what the compiler says."""
        with tempfile.TemporaryDirectory(prefix="tunefarm-build-") as folder:
            # Relative names: the image must not tell where it was made.
            Path(folder, "kernel.cu").write_text(source)
            command = [self._path, "--cubin", f"--gpu-architecture={arch}", "--expt-relaxed-constexpr", *options]
            command += ["-o", "kernel.cubin", "kernel.cu"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise RuntimeError((done.stderr or done.stdout).strip() or f"nvcc exited with {done.returncode}")
            return Path(folder, "kernel.cubin").read_bytes()


def find() -> Nvcc | None:
    """The compiler that PATH names, None where there is none."""
    path = shutil.which("nvcc")
    return None if path is None else _at(path)


@cache
def _at(path: str) -> Nvcc | None:
    try:
        return Nvcc(path)
    except OSError:
        return None
