"""Many steps of a cell, one after the other: spelt out where few, else by functions that call each other.

A function of eight steps, one of eight times that, and so on: none is recursive, all sizes stay static, passes treat
each as they treat `main`, and a sequence of a thousand steps has hardly more kernels than one of sixteen.
"""

from collections.abc import Callable, Iterator
from typing import Any

from tvm import relax

from tunefarm_coordinator.models.loops import LOOP_WEIGHTS
from tunefarm_coordinator.models.operators.cells import Cell, Place, State, Tensors

# So many steps stand in `main` itself.
_SHORT = 16
# Steps of the smallest function; each larger one calls so many of the next smaller.
_BRANCHES = 8


class Loop:
    """Runs a cell over a sequence.

    Args:
        fixed: as `Cell.step` takes it.
        reverse: from the last step to the first; outputs stay in the order of the sequence.
        keeps_outputs: whether `run` gives the steps' outputs.
    """

    def __init__(self, builder: Any, cell: Cell, fixed: Tensors, *, reverse: bool, keeps_outputs: bool) -> None:
        self._builder, self._cell = builder, cell
        # Weights last: then a number says which they are.
        self._fixed = dict(sorted(fixed.items(), key=lambda item: item[0] in cell.weights))
        self._stride = -1 if reverse else 1
        self._keeps_outputs = keeps_outputs
        self._functions: dict[int, Any] = {}

    def run(self, length: int, state: State) -> tuple[Any | None, State]:
        """(outputs of all steps, (length * batch, hidden), or None; the state after the last)."""
        first = 0 if self._stride == 1 else length - 1

        def position(done: int) -> Any:
            return relax.const(first + self._stride * done, "int64")

        if length > _SHORT:
            return self._in_pieces(length, position, state, self._fixed)
        return self._one_by_one(((position(done),) for done in range(length)), state, self._fixed)

    def _one_by_one(self, places: Iterator[Place], state: State, fixed: Tensors) -> tuple[Any | None, State]:
        outputs = []
        for place in places:
            state, output = self._cell.step(self._builder, place, state, fixed)
            outputs.append(output)
        return self._joined(outputs), state

    def _in_pieces(
        self, count: int, position: Callable[[int], Any], state: State, fixed: Tensors
    ) -> tuple[Any | None, State]:
        outputs, done = [], 0
        for size in _pieces(count):
            function = self._function(size, state, fixed)
            call = self._builder.emit(relax.Call(function, [position(done), *state, *fixed.values()]))
            fields = [self._builder.emit(relax.TupleGetItem(call, index)) for index in range(len(call.ty.fields))]
            state, done = tuple(fields[: len(state)]), done + size
            outputs += fields[len(state) :]
        return self._joined(outputs), state

    def _joined(self, outputs: list[Any]) -> Any | None:
        if not self._keeps_outputs:
            return None
        ordered = outputs[:: self._stride]
        return ordered[0] if len(ordered) == 1 else self._builder.emit(relax.op.concat(ordered, axis=0))

    def _function(self, count: int, state: State, fixed: Tensors) -> Any:
        """The function of `count` steps: (position, state, fixed) to (state, outputs)."""
        if count not in self._functions:
            position = relax.Var("position", relax.TensorType((), "int64"))
            states = tuple(relax.Var(f"state{index}", value.ty) for index, value in enumerate(state))
            given = {name: relax.Var(name, value.ty) for name, value in fixed.items()}
            parameters = [position, *states, *given.values()]
            body = self._body(parameters, lambda: self._steps(count, position, states, given))
            function = relax.Function(parameters, body, body.body.ty).with_attr(LOOP_WEIGHTS, len(self._cell.weights))
            self._functions[count] = self._builder.add_func(function, f"steps_{count}")
        return self._functions[count]

    def _body(self, parameters: list[Any], content: Callable[[], tuple[Any | None, State]]) -> Any:
        builder = self._builder
        builder.begin_scope(parameters)
        builder._begin_dataflow_block()
        outputs, state = content()
        result = builder.emit_output(relax.Tuple([*state, *([] if outputs is None else [outputs])]))
        block = builder._end_block()
        builder.end_scope()
        return builder.normalize(relax.SeqExpr([block], result))

    def _steps(self, count: int, position: Any, state: State, fixed: Tensors) -> tuple[Any | None, State]:
        if count <= _BRANCHES:
            places = ((position, relax.const(self._stride * done, "int64")) for done in range(count))
            return self._one_by_one(places, state, fixed)

        def later(done: int) -> Any:
            return self._builder.emit(relax.op.add(position, relax.const(self._stride * done, "int64")))

        return self._in_pieces(count, later, state, fixed)


def _pieces(count: int) -> Iterator[int]:
    """Sizes of the functions that `count` steps are made of: as few as powers allow, and what is left."""
    while count:
        size = _BRANCHES
        while size * _BRANCHES < count:
            size *= _BRANCHES
        size = min(size, count)
        yield size
        count -= size
