"""A whole model, compiled by Relax, on its own session: TVM's virtual machine over RPC."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm.runtime.vm import VirtualMachine

from tunefarm_agent import kernel_clock
from tunefarm_agent.commands import LOAD_ERROR, Model
from tunefarm_agent.measuring import CandidateFailed
from tunefarm_agent.model_inputs import named_input
from tunefarm_agent.rpc_session import TVM_ERRORS, Session, describe
from tunefarm_proto.arrays import Archive, write_npz


class VmModel:
    """A loaded model with the first input set on the device."""

    def __init__(self, session: Session, model: Model, example: str) -> None:
        """Raises CandidateFailed (it can't be loaded) and, if the session died, what TVM raises."""
        self._session = session
        self._inputs = model.inputs
        self._entry = model.entry
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

    def time(self, calls: int) -> tuple[float, ...]:
        """Seconds of `calls` single calls, timed on the far side, after one that warms up."""
        evaluator = self._vm.module.time_evaluator("invoke_stateful", self._session.device, number=1, repeat=calls)
        return tuple(evaluator(self._entry).results)

    def time_kernels(self, runs: int) -> dict[str, list[float]]:
        """See `kernel_clock.time_kernels`. From then on the model is slower: its hook stays in."""
        clock = self._session.remote.get_function(kernel_clock.FUNCTION)
        seconds: dict[str, list[float]] = json.loads(clock(self._vm.module, self._entry, runs))
        return seconds

    def _load_parameters(self, path: str) -> list[Any]:
        if not path:
            return []
        with np.load(Path(path), allow_pickle=False) as data:
            archive = Archive(data)
            return [self._upload(archive[f"p{i}"]) for i in range(len(archive))]

    def _set_inputs(self, path: str, index: int) -> None:
        with np.load(Path(path), allow_pickle=False) as data:
            inputs = [self._upload(named_input(Archive(data), each, index)) for each in self._inputs]
        self._vm.set_input(self._entry, *inputs, *self._parameters)

    def _upload(self, values: NDArray[np.generic]) -> Any:
        return tvm.runtime.tensor(np.asarray(values, order="C"), device=self._session.device)


def _flat(outputs: Any) -> list[Any]:
    """Outputs as a flat list: one tensor, or tuples of them."""
    if isinstance(outputs, list | tuple):
        return [tensor for each in outputs for tensor in _flat(each)]
    return [outputs]
