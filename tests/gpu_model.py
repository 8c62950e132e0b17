"""A whole model compiled for a GPU, and run on the one that this process's environment has, fake or not.

    python -m tests.gpu_model build FOLDER
    python -m tests.gpu_model run FOLDER ENTRY

`build` makes the untuned package of the tiny CNN with nvcc. `run` calls an entry of it four times on different images
and writes JSON: the outputs of each call, and seconds by kernel where the entry is the one to time kernels by.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm.runtime.vm import VirtualMachine

from tests.fake_cuda.kernels import TARGET
from tests.tiny_models import save_tiny_cnn
from tunefarm_agent import kernel_clock
from tunefarm_coordinator.engines.cuda import options
from tunefarm_coordinator.engines.cuda.options import CudaOptions
from tunefarm_coordinator.models.package import build_untuned
from tunefarm_coordinator.models.prepare import prepare

CALLS = 4
SIZES = (1, 3, 16, 16)


def images() -> list[Any]:
    """The inputs of the calls."""
    return list(np.random.default_rng(0).standard_normal((CALLS, *SIZES)).astype(np.float32))


def build(folder: Path) -> None:
    options.configure(CudaOptions("nvcc"))
    model = save_tiny_cnn(folder / "model.onnx")
    prepare(model, {"image": SIZES}, TARGET, folder / "prepared")
    build_untuned(folder / "prepared", folder / "package")


def run(folder: Path, entry: str) -> dict[str, Any]:
    device = tvm.cuda(0)
    manifest = json.loads((folder / "package" / "manifest.json").read_text())
    machine = VirtualMachine(tvm.runtime.load_module(str(folder / "package" / manifest["library"])), device)
    outputs = [machine[entry](tvm.runtime.tensor(image, device)).numpy().tolist() for image in images()]
    if entry != manifest["entries"]["by_kernel"]:
        return {"outputs": outputs}
    machine.set_input(entry, tvm.runtime.tensor(images()[0], device))
    seconds = json.loads(kernel_clock.time_kernels(device.sync, machine.module, entry, 2, 0.0))
    return {
        "outputs": outputs,
        "seconds": {manifest["functions"][name]: seconds[name] for name in seconds},
        "tasks": [task["workload"] for task in manifest["tasks"]],
    }


if __name__ == "__main__":
    what, folder = sys.argv[1], Path(sys.argv[2])
    if what == "build":
        build(folder)
    else:
        json.dump(run(folder, sys.argv[3]), sys.stdout)
