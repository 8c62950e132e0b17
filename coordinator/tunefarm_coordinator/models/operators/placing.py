"""Operators that move, choose or place elements: sizes and axes are known, elements may not be."""

from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import helper
from tvm import relax, topi

from tunefarm_coordinator.models.constants import constant, is_constant
from tunefarm_coordinator.models.operators.arguments import axis_of, dtype_of, known, shape_of
from tunefarm_coordinator.models.operators.drafting import Draft
from tunefarm_coordinator.models.operators.family import Conversion, Key, Operator, Rewrite, Unsupported, attributes_of
from tunefarm_coordinator.models.operators.graph import Graph

# RoiAlign counts from the centres of pixels since then, if nothing is said.
_BY_CENTRES = 16


def _one_hot(operator: Operator) -> Any:
    """In the type of the values, which need not be known."""
    depth = known(operator, 1)
    if depth is None:
        raise Unsupported("its depth is missing")
    count, values = int(depth.reshape(-1)[0]), operator.inputs[2]
    rank = len(shape_of(operator))
    axis = int(operator.attributes.get("axis", -1)) % (rank + 1)
    dtype = dtype_of(operator)
    index = (
        operator.inputs[0] if dtype.startswith("int") else operator.emit(relax.op.astype(operator.inputs[0], "int64"))
    )
    dtype = str(index.ty.dtype)
    negative = operator.emit(relax.op.less(index, relax.const(0, dtype)))
    turned = operator.emit(relax.op.add(index, relax.const(count, dtype)))
    index = operator.emit(relax.op.expand_dims(operator.emit(relax.op.where(negative, turned, index)), axis))
    steps = constant(np.arange(count, dtype=dtype).reshape([-1 if at == axis else 1 for at in range(rank + 1)]))
    hit = operator.emit(relax.op.equal(index, steps))
    off, on = (operator.emit(relax.op.take(values, constant(np.array(at, np.int64)), axis=0)) for at in (0, 1))
    return relax.op.where(hit, on, off)


def _running(combine: Any, begins: float) -> Conversion:
    """CumSum, CumProd: over what came before, with it or without, from either end."""

    def convert(operator: Operator) -> Any:
        given = known(operator, 1)
        rank = len(shape_of(operator))
        axis = int(given.reshape(-1)[0] if given is not None else 0) % rank
        value, size = operator.inputs[0], shape_of(operator)[axis]
        if operator.attributes.get("reverse", 0):
            value = operator.emit(relax.op.flip(value, axis))
        total = operator.emit(combine(value, axis, dtype_of(operator)))
        if operator.attributes.get("exclusive", 0):
            kept = operator.emit(relax.op.strided_slice(total, [axis], [0], [size - 1]))
            before, after = [0] * rank, [0] * rank
            before[axis] = 1
            total = operator.builder.emit_te(topi.nn.pad, kept, before, after, begins)
        return relax.op.flip(total, axis) if operator.attributes.get("reverse", 0) else total

    return convert


def _top(operator: Operator) -> Any:
    """The k largest or smallest; in order, which `sorted` being 0 does not forbid."""
    given = known(operator, 1) if len(operator.inputs) > 1 else None
    count = int(operator.attributes["k"]) if given is None else int(given.reshape(-1)[0])
    value, dtype = operator.inputs[0], dtype_of(operator)
    # TVM sorts no such types; float64 holds whole numbers up to 2^53, and others are refused.
    wide = {"uint64": "int64", "uint32": "int64", "uint16": "int32", "int16": "int32", "bool": "int8"}.get(dtype)
    if wide:
        value = operator.emit(relax.op.astype(value, wide))
    largest = bool(operator.attributes.get("largest", 1))
    both = operator.emit(
        relax.op.topk(value, count, axis_of(operator, -1), ret_type="both", largest=largest, dtype="int64")
    )
    best, places = operator.emit(relax.TupleGetItem(both, 0)), operator.emit(relax.TupleGetItem(both, 1))
    return [operator.emit(relax.op.astype(best, dtype)) if wide else best, places]


