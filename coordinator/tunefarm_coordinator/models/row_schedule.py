"""Rule of the default schedule for kernels that reduce what they read once: softmax, normalisations, sums, means.

Row by row, all steps on a row one after the other, so that it stays in the first cache from the first step to the last.
Where rows lie along the last axis, a reduction keeps as many partial results as there are lanes and joins them at the
row's end (`rfactor`); where the last axis is another, lanes are rows beside one another, the reduction runs outside.
Convolutions and products with one column of results are sums of rows likewise.
"""

from collections.abc import Sequence
from itertools import pairwise
from math import prod
from typing import Any

from tvm.tirx import IntImm, IterVar, Var

from tunefarm_coordinator.engines import loop_nests as nests
from tunefarm_coordinator.engines.register_tiles import Vectors, lane_tile, regularity

# So many partial results are joined one by one: a vector of them is halved no further. Each waits for the one before:
# of sixteen, a softmax of 128 numbers took a fourth longer.
_JOINED = 2
# What is reduced to one result is joined in vectors of so many at least.
_FEWEST_LANES = 4
# Loops around a step on a row: the rows, the row's vectors, a vector's lanes.
_ROW_VECTOR_LANE = 3


def is_rowwise(schedule: Any) -> bool:
    """Whether the rule is for this kernel: it reduces, and no reduction has operands that it would read again; or it
    has one result for each row."""
    names = nests.leaf_names(schedule)
    reducing = [name for name in names if nests.reduces(schedule, name)]
    each_once = bool(reducing) and all(_reads_once(schedule, name) for name in reducing)
    return each_once or (len(reducing) == 1 and _has_one_column(schedule, reducing[0]))


def schedule_rows(schedule: Any, vectors: Vectors) -> None:
    """Applies the rule. Raises one of TVM_ERRORS, or ValueError, where the kernel's steps do not share rows."""
    names = nests.leaf_names(schedule)
    first = next(name for name in names if nests.reduces(schedule, name))
    reduced, rank = _reduced_axes(schedule, first)
    if reduced[-1] == rank - 1:
        _along_rows(schedule, names, _rows(schedule, first), vectors)
    elif len(nests.extents(schedule, names[-1], IterVar.DataPar)) == rank:
        _beside_rows(schedule, names, reduced, vectors)
    else:
        raise ValueError("what is reduced has no step that goes over it again")


def gives_one(schedule: Any, name: str) -> bool:
    """Whether a reduction has one result, and goes through its operands from the first element to the last."""
    block = schedule.get(schedule.get_sblock(name))
    summed = [axis for axis in block.iter_vars if axis.iter_type == IterVar.CommReduce and int(axis.dom.extent) > 1]
    operands = [read for read in block.reads if any(nests.is_indexed_by(read, axis) for axis in summed)]
    if prod(nests.extents(schedule, name, IterVar.DataPar)) > 1 or not operands:
        return False
    places = [
        [each.min for each, size in zip(read.region, read.source.shape, strict=True) if int(size) > 1]
        for read in operands
    ]
    return all(
        len(place) == len(summed) and all(axis.var.same_as(at) for axis, at in zip(summed, place, strict=True))
        for place in places
    )


def reduce_in_lanes(schedule: Any, name: str, vectors: Vectors) -> None:
    """One result out of as many as there are lanes. Raises one of TVM_ERRORS; ValueError: what is reduced has no such
    divisor."""
    block = schedule.get_sblock(name)
    rank = len(nests.extents(schedule, name, IterVar.DataPar))
    flat = _fused(schedule, schedule.get_loops(block)[rank:])
    size = nests.extent(schedule, flat)
    width = next((lanes for lanes in (vectors.lanes, _FEWEST_LANES) if size > lanes and size % lanes == 0), None)
    if width is None:
        raise ValueError(f"{size} elements fill no vectors")
    _, lanes = nests.split(schedule, flat, width)
    partial = schedule.rfactor(lanes, rank)
    *outer, lanes = schedule.get_loops(partial)
    schedule.vectorize(lanes)
    init = schedule.decompose_reduction(partial, outer[rank])
    schedule.vectorize(schedule.get_loops(init)[-1])


