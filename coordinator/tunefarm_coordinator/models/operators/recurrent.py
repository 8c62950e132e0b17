"""LSTM, GRU and RNN: one product of all inputs with the weights, then a loop of steps (`steps`, `cells`)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import ml_dtypes
import numpy as np
from tvm import relax

from tunefarm_coordinator.models.constants import constant, is_constant, static_shape
from tunefarm_coordinator.models.operators.activations import Activation, parsed
from tunefarm_coordinator.models.operators.cells import Cell, Gru, Lstm, Rnn, State, product, wide
from tunefarm_coordinator.models.operators.eager import Eager
from tunefarm_coordinator.models.operators.family import Conversion, Key, Operator, Unsupported
from tunefarm_coordinator.models.operators.steps import Loop

_DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
# Places of a node's inputs.
_X, _W, _R, _B, _LENGTHS, _INITIAL_H, _INITIAL_C, _P = range(8)
_W_SCALE, _R_SCALE = 8, 10  # each followed by its zero points


@dataclass(frozen=True)
class _Kind:
    """How one operator differs from the others.

    Attributes:
        gates: in W, R and B.
        activations: of one direction, where the node names none.
        cell: a direction's cell.
        has_cell_state: whether there is a second state, that of the cell.
        quantised: W and R are integers, and lie as the right side of a product; inputs from 8 on say their scales and
            zero points.
    """

    gates: int
    activations: tuple[str, ...]
    cell: Callable[[Operator, Sequence[Activation]], Cell]
    has_cell_state: bool = False
    quantised: bool = False


@dataclass(frozen=True)
class _Layer:
    """A node's sizes and options, checked. `reverse`: for each of its directions."""

    operator: Operator
    kind: _Kind
    length: int
    batch: int
    hidden: int
    reverse: tuple[bool, ...]
    activations: tuple[Activation, ...]

    @property
    def dtype(self) -> str:
        return str(self.operator.inputs[_X].ty.dtype)

    @property
    def batch_first(self) -> bool:
        return bool(self.operator.attributes.get("layout", 0))

    def wants(self, output: int) -> bool:
        names = self.operator.node.output
        return output < len(names) and bool(names[output])


