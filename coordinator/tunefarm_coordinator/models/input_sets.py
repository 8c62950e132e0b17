"""The input sets that a whole model is checked, benchmarked and shipped with."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from tunefarm_coordinator.models.foreign import FOREIGN_FAILURES
from tunefarm_coordinator.models.input_ranges import SMALL_INTEGERS, InputRange, input_ranges
from tunefarm_coordinator.models.input_values import SEEDED, InputValues
from tunefarm_coordinator.models.onnx_file import Signature, TensorSignature, read_signature
from tunefarm_coordinator.models.onnx_graph import with_sizes
from tunefarm_coordinator.models.samples import InputSet, check_ranges, read_samples

logger = logging.getLogger(__name__)

SEEDS = (0, 1, 2)


def input_sets(
    onnx_path: str | Path,
    shapes: dict[str, tuple[int, ...]],
    values: InputValues = SEEDED,
    seeds: tuple[int, ...] = SEEDS,
) -> list[InputSet]:
    """The user's samples of these shapes; without any, one set for each seed, inputs in the model's order.

    Seeded are floats between -1 and 1 (what normalised images and sound are), integers that the graph allows
    (`input_ranges`), ones for masks and booleans; or what `values` says. The same arguments give the same values in
    any process.

    Raises:
        InvalidInput: the file can't be read, or the samples (`read_samples`); a range for no input.
    """
    signature = read_signature(onnx_path)
    check_ranges(signature, values.ranges)
    seeded = _Seeded(Path(onnx_path), signature, shapes, values)
    samples = [] if values.samples is None else read_samples(values.samples, signature)
    fitting = [found for found in samples if all(array.shape == shapes[name] for name, array in found.items())]
    if fitting:
        return [seeded.completed(found, number) for number, found in enumerate(fitting)]
    return [seeded.completed({}, seed) for seed in seeds]


def whole_inputs(model: onnx.ModelProto, shapes: dict[str, tuple[int, ...]]) -> set[str]:
    """Names of the inputs that take whole numbers alone, as far as the graph says so: floats that are ids or masks too.
    `model`: weights outside the file need not be loaded."""
    return set(_allowed(with_sizes(model, shapes)))


class _Seeded:
    def __init__(
        self, path: Path, signature: Signature, shapes: dict[str, tuple[int, ...]], values: InputValues
    ) -> None:
        self._signature = signature
        self._shapes = shapes
        self._given = values.ranges
        self._found = _allowed(with_sizes(onnx.load(path, load_external_data=False), shapes))

    def completed(self, found: InputSet, seed: int) -> InputSet:
        """The set, with seeded arrays for the inputs that it lacks."""
        return {
            tensor.name: found[tensor.name] if tensor.name in found else self._array(tensor, index, seed)
            for index, tensor in enumerate(self._signature.inputs)
        }

    def _array(self, tensor: TensorSignature, index: int, seed: int) -> NDArray[Any]:
        random = np.random.default_rng([seed, index])
        shape = self._shapes[tensor.name]
        whole = np.dtype(tensor.dtype).kind in "iub"
        if tensor.name in self._given:
            low, high = self._given[tensor.name]
            made = random.integers(int(low), int(high), shape) if whole else random.uniform(low, high, shape)
            return np.asarray(made).astype(tensor.dtype)
        allowed: InputRange | None = self._found.get(tensor.name)
        if allowed is not None:
            return np.asarray(random.integers(allowed.low, allowed.high, shape)).astype(tensor.dtype)
        if whole:
            return np.asarray(random.integers(0, SMALL_INTEGERS, shape)).astype(tensor.dtype)
        return np.asarray(random.uniform(-1.0, 1.0, shape)).astype(tensor.dtype)


def _allowed(model: onnx.ModelProto) -> dict[str, InputRange]:
    try:
        return input_ranges(model)
    except FOREIGN_FAILURES as error:  # a graph that nobody thought of is none the worse for it
        logger.warning("what integers the graph can take was not found out", exc_info=error)
        return {}