def _reads_once(schedule: Any, name: str) -> bool:
    """Whether something is reduced, all operands of which are indexed by single axes, and by all of the block."""
    block = schedule.get(schedule.get_sblock(name))
    long = [axis for axis in block.iter_vars if int(axis.dom.extent) > 1]
    summed = [axis for axis in long if axis.iter_type == IterVar.CommReduce]
    operands = [read for read in block.reads if any(nests.is_indexed_by(read, axis) for axis in summed)]
    return bool(operands) and all(
        all(nests.is_indexed_by(read, axis) for axis in long) and all(_is_single(each) for each in read.region)
        for read in operands
    )


def _has_one_column(schedule: Any, name: str) -> bool:
    """Whether products are summed up to one column of results (a convolution with one filter), and their factors lie
    side by side: of one result after the other, no vector could be made."""
    block = schedule.get(schedule.get_sblock(name))
    results = nests.extents(schedule, name, IterVar.DataPar)
    summed = [axis for axis in block.iter_vars if axis.iter_type == IterVar.CommReduce]
    if prod(results) == 1 or results[-1] > 1 or int(summed[-1].dom.extent) < _FEWEST_LANES:
        return False
    return all(nests.lies_along(read, summed[-1]) for read in block.reads)


def _is_single(dimension: Any) -> bool:
    return isinstance(dimension.min, Var | IntImm)


def _reduced_axes(schedule: Any, name: str) -> tuple[list[int], int]:
    """(positions, of more than one element, that are reduced in what the block reads; the position behind its last)."""
    block = schedule.get(schedule.get_sblock(name))
    summed = [axis for axis in block.iter_vars if axis.iter_type == IterVar.CommReduce]
    read = next(read for read in block.reads if any(nests.is_indexed_by(read, axis) for axis in summed))
    long = [at for at, size in enumerate(read.source.shape) if int(size) > 1]
    return [at for at in long if any(axis.var.same_as(read.region[at].min) for axis in summed)], long[-1] + 1


def _rows(schedule: Any, name: str) -> list[int]:
    """Sizes of a reduction's axes without those of one element that are left of the reduced ones."""
    sizes = nests.extents(schedule, name, IterVar.DataPar)
    while sizes and sizes[-1] == 1:
        sizes.pop()
    return sizes


def _along_rows(schedule: Any, names: Sequence[str], rows: Sequence[int], vectors: Vectors) -> None:
    for name in names:
        if nests.extents(schedule, name, IterVar.DataPar)[: len(rows)] != list(rows):
            raise ValueError(f"{name} has other rows")
    if not all(_divides(schedule, name, vectors) for name in names if nests.reduces(schedule, name)):
        _unevenly(schedule, names, len(rows), vectors)
        return
    partial = [each for name in names if nests.reduces(schedule, name) for each in _split_sums(schedule, name, vectors)]
    blocks = list(schedule.get_child_blocks(schedule.get_sblock("root")))
    large = nests.is_large(schedule)
    row = _fused(schedule, schedule.get_loops(blocks[-1])[: len(rows)])
    for block in reversed(blocks[:-1]):
        schedule.compute_at(block, row, preserve_unit_loops=True)
    if large and nests.extent(schedule, row) > 1:
        schedule.parallel(row)
    for block in blocks:
        if any(schedule.get(block).same_as(schedule.get(each)) for each in partial):
            _vectorise_partial(schedule, block)
        elif not _is_reduction(schedule, block):
            vectorise_last(schedule, block, 1, vectors)