class _Direction:
    """One direction of a layer, with its part of every input."""

    def __init__(self, layer: _Layer, index: int) -> None:
        self._layer, self._index, self._operator = layer, index, layer.operator
        self._eager = Eager(layer.operator.builder)
        each = len(layer.kind.activations)
        self._cell = layer.kind.cell(layer.operator, layer.activations[index * each : (index + 1) * each])

    def run(self, rows: Any) -> tuple[Any | None, State]:
        """(its outputs, (length * batch, hidden), None where nobody wants them; its last state)."""
        layer = self._layer
        loop = Loop(
            self._operator.builder,
            self._cell,
            {name: value for name, value in self._fixed(rows).items() if value is not None},
            reverse=layer.reverse[self._index],
            keeps_outputs=layer.wants(0),
        )
        return loop.run(layer.length, self._initial())

    def _fixed(self, rows: Any) -> dict[str, Any]:
        cell, gates = self._cell, self._layer.kind.gates
        linear = isinstance(cell, Gru) and cell.linear_before_reset
        split = gates - 1 if isinstance(cell, Gru) and not linear else gates
        peepholes = self._part(_P)
        return {
            "x": self._input_product(rows, gates - 1 if linear else gates),
            "lengths": self._lengths(),
            "peepholes": None if peepholes is None else self._widened(peepholes),
            "r_bias": self._recurrent_bias(gates - 1, gates) if linear else None,
            **self._weight("r", _R, 0, split),
            **(self._weight("r_hidden", _R, split, gates) if split < gates else {}),
        }

    def _input_product(self, rows: Any, added: int) -> Any:
        """All rows times W, plus both biases: that of R for the gates below `added` only."""
        gates = self._layer.kind.gates
        total = product(self._operator.builder, rows, self._weight("w", _W, 0, gates), "w")
        if self._bias is None:
            return total
        parts = [self._eager.sum(self._gates(self._bias, 0, added), self._recurrent_bias(0, added))]
        if added < gates:
            parts.append(self._gates(self._bias, added, gates))
        return self._operator.emit(relax.op.add(total, self._eager.joined(parts)))

    @cached_property
    def _bias(self) -> Any:
        part = self._part(_B)
        return None if part is None else self._widened(part)

    def _recurrent_bias(self, first: int, last: int) -> Any:
        """The half of B that belongs to R comes second."""
        if self._bias is None:
            return _zeros(((last - first) * self._layer.hidden,), wide(self._layer.dtype))
        gates = self._layer.kind.gates
        return self._gates(self._bias, gates + first, gates + last)

    def _weight(self, name: str, place: int, first: int, last: int) -> dict[str, Any]:
        """Gates `first` up to `last` of W or R as `product` takes them."""
        if self._layer.kind.quantised:
            return self._quantised_weight(name, place)
        return {name: self._eager.transposed(self._gates(self._part(place), first, last))}

    def _quantised_weight(self, name: str, place: int) -> dict[str, Any]:
        scale_place = _W_SCALE if place == _W else _R_SCALE
        weight, scale, zero = (self._part(index) for index in (place, scale_place, scale_place + 1))
        if not all(is_constant(part) for part in (weight, scale, zero)):
            raise Unsupported("quantised weights that are no constants")
        centred = weight.value.numpy().astype(np.int16) - zero.value.numpy().astype(np.int16)
        narrow = centred.min() >= -128 and centred.max() <= 127
        return {
            name: constant(centred.astype(np.int8) if narrow else centred),
            f"{name}_scale": constant(scale.value.numpy().reshape(-1)),
            f"{name}_sums": constant(centred.sum(0, dtype=np.int32)),
        }

    def _gates(self, value: Any, first: int, last: int) -> Any:
        hidden = self._layer.hidden
        return self._eager.rows(value, first * hidden, last * hidden)

    def _part(self, place: int) -> Any:
        value = self._operator.input(place)
        return None if value is None else self._eager.item(value, self._index)

    def _widened(self, value: Any) -> Any:
        return self._eager.cast(value, wide(self._layer.dtype))

    def _lengths(self) -> Any:
        """None where every sequence has the full length."""
        lengths = self._operator.input(_LENGTHS)
        full = is_constant(lengths) and bool((lengths.value.numpy() >= self._layer.length).all())
        return None if full else lengths

    def _initial(self) -> State:
        hidden = self._state(_INITIAL_H)
        return (hidden, self._widened(self._state(_INITIAL_C))) if self._layer.kind.has_cell_state else (hidden,)

    def _state(self, place: int) -> Any:
        layer, value = self._layer, self._operator.input(place)
        if value is None:
            return _zeros((layer.batch, layer.hidden), layer.dtype)
        if not layer.batch_first:
            return self._eager.item(value, self._index)
        by_direction = self._operator.emit(relax.op.permute_dims(value, (1, 0, 2)))
        return self._eager.item(by_direction, self._index)


def _converter(kind: _Kind) -> Conversion:
    def convert(operator: Operator) -> Any:
        layer = _layer(operator, kind)
        rows = _rows(layer)
        return _outputs(layer, [_Direction(layer, index).run(rows) for index in range(len(layer.reverse))])

    return convert


def _layer(operator: Operator, kind: _Kind) -> _Layer:
    attributes = operator.attributes
    data, recurrence = static_shape(operator.inputs[_X]), static_shape(operator.inputs[_R])
    if data is None or recurrence is None:
        raise Unsupported("the sizes of its inputs are not known")
    if 0 in data:
        raise Unsupported(f"its input has no elements: {data}")
    direction = attributes.get("direction", "forward")
    reverse = _DIRECTIONS.get(direction)
    if reverse is None or len(reverse) != recurrence[0]:
        raise Unsupported(f"direction {direction!r} with weights for {recurrence[0]}")
    hidden = recurrence[1] if kind.quantised else recurrence[2]
    batch, length = data[:2] if attributes.get("layout", 0) else (data[1], data[0])
    return _Layer(operator, kind, length, batch, hidden, reverse, _activations(operator, kind, len(reverse)))


