"""What a kernel has to answer: seeded inputs of the right kind, and the unscheduled kernel's outputs."""

import re
from dataclasses import dataclass
from functools import lru_cache, partial
from math import gcd, prod, sqrt
from typing import Any

import numpy as np
import tvm
import tvm_ffi
from numpy.typing import NDArray
from tvm.s_tir import Schedule
from tvm.tirx import IterVar
from tvm.tirx.analysis import undefined_vars

from tunefarm_coordinator.engines import loop_nests as nests
from tunefarm_coordinator.engines import module_text
from tunefarm_coordinator.engines.build import UNCHECKED
from tunefarm_coordinator.models.target import quickly_built
from tunefarm_coordinator.models.task import TuningTask
from tunefarm_proto.arrays import npz_bytes

# Functions that want positive arguments, and a division by anything but a literal.
_POSITIVE_DOMAIN = re.compile(r"T\.(log\w*|sqrt|rsqrt|pow)\(|/ (?!T\.(float|int)\w*\(|\d)")

# So many neighbours at most are summed up side by side, four of the widest vectors there are, and so many at least.
_SIDE_BY_SIDE, _FEWEST_LANES = 64, 4

# A kernel of fewer operations is done before LLVM's passes would be: they take a twentieth of a second.
_LONG_FLOPS = 5e7

# Where an integer selects nothing, its size hardly matters.
_PLAIN_INTEGERS = 100


@dataclass(frozen=True)
class _Input:
    """One input of a kernel and what its values may be. `below`: integers, and floats that are used as indices, lie
    from 0 to less; 0 for other floats. `positive`: none is 0 or less, as far as `below` leaves room."""

    shape: tuple[int, ...]
    dtype: str
    positive: bool
    below: int
    scale: float


def expected_outputs(task: TuningTask, seed: int) -> bytes:
    """An npz archive: `arg0`, `arg1`, ... inputs in the workload's own layout, `out0`, ... outputs.

    The outputs are computed on this machine by the kernel as it is, but for the cores sharing its work and for vectors:
    slow (a tenth of a second for a billion operations), and nobody's candidate. The same (task, seed) gives the same
    inputs in any process.
    """
    inputs = [_values(spec, seed, index) for index, spec in enumerate(_inputs(task.module))]
    outputs = _run(task.module, inputs, 1 if task.flops > _LONG_FLOPS else 0)
    arrays = {f"arg{index}": value for index, value in enumerate(inputs)}
    arrays |= {f"out{index}": value for index, value in enumerate(outputs)}
    return npz_bytes(arrays)


def _values(spec: _Input, seed: int, index: int) -> NDArray[Any]:
    rng = np.random.default_rng([seed, index])
    kind = np.dtype(spec.dtype).kind
    if kind == "b":
        return rng.integers(0, 2, spec.shape).astype(spec.dtype)
    if kind in "iu":
        below = min(spec.below, np.iinfo(spec.dtype).max)
        return rng.integers(int(spec.positive and below > 1), below, spec.shape).astype(spec.dtype)
    if spec.below:
        return rng.uniform(0.0, spec.below, spec.shape).astype(spec.dtype)
    if spec.positive:
        return rng.uniform(0.5, 1.5, spec.shape).astype(spec.dtype)
    return (spec.scale * rng.standard_normal(spec.shape)).astype(spec.dtype)


@lru_cache(maxsize=64)
def _inputs(module_json: str) -> list[_Input]:
    module = module_text.load(module_json)
    function = module["main"]
    text = str(module.script(show_meta=False))
    # The header's buffer shapes hold no arithmetic; the body does.
    positive = _POSITIVE_DOMAIN.search(text) is not None or _divides_integers(function)
    outputs = _output_count(module)
    weights = {int(index) for index in (function.attrs.get("layout_free_buffers") or ())}
    blocks = _blocks(module)
    specs = []
    for index, parameter in enumerate(function.params[: len(function.params) - outputs]):
        shape = tuple(int(size) for size in parameter.shape)
        scale = sqrt(2.0 / _terms(blocks, parameter)) if index in weights and len(shape) > 1 else 1.0
        dtype = str(parameter.dtype)
        below = (_index_bound if np.dtype(dtype).kind in "iub" else _float_index_bound)(blocks, parameter)
        specs.append(_Input(shape, dtype, positive, below, scale))
    return specs


def _run(module_json: str, inputs: list[NDArray[Any]], opt_level: int) -> list[NDArray[Any]]:
    kernel, shapes = _reference_kernel(module_json, opt_level)
    outputs = [tvm.runtime.empty(shape, dtype) for shape, dtype in shapes]
    kernel(*[tvm.runtime.tensor(value) for value in inputs], *outputs)
    return [output.numpy() for output in outputs]


@lru_cache(maxsize=8)
def _reference_kernel(module_json: str, opt_level: int) -> tuple[Any, list[tuple[tuple[int, ...], str]]]:
    module = module_text.load(module_json)
    parameters = module["main"].params[len(module["main"].params) - _output_count(module) :]
    shapes = [(tuple(int(size) for size in p.shape), str(p.dtype)) for p in parameters]
    with tvm.transform.PassContext(config=UNCHECKED):
        return tvm.tirx.build(_shared_out(module), target=quickly_built(opt_level))["main"], shapes


