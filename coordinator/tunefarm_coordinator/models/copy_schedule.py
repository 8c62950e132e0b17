"""Rule of the default schedule for kernels that move or map values without a reduction.

Axes that lie behind one another in all operands are one long axis, and vectors are cut out of that. Where an operand
lies in another order (a transpose), a square tile is worked on at a time, so that a cache line that is read for one
element is there for its neighbours. Where the place along the last axis decides what is read (a concatenation), no
vector reaches over such a border. Outer loops stay loops: taking a fused one's counter apart costs as much as a vector.
"""

from collections.abc import Iterator
from math import gcd, prod
from typing import Any

import tvm
from tvm.tirx import Cast, IntImm, Select, Var
from tvm.tirx.analysis import undefined_vars

from tunefarm_coordinator.engines import loop_nests as nests
from tunefarm_coordinator.engines.register_tiles import Vectors, lane_tile, lanes_filled

# Elements of a cache line: of so many neighbours a transpose makes use at a time.
_LINE = 16
# Sides of the tile of a plain transpose: with vectors of the operand's (a fifth to a quarter less time than with the
# output's: 84 x 2100, 64 x 3136), and of the output's, where only those divide (768 x 197: 4 took two fifths more).
_SQUARE, _WIDE_SQUARE = 4, 8
_CHILDREN = ("a", "b", "value", "condition", "true_value", "false_value")
# Pieces of work among which threads find their own.
_PIECES = 64


def schedule_copy(schedule: Any, name: str, vectors: Vectors) -> None:
    """Applies the rule to one block. Raises one of TVM_ERRORS where it can't be."""
    block = schedule.get_sblock(name)
    large = nests.is_large(schedule)
    crossed = _crossed_axis(schedule.get(block))
    loops = schedule.get_loops(block)
    outer = _cut(schedule, block, loops, vectors) if crossed is None else _tiled(schedule, block, crossed, vectors)
    if large:
        _parallel(schedule, outer)


def _tiled(schedule: Any, block: Any, crossed: int, vectors: Vectors) -> list[Any]:
    """The loops outside of a tile, in which vectors along one side are written out along the other.

    Vectors are the output's where an operand lies as it does, and where the crossed axis doesn't divide into vectors.
    Else they are the operand's, loaded whole and stored in pieces.
    """
    loops, body = schedule.get_loops(block), schedule.get(block)
    sizes = [nests.extent(schedule, loop) for loop in (loops[crossed], loops[-1])]
    if any(nests.lies_along(read, body.iter_vars[-1]) for read in body.reads):
        rows, lanes, along = _divisor(sizes[0], _LINE), _divisor(sizes[1], vectors.lanes), 1
    elif sizes[0] % _SQUARE == 0 or sizes[1] % _SQUARE:
        rows, lanes, along = _divisor(sizes[0], _SQUARE), _SQUARE, 0
    else:
        rows, lanes, along = _WIDE_SQUARE, _divisor(sizes[1], _WIDE_SQUARE), 1
    row_outer, row_inner = _split(schedule, loops[crossed], rows)
    lane_outer, lane_inner = _split(schedule, loops[-1], lanes)
    outer = [*loops[:crossed], row_outer, *loops[crossed + 1 : -1], lane_outer]
    # A loop that is cut, as its last tile is shorter, can be shared out by itself, but not as a part of another one.
    cut = [loop for loop, size, tile in ((row_outer, sizes[0], rows), (lane_outer, sizes[1], lanes)) if size % tile]
    outer = [loop for loop in outer if not any(loop is each for each in cut)]
    inner = [row_inner, lane_inner]
    vector = inner.pop(along)
    schedule.reorder(*outer, *cut, *inner, vector)
    schedule.unroll(inner[0])
    schedule.vectorize(vector)
    many = prod(nests.extent(schedule, loop) for loop in outer) > 1
    return outer if many else cut


def _split(schedule: Any, loop: Any, size: int) -> list[Any]:
    """(outer, inner) with an inner loop of `size`, which need not divide the extent: the last one is shorter then."""
    if nests.extent(schedule, loop) % size == 0:
        return nests.split(schedule, loop, size)
    pieces: list[Any] = schedule.split(loop, [None, size])
    return pieces


def _cut(schedule: Any, block: Any, loops: list[Any], vectors: Vectors) -> list[Any]:
    """The loops outside of a vector of the axes that lie behind one another."""
    body = schedule.get(block)
    asked = _asked(body)
    count = _fused_axes(body, asked, vectors)
    flat = schedule.fuse(*loops[-count:]) if count > 1 else loops[-1]
    size = nests.extent(schedule, flat)
    border = gcd(size, *_borders(asked, body.iter_vars[-1].var))
    outer, lanes = nests.split(schedule, flat, lane_tile(border, vectors.lanes))
    schedule.vectorize(lanes)
    if border < size and nests.extent(schedule, outer) <= _LINE:
        schedule.unroll(outer)  # which operand it is, is then known for each vector
        return loops[:-count]
    return [*loops[:-count], outer]