def _reverse_sequence(operator: Operator) -> Any:
    """Each sequence of the batch turned round up to its own length."""
    shape = shape_of(operator)
    time, batch = int(operator.attributes.get("time_axis", 0)), int(operator.attributes.get("batch_axis", 1))
    rank = len(shape)

    def along(axis: int) -> list[int]:
        return [-1 if at == axis else 1 for at in range(rank)]

    steps = constant(np.arange(shape[time]).reshape(along(time)))
    lengths = operator.emit(relax.op.astype(operator.inputs[1], "int64"))
    lengths = operator.emit(relax.op.reshape(lengths, [shape[batch] if at == batch else 1 for at in range(rank)]))
    last = operator.emit(relax.op.subtract(lengths, relax.const(1, "int64")))
    mirrored = operator.emit(relax.op.subtract(last, steps))
    inside = operator.emit(relax.op.less(steps, lengths))
    places = operator.emit(relax.op.where(inside, mirrored, steps))
    places = operator.emit(relax.op.broadcast_to(places, list(shape)))
    return relax.op.gather_elements(operator.inputs[0], places, axis=time)


def _eye(operator: Operator) -> Any:
    rows, columns = shape_of(operator)
    from onnx import helper

    wanted = operator.attributes.get("dtype")
    dtype = dtype_of(operator) if wanted is None else str(helper.tensor_dtype_to_np_dtype(wanted))
    return constant(np.eye(rows, columns, k=int(operator.attributes.get("k", 0))).astype(dtype))


def _compress(operator: Operator) -> Any:
    """How many are kept has to be known."""
    if not is_constant(operator.inputs[1]):
        raise Unsupported(f"how many elements are kept depends on input {operator.node.input[1]!r}")
    kept = np.nonzero(operator.inputs[1].value.numpy())[0]
    if operator.attributes.get("axis") is not None:
        return relax.op.take(operator.inputs[0], constant(kept), axis=axis_of(operator, 0))
    flat = operator.emit(relax.op.reshape(operator.inputs[0], [prod(shape_of(operator))]))
    return relax.op.take(flat, constant(kept), axis=0)


def _space_to_depth(operator: Operator) -> Any:
    batch, channels, height, width = shape_of(operator)
    block = int(operator.attributes["blocksize"])
    rows, columns = height // block, width // block
    apart = operator.emit(relax.op.reshape(operator.inputs[0], [batch, channels, rows, block, columns, block]))
    order = [0, 1, 3, 5, 2, 4] if operator.attributes.get("mode") == "CRD" else [0, 3, 5, 1, 2, 4]
    moved = operator.emit(relax.op.permute_dims(apart, order))
    return relax.op.reshape(moved, [batch, channels * block * block, rows, columns])


def _split(operator: Operator) -> Any:
    """Sections of given sizes; TVM's own takes the places between them, which parts of no elements share."""
    axis, parts, start = axis_of(operator, 0), [], 0
    if 0 in shape_of(operator):
        raise Unsupported("an input of no elements")
    for size in _part_sizes(operator, shape_of(operator)[axis]):
        parts.append(relax.op.strided_slice(operator.inputs[0], [axis], [start], [start + size]))
        start += size
    return parts


