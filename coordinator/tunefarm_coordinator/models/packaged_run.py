"""Runs the model in this folder on random inputs. Needs TVM's runtime and NumPy alone:

TVM_USE_RUNTIME_LIB=1 python run.py
"""

import contextlib
import ctypes
import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm.runtime.vm import VirtualMachine

CUDA_RUNTIME = "libcudart.so.13"


def load_cuda() -> None:
    """TVM's CUDA runtime, which a TVM that is runtime only leaves to its host program to load."""
    folder = Path(tvm.__file__).parent / "lib"
    # Where CUDA's own runtime came as a Python package, it lies on no path that the linker searches.
    packaged = map(str, sorted(folder.parents[1].glob(f"nvidia/*/lib/{CUDA_RUNTIME}")))
    for library in (CUDA_RUNTIME, *packaged):
        with contextlib.suppress(OSError):
            ctypes.CDLL(library, ctypes.RTLD_GLOBAL)
            break
    try:
        ctypes.CDLL(str(folder / "libtvm_runtime_cuda.so"), ctypes.RTLD_GLOBAL)
    except OSError as error:
        sys.exit(
            f"error: CUDA can't be loaded: {error}. This model needs NVIDIA's driver (libcuda.so.1) and CUDA's runtime "
            f"of major version 13 ({CUDA_RUNTIME}: CUDA's toolkit on LD_LIBRARY_PATH, or its Python package)"
        )


def device_for(kind: str) -> Any:
    """The device that code for this kind of target runs on."""
    if kind == "cuda":
        load_cuda()
    device = tvm.runtime.device("cpu" if kind == "llvm" else kind, 0)
    if not device.exist:
        sys.exit(f"error: this model is for {kind}, and there is no such device here (nvidia-smi lists GPUs that work)")
    return device


def main() -> None:
    here = Path(__file__).resolve().parent
    manifest = json.loads((here / "manifest.json").read_text())
    device = device_for(manifest["target"]["kind"])
    machine = VirtualMachine(tvm.runtime.load_module(str(here / manifest["library"])), device)
    generator = np.random.default_rng(0)

    def random_input(shape: list[int], dtype: str) -> Any:
        integral = np.dtype(dtype).kind in "iub"
        values = generator.integers(0, 2, shape) if integral else generator.standard_normal(shape)
        return tvm.runtime.tensor(values.astype(dtype), device)

    inputs = [random_input(spec["shape"], spec["dtype"]) for spec in manifest["inputs"]]
    outputs = machine["main"](*inputs)
    for spec, value in zip(manifest["outputs"], [outputs] if hasattr(outputs, "shape") else outputs, strict=True):
        print(f"{spec['name']}: {value.dtype} {tuple(value.shape)}")
    seconds = []
    for _ in range(20):
        started = time.perf_counter()
        machine["main"](*inputs)
        device.sync()
        seconds.append(time.perf_counter() - started)
    print(f"latency: {1e3 * float(np.median(seconds)):.3f} ms (median of {len(seconds)})")


if __name__ == "__main__":
    main()
