"""One step of a recurrent operator: a product with the hidden state, then a kernel of gates.

The product is what trials are spent on, like any other. The gates' kernel adds the step's row of the input product,
which was made for all steps at once, activates and moves the state on; where lengths differ it holds still what has
ended. Sums and the cell's state are in float32 where the model's values are narrower.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from tvm import relax, te, tirx

from tunefarm_coordinator.models.operators.activations import Activation
from tunefarm_coordinator.models.operators.dynamic_range import quantised_dynamically

Tensors = Mapping[str, Any]
State = tuple[Any, ...]

_NARROW = ("float16", "bfloat16")


# A step's place in the sequence: tensors, scalars of int64, that add up to it. As numbers in kernels, each step would
# have a kernel of its own.
Place = tuple[Any, ...]


class Cell(Protocol):
    """What a loop repeats.

    Attributes:
        weights: which of `fixed` are matrices that a product may want in a layout of its own.
    """

    @property
    def weights(self) -> tuple[str, ...]: ...

    def step(self, builder: Any, place: Place, state: State, fixed: Tensors) -> tuple[State, Any]:
        """(the state after a step, the step's output); the hidden state is the first of the state.

        `fixed`, the same in every step: "x", rows of inputs times weights, biases added, step by step; "r" and what
        else the cell needs; "lengths", where a sequence of the batch may end early.
        """


def wide(dtype: str) -> str:
    """The type that values of `dtype` are added up in."""
    return "float32" if dtype in _NARROW else dtype


def product(builder: Any, left: Any, given: Tensors, name: str) -> Any:
    """`left` @ the matrix called `name`, accumulated wide.

    A matrix of integers has its "..._scale" beside it and its "..._sums" of columns; `left` is quantised for it, over
    all its elements, as ONNX Runtime does.
    """
    right, dtype = given[name], str(left.ty.dtype)
    if f"{name}_scale" not in given:
        return builder.emit(relax.op.matmul(left, right, out_dtype=wide(dtype) if dtype in _NARROW else None))
    call = builder.emit(builder.call_te(quantised_dynamically, left, primfunc_name_hint="quantise"))
    whole, scale, zero = (builder.emit(relax.TupleGetItem(call, index)) for index in range(3))
    total = builder.emit(relax.op.matmul(whole, right, out_dtype="int32"))
    shift = builder.emit(relax.op.multiply(zero, given[f"{name}_sums"]))
    total = builder.emit(relax.op.astype(builder.emit(relax.op.subtract(total, shift)), "float32"))
    scales = builder.emit(relax.op.multiply(scale, given[f"{name}_scale"]))
    return builder.emit(relax.op.multiply(total, scales))


@dataclass(frozen=True)
class Lstm:
    """Gates input, output, forget, cell. `fixed`: "r" (hidden, 4 * hidden), maybe "peepholes" (3 * hidden)."""

    gate: Activation
    candidate: Activation
    output: Activation
    clip: float
    input_forget: bool
    weights: ClassVar[tuple[str, ...]] = ("r",)

    def step(self, builder: Any, place: Place, state: State, fixed: Tensors) -> tuple[State, Any]:
        hidden, cell = state
        given = {
            "h": hidden,
            "c": cell,
            "product": product(builder, hidden, fixed, "r"),
            **_for_gates(fixed),
        }
        hidden, cell, *output = _emitted(builder, self._gates, place, given, "lstm_gates")
        return (hidden, cell), output[0] if output else hidden

    def _gates(self, given: Tensors, row: "_Row") -> list[Any]:
        before = given["c"]
        gates = _Gates(given, row, self.clip)
        entering = self.gate(gates.sum(0, peephole=0, cell=before))
        kept = _one_minus(entering) if self.input_forget else self.gate(gates.sum(2, peephole=2, cell=before))
        new = self.candidate(gates.sum(3))
        cell = row.alive(before.shape, lambda *at: kept[at] * before[at] + entering[at] * new[at], before, "cell")
        leaving, shown = self.gate(gates.sum(1, peephole=1, cell=cell)), self.output(cell)
        hidden = row.alive(before.shape, lambda *at: leaving[at] * shown[at], given["h"], "hidden")
        return [hidden, cell, *row.masked(hidden)]


@dataclass(frozen=True)
class Gru:
    """Gates update, reset, hidden. `fixed`: "r" (hidden, 3 * hidden) and "r_bias" (hidden) where the reset comes after
    the product (`linear_before_reset`); else "r" (hidden, 2 * hidden) and "r_hidden" (hidden, hidden)."""

    gate: Activation
    candidate: Activation
    clip: float
    linear_before_reset: bool

    @property
    def weights(self) -> tuple[str, ...]:
        return ("r",) if self.linear_before_reset else ("r", "r_hidden")

    def step(self, builder: Any, place: Place, state: State, fixed: Tensors) -> tuple[State, Any]:
        (hidden,) = state
        given = {"h": hidden, "product": product(builder, hidden, fixed, "r"), **_for_gates(fixed)}
        if not self.linear_before_reset:
            wanted = {name: given[name] for name in ("h", "product", "x")}
            (reset,) = _emitted(builder, self._reset, place, wanted, "gru_reset")
            given["reset_product"] = product(builder, reset, fixed, "r_hidden")
        hidden, *output = _emitted(builder, self._gates, place, given, "gru_gates")
        return (hidden,), output[0] if output else hidden

    def _reset(self, given: Tensors, row: "_Row") -> list[Any]:
        hidden = given["h"]
        reset = self.gate(_Gates(given, row, self.clip).sum(1))
        return [te.compute(hidden.shape, lambda *at: (reset[at] * hidden[at]).astype(hidden.dtype), "reset")]

    def _gates(self, given: Tensors, row: "_Row") -> list[Any]:
        gates, hidden = _Gates(given, row, self.clip), given["h"]
        update = self.gate(gates.sum(0))
        new = self.candidate(self._candidate_sum(given, gates))

        def mixed(*at: Any) -> Any:
            return (1 - update[at]) * new[at] + update[at] * hidden[at].astype(new.dtype)

        result = row.alive(hidden.shape, mixed, hidden, "hidden")
        return [result, *row.masked(result)]

    def _candidate_sum(self, given: Tensors, gates: "_Gates") -> Any:
        if not self.linear_before_reset:
            return gates.clipped(lambda n, i: gates.input(2, n, i) + given["reset_product"][n, i])
        reset, bias = self.gate(gates.sum(1)), given["r_bias"]
        return gates.clipped(lambda n, i: gates.input(2, n, i) + reset[n, i] * (gates.product(2, n, i) + bias[i]))


@dataclass(frozen=True)
class Rnn:
    """One gate. `fixed`: "r" (hidden, hidden)."""

    activation: Activation
    clip: float
    weights: ClassVar[tuple[str, ...]] = ("r",)

    def step(self, builder: Any, place: Place, state: State, fixed: Tensors) -> tuple[State, Any]:
        (hidden,) = state
        given = {"h": hidden, "product": product(builder, hidden, fixed, "r"), **_for_gates(fixed)}
        hidden, *output = _emitted(builder, self._gates, place, given, "rnn_gate")
        return (hidden,), output[0] if output else hidden

    def _gates(self, given: Tensors, row: "_Row") -> list[Any]:
        new = self.activation(_Gates(given, row, self.clip).sum(0))
        result = row.alive(new.shape, lambda *at: new[at], given["h"], "hidden")
        return [result, *row.masked(result)]


class _Row:
    """Which row of the sequence a step is at, and whose sequences have not ended there."""

    def __init__(self, place: Sequence[Any], lengths: Any | None) -> None:
        self._place, self._lengths = place, lengths

    def index(self) -> Any:
        first, *rest = (part[()] for part in self._place)
        return sum(rest, first)

    def alive(self, shape: Any, new: Callable[..., Any], before: Any, name: str) -> Any:
        """`new` in the type of `before`; `before` where the sequence has ended."""

        def value(n: Any, i: Any) -> Any:
            moved = new(n, i).astype(before.dtype)
            return moved if self._lengths is None else tirx.Select(self._runs(n, self._lengths), moved, before[n, i])

        return te.compute(shape, value, name)

    def masked(self, hidden: Any) -> list[Any]:
        """The step's output where it is not the hidden state: zero once the sequence has ended."""
        lengths, zero = self._lengths, tirx.const(0, hidden.dtype)
        if lengths is None:
            return []
        return [
            te.compute(hidden.shape, lambda n, i: tirx.Select(self._runs(n, lengths), hidden[n, i], zero), "output")
        ]

    def _runs(self, n: Any, lengths: Any) -> Any:
        return self.index() < lengths[n].astype("int64")


class _Gates:
    """What goes into a step's activations."""

    def __init__(self, given: Tensors, row: _Row, clip: float) -> None:
        self._given, self._row, self._clip = given, row, clip
        self._batch, self._hidden = (int(size) for size in given["h"].shape)

    def input(self, gate: int, n: Any, i: Any) -> Any:
        row = self._row.index() * tirx.const(self._batch, "int64") + n
        return self._given["x"][row, gate * self._hidden + i]

    def product(self, gate: int, n: Any, i: Any) -> Any:
        return self._given["product"][n, gate * self._hidden + i]

    def sum(self, gate: int, peephole: int | None = None, cell: Any = None) -> Any:
        peepholes = self._given.get("peepholes")

        def value(n: Any, i: Any) -> Any:
            total = self.input(gate, n, i) + self.product(gate, n, i)
            if peephole is None or peepholes is None:
                return total
            return total + peepholes[peephole * self._hidden + i] * cell[n, i]

        return self.clipped(value)

    def clipped(self, value: Callable[..., Any]) -> Any:
        shape, clip = (self._batch, self._hidden), self._clip
        if not clip:
            return te.compute(shape, value, "gate")
        dtype = self._given["product"].dtype
        most, least = tirx.const(clip, dtype), tirx.const(-clip, dtype)
        return te.compute(shape, lambda n, i: tirx.max(tirx.min(value(n, i), most), least), "gate")


def _emitted(
    builder: Any, kernel: Callable[[Tensors, _Row], list[Any]], place: Place, given: Tensors, name: str
) -> list[Any]:
    """The outputs of a kernel that computes `kernel` of the tensors in `given`."""
    names = list(given)

    def compute(*tensors: Any) -> Sequence[Any]:
        named = dict(zip(names, tensors[len(place) :], strict=True))
        return kernel(named, _Row(tensors[: len(place)], named.get("lengths")))

    call = builder.emit(builder.call_te(compute, *place, *given.values(), primfunc_name_hint=name))
    if not isinstance(call.ty, relax.TupleType):
        return [call]
    return [builder.emit(relax.TupleGetItem(call, index)) for index in range(len(call.ty.fields))]


def _one_minus(tensor: Any) -> Any:
    return te.compute(tensor.shape, lambda *at: 1 - tensor[at], "kept")


def _for_gates(fixed: Tensors) -> dict[str, Any]:
    return {name: fixed[name] for name in ("x", "peepholes", "r_bias", "lengths") if name in fixed}
