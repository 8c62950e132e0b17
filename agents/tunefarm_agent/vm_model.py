"""A whole model, compiled by Relax, on its own session: TVM's virtual machine over RPC."""

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm.runtime.vm import VirtualMachine

from tunefarm_agent import kernel_clock, model_clock
from tunefarm_agent.commands import LOAD_ERROR, Model
from tunefarm_agent.measuring import CandidateFailed
from tunefarm_agent.model_inputs import named_input
from tunefarm_agent.rpc_session import TVM_ERRORS, Session, describe
from tunefarm_agent.steady import Turn
from tunefarm_proto.arrays import Archive, write_npz

# In a turn: a kernel's worth of a model would fill a message.
_MOST_CALLS = 1000


class VmModel:
    """A loaded model with the first input set on the device."""

    def __init__(self, session: Session, model: Model, example: str, *, has_clock: bool) -> None:
        """`has_clock`: the far side has `model_clock`, and runs on this host's CPU.

        Raises CandidateFailed (it can't be loaded) and, if the session died, what TVM raises.
        """
        self._session = session
        self._inputs = model.inputs
        self._entry = model.entry
        self._has_clock = has_clock
        self._arguments: list[Any] = []
        try:
            self._vm = VirtualMachine(session.upload(model.artifact), session.device)
            self._parameters = self._load_parameters(model.parameters)
        except TVM_ERRORS as error:
            if session.death_behind(error) is not None:
                raise
            raise CandidateFailed(LOAD_ERROR, f"can't load: {describe(error)}") from error
        self._set_inputs(example, 0)

    def write_outputs(self, inputs: str, sets: int, out: str) -> None:
        """Run every input set; write "s{i}_out{j}" to the .npz `out`. Leaves set 0 as the input."""
        arrays: dict[str, NDArray[np.generic]] = {}
        for i in range(sets):
            self._set_inputs(inputs, i)
            self._vm.invoke_stateful(self._entry)
            for j, output in enumerate(_flat(self._vm.get_outputs(self._entry))):
                arrays[f"s{i}_out{j}"] = output.numpy()
        self._set_inputs(inputs, 0)
        with Path(out).open("wb") as file:
            write_npz(file, arrays)

    def time_first(self) -> float:
        """Seconds of a call with nothing before it."""
        if self._has_clock:
            return self._clocked("")[0]
        started = time.perf_counter()
        self._vm.invoke_stateful(self._entry)
        self._session.device.sync()
        return time.perf_counter() - started

    def time(self, turn: Turn) -> tuple[float, ...]:
        """Seconds of single calls, timed on the far side: on this host's CPU as a user makes them, elsewhere with
        inputs and outputs on the device."""
        if self._has_clock:
            return tuple(self._clocked(json.dumps(asdict(turn))))
        self._evaluate(1, turn.warm_up)
        [one] = self._evaluate(1, 0.0)
        calls = max(turn.calls, min(_MOST_CALLS, int(turn.seconds / max(one, 1e-9))))
        return self._evaluate(calls, 0.0)

    def time_kernels(self, runs: int, warm_up: float) -> dict[str, list[float]]:
        """See `kernel_clock.time_kernels`. From then on the model is slower: its hook stays in."""
        clock = self._session.remote.get_function(kernel_clock.FUNCTION)
        seconds: dict[str, list[float]] = json.loads(clock(self._vm.module, self._entry, runs, warm_up))
        return seconds

    def _clocked(self, turn: str) -> list[float]:
        clock = self._session.remote.get_function(model_clock.FUNCTION)
        seconds: list[float] = json.loads(
            clock(self._vm.module, self._entry, turn, len(self._inputs), *self._arguments)
        )
        return seconds

    def _evaluate(self, repeat: int, at_least: float) -> tuple[float, ...]:
        """TVM's own: `repeat` samples after one call, each a mean of as many calls as fill `at_least` seconds."""
        evaluator = self._vm.module.time_evaluator(
            "invoke_stateful", self._session.device, number=1, repeat=repeat, min_repeat_ms=round(at_least * 1e3)
        )
        return tuple(evaluator(self._entry).results)

    def _load_parameters(self, path: str) -> list[Any]:
        if not path:
            return []
        with np.load(Path(path), allow_pickle=False) as data:
            archive = Archive(data)
            return [self._upload(archive[f"p{i}"]) for i in range(len(archive))]

    def _set_inputs(self, path: str, index: int) -> None:
        with np.load(Path(path), allow_pickle=False) as data:
            inputs = [self._upload(named_input(Archive(data), each, index)) for each in self._inputs]
        self._arguments = [*inputs, *self._parameters]
        self._vm.set_input(self._entry, *self._arguments)

    def _upload(self, values: NDArray[np.generic]) -> Any:
        return tvm.runtime.tensor(np.asarray(values, order="C"), device=self._session.device)


def _flat(outputs: Any) -> list[Any]:
    """Outputs as a flat list: one tensor, or tuples of them."""
    if isinstance(outputs, list | tuple):
        return [tensor for each in outputs for tensor in _flat(each)]
    return [outputs]
