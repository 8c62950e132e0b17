"""A model on ONNX Runtime, in a process of its own, beside our builds in a benchmark.

python -m tunefarm_agent.onnx_session AGENT_PID
"""

import importlib
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tunefarm_agent import commands
from tunefarm_agent.commands import LOAD_ERROR, RUN_ERROR, Confinement, Json, failed, lost, ok
from tunefarm_agent.confinement import be_first_out_of_memory, become, limit_resources
from tunefarm_agent.frames import commands as serve_commands
from tunefarm_agent.model_inputs import named_input
from tunefarm_agent.steady import Turn, timed
from tunefarm_proto.arrays import Archive, write_npz

_BUILT_IN_ERRORS = (RuntimeError, ValueError, TypeError, LookupError, OSError, MemoryError)


class OnnxSession:
    """Answers the model commands; the confinement comes with `model_open` and stays."""

    def __init__(self) -> None:
        self._session: Any = None
        self._errors: tuple[type[Exception], ...] = _BUILT_IN_ERRORS
        self._inputs: tuple[commands.ModelInput, ...] = ()
        self._feed: dict[str, NDArray[np.generic]] = {}

    def answer(self, command: Json) -> Json:
        operations = {
            "model_open": self._open,
            "model_outputs": self._outputs,
            "model_first": self._first,
            "model_time": self._time,
        }
        operation = operations.get(command["op"])
        if operation is None:
            return lost(f"no such command: {command['op']}")
        try:
            return operation(command)
        except self._errors as error:
            kind = LOAD_ERROR if self._session is None else RUN_ERROR
            return failed(kind, f"{type(error).__name__}: {str(error)[:800]}")

    def _open(self, command: Json) -> Json:
        _confine(commands.confinement_from(command["confinement"]))
        try:
            runtime: Any = importlib.import_module("onnxruntime")
        except ImportError:
            return failed(LOAD_ERROR, "ONNX Runtime is not installed on this device")
        self._errors = (*_BUILT_IN_ERRORS, *_own_errors())
        model = commands.model_from(command["model"])
        options = runtime.SessionOptions()
        options.intra_op_num_threads = len(os.sched_getaffinity(0))
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._session = runtime.InferenceSession(model.artifact, options, providers=["CPUExecutionProvider"])
        self._inputs = model.inputs
        self._feed = self._read(command["example"], 0)
        return ok()

    def _outputs(self, command: Json) -> Json:
        arrays: dict[str, NDArray[np.generic]] = {}
        for i in range(command["sets"]):
            outputs = self._session.run(None, self._read(command["inputs"], i))
            arrays.update({f"s{i}_out{j}": np.asarray(output) for j, output in enumerate(outputs)})
        with Path(command["out"]).open("wb") as file:
            write_npz(file, arrays)
        return ok()

    def _first(self, _: Json) -> Json:
        started = time.perf_counter()
        self._session.run(None, self._feed)
        return ok(seconds=time.perf_counter() - started)

    def _time(self, command: Json) -> Json:
        """The same turn as the virtual machine is given."""
        run, feed = self._session.run, self._feed
        return ok(seconds=timed(lambda: run(None, feed), Turn(**command["turn"])))

    def _read(self, path: str, index: int) -> dict[str, NDArray[np.generic]]:
        with np.load(Path(path), allow_pickle=False) as data:
            return {each.name: named_input(Archive(data), each, index) for each in self._inputs}


def _own_errors() -> tuple[type[Exception], ...]:
    """ONNX Runtime's exceptions: they have no class of their own in common."""
    state = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    return tuple(v for v in vars(state).values() if isinstance(v, type) and issubclass(v, Exception))


def _confine(confinement: Confinement) -> None:
    os.chdir(confinement.scratch)
    be_first_out_of_memory()
    os.sched_setaffinity(0, confinement.cores)
    limit_resources(confinement.memory)
    become(0)


if __name__ == "__main__":
    serve_commands(OnnxSession().answer)