def _fused_axes(body: Any, asked: list[Any], vectors: Vectors) -> int:
    """Of how many axes, counted from the last, the long axis is made: of as few as fill the registers best. (Of more,
    TVM's simplifier no longer sees that a vector's elements lie side by side: it took vectors of 64 apart.)"""
    axes, size = body.iter_vars, int(body.iter_vars[-1].dom.extent)
    best, filled = 1, lanes_filled(size, vectors.lanes)
    for count in range(2, len(axes) + 1):
        if not _follows(body, len(axes) - count + 1, asked):
            break
        size *= int(axes[-count].dom.extent)
        if lanes_filled(size, vectors.lanes) > filled:
            best, filled = count, lanes_filled(size, vectors.lanes)
    return best


def _parallel(schedule: Any, outer: list[Any]) -> None:
    """Makes pieces for threads of as many outer loops as are needed, and leaves the others as they are."""
    count, pieces = 0, 1
    while count < len(outer) and pieces < _PIECES:
        pieces *= nests.extent(schedule, outer[count])
        count += 1
    if pieces > 1:
        schedule.parallel(schedule.fuse(*outer[:count]) if count > 1 else outer[0])


def _crossed_axis(block: Any) -> int | None:
    """The axis along which an operand lies in memory, where that is another than the last; None for none."""
    axes = block.iter_vars
    if not axes or int(axes[-1].dom.extent) == 1:
        return None
    for read in block.reads:
        if not nests.is_indexed_by(read, axes[-1]):
            continue
        for at, axis in enumerate(axes[:-1]):
            if int(axis.dom.extent) > 1 and nests.lies_along(read, axis):
                return at
    return None


def _follows(block: Any, at: int, asked: list[Any]) -> bool:
    """Whether axis `at` lies right behind the one before it in all operands, and nothing else depends on the two."""
    before, behind = block.iter_vars[at - 1], block.iter_vars[at]
    if any(each.same_as(axis.var) for part in asked for each in undefined_vars(part, []) for axis in (before, behind)):
        return False
    return all(_lies_behind(region, before, behind) for region in (*block.reads, *block.writes))


def _lies_behind(region: Any, before: Any, behind: Any) -> bool:
    if not nests.is_indexed_by(region, before) and not nests.is_indexed_by(region, behind):
        return True
    places = [each.min for each in region.region]
    sizes = [int(size) for size in region.source.shape]
    found = [
        at for at in range(1, len(places)) if behind.var.same_as(places[at]) and before.var.same_as(places[at - 1])
    ]
    others = [place for at, place in enumerate(places) if at not in (found[0], found[0] - 1)] if found else []
    return (
        len(found) == 1
        and sizes[found[0]] == int(behind.dom.extent)
        and not any(each.same_as(axis.var) for place in others for each in _used(place) for axis in (before, behind))
    )


def _used(place: Any) -> list[Any]:
    return [place] if isinstance(place, Var) else list(undefined_vars(place, []))


def _asked(block: Any) -> list[Any]:
    """Conditions, and numbers made of axes, in what the block computes of the elements that it loads."""
    found: list[Any] = []
    for node in _parts(getattr(block.body, "value", None)):
        if isinstance(node, tvm.ir.Call) and node.op.name == "prim.if_then_else":
            found.append(node.args[0])
        elif isinstance(node, Select):
            found.append(node.condition)
        elif isinstance(node, Cast):
            found.append(node.value)
    return found


def _borders(asked: list[Any], axis: Any) -> list[int]:
    """The constants that the axis is compared with."""
    found: list[int] = []
    for node in (part for condition in asked for part in _parts(condition)):
        sides = (getattr(node, "a", None), getattr(node, "b", None))
        for variable, constant in (sides, sides[::-1]):
            if isinstance(constant, IntImm) and isinstance(variable, Var) and axis.same_as(variable):
                found.append(int(constant))
    return found


def _parts(node: Any) -> Iterator[Any]:
    """An expression and what it is made of, without the places of what it loads."""
    if not isinstance(node, tvm.ir.Expr):
        return
    yield node
    if isinstance(node, tvm.ir.TensorLoad):
        return
    children = [getattr(node, name, None) for name in _CHILDREN]
    for child in (*children, *(node.args if isinstance(node, tvm.ir.Call) else ())):
        yield from _parts(child)


def _divisor(extent: int, limit: int) -> int:
    return max(size for size in range(1, limit + 1) if extent % size == 0)