def _part_sizes(operator: Operator, whole: int) -> list[int]:
    given = known(operator, 1)
    sizes = operator.attributes.get("split") if given is None else given.reshape(-1).tolist()
    if sizes:
        return [int(size) for size in sizes]
    count = len(operator.node.output)
    each = -(-whole // count)
    return [min(each, max(0, whole - each * index)) for index in range(count)]


def _average_of_region(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto] | None:
    """ONNX takes the largest of the weighted neighbours, TVM of the interpolated points; and TVM moves regions by half
    a pixel before it scales them, ONNX afterwards."""
    attributes = attributes_of(node)
    if attributes.get("mode", "avg") == "max":
        raise Unsupported("mode 'max'")
    scale = float(attributes.get("spatial_scale", 1.0))
    default = "half_pixel" if graph.opset >= _BY_CENTRES else "output_half_pixel"
    if scale == 1 or attributes.get("coordinate_transformation_mode", default) != "half_pixel":
        return None
    dtype = helper.tensor_dtype_to_np_dtype(graph.dtype(node.input[1]) or onnx.TensorProto.FLOAT)
    factor = graph.add_constant(np.array(scale, dtype), f"{node.output[0]}/scale")
    scaled = graph.fresh(f"{node.output[0]}/regions")
    inputs = [node.input[0], scaled, *node.input[2:]]
    return [
        helper.make_node("Mul", [node.input[1], factor], [scaled]),
        helper.make_node("RoiAlign", inputs, node.output, node.name, **{**attributes, "spatial_scale": 1.0}),
    ]


def _column_to_image(operator: Operator) -> Any:
    """Columns of windows added up at their places (Col2Im): one sum for each element of a window."""
    image, block = known(operator, 1), known(operator, 2)
    if image is None or block is None:
        raise Unsupported("its sizes are missing")
    rank = len(image)
    dilations = operator.attributes.get("dilations") or [1] * rank
    strides = operator.attributes.get("strides") or [1] * rank
    pads = operator.attributes.get("pads") or [0] * 2 * rank
    batch, width, _ = shape_of(operator)
    channels = width // prod(block.tolist())
    counts = [
        (int(image[at]) + pads[at] + pads[rank + at] - dilations[at] * (int(block[at]) - 1) - 1) // strides[at] + 1
        for at in range(rank)
    ]
    padded = [int(image[at]) + pads[at] + pads[rank + at] for at in range(rank)]
    # Where each element of each window stands in the padded image, as the columns count them.
    places = np.zeros([*block.tolist(), *counts], np.int64)
    for at in range(rank):
        inside = np.arange(block[at]).reshape([-1 if axis == at else 1 for axis in range(2 * rank)]) * dilations[at]
        begins = (
            np.arange(counts[at]).reshape([-1 if axis == rank + at else 1 for axis in range(2 * rank)]) * strides[at]
        )
        places = places + (inside + begins) * prod(padded[at + 1 :])
    flat = np.broadcast_to(places.reshape(1, 1, -1), (batch, channels, places.size))
    values = operator.emit(relax.op.reshape(operator.inputs[0], [batch, channels, places.size]))
    empty = operator.emit(relax.op.zeros(relax.ShapeExpr([batch, channels, prod(padded)]), dtype_of(operator)))
    summed = operator.emit(
        relax.op.scatter_elements(empty, constant(np.ascontiguousarray(flat)), values, axis=2, reduction="add")
    )
    whole = operator.emit(relax.op.reshape(summed, [batch, channels, *padded]))
    axes = list(range(2, 2 + rank))
    ends = [int(pads[at]) + int(image[at]) for at in range(rank)]
    return relax.op.strided_slice(whole, axes, [int(it) for it in pads[:rank]], ends)


def _determinant(operator: Operator) -> Any:
    """Elimination without a choice of pivots would divide by nothing, so small matrices only, by their minors."""
    size = shape_of(operator)[-1]
    if size > 4:
        raise Unsupported(f"a matrix of {size} x {size}; up to 4 x 4 is served")
    return _minor(operator, tuple(range(size)), tuple(range(size)))


def _minor(operator: Operator, rows: tuple[int, ...], columns: tuple[int, ...]) -> Any:
    rank = len(shape_of(operator))
    if len(rows) == 1:
        line = operator.emit(relax.op.take(operator.inputs[0], constant(np.array(rows[0])), axis=rank - 2))
        return operator.emit(relax.op.take(line, constant(np.array(columns[0])), axis=rank - 2))
    total = None
    for sign, column in zip([1, -1] * 2, columns, strict=False):
        rest = tuple(it for it in columns if it != column)
        factor = _minor(operator, rows[:1], (column,))
        part = operator.emit(relax.op.multiply(factor, _minor(operator, rows[1:], rest)))
        combine = relax.op.add if sign > 0 else relax.op.subtract
        total = part if total is None else operator.emit(combine(total, part))
    return total


def _written(operator: Operator) -> Any:
    """TensorScatter: an update at a place of its own for each of the batch, perhaps round the end."""
    shape, axis = shape_of(operator), int(operator.attributes.get("axis", -2)) % len(shape_of(operator))
    rank, count = len(shape), shape_of(operator, 1)[axis]
    steps = constant(np.arange(shape[axis]).reshape([-1 if at == axis else 1 for at in range(rank)]))
    begins = operator.input(2)
    if begins is None:
        begins = constant(np.zeros(shape[0], np.int64))
    begins = operator.emit(relax.op.reshape(begins, [-1, *[1] * (rank - 1)]))
    places = operator.emit(relax.op.subtract(steps, begins))
    if operator.attributes.get("mode", "linear") == "circular":
        places = operator.emit(relax.op.floor_mod(places, relax.const(shape[axis], "int64")))
    low = operator.emit(relax.op.greater_equal(places, relax.const(0, "int64")))
    inside = operator.emit(relax.op.logical_and(low, operator.emit(relax.op.less(places, relax.const(count, "int64")))))
    nearest = operator.emit(relax.op.clip(places, 0, count - 1))
    nearest = operator.emit(relax.op.broadcast_to(nearest, list(shape)))
    update = operator.emit(relax.op.gather_elements(operator.inputs[1], nearest, axis=axis))
    return relax.op.where(inside, update, operator.inputs[0])


def _inserted(operator: Operator) -> Any:
    """SequenceInsert: a place below 0 counts from the end, before the tensor there."""
    tensors = list(operator.inputs[0])
    given = known(operator, 2)
    place = len(tensors) if given is None else int(given.reshape(-1)[0])
    if not -len(tensors) <= place <= len(tensors):
        raise Unsupported(f"place {place} in a sequence of {len(tensors)}")
    tensors.insert(place, operator.inputs[1])
    return [relax.Tuple(tensors)]


def _pad_by_a_value(node: onnx.NodeProto, graph: Graph) -> list[onnx.NodeProto] | None:
    """A number that only the run knows takes the places around: padded by nothing, then chosen by a mask."""
    computed = len(node.input) > 2 and node.input[2] and not graph.is_constant(node.input[2])
    shape, pads = graph.shape(node.input[0]), graph.constant(node.input[1]) if len(node.input) > 1 else None
    if not computed or attributes_of(node).get("mode", "constant") != "constant" or shape is None or pads is None:
        return None
    axes = graph.constant(node.input[3]) if len(node.input) > 3 and node.input[3] else np.arange(len(shape))
    if axes is None:
        return None
    inside = np.ones(shape, bool)
    for axis, before, after in zip(axes, pads[: len(axes)], pads[len(axes) :], strict=True):
        inside = np.moveaxis(inside, axis, 0)[max(0, -before) : inside.shape[axis] - max(0, -after)]
        widths = [(max(0, before), max(0, after)), *[(0, 0)] * (inside.ndim - 1)]
        inside = np.moveaxis(np.pad(inside, widths), 0, axis)
    draft = Draft(graph, node.output[0])
    padded = draft.add("Pad", *node.input[:2], *(["", *node.input[3:]] if len(node.input) > 3 else []))
    draft.add("Where", draft.constant(inside), padded, node.input[2])
    return draft.ended()


CONVERSIONS: dict[Key, Conversion] = {
    ("", "Col2Im"): _column_to_image,
    ("", "Compress"): _compress,
    ("", "CumProd"): _running(lambda value, axis, dtype: relax.op.cumprod(value, axis, dtype=dtype), 1.0),
    ("", "CumSum"): _running(lambda value, axis, dtype: relax.op.cumsum(value, axis, dtype=dtype), 0.0),
    ("", "Det"): _determinant,
    ("", "EyeLike"): _eye,
    ("", "OneHot"): _one_hot,
    ("", "ReverseSequence"): _reverse_sequence,
    ("", "SequenceInsert"): _inserted,
    ("", "SpaceToDepth"): _space_to_depth,
    ("", "Split"): _split,
    ("", "TensorScatter"): _written,
    ("", "TopK"): _top,
}

REWRITES: dict[Key, Rewrite] = {("", "Pad"): _pad_by_a_value, ("", "RoiAlign"): _average_of_region}
