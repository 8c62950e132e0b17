"""Kernels of a CPU's model compiled one by one, side by side, and kept as object files.

A model is compiled several times in a job: untuned before the first trial, with the winners, and again without those
that do not pay inside it. Most of its kernels are the same each time, and LLVM's work on them is most of packaging.
"""

import hashlib
import os
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import tvm
from tvm.target import Target
from tvm.tirx import PrimFunc

from tunefarm_coordinator.engines.build import build_kernels
from tunefarm_coordinator.engines.tvm_errors import TVM_ERRORS, first_line

_DIGITS = 16
# Each takes some hundred MB for a large kernel.
_MOST_THREADS = 8


class KernelNotCompiled(RuntimeError):
    """TVM can't compile one of a model's kernels. `kernel`: the name that the model calls it by; `reason`: one line."""

    def __init__(self, kernel: str, reason: str) -> None:
        super().__init__(f"{kernel} can't be compiled: {reason}")
        self.kernel = kernel
        self.reason = reason


class KernelObjects:
    """Object files in a folder, by what they were compiled from. Several processes may use one folder at once."""

    def __init__(self, folder: Path, version: str) -> None:
        """`version`: of the code that compiles; objects of another one are not taken."""
        self._folder = folder
        self._version = version

    def modules(self, kernels: Mapping[str, PrimFunc], target: Target) -> list[Any]:
        """A static library for each kernel (by the name that the model calls it by), compiled where it is not kept yet.

        Raises KernelNotCompiled, and OSError: the folder can't be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        # TVM lets go of Python's lock while LLVM works.
        count = min(_MOST_THREADS, len(os.sched_getaffinity(0)))
        with ThreadPoolExecutor(count, thread_name_prefix="compile") as threads:
            paths = threads.map(lambda name: self._object(name, kernels[name], target), sorted(kernels))
            return [
                tvm.runtime.load_static_library(str(path), [name])
                for name, path in zip(sorted(kernels), paths, strict=True)
            ]

    def _object(self, name: str, kernel: PrimFunc, target: Target) -> Path:
        key = self._key(kernel, target)
        for path in self._folder.glob(f"{key}-*.o"):
            # What was written just before a power failure may be anything.
            if path.name == _file_name(key, path):
                return path
        with tempfile.TemporaryDirectory(dir=self._folder, ignore_cleanup_errors=True) as draft:
            try:
                return self._keep(key, _compiled(kernel, target, Path(draft)))
            except TVM_ERRORS as error:
                raise KernelNotCompiled(name, first_line(error)) from error

    def _keep(self, key: str, compiled: Path) -> Path:
        path = self._folder / _file_name(key, compiled)
        compiled.replace(path)
        return path

    def _key(self, kernel: PrimFunc, target: Target) -> str:
        content = "\n".join((self._version, tvm.__version__, str(target), tvm.ir.save_json(kernel)))
        return hashlib.sha256(content.encode()).hexdigest()


def _compiled(kernel: PrimFunc, target: Target, folder: Path) -> Path:
    built = build_kernels(tvm.IRModule({str(kernel.attrs["global_symbol"]): kernel}), target)
    path = folder / "kernel.o"
    built.write_to_file(str(path))
    return path


def _file_name(key: str, content: Path) -> str:
    digest = hashlib.sha256(content.read_bytes()).hexdigest()[:_DIGITS]
    return f"{key}-{digest}.o"
