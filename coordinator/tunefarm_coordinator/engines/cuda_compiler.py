"""Has TVM compile CUDA kernels to machine code on a host without a GPU.

TVM compiles CUDA source only where its CUDA runtime is loaded; elsewhere it puts the source itself into the library,
for the device to compile, which has no compiler here. The runtime loads where CUDA's own runtime is (it comes with
nvcc) and the driver's library, which comes with a GPU alone. In its place a stub will do, as CUDA's toolkit has one
for linking: nothing that compiles ever calls it.
"""

import contextlib
import ctypes
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import tvm
import tvm_ffi
from tvm.support import nvcc as _registers_the_compiler  # noqa: F401

from tunefarm_coordinator.engines.candidate import BuildError

_DRIVER = "libcuda.so.1"
# What TVM 0.27's CUDA runtime asks of the driver.
DRIVER_FUNCTIONS = (
    "cuDeviceGetName",
    "cuFuncSetAttribute",
    "cuGetErrorName",
    "cuGetErrorString",
    "cuLaunchKernelEx",
    "cuModuleGetFunction",
    "cuModuleLoadData",
    "cuModuleUnload",
    "cuTensorMapEncodeTiled",
)
# CUDA_ERROR_NO_DEVICE
_NO_DEVICE = 100


def compiling_for(target: Any) -> contextlib.AbstractContextManager[Any]:
    """The scope to call TVM's `build` for `target` in. Raises BuildError: there is no compiler for it here."""
    if target.kind.name != "cuda":
        return contextlib.nullcontext()
    if shutil.which("nvcc") is None:
        raise BuildError("no nvcc on this builder: CUDA kernels need CUDA's toolkit there, of major version 13")
    _make_ready()
    # TVM's compiler reads the architecture from the target in scope.
    scope: contextlib.AbstractContextManager[Any] = target
    return scope


@cache
def _make_ready() -> None:
    """Once in a process. Raises BuildError."""
    os.environ["TVM_CUDA_COMPILE_MODE"] = "nvcc"
    try:
        ctypes.CDLL(_DRIVER, ctypes.RTLD_GLOBAL)
    except OSError:
        _load_stub()
    try:
        ctypes.CDLL(str(Path(tvm.__file__).parent / "lib" / "libtvm_runtime_cuda.so"), ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise BuildError(f"TVM's CUDA runtime can't be loaded on this builder: {error}") from error
    if tvm_ffi.get_global_func("ffi.Module.create.cuda", allow_missing=True) is None:
        raise BuildError("this TVM was built without CUDA")


def _load_stub() -> None:
    """A driver that has no device, under the real one's name. Raises BuildError."""
    with tempfile.TemporaryDirectory(prefix="tunefarm-build-") as folder:
        source, library = Path(folder) / "driver.c", Path(folder) / _DRIVER
        source.write_text("".join(f"int {name}(void) {{ return {_NO_DEVICE}; }}\n" for name in DRIVER_FUNCTIONS))
        options = ("-shared", "-cudart", "none", "-Xcompiler", "-fPIC", "-Xlinker", f"-soname={_DRIVER}")
        command = ["nvcc", *options, "-o", str(library), "-x", "c", str(source)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise BuildError(f"nvcc does not work on this builder: {done.stderr.strip()[:300]}")
        # Mapped, it outlives its file.
        ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
