"""One model in a process of its own, timed on request.

python contender.py tvm LIBRARY INPUTS.npz                      the network's entry alone, its inputs set once
python contender.py package FOLDER INPUTS.npz                   what a user calls: arrays in, arrays out
python contender.py stock FOLDER INPUTS.npz                     what stock_compile.py made, called so as well
python contender.py onnxruntime MODEL.onnx INPUTS.npz --cores 2
python contender.py openvino MODEL.onnx INPUTS.npz --cores 2    float32, as the others

Says what it found when it was opened, a JSON object in a line: `open_seconds` (library and model loaded) and
`first_seconds` (the first call). Reads lines of JSON then: {"calls": N, "seconds": S, "warm_up": W} is answered by a
list of the seconds of N calls or as many as fill S seconds, made after one or as many as fill W seconds;
{"outputs": "FILE.npz"} by true, and the outputs by name in the file.
"""

import argparse
import importlib
import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Arrays = Mapping[str, NDArray[Any]]
Call = Callable[[], Any]


class Opened:
    """A contender that is ready. `call`: one inference. `outputs`: its outputs by name, where it knows their names."""

    def __init__(self, call: Call, outputs: Callable[[], Arrays] | None = None) -> None:
        self.call = call
        self.outputs = outputs


def open_tvm(library: Path, inputs: Arrays, cores: int) -> Opened:  # noqa: ARG001 - TVM_NUM_THREADS says how many
    """A call of the model's `main`, inputs set once, as `time_evaluator` would find them."""
    import tvm
    from tvm.runtime import vm as relax_vm

    machine = relax_vm.VirtualMachine(tvm.runtime.load_module(str(library)), tvm.cpu())
    arguments = [tvm.runtime.tensor(value) for value in inputs.values()]
    machine.set_input("main", *arguments)
    return Opened(lambda: machine.invoke_stateful("main"))


def open_package(folder: Path, inputs: Arrays, cores: int) -> Opened:  # noqa: ARG001 - TVM_NUM_THREADS says how many
    """A call of the package's own `Model`."""
    sys.path.insert(0, str(folder))
    model = importlib.import_module("run").Model(folder)
    model.machine()
    return Opened(lambda: model(inputs), lambda: dict(model(inputs)))


def open_stock(folder: Path, inputs: Arrays, cores: int) -> Opened:  # noqa: ARG001 - TVM_NUM_THREADS says how many
    """A call of `main` with the weights laid out beforehand, as TVM's documentation has it."""
    import tvm
    from tvm.runtime import vm as relax_vm

    machine = relax_vm.VirtualMachine(tvm.runtime.load_module(str(folder / "model.so")), tvm.cpu())
    with np.load(folder / "weights.npz") as archive:
        weights = [tvm.runtime.tensor(archive[f"w{number}"]) for number in range(len(archive.files))]
    names = json.loads((folder / "stock.json").read_text())["outputs"]

    def call() -> list[NDArray[Any]]:
        found = machine["main"](*(tvm.runtime.tensor(value) for value in inputs.values()), *weights)
        return [each.numpy() for each in (found if len(names) > 1 else [found])]

    return Opened(call, lambda: dict(zip(names, call(), strict=True)))


def open_onnxruntime(model: Path, inputs: Arrays, cores: int) -> Opened:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return Opened(lambda: session.run(None, inputs), lambda: dict(zip(names, session.run(None, inputs), strict=True)))


def open_openvino(model: Path, inputs: Arrays, cores: int) -> Opened:
    """One request in flight. Without the hint to the precision it may use bfloat16; without the other option it rounds
    what meets int8 weights to eight bits in groups of 32 (a text encoder's outputs were 5% of their greatest off)."""
    import openvino

    core = openvino.Core()
    network = core.read_model(str(model))
    network.reshape({name: list(value.shape) for name, value in inputs.items()})
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": cores,
        "INFERENCE_PRECISION_HINT": "f32",
        "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0,
    }
    request = core.compile_model(network, "CPU", options).create_infer_request()

    def call() -> list[NDArray[Any]]:
        """`infer` alone gives views of the request's own memory: copied, as the others' outputs are the caller's."""
        return [np.array(value) for value in request.infer(dict(inputs)).values()]

    def outputs() -> Arrays:
        found = request.infer(dict(inputs))
        return {name: np.array(value) for port, value in found.items() for name in port.get_names()}

    return Opened(call, outputs)


OPENERS = {
    "tvm": open_tvm,
    "package": open_package,
    "stock": open_stock,
    "onnxruntime": open_onnxruntime,
    "openvino": open_openvino,
}


def timed(call: Call) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def steady(call: Call, calls: int, seconds: float, warm_up: float) -> list[float]:
    """Seconds of each call, `calls` or as many as fill `seconds`; the ones that warm threads and caches up apart."""
    ready_at = time.perf_counter() + warm_up
    call()
    while time.perf_counter() < ready_at:
        call()
    samples: list[float] = []
    ends_at = time.perf_counter() + seconds
    while len(samples) < calls or time.perf_counter() < ends_at:
        samples.append(timed(call))
    return samples


def answer(opened: Opened, wanted: Any) -> Any:
    if "outputs" in wanted:
        assert opened.outputs is not None, "this contender does not know its outputs' names"
        arrays: dict[str, Any] = {name: np.asarray(value) for name, value in opened.outputs().items()}
        np.savez(wanted["outputs"], **arrays)
        return True
    return steady(opened.call, wanted["calls"], wanted["seconds"], wanted["warm_up"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runtime", choices=list(OPENERS))
    parser.add_argument("model", type=Path)
    parser.add_argument("inputs", type=Path)
    parser.add_argument("--cores", type=int, default=2)
    given = parser.parse_args()
    with np.load(given.inputs) as archive:
        inputs = {name: archive[name] for name in archive.files}
    started = time.perf_counter()
    opened = OPENERS[given.runtime](given.model, inputs, given.cores)
    found = {"open_seconds": time.perf_counter() - started, "first_seconds": timed(opened.call)}
    print(json.dumps(found), flush=True)
    for line in sys.stdin:
        print(json.dumps(answer(opened, json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
