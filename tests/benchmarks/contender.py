"""One model in a process of its own, timed on request. Reads "N" on stdin, answers a JSON list of N times in seconds.

python contender.py tvm LIBRARY INPUTS.npz [PARAMETERS.npz]
python contender.py onnxruntime MODEL.onnx INPUTS.npz --cores 2
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np


def open_tvm(library: Path, inputs: dict[str, Any]) -> Callable[[], Any]:
    """A call of the model's `main`, inputs set once, as `time_evaluator` would find them."""
    import tvm
    from tvm.runtime import vm as relax_vm

    machine = relax_vm.VirtualMachine(tvm.runtime.load_module(str(library)), tvm.cpu())
    arguments = [tvm.runtime.tensor(value) for value in inputs.values()]
    machine.set_input("main", *arguments)
    return lambda: machine.invoke_stateful("main")


def open_onnxruntime(model: Path, inputs: dict[str, Any], cores: int) -> Callable[[], Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, inputs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runtime", choices=["tvm", "onnxruntime"])
    parser.add_argument("model", type=Path)
    parser.add_argument("inputs", type=Path)
    parser.add_argument("--cores", type=int, default=2)
    given = parser.parse_args()
    with np.load(given.inputs) as archive:
        inputs = {name: archive[name] for name in archive.files}
    if given.runtime == "tvm":
        call = open_tvm(given.model, inputs)
    else:
        call = open_onnxruntime(given.model, inputs, given.cores)
    for _ in range(10):
        call()
    print("ready", flush=True)
    for line in sys.stdin:
        samples = []
        for _ in range(int(line)):
            started = time.perf_counter()
            call()
            samples.append(time.perf_counter() - started)
        print(json.dumps(samples), flush=True)


if __name__ == "__main__":
    main()
