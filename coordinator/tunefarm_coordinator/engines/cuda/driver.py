"""TVM's CUDA runtime on a host without a GPU.

TVM compiles CUDA source only where this runtime is loaded; elsewhere it puts the source itself into the library, for
the device to compile, which has no compiler here. The runtime loads where CUDA's own runtime is and the driver's
library, which comes with a GPU alone. In its place a stub will do, as CUDA's toolkit has one for linking: nothing that
compiles ever calls it.
"""

import ctypes
import tempfile
from functools import cache
from pathlib import Path

import tvm
import tvm_ffi

from tunefarm_coordinator.engines import linker
from tunefarm_coordinator.engines.candidate import BuildError
from tunefarm_coordinator.engines.cuda import libraries

_DRIVER = "libcuda.so.1"
_RUNTIME = f"libcudart.so.{libraries.MAJOR}"
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


@cache
def load_runtime() -> None:
    """Once in a process. Raises BuildError."""
    try:
        ctypes.CDLL(_DRIVER, ctypes.RTLD_GLOBAL)
    except OSError:
        _load_stub()
    try:
        libraries.load(_RUNTIME)
        ctypes.CDLL(str(Path(tvm.__file__).parent / "lib" / "libtvm_runtime_cuda.so"), ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise BuildError(f"TVM's CUDA runtime can't be loaded on this builder: {error}") from error
    if tvm_ffi.get_global_func("ffi.Module.create.cuda", allow_missing=True) is None:
        raise BuildError("this TVM was built without CUDA")


def _load_stub() -> None:
    """A driver that has no device, under the real one's name. Raises BuildError."""
    triple = str(tvm.target.codegen.llvm_get_system_triple())
    functions = (f"define i32 @{name}() {{\n  ret i32 {_NO_DEVICE}\n}}\n" for name in DRIVER_FUNCTIONS)
    with tempfile.TemporaryDirectory(prefix="tunefarm-build-") as folder:
        code, object_file, library = (Path(folder) / name for name in ("driver.ll", "driver.o", _DRIVER))
        code.write_text(f'target triple = "{triple}"\n' + "".join(functions))
        # LLVM is in TVM, a C compiler may not be on this host.
        tvm.runtime.load_module(str(code)).write_to_file(str(object_file), "o")
        try:
            linker.link([object_file], library, triple, soname=_DRIVER)
        except linker.LinkError as error:
            raise BuildError(f"no stand-in for the driver's library: {error}") from error
        # Mapped, it outlives its file.
        ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
