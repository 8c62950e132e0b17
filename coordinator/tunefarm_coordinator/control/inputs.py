"""What a job's spec says of its model's inputs: sizes, forced ones among them, frozen inputs, values."""

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from tunefarm_coordinator.control.library import ModelLibrary, StoredModel
from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.models.derived import check_sizes, frozen_array
from tunefarm_coordinator.models.input_values import InputValues
from tunefarm_coordinator.models.onnx_file import Signature, TensorSignature, resolve_shape_sets
from tunefarm_coordinator.models.samples import InputSet, check_ranges, read_samples
from tunefarm_proto.v1 import tuning_pb2

Shapes = dict[str, tuple[int, ...]]
Given = dict[str, list[int]]


@dataclass(frozen=True)
class ResolvedInputs:
    """The model that the job is about, derived from the user's where it has to be, its shapes, and what is known of its
    inputs' values."""

    model: StoredModel
    shape_sets: tuple[Shapes, ...]
    values: InputValues


class JobInputs:
    """Resolves the inputs of one spec."""

    def __init__(self, library: ModelLibrary, spec: tuning_pb2.JobSpec) -> None:
        self._library = library
        self._spec = spec
        self._given: list[Given] = [
            {name: list(shape.dims) for name, shape in shapes.inputs.items()} for shapes in spec.shape_sets
        ]

    async def of(self, stored: StoredModel) -> ResolvedInputs:
        """For the user's model.

        Raises:
            NotFound: values that were not uploaded.
            InvalidInput: what does not fit the model; the message names the input.
        """
        self._check_names(stored.signature)
        frozen = await asyncio.to_thread(self._frozen, stored.signature)
        forced = sorted(self._spec.forced_inputs)
        model = await self._library.derived(stored, frozen, forced) if frozen or forced else stored
        samples = self._library.values.path(self._spec.input_samples) if self._spec.input_samples else None
        sets = [] if samples is None else await asyncio.to_thread(read_samples, samples, model.signature)
        given = self._with_sampled([{n: s for n, s in g.items() if n not in frozen} for g in self._given], sets)
        shape_sets = resolve_shape_sets(model.signature, given)
        if forced:
            for shapes in shape_sets:
                await asyncio.to_thread(check_sizes, model.path, shapes)
        _check_fit(sets, shape_sets)
        ranges = {name: (each.low, each.high) for name, each in self._spec.input_ranges.items()}
        check_ranges(model.signature, ranges)
        return ResolvedInputs(model, shape_sets, InputValues(samples, ranges))

    def _check_names(self, signature: Signature) -> None:
        known = [tensor.name for tensor in signature.inputs]
        for what, names in (("freeze", self._spec.frozen_inputs), ("forced sizes", self._spec.forced_inputs)):
            for name in names:
                if name not in known:
                    raise InvalidInput(f"{what}: no input named {name!r}: the model has {', '.join(known) or 'none'}")
        for name in self._spec.forced_inputs:
            if not self._given or any(name not in given for given in self._given):
                raise InvalidInput(f"forced sizes: input {name!r} has none in a set of shapes: give them")

    def _frozen(self, signature: Signature) -> dict[str, NDArray[Any]]:
        inputs = {tensor.name: tensor for tensor in signature.inputs}
        return {name: self._constant(inputs[name], value) for name, value in self._spec.frozen_inputs.items()}

    def _constant(self, tensor: TensorSignature, value: tuning_pb2.FrozenInput) -> NDArray[Any]:
        sizes = {tuple(given[tensor.name]) for given in self._given if tensor.name in given}
        if len(sizes) > 1:
            raise InvalidInput(f"freeze: input {tensor.name!r} has several sizes, but a constant has one")
        where: str | Path = self._library.values.path(value.values_id) if value.HasField("values_id") else value.json
        return frozen_array(tensor, where, next((list(size) for size in sizes), None))

    @staticmethod
    def _with_sampled(given: list[Given], sets: list[InputSet]) -> list[Given]:
        """Sizes that nobody gave are those of the samples; several sets of shapes are given by the user."""
        if not sets or len(given) > 1:
            return given
        sampled = {name: list(array.shape) for name, array in sets[0].items()}
        return [sampled | (given[0] if given else {})]


def _check_fit(sets: list[InputSet], shape_sets: tuple[Shapes, ...]) -> None:
    for number, found in enumerate(sets):
        unlike = [[name for name, array in found.items() if array.shape != shapes[name]] for shapes in shape_sets]
        if all(unlike):
            name = unlike[0][0]
            raise InvalidInput(
                f"samples: {name!r} of set {number} is {_listed(found[name].shape)}, but the job's input is "
                f"{' or '.join(_listed(shapes[name]) for shapes in shape_sets)}"
            )


def _listed(shape: tuple[int, ...]) -> str:
    return ",".join(map(str, shape)) or "a scalar"
