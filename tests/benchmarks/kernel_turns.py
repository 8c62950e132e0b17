"""Times programs of one kernel in turn, in one process. A request and its answer are a line of JSON each:

    {"contenders": {NAME: {"runtime": R, "model": FILE, "inputs": FILE, "nodes": BOOL}}, "rounds": N, "threads": T}
    {"seconds": {NAME: [of each round], ...}} or {"error": TEXT}

A round's figure is the fastest of some calls, three milliseconds of them. The first contender stands twice, the second
time as `NAME#2`. `nodes`: not the call is timed but its nodes, by the runtime's own clock (whole microseconds), without
those that change layouts.
"""

import importlib
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np

BURST_SECONDS = 0.003
MOST_CALLS = 50
# Thread pools spin for a while after a call (interleaved.py).
SETTLE_SECONDS = 0.3
_LAYOUT_CHANGES = {"ReorderInput", "ReorderOutput", "Transpose", "Reorder", "Parameter", "Result", "Convert"}


class Contender(Protocol):
    """A loaded model with its inputs in place."""

    def call(self) -> None:
        """Runs it once."""

    def node_seconds(self) -> list[float] | None:
        """Of each call so far, by the runtime's clock; None where it was not asked to keep them. Ends it."""


class Tvm:
    def __init__(self, model: str, inputs: dict[str, Any]) -> None:
        import tvm
        from tvm.runtime import vm

        self._machine = vm.VirtualMachine(tvm.runtime.load_module(model), tvm.cpu())
        self._machine.set_input("main", *[tvm.runtime.tensor(value) for value in inputs.values()])

    def call(self) -> None:
        self._machine.invoke_stateful("main")

    def node_seconds(self) -> list[float] | None:
        return None


class OnnxRuntime:
    def __init__(self, model: str, inputs: dict[str, Any], threads: int, nodes: bool) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.enable_profiling, self._nodes, self._calls = nodes, nodes, 0
        self._folder = tempfile.TemporaryDirectory(prefix="bench-")
        options.profile_file_prefix = str(Path(self._folder.name) / "profile")
        self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self._binding = self._session.io_binding()
        for name, value in inputs.items():
            self._binding.bind_ortvalue_input(name, onnxruntime.OrtValue.ortvalue_from_numpy(value))
        for made, value in zip(self._session.get_outputs(), self._session.run(None, inputs), strict=True):
            self._binding.bind_ortvalue_output(made.name, onnxruntime.OrtValue.ortvalue_from_numpy(value))

    def call(self) -> None:
        self._session.run_with_iobinding(self._binding)
        self._calls += 1

    def node_seconds(self) -> list[float] | None:
        if not self._nodes:
            return None
        totals: list[float] = []
        for event in json.loads(Path(self._session.end_profiling()).read_text()):
            if event["name"] == "model_run":
                totals.append(0.0)  # an event ends behind those of its nodes
            elif event["cat"] == "Node" and event["name"].endswith("_kernel_time"):
                kept = event["args"]["op_name"] not in _LAYOUT_CHANGES
                totals = totals or [0.0]
                totals[-1] += event["dur"] / 1e6 if kept else 0.0
        # The first call is that of the constructor; what stands behind the last call is empty.
        return totals[1 : 1 + self._calls]


class OpenVino:
    def __init__(self, model: str, inputs: dict[str, Any], threads: int, nodes: bool) -> None:
        # An extra: whoever has not installed it can check and run the rest.
        openvino = importlib.import_module("openvino")
        wishes = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
        wishes["PERF_COUNT"] = nodes
        self._request = openvino.Core().compile_model(model, "CPU", wishes).create_infer_request()
        for name, value in inputs.items():
            self._request.set_tensor(name, openvino.Tensor(value))
        self._seconds: list[float] | None = [] if nodes else None

    def call(self) -> None:
        self._request.infer()
        if self._seconds is not None:
            kept = [each.real_time for each in self._request.profiling_info if each.node_type not in _LAYOUT_CHANGES]
            self._seconds.append(sum(each.total_seconds() for each in kept))

    def node_seconds(self) -> list[float] | None:
        return self._seconds


def opened(given: dict[str, Any], threads: int) -> Contender:
    with np.load(given["inputs"]) as archive:
        inputs = {name: archive[name] for name in archive.files}
    if given["runtime"] == "tvm":
        return Tvm(given["model"], inputs)
    kind = OnnxRuntime if given["runtime"] == "onnxruntime" else OpenVino
    return kind(given["model"], inputs, threads, given["nodes"])


def timed(contender: Contender, calls: int) -> list[float]:
    samples = []
    for _ in range(calls):
        started = time.perf_counter()
        contender.call()
        samples.append(time.perf_counter() - started)
    return samples


def turns(contenders: dict[str, Contender], rounds: int, threads: int) -> dict[str, list[float]]:
    """Seconds of each contender in each round, in a rotating order."""
    first = next(iter(contenders))
    order = [(name, name) for name in contenders] + [(f"{first}#2", first)]
    calls = {name: _calls(contender) for name, contender in contenders.items()}
    walls: dict[str, list[list[float]]] = {name: [] for name, _ in order}
    places: dict[str, list[slice]] = {name: [] for name, _ in order}
    made = dict.fromkeys(contenders, 0)
    for name, contender in contenders.items():
        made[name] += len(timed(contender, 2 + calls[name])) + _WARMING
    for number in range(rounds):
        start = number % len(order)
        for name, of in order[start:] + order[:start]:
            time.sleep(SETTLE_SECONDS if threads > 1 else 0)
            walls[name].append(timed(contenders[of], calls[of]))
            places[name].append(slice(made[of], made[of] + calls[of]))
            made[of] += calls[of]
    nodes = {name: contender.node_seconds() for name, contender in contenders.items()}
    seconds: dict[str, list[float]] = {}
    for name, of in order:
        kept = nodes[of]
        samples = walls[name] if kept is None else [kept[place] for place in places[name]]
        seconds[name] = [max(min(burst), 1e-7) for burst in samples]
    return seconds


_WARMING = 3


def _calls(contender: Contender) -> int:
    """As many as fit in a burst."""
    return max(1, min(MOST_CALLS, int(BURST_SECONDS / min(timed(contender, _WARMING)))))


def answer(request: dict[str, Any]) -> dict[str, Any]:
    threads = request["threads"]
    contenders = {name: opened(given, threads) for name, given in request["contenders"].items()}
    return {"seconds": turns(contenders, request["rounds"], threads)}


def main() -> None:
    for line in sys.stdin:
        try:
            found = answer(json.loads(line))
        except Exception as error:  # noqa: BLE001  three runtimes raise what they like; the row says what
            found = {"error": f"{type(error).__name__}: {error}".splitlines()[0]}
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
