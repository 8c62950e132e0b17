"""Weights that are on their way to the cache before a core needs them.

A product with large weights goes panel by panel (some lanes, all steps of the reduction): tile after tile of rows
multiplies one panel, which stays in the second cache. But a model's weights come from memory, and a core waited for
each new panel in its first tile of rows: products of 7 x 7 pixels stood still for a third of their time. Here the tiles
of one panel fetch the next one, a few lines at a time, each its share of it, so that the memory's transfer has all of a
panel's time. The steps between two such fetches are unrolled.

This is done when a kernel is built, to any schedule of that form; its trace says nothing of it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import tvm
from tvm import tirx
from tvm.ir import Range, TensorLoad
from tvm.s_tir import SBlock, SBlockRealize
from tvm.sym import Analyzer
from tvm.tirx import For, ForKind, IterVar, PrimFunc, SeqStmt
from tvm.tirx.analysis import undefined_vars

# Bytes of a cache line, on every CPU that TVM compiles for but few, whose lines are longer.
_LINE = 64
# Steps between two fetches, at most.
_GROUP = 8
# Two panels have to find room in a core's own cache.
_MOST_BYTES = 768 * 1024
# Where fewer tiles share a panel, memory is the limit whatever is fetched.
_FEWEST_TILES = 3
# llvm.prefetch: for reading, kept in the second cache, data.
_READ, _SECOND_CACHE, _DATA = 0, 2, 1


@dataclass(frozen=True)
class Panels:
    """An operand that is read panel by panel.

    Attributes:
        buffer: its last axes are the steps of the innermost loop and the lanes.
        following: indices of the next panel, and within it, on all axes before those.
        tile: number of the tile of those that read one panel.
        tiles: how many they are.
    """

    buffer: Any
    following: tuple[Any, ...]
    tile: Any
    tiles: int

    @property
    def line(self) -> int:
        """Elements of a cache line."""
        return _LINE // int(tvm.DataType(str(self.buffer.dtype)).itemsize)

    @property
    def lines(self) -> int:
        """Cache lines that a step reads."""
        return -(-int(self.buffer.shape[-1]) // self.line)


def with_fetches(module: tvm.IRModule) -> tvm.IRModule:
    """The module whose scheduled kernels for CPUs fetch ahead what they read panel by panel."""
    changed = module.clone()
    for variable, function in module.functions.items():
        if isinstance(function, PrimFunc):
            body = _visited(function.body, [], function.params)
            changed[variable] = PrimFunc(function.params, body, function.ret_type, function.attrs)
    return changed


def _visited(statement: Any, loops: list[Any], parameters: Any) -> Any:
    if isinstance(statement, SeqStmt):
        return SeqStmt([_visited(each, loops, parameters) for each in statement.seq])
    if isinstance(statement, SBlockRealize):
        block = _with_body(statement.block, _visited(statement.block.body, loops, parameters))
        return SBlockRealize(statement.iter_values, statement.predicate, block)
    if not isinstance(statement, For):
        return statement
    around = [*loops, statement]
    step = _innermost_step(statement)
    panels = None if step is None else next(_panels(step, around, parameters), None)
    if panels is not None:
        return _fetching(statement, panels)
    return _with_loop_body(statement, _visited(statement.body, around, parameters))


def _innermost_step(loop: Any) -> Any | None:
    """The block that the loop is the innermost loop of its reduction for."""
    inner, below = loop.body, []
    while isinstance(inner, For):
        below.append(inner)
        inner = inner.body
    if loop.kind != ForKind.SERIAL or not isinstance(inner, SBlockRealize):
        return None
    here = _reduces_along(inner, loop)
    return inner if here and not any(_reduces_along(inner, each) for each in below) else None


def _reduces_along(realize: Any, loop: Any) -> bool:
    pairs = zip(realize.block.iter_vars, realize.iter_values, strict=True)
    return any(axis.iter_type == IterVar.CommReduce and _uses(value, loop) for axis, value in pairs)


def _panels(realize: Any, loops: Sequence[Any], parameters: Any) -> Iterator[Panels]:
    """The operands of a block that are worth fetching ahead, `loops` around it down to the innermost step."""
    outermost, step = loops[0], loops[-1]
    for load in _loads(getattr(realize.block.body, "value", None)):
        if len(load.indices) < 3 or not any(load.source.same_as(each) for each in parameters):
            continue
        panel, *between, last, _ = _first_lane(load, realize, loops)
        count = int(load.source.shape[0])
        tiles, rest = divmod(int(outermost.extent), count)
        if count < 2 or rest or not last.same_as(step.loop_var):
            continue
        if not _analyzer(loops).can_prove_equal(panel, outermost.loop_var // tiles):
            continue
        inner = [each for each in loops[1:-1] if not _reduces_along(realize, each)]
        tile = outermost.loop_var % tiles
        for each in inner:
            tile = tile * each.extent + each.loop_var
        following = (tirx.min(panel + 1, count - 1), *between)
        found = Panels(load.source, following, tile, tiles * prod(int(each.extent) for each in inner))
        if found.tiles >= _FEWEST_TILES and _bytes(found) <= _MOST_BYTES:
            yield found


def _bytes(panels: Panels) -> int:
    """Of one panel."""
    return prod(int(size) for size in panels.buffer.shape[1:]) * _LINE // panels.line


def _loads(expression: Any) -> Iterator[Any]:
    """What a sum of products reads."""
    if isinstance(expression, TensorLoad):
        yield expression
    elif isinstance(expression, tirx.Add | tirx.Mul):
        yield from _loads(expression.a)
        yield from _loads(expression.b)


def _first_lane(load: Any, realize: Any, loops: Sequence[Any]) -> list[Any]:
    """The load's indices in the loops' variables, at the first row and lane of the tile."""
    values = _mapped(load.indices, [axis.var for axis in realize.block.iter_vars], realize.iter_values)
    inner = loops[-1].body
    while isinstance(inner, For):
        values = _mapped(values, [inner.loop_var], [inner.min])
        inner = inner.body
    analyzer = _analyzer(loops)
    return [analyzer.simplify(value) for value in values]


def _mapped(expressions: Any, variables: Sequence[Any], values: Any) -> list[Any]:
    """The expressions with values in their variables' places."""
    return list(tirx.IndexMap(list(variables), list(expressions), None).map_indices(list(values)))