def _shared_out(module: Any) -> Any:
    """The kernel with the elements of what it sums up shared out over the cores, and neighbours that read neighbours
    summed up side by side; each is summed up in the order in which it was."""
    schedule = Schedule(module, debug_mask="none", error_render_level="none")
    for name in nests.leaf_names(schedule):
        if nests.reduces(schedule, name):
            lanes = _lanes(schedule, name)
            together = nests.attempt(schedule, partial(_side_by_side, name, lanes)) if lanes else None
            schedule = together or nests.attempt(schedule, partial(_in_parallel, name)) or schedule
    return schedule.mod


def _lanes(schedule: Any, name: str) -> int:
    """How many neighbours along the last axis of what is summed up are taken side by side: 0 where no operand lies
    along it, so that a step would read far and wide, or where it can't be taken in whole vectors."""
    block = schedule.get(schedule.get_sblock(name))
    for axis in [each for each in block.iter_vars if each.iter_type == IterVar.DataPar][-1:]:
        lanes = gcd(int(axis.dom.extent), _SIDE_BY_SIDE)
        if lanes >= _FEWEST_LANES and any(_lies_along(read, axis.var) for read in block.reads):
            return lanes
    return 0


def _lies_along(read: Any, variable: Any) -> bool:
    """Whether the next value of the variable reads the neighbour."""
    for dimension in list(read.region)[-1:]:
        steps = tvm.sym.detect_linear_equation(dimension.min, [variable])
        return bool(steps) and isinstance(steps[0], tvm.tirx.IntImm) and int(steps[0]) == int(dimension.extent) == 1
    return False


def _side_by_side(name: str, lanes: int, schedule: Any) -> None:
    block = schedule.get_sblock(name)
    loops = schedule.get_loops(block)
    spatial = len(nests.extents(schedule, name, IterVar.DataPar))
    outer, inner = nests.split(schedule, loops[spatial - 1], lanes)
    schedule.reorder(*loops[spatial:], inner)
    schedule.parallel(schedule.fuse(*loops[: spatial - 1], outer))
    schedule.vectorize(inner)
    schedule.decompose_reduction(block, loops[spatial])


def _in_parallel(name: str, schedule: Any) -> None:
    spatial = len(nests.extents(schedule, name, IterVar.DataPar))
    schedule.parallel(schedule.fuse(*schedule.get_loops(schedule.get_sblock(name))[:spatial]))


def _output_count(module: Any) -> int:
    """Outputs are the last parameters, and the only ones that are written."""
    written = [region.source for block in _blocks(module) for region in block.writes]
    return sum(any(p.same_as(buffer) for buffer in written) for p in module["main"].params)


def _blocks(module: Any) -> list[Any]:
    schedule = Schedule(module)
    children = schedule.get_child_blocks(schedule.get_sblock("root"))
    return [schedule.get(child) for child in children]


def _terms(blocks: list[Any], parameter: Any) -> int:
    """Terms of the sums that a weight takes part in (its fan-in); 1 where it is in none."""
    terms = [
        prod(int(axis.dom.extent) for axis in block.iter_vars if axis.iter_type == IterVar.CommReduce)
        for block in blocks
        if any(parameter.same_as(read.source) for read in block.reads)
    ]
    return max(terms, default=1)


def _index_bound(blocks: list[Any], parameter: Any) -> int:
    """Integers below this are in range wherever the parameter is used as an index: the smallest axis that
    is read or written at a place that the parameter's values decide."""
    bounds = [
        int(size)
        for block in blocks
        if any(parameter.same_as(read.source) for read in block.reads)
        for region in (*block.reads, *block.writes)
        if not parameter.same_as(region.source)
        for dimension, size in zip(region.region, region.source.shape, strict=True)
        if _decides(parameter, dimension)
    ]
    return min(bounds, default=_PLAIN_INTEGERS)


def _float_index_bound(blocks: list[Any], parameter: Any) -> int:
    """As `_index_bound`, for floats that are made indices (the regions of RoiAlign, whose first number is an image's);
    0 where there are none. An index that is clipped counts as well: its values are smaller than they need be."""
    bounds: list[int] = []

    def look(load: Any) -> None:
        for index, size in zip(load.indices, load.source.shape, strict=True):
            bounds.extend([int(size)] * any(parameter.same_as(each.source) for each in _loads(index)))

    for block in blocks:
        tvm_ffi.structural_walk(block.body, (tvm.ir.TensorLoad, look))
    return min(bounds, default=0)


def _divides_integers(kernel: Any) -> bool:
    """Whether whole numbers are divided by what only the run knows: dividing by 0 ends the process."""
    found: list[Any] = []
    for operation in (tvm.tirx.Div, tvm.tirx.Mod, tvm.tirx.FloorDiv, tvm.tirx.FloorMod):
        tvm_ffi.structural_walk(kernel.body, (operation, lambda each: found.append(each.b)))
    return any(str(divisor.ty.dtype).startswith(("int", "uint")) and _loads(divisor) for divisor in found)


def _loads(expression: Any) -> list[Any]:
    found: list[Any] = []
    tvm_ffi.structural_walk(expression, (tvm.ir.TensorLoad, found.append))
    return found


def _decides(parameter: Any, dimension: Any) -> bool:
    """Whether the place depends on the parameter; a range of several may (TVM writes "anywhere" that way)."""
    used = undefined_vars(dimension.min, [])
    return int(dimension.extent) > 1 or any(parameter.same_as(variable) for variable in used)
