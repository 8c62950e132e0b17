"""What a whole model has to answer: ONNX Runtime's outputs on seeded inputs."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from tunefarm_coordinator.models.onnx_file import Signature, read_signature

SEEDS = (0, 1, 2)

# Token ids and the like: every vocabulary has this many entries.
_SMALL_INTEGERS = 10


def seeded_inputs(signature: Signature, shapes: dict[str, tuple[int, ...]], seed: int) -> list[NDArray[Any]]:
    """Inputs in the signature's order: floats between -1 and 1 (what normalised images and sound are), small
    non-negative integers, booleans. The same arguments give the same values in any process."""
    return [
        _values(tensor.dtype, shapes[tensor.name], np.random.default_rng([seed, index]))
        for index, tensor in enumerate(signature.inputs)
    ]


def reference_outputs(
    onnx_path: str | Path, shapes: dict[str, tuple[int, ...]], seeds: tuple[int, ...] = SEEDS
) -> bytes:
    """An npz archive, for each seed s: `s_in0`, `s_in1`, ... and ONNX Runtime's `s_out0`, ...

    Raises:
        InvalidInput: the file can't be read.
        RuntimeError: ONNX Runtime can't run the model.
    """
    signature = read_signature(onnx_path)
    session = onnxruntime.InferenceSession(str(onnx_path), providers=["CPUExecutionProvider"])
    names = [tensor.name for tensor in signature.outputs]
    arrays: dict[str, Any] = {}
    for seed in seeds:
        inputs = seeded_inputs(signature, shapes, seed)
        feed = {tensor.name: value for tensor, value in zip(signature.inputs, inputs, strict=True)}
        arrays |= {f"{seed}_in{index}": value for index, value in enumerate(inputs)}
        arrays |= {f"{seed}_out{index}": value for index, value in enumerate(session.run(names, feed))}
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def _values(dtype: str, shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[Any]:
    kind = np.dtype(dtype).kind
    if kind == "b":
        return rng.integers(0, 2, shape).astype(dtype)
    if kind in "iu":
        return rng.integers(0, _SMALL_INTEGERS, shape).astype(dtype)
    return rng.uniform(-1.0, 1.0, shape).astype(dtype)
