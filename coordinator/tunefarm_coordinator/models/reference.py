"""What a whole model has to answer: ONNX Runtime's outputs on its input sets."""

import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import onnx
from numpy.typing import NDArray
from onnxruntime.capi import onnxruntime_pybind11_state as failures

from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.models.input_sets import SEEDS, input_sets
from tunefarm_coordinator.models.onnx_file import read_signature
from tunefarm_coordinator.models.onnx_graph import with_sizes
from tunefarm_coordinator.models.reference_session import load_session, run_arrays
from tunefarm_coordinator.models.refused_inputs import suspects
from tunefarm_coordinator.models.samples import InputSet
from tunefarm_proto.arrays import npz_bytes

# What ONNX Runtime raises while a model runs that it has loaded.
_RUN_FAILURES = (failures.Fail, failures.InvalidArgument, failures.RuntimeException, RuntimeError)


def answers(
    onnx_path: str | Path, shapes: dict[str, tuple[int, ...]], sets: Sequence[InputSet]
) -> Iterator[list[NDArray[Any]]]:
    """For each input set, ONNX Runtime's outputs in the model's order.

    Raises:
        InvalidInput: the file can't be read; ONNX Runtime can't load the model, or refuses a set.
    """
    signature = read_signature(onnx_path)
    session = load_session(onnx_path)
    names = [tensor.name for tensor in signature.outputs]
    for inputs in sets:
        try:
            yield run_arrays(session, names, dict(inputs))
        except _RUN_FAILURES as error:
            raise InvalidInput(_refusal(onnx_path, shapes, str(error))) from error


def reference_outputs(
    onnx_path: str | Path, shapes: dict[str, tuple[int, ...]], seeds: tuple[int, ...] = SEEDS
) -> bytes:
    """An npz archive, for each seed s: `s_in0`, `s_in1`, ... and ONNX Runtime's `s_out0`, ... Raises as `answers`."""
    sets = input_sets(onnx_path, shapes, seeds=seeds)
    arrays: dict[str, Any] = {}
    for seed, inputs, outputs in zip(seeds, sets, answers(onnx_path, shapes, sets), strict=True):
        arrays |= {f"{seed}_in{index}": value for index, value in enumerate(inputs.values())}
        arrays |= {f"{seed}_out{index}": value for index, value in enumerate(outputs)}
    return npz_bytes(arrays)


def _refusal(onnx_path: str | Path, shapes: dict[str, tuple[int, ...]], message: str) -> str:
    model = with_sizes(onnx.load(onnx_path, load_external_data=False), shapes)
    named, said = suspects(model, message), " ".join(message.split())
    if not named:
        return f"ONNX Runtime can't run the model: {said}"
    return (
        f"ONNX Runtime refuses the values of {', '.join(map(repr, named))}: {said}; "
        f"say better ones with --samples FILE.npz (arrays named as the inputs) or "
        f"--range {shlex.quote(named[0])}=LOW:HIGH"
    )
