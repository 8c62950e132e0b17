"""Products and dense convolutions in one form: C[s, i, j] += A[s, r, i, k] * B[s, r, k, j].

s are batches; i rows (pixels of a convolution); j columns (filters); k the reduction's axis that lies side by side in
the first operand (input channels); r what else is reduced over (the convolution's window). A tile of k is then read
with wide loads, and whether a load falls into the padding does not change within one.
"""

from dataclasses import dataclass
from math import prod
from typing import Any

from tvm import tirx
from tvm.tirx import IterVar
from tvm.tirx.analysis import undefined_vars

# Attribute of a kernel whose products of float32 may round their factors to TF32. Part of what it computes, and so of
# its workload.
TF32 = "tunefarm.tf32"
# Fewer channels than this side by side are not worth an axis of their own.
_SHORTEST_LOAD = 8


class NoContraction(ValueError):
    """The block is no product of two operands in this form, or its neighbours don't let it be tiled."""


@dataclass(frozen=True)
class Contraction:
    """Sizes of a kernel in the form above, in elements.

    Attributes:
        window: size of r.
        dtype: of the operands; `accumulator`: of the sum.
        swapped: whether the block's second operand is A.
        tf32: whether the kernel is marked, so that factors of float32 may be rounded to TF32.
    """

    batches: int
    rows: int
    columns: int
    window: int
    depth: int
    dtype: str
    accumulator: str
    swapped: bool
    tf32: bool = False

    @property
    def multiply_adds(self) -> int:
        return self.batches * self.rows * self.columns * self.window * self.depth


@dataclass(frozen=True)
class _Axis:
    """A loop of the block: its letter in the form above ("" for size one), its size, and who is indexed by it."""

    letter: str
    extent: Any
    operands: tuple[bool, bool, bool]


def normalised(schedule: Any, block: Any) -> Contraction:
    """Brings `block` into the form, with loops (s, i, j, r, k), and tells its sizes. Raises NoContraction, and what
    TVM raises where it can't be rewritten."""
    before = schedule.get(block)
    if len(before.reads) != 2 or len(before.writes) != 1:
        raise NoContraction("not a product of two operands")
    swapped = _is_indexed(before.writes[0].region[-1].min, _only(before, 0))
    dtypes = {str(read.source.dtype) for read in before.reads}
    if len(dtypes) != 1:
        raise NoContraction("operands of two data types")
    side_by_side = before.reads[int(swapped)].region[-1].min
    dense = [_is_indexed(side_by_side, [axis.var]) for axis in before.iter_vars]
    copies = [schedule.reindex(block, ("read", index)) for index in (0, 1)]
    result = schedule.reindex(block, ("write", 0))
    axes = _axes(schedule.get(block), dense, swapped)
    first, second = (1, 0) if swapped else (0, 1)
    schedule.transform_layout(copies[first], ("write", 0), _fused(axes, first, "srik"))
    schedule.transform_layout(copies[second], ("write", 0), _fused(axes, second, "srkj"))
    schedule.transform_layout(result, ("read", 0), _fused(axes, 2, "sij"))
    schedule.transform_block_layout(block, _fused(axes, None, "sijrk"))
    sizes = {letter: prod(int(axis.extent) for axis in axes if axis.letter == letter) for letter in "sijrk"}
    return Contraction(
        batches=sizes["s"],
        rows=sizes["i"],
        columns=sizes["j"],
        window=sizes["r"],
        depth=sizes["k"],
        dtype=dtypes.pop(),
        accumulator=str(before.writes[0].source.dtype),
        swapped=swapped,
        tf32=is_marked(schedule.mod),
    )


def is_marked(module: Any) -> bool:
    """Whether the kernel (`main`) of a module may use TF32."""
    return TF32 in (module["main"].attrs or {})


def _only(block: Any, operand: int) -> list[Any]:
    """Spatial axes that index one operand and not the other."""
    used = [_variables(read) for read in block.reads]
    return [
        axis.var
        for axis in block.iter_vars
        if axis.iter_type == IterVar.DataPar
        and _among(axis.var, used[operand])
        and not _among(axis.var, used[1 - operand])
    ]


def _axes(block: Any, dense: list[bool], swapped: bool) -> list[_Axis]:
    used = [_variables(region) for region in (*block.reads, *block.writes)]
    axes = []
    for axis, along in zip(block.iter_vars, dense, strict=True):
        first, second, result = (_among(axis.var, variables) for variables in used)
        rows, columns = (second, first) if swapped else (first, second)
        letter = _letter(rows, columns, result, along) if int(axis.dom.extent) > 1 else ""
        axes.append(_Axis(letter, axis.dom.extent, (first, second, result)))
    depth = prod(int(axis.extent) for axis in axes if axis.letter == "k")
    if depth % _SHORTEST_LOAD:
        axes = [_Axis("k" if axis.letter == "r" else axis.letter, axis.extent, axis.operands) for axis in axes]
    return axes


def _letter(rows: bool, columns: bool, result: bool, along: bool) -> str:
    match rows, columns, result:
        case True, True, True:
            return "s"
        case True, False, True:
            return "i"
        case False, True, True:
            return "j"
        case True, True, False:
            return "k" if along else "r"
    raise NoContraction("an axis that no product of matrices has")


def _fused(axes: list[_Axis], operand: int | None, letters: str) -> Any:
    """Index map from the axes that index an operand (all of them: None) to one axis for each letter."""
    inputs, fused = [], dict[str, Any]()
    for position, axis in enumerate(axes):
        if operand is not None and not axis.operands[operand]:
            continue
        index = tirx.Var(f"i{position}", axis.extent.ty)
        inputs.append(index)
        if axis.letter:
            fused[axis.letter] = fused[axis.letter] * axis.extent + index if axis.letter in fused else index
    nothing = tirx.IntImm(axes[0].extent.ty, 0)
    return tirx.IndexMap(inputs, [fused.get(letter, nothing) for letter in letters], None)


def _variables(region: Any) -> list[Any]:
    return [
        variable
        for dimension in region.region
        for expression in (dimension.min, dimension.extent)
        for variable in undefined_vars(expression, [])
    ]


def _is_indexed(expression: Any, variables: list[Any]) -> bool:
    found = undefined_vars(expression, [])
    return any(_among(variable, found) for variable in variables)


def _among(variable: Any, variables: list[Any]) -> bool:
    return any(variable.same_as(each) for each in variables)