def _activations(operator: Operator, kind: _Kind, directions: int) -> tuple[Activation, ...]:
    attributes = operator.attributes
    given = [it.decode() if isinstance(it, bytes) else it for it in attributes.get("activations", ())]
    names, each = given or [*kind.activations] * directions, len(kind.activations)
    if len(names) != each * directions:
        raise Unsupported(f"{len(names)} activations, where a direction takes {each}")
    return tuple(parsed(names, attributes.get("activation_alpha", ()), attributes.get("activation_beta", ())))


def _rows(layer: _Layer) -> Any:
    """The input as (length * batch, features), step by step."""
    emit, data = layer.operator.emit, layer.operator.inputs[_X]
    if layer.batch_first:
        data = emit(relax.op.permute_dims(data, (1, 0, 2)))
    return emit(relax.op.reshape(data, (layer.length * layer.batch, int(data.ty.shape[2]))))


def _outputs(layer: _Layer, found: list[tuple[Any | None, State]]) -> list[Any]:
    """Y, Y_h and, for an LSTM, Y_c; in place of one that nobody wants stands another."""
    emit, op = layer.operator.emit, relax.op
    count, batch, hidden = len(found), layer.batch, layer.hidden
    states = []
    for parts in zip(*(state for _, state in found), strict=True):
        values = [emit(op.reshape(part, (1, batch, hidden))) for part in parts]
        state = emit(op.concat(values, axis=0)) if count > 1 else values[0]
        state = emit(op.permute_dims(state, (1, 0, 2))) if layer.batch_first else state
        states.append(state if str(state.ty.dtype) == layer.dtype else emit(op.astype(state, layer.dtype)))
    if not layer.wants(0):
        return [states[0], *states]
    steps = [emit(op.reshape(outputs, (layer.length, 1, batch, hidden))) for outputs, _ in found]
    whole = emit(op.concat(steps, axis=1)) if count > 1 else steps[0]
    return [emit(op.permute_dims(whole, (2, 0, 1, 3))) if layer.batch_first else whole, *states]


def _zeros(shape: tuple[int, ...], dtype: str) -> Any:
    return constant(np.zeros(shape, ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype))


def _lstm(operator: Operator, activations: Sequence[Activation]) -> Cell:
    input_forget = bool(operator.attributes.get("input_forget", 0))
    gate, candidate, output = activations
    return Lstm(gate, candidate, output, _clip(operator), input_forget)


def _gru(operator: Operator, activations: Sequence[Activation]) -> Cell:
    linear = bool(operator.attributes.get("linear_before_reset", 0))
    gate, candidate = activations
    return Gru(gate, candidate, _clip(operator), linear)


def _rnn(operator: Operator, activations: Sequence[Activation]) -> Cell:
    return Rnn(activations[0], _clip(operator))


def _clip(operator: Operator) -> float:
    return float(operator.attributes.get("clip", 0.0))


CONVERSIONS: dict[Key, Conversion] = {
    ("", "GRU"): _converter(_Kind(3, ("Sigmoid", "Tanh"), _gru)),
    ("", "LSTM"): _converter(_Kind(4, ("Sigmoid", "Tanh", "Tanh"), _lstm, has_cell_state=True)),
    ("com.microsoft", "DynamicQuantizeLSTM"): _converter(
        _Kind(4, ("Sigmoid", "Tanh", "Tanh"), _lstm, has_cell_state=True, quantised=True)
    ),
    ("", "RNN"): _converter(_Kind(1, ("Tanh",), _rnn)),
}