def _analyzer(loops: Sequence[Any]) -> Any:
    analyzer = Analyzer()
    for loop in loops:
        analyzer.bind(loop.loop_var, Range(loop.min, loop.min + loop.extent))
    return analyzer


def _fetching(loop: Any, panels: Panels) -> Any:
    """The innermost loop of a reduction in groups of steps, each after its share of fetches."""
    extent = int(loop.extent)
    size = group_of(extent)
    group, step = (tirx.Var(f"{loop.loop_var.name}_{part}", loop.loop_var.ty) for part in ("group", "step"))
    body = _with_variable(loop.body, loop.loop_var, group * size + step)
    inner = For(step, loop.min, _like(loop, size), ForKind.UNROLLED, body)
    first = SeqStmt([fetches(panels, group * size, size), inner])
    return For(group, loop.min, _like(loop, extent // size), ForKind.SERIAL, first)


def group_of(steps: int) -> int:
    """How many steps of so many follow one share of fetches."""
    return next(size for size in range(_GROUP, 0, -1) if steps % size == 0)


def fetches(panels: Panels, first: Any, steps: int) -> Any:
    """The statement by which a tile fetches its share of the next panel's lines, for `steps` steps from `first` on."""
    lines = steps * panels.lines
    share = -(-lines // panels.tiles)
    calls = []
    for number in range(share):
        line = tirx.min(panels.tile * share + number, lines - 1)
        place = (*panels.following, first + line // panels.lines, line % panels.lines * panels.line)
        address = tirx.address_of(panels.buffer[place])
        options = [tirx.const(value, "int32") for value in (_READ, _SECOND_CACHE, _DATA)]
        calls.append(tirx.Evaluate(tirx.call_intrin("void", "tirx.prefetch", address, *options)))
    body = SeqStmt(calls) if share > 1 else calls[0]
    busy = -(-lines // share)
    return tirx.IfThenElse(panels.tile < busy, body, None) if busy < panels.tiles else body


def _with_variable(statement: Any, variable: Any, value: Any) -> Any:
    if isinstance(statement, For):
        return _with_loop_body(statement, _with_variable(statement.body, variable, value))
    values = _mapped(statement.iter_values, [variable], [value])
    (predicate,) = _mapped([statement.predicate], [variable], [value])
    return SBlockRealize(values, predicate, statement.block)


def _like(loop: Any, value: int) -> Any:
    return tirx.IntImm(str(loop.extent.ty.dtype), value)


def _uses(expression: Any, loop: Any) -> bool:
    return any(loop.loop_var.same_as(variable) for variable in undefined_vars(expression, []))


def _with_loop_body(loop: Any, body: Any) -> Any:
    return For(loop.loop_var, loop.min, loop.extent, loop.kind, body, loop.thread_binding, loop.annotations, loop.step)


def _with_body(block: Any, body: Any) -> Any:
    return SBlock(
        block.iter_vars,
        block.reads,
        block.writes,
        block.name_hint,
        body,
        block.init,
        block.alloc_buffers,
        block.match_buffers,
        block.annotations,
    )