def _divides(schedule: Any, name: str, vectors: Vectors) -> bool:
    """Whether a divisor of the reduced axis fills half a register, or the axis is shorter than that."""
    size = nests.extent(schedule, schedule.get_loops(schedule.get_sblock(name))[-1])
    lanes = lane_tile(size, vectors.lanes)
    registers = -(-lanes // vectors.lanes) * vectors.lanes
    return size < vectors.lanes // 2 or lanes * regularity(lanes, vectors.lanes) >= registers / 2


def _unevenly(schedule: Any, names: Sequence[str], rows: int, vectors: Vectors) -> None:
    """Vectors that reach beyond the row's end: where they do has to be asked, and `compute_at` forgets what a partial
    result asks. So the steps' loops over the rows are made one. The questions go when the kernel is built
    (`engines.tails`)."""
    _check_rows(schedule, names, rows)
    large = nests.is_large(schedule)
    sums = []
    elements = [
        region.source
        for name in names
        if not nests.reduces(schedule, name)
        for region in schedule.get(schedule.get_sblock(name)).writes
    ]
    for name in names:
        block = schedule.get_sblock(name)
        if len(schedule.get_loops(block)) > rows:
            last = schedule.get_loops(block)[-1]
            # A first vector that is whole: what is summed up in a lane begins with it.
            width = min(vectors.lanes, 1 << (nests.extent(schedule, last).bit_length() - 1))
            _, lanes = schedule.split(last, [None, width])
            steps = [lanes]
            if nests.reduces(schedule, name):
                takes_one = _takes_one(schedule.get(block), elements)
                rank = len(nests.extents(schedule, name, IterVar.DataPar))
                partial = [schedule.rfactor(lanes, rank), *_halved(schedule, block, width, vectors)]
                steps = [schedule.get_loops(each)[-1] for each in partial]
                sums += partial[:takes_one]
            for loop in steps:
                schedule.vectorize(loop)
    blocks = schedule.get_child_blocks(schedule.get_sblock("root"))
    row = schedule.merge(*[_fused(schedule, schedule.get_loops(block)[:rows]) for block in blocks])
    if large and nests.extent(schedule, row) > 1:
        schedule.parallel(row)
    for made, block in pairwise(blocks):
        if any(schedule.get(block).same_as(schedule.get(each)) for each in sums):
            _sum_as_made(schedule, made, block)


def _takes_one(block: Any, elements: Sequence[Any]) -> bool:
    """Whether a step of a reduction along a row reads one element of what steps before it made, the one that it has
    come to: those need not be done with the row."""
    summed = next(axis for axis in block.iter_vars if axis.iter_type == IterVar.CommReduce)
    return all(
        read.region[-1].min.same_as(summed.var) and int(read.region[-1].extent) == 1
        for read in block.reads
        if any(read.source.same_as(each) for each in elements)
    )


def _check_rows(schedule: Any, names: Sequence[str], rows: int) -> None:
    """Raises ValueError where a step reads another row of what a step before it made: making loops one asks nothing."""
    leaves = [schedule.get(schedule.get_sblock(name)) for name in names]
    made = [region.source for leaf in leaves for region in leaf.writes]
    for leaf in leaves:
        for region in (*leaf.reads, *leaf.writes):
            if any(region.source.same_as(each) for each in made):
                own = zip(region.region, leaf.iter_vars, strict=False)
                for dimension, axis in list(own)[:rows]:
                    if int(axis.dom.extent) > 1 and not dimension.min.same_as(axis.var):
                        raise ValueError(f"{leaf.name_hint} reads another row")


def _sum_as_made(schedule: Any, made: Any, block: Any) -> None:
    """Sums a vector of results up when it has been made, where that is all that two steps of a row are."""
    loops, others = schedule.get_loops(block), schedule.get_loops(made)
    follows = any(schedule.get(each).same_as(schedule.get(made)) for each in schedule.get_producers(block))
    sizes = [[nests.extent(schedule, loop) for loop in each[1:]] for each in (loops, others)]
    if follows and sizes[0] == sizes[1] and len(loops) == _ROW_VECTOR_LANE and not _is_reduction(schedule, made):
        schedule.merge(others[-2], loops[-2])


def _split_sums(schedule: Any, name: str, vectors: Vectors) -> list[Any]:
    """Partial results of a reduction, in lanes; and those joined, until few are left."""
    block = schedule.get_sblock(name)
    rank = len(nests.extents(schedule, name, IterVar.DataPar))
    width = lane_tile(nests.extent(schedule, schedule.get_loops(block)[-1]), vectors.lanes)
    if width <= _JOINED:
        return []
    _, lanes = nests.split(schedule, schedule.get_loops(block)[-1], width)
    return [schedule.rfactor(lanes, rank), *_halved(schedule, block, width, vectors)]


def _halved(schedule: Any, block: Any, width: int, vectors: Vectors) -> list[Any]:
    """Joins `width` partial results of a reduction into a vector of them, and that by halves, until few are left."""
    made = []
    rank = len(schedule.get_loops(block)) - 1
    while width > _JOINED and width % 2 == 0:
        width = vectors.lanes if width > vectors.lanes and width % vectors.lanes == 0 else width // 2
        _, lanes = nests.split(schedule, schedule.get_loops(block)[-1], width)
        made.append(schedule.rfactor(lanes, rank))
    return made


def _vectorise_partial(schedule: Any, block: Any) -> None:
    """Lanes inside, what is reduced outside of them. Behind the row's, a block's loops stand as its axes do."""
    axes = schedule.get(block).iter_vars
    lane = schedule.get(block).writes[0].region[-1].min
    loops = list(zip(axes, schedule.get_loops(block)[-len(axes) :], strict=True))
    lanes = next(loop for axis, loop in loops if axis.var.same_as(lane))
    summed = [loop for axis, loop in loops if axis.iter_type == IterVar.CommReduce]
    kept = [loop for axis, loop in loops if axis.iter_type == IterVar.DataPar and loop is not lanes]
    schedule.reorder(*kept, *summed, lanes)
    schedule.vectorize(lanes)
    init = schedule.decompose_reduction(block, summed[0])
    schedule.vectorize(schedule.get_loops(init)[-1])


def _beside_rows(schedule: Any, names: Sequence[str], reduced: Sequence[int], vectors: Vectors) -> None:
    """`reduced`: positions of the reduced axes in the kernel's output."""
    blocks = list(schedule.get_child_blocks(schedule.get_sblock("root")))
    large = nests.is_large(schedule)
    *loops, last = schedule.get_loops(blocks[-1])
    outer, lanes = nests.split(schedule, last, lane_tile(nests.extent(schedule, last), vectors.lanes))
    rows = [loop for at, loop in enumerate(loops) if at not in reduced]
    schedule.reorder(*rows, outer, *(loops[at] for at in reduced), lanes)
    tile = _fused(schedule, [*rows, outer])
    for block in reversed(blocks[:-1]):
        schedule.compute_at(block, tile, preserve_unit_loops=True)
    if large and nests.extent(schedule, tile) > 1:
        schedule.parallel(tile)
    for name, block in zip(names, blocks, strict=True):
        if nests.reduces(schedule, name):
            _vectorise_partial(schedule, block)
        else:
            schedule.vectorize(schedule.get_loops(block)[-1])


def vectorise_last(schedule: Any, block: Any, begin: int, vectors: Vectors) -> None:
    """Vectorises the last of a block's loops behind the first `begin`."""
    loops = schedule.get_loops(block)[begin:]
    if not loops or nests.extent(schedule, loops[-1]) == 1:
        return
    _, lanes = nests.split(schedule, loops[-1], lane_tile(nests.extent(schedule, loops[-1]), vectors.lanes))
    schedule.vectorize(lanes)


def _fused(schedule: Any, loops: Sequence[Any]) -> Any:
    return schedule.fuse(*loops) if len(loops) > 1 else loops[0]


def _is_reduction(schedule: Any, block: Any) -> bool:
    return _reduced(schedule, block) > 0


def _reduced(schedule: Any, block: Any) -> int:
    return sum(axis.iter_type == IterVar.CommReduce for axis in schedule.get(block).iter_vars)
