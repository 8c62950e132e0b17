"""Resize and Upsample. Along each axis an output is a weighted sum of some inputs, at places that are known beforehand
(ONNX, Resize-19): tables made here, so that every mode is the same few operations.

TVM's own resize takes the layouts that convolutions want, so it keeps what it is right for: whole scales, and linear
ones whose sizes are the scales' products.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from tunefarm_coordinator.models.constants import constant, is_constant, static_shape
from tunefarm_coordinator.models.operators.family import Conversion, Key, Operator, Unsupported

_ROUNDINGS: dict[str, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": lambda places: np.ceil(places - np.float32(0.5)),
    "round_prefer_ceil": lambda places: np.floor(places + np.float32(0.5)),
    "simple": np.trunc,
}
# More weights than this to a value are cheaper as a product with the whole table.
_FEW_TAPS = 4


@dataclass(frozen=True)
class _Axis:
    """What becomes of one axis. `scale`: float32, as ONNX Runtime has it. `start`, `end`: the region of interest."""

    axis: int
    size: int
    resized: int
    scale: np.float32
    start: float = 0.0
    end: float = 1.0


@dataclass(frozen=True)
class _Taps:
    """Row i: which inputs output i is the sum of, with their weights; `outside`: outputs that lie beyond the input."""

    places: NDArray[np.int64]
    weights: NDArray[np.float64]
    outside: NDArray[np.bool_]


def _resize(operator: Operator) -> Any:
    return _resampled(operator, _axes_of(operator))


def _upsample(operator: Operator) -> Any:
    """Deprecated: scales of every axis, places by division."""
    scales = _known(operator, 1)
    if scales is None:
        scales = np.array(operator.attributes["scales"])
    shape = _shape_of(operator)
    axes = [_by_scale(axis, size, scales[axis]) for axis, size in enumerate(shape)]
    attributes = {**operator.attributes, "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return _resampled(Operator(operator.node, operator.inputs, attributes, operator.opset, operator.builder), axes)


def _resampled(operator: Operator, axes: list[_Axis]) -> Any:
    changed = [it for it in axes if _moves(it, operator)]
    mode = _mode(operator)
    tables = [_taps(it, operator) for it in changed]
    stock = _stock(operator, changed, tables)
    if stock is not None:
        return stock
    value = operator.inputs[0]
    dtype = str(value.ty.dtype)
    if mode != "nearest" and not dtype.startswith("float"):
        value = operator.emit(relax.op.astype(value, "float32"))
    for it, taps in zip(changed, tables, strict=True):
        value = _along(operator, value, it.axis, taps)
    value = _extrapolated(operator, value, changed, tables)
    return value if str(value.ty.dtype) == dtype else relax.op.astype(value, dtype)


def _moves(axis: _Axis, operator: Operator) -> bool:
    crops = operator.attributes.get("coordinate_transformation_mode") == "tf_crop_and_resize"
    return axis.resized != axis.size or axis.scale != 1 or (crops and (axis.start, axis.end) != (0.0, 1.0))


# Sizes


def _axes_of(operator: Operator) -> list[_Axis]:
    shape = _shape_of(operator)
    axes = [int(axis) % len(shape) for axis in operator.attributes.get("axes", range(len(shape)))]
    scales = _known(operator, 2 if operator.opset > 10 else 1)
    sizes = _known(operator, 3) if operator.opset > 10 else None
    if scales is not None and scales.size:
        found = [_by_scale(axis, shape[axis], scale) for axis, scale in zip(axes, scales, strict=True)]
    elif sizes is not None and sizes.size:
        found = _by_sizes(axes, [shape[axis] for axis in axes], sizes, operator)
    else:
        raise Unsupported("it has neither scales nor sizes")
    return _with_region(operator, found)


def _by_scale(axis: int, size: int, scale: Any) -> _Axis:
    scale = np.float32(scale)
    return _Axis(axis, size, int(np.float32(size) * scale), scale)


def _by_sizes(axes: list[int], before: list[int], sizes: NDArray[Any], operator: Operator) -> list[_Axis]:
    policy = operator.attributes.get("keep_aspect_ratio_policy", "stretch")
    ratios = [int(after) / size for size, after in zip(before, sizes, strict=True)]
    if policy == "stretch":
        return [
            _Axis(axis, size, int(after), np.float32(ratio))
            for axis, size, after, ratio in zip(axes, before, sizes, ratios, strict=True)
        ]
    ratio = min(ratios) if policy == "not_larger" else max(ratios)
    return [
        _Axis(axis, size, int(np.floor(ratio * size + 0.5)), np.float32(ratio))
        for axis, size in zip(axes, before, strict=True)
    ]


def _with_region(operator: Operator, axes: list[_Axis]) -> list[_Axis]:
    if operator.attributes.get("coordinate_transformation_mode") != "tf_crop_and_resize":
        return axes
    region = _known(operator, 1)
    if region is None or region.size != 2 * len(axes):
        raise Unsupported("its region of interest is missing")
    starts, ends = region[: len(axes)], region[len(axes) :]
    return [
        _Axis(it.axis, it.size, it.resized, it.scale, float(start), float(end))
        for it, start, end in zip(axes, starts, ends, strict=True)
    ]


# Tables


def _taps(axis: _Axis, operator: Operator) -> _Taps:
    places = _coordinates(axis, operator.attributes.get("coordinate_transformation_mode", "half_pixel"), operator)
    mode, last = _mode(operator), axis.size - 1
    outside = (places < 0) | (places > last)
    if mode == "nearest":
        chosen = _nearest(places, operator.attributes.get("nearest_mode", "round_prefer_floor"))
        return _Taps(np.clip(chosen, 0, last)[:, None], np.ones((len(places), 1)), outside)
    base = np.ceil(places).astype(np.int64) - 1
    ratio = places.astype(np.float64) - base
    narrowing = min(float(axis.scale), 1.0) if operator.attributes.get("antialias", 0) else 1.0
    reach = 2 if mode == "cubic" else 1
    first = int(np.floor(-reach / narrowing)) + 1
    steps = np.arange(first, 2 - first)
    distances = np.abs((steps[None, :] - ratio[:, None]) * narrowing)
    if mode == "cubic":
        weights = _cubic(distances, float(operator.attributes.get("cubic_coeff_a", -0.75)))
    else:
        weights = np.clip(1 - distances, 0, 1)
    neighbours = base[:, None] + steps[None, :]
    if operator.attributes.get("exclude_outside", 0):
        weights = np.where((neighbours < 0) | (neighbours > last), 0.0, weights)
    if narrowing != 1.0 or operator.attributes.get("exclude_outside", 0):
        weights = weights / weights.sum(axis=1, keepdims=True)
    return _Taps(np.clip(neighbours, 0, last), weights, outside)


def _coordinates(axis: _Axis, mode: str, operator: Operator) -> NDArray[np.float32]:
    """Where each output lies on the input's axis."""
    steps, scale, one = np.arange(axis.resized, dtype=np.float32), axis.scale, np.float32(1)
    half, resized = np.float32(0.5), np.float32(axis.resized)
    if mode in ("half_pixel", "pytorch_half_pixel"):
        single = mode == "pytorch_half_pixel" and axis.resized == 1
        return np.zeros_like(steps) if single else (steps + half) / scale - half
    if mode == "half_pixel_symmetric":
        offset = np.float32(axis.size) / 2 * (one - resized / (scale * np.float32(axis.size)))
        return np.asarray(offset + (steps + half) / scale - half)
    if mode == "asymmetric":
        return steps / scale
    if mode == "tf_half_pixel_for_nn":
        return (steps + half) / scale
    exact = scale * np.float32(axis.size)
    if mode == "align_corners":
        if exact != resized and axis.resized > 1:
            raise Unsupported("corners aligned at a scale that gives no whole size: ONNX Runtime and ONNX differ")
        return steps * np.float32(axis.size - 1) / (resized - one) if axis.resized > 1 else np.zeros_like(steps)
    if mode == "tf_crop_and_resize":
        start, end, last = np.float32(axis.start), np.float32(axis.end), np.float32(axis.size - 1)
        if axis.resized > 1:
            return np.asarray(start * last + steps * (end - start) * last / (resized - one))
        return np.full_like(steps, half * (start + end) * last)
    raise Unsupported(f"coordinate_transformation_mode {mode!r} of opset {operator.opset}")


def _nearest(places: NDArray[np.float32], rounding: str) -> NDArray[np.int64]:
    if rounding not in _ROUNDINGS:
        raise Unsupported(f"nearest_mode {rounding!r}")
    return np.asarray(_ROUNDINGS[rounding](places), dtype=np.int64)


def _cubic(distance: NDArray[np.float64], a: float) -> NDArray[np.float64]:
    """Keys, Cubic convolution interpolation for digital image processing (1981), eq. 4."""
    near = (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    far = a * distance**3 - 5 * a * distance**2 + 8 * a * distance - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0.0))


# Relax


def _along(operator: Operator, value: Any, axis: int, taps: _Taps) -> Any:
    used = [tap for tap in range(taps.weights.shape[1]) if taps.weights[:, tap].any()]
    if len(used) > _FEW_TAPS:
        return _product(operator, value, axis, taps)
    rank = value.ty.ndim
    total = None
    for tap in used:
        part = operator.emit(relax.op.take(value, constant(taps.places[:, tap]), axis=axis))
        if not np.all(taps.weights[:, tap] == 1):
            weights = taps.weights[:, tap].astype(str(value.ty.dtype)).reshape(-1, *[1] * (rank - 1 - axis))
            part = operator.emit(relax.op.multiply(part, constant(weights)))
        total = part if total is None else operator.emit(relax.op.add(total, part))
    return total


def _product(operator: Operator, value: Any, axis: int, taps: _Taps) -> Any:
    rank = value.ty.ndim
    table = np.zeros(((static_shape(value) or ())[axis], len(taps.places)))
    for row, (places, weights) in enumerate(zip(taps.places, taps.weights, strict=True)):
        np.add.at(table[:, row], places, weights)
    order = [*(it for it in range(rank) if it != axis), axis]
    last = operator.emit(relax.op.permute_dims(value, order))
    made = operator.emit(relax.op.matmul(last, constant(table.astype(str(value.ty.dtype)))))
    return operator.emit(relax.op.permute_dims(made, [order.index(it) for it in range(rank)]))


def _extrapolated(operator: Operator, value: Any, axes: list[_Axis], tables: list[_Taps]) -> Any:
    """What lies outside of the region that was cropped has a value of its own."""
    if operator.attributes.get("coordinate_transformation_mode") != "tf_crop_and_resize":
        return value
    shape = static_shape(value) or ()
    beyond = np.zeros([1] * len(shape), bool)
    for it, taps in zip(axes, tables, strict=True):
        beyond = beyond | taps.outside.reshape([-1 if axis == it.axis else 1 for axis in range(len(shape))])
    if not beyond.any():
        return value
    filled = constant(np.array(operator.attributes.get("extrapolation_value", 0.0), str(value.ty.dtype)))
    return operator.emit(relax.op.where(constant(beyond), filled, value))


def _stock(operator: Operator, axes: list[_Axis], tables: list[_Taps]) -> Any:
    """TVM's resize of images where it does the same, None where it does not."""
    value = operator.inputs[0]
    shape = static_shape(value) or ()
    plain = not any(operator.attributes.get(name) for name in ("antialias", "exclude_outside"))
    if len(shape) != 4 or not axes or any(it.axis < 2 for it in axes) or not plain:
        return None
    if not str(value.ty.dtype).startswith("float"):
        return None
    sizes = list(shape[2:])
    for it in axes:
        sizes[it.axis - 2] = it.resized
    mode = _mode(operator)
    if mode == "nearest" and all(map(_repeats, axes, tables)):
        return _image(value, sizes, "nearest_neighbor", "asymmetric", "floor")
    coordinates = operator.attributes.get("coordinate_transformation_mode", "half_pixel")
    exact = all(np.float32(it.size) * it.scale == it.resized for it in axes)
    known = coordinates in ("half_pixel", "asymmetric") or (coordinates == "align_corners" and min(sizes) > 1)
    return _image(value, sizes, "linear", coordinates, "") if mode == "linear" and exact and known else None


def _image(value: Any, sizes: list[int], method: str, coordinates: str, rounding: str) -> Any:
    return relax.op.image.resize2d(
        value,
        size=relax.ShapeExpr(sizes),
        roi=[0.0] * 4,
        layout="NCHW",
        method=method,
        coordinate_transformation_mode=coordinates,
        rounding_method=rounding,
    )


def _repeats(axis: _Axis, taps: _Taps) -> bool:
    """Whether each input is repeated as often as the next."""
    times, rest = divmod(axis.resized, axis.size)
    return not rest and bool(np.array_equal(taps.places[:, 0], np.arange(axis.resized) // times))


def _mode(operator: Operator) -> str:
    mode = str(operator.attributes.get("mode", "nearest"))
    if mode not in ("nearest", "linear", "bilinear", "cubic"):
        raise Unsupported(f"mode {mode!r}")
    return "linear" if mode == "bilinear" else mode


def _shape_of(operator: Operator) -> tuple[int, ...]:
    shape = static_shape(operator.inputs[0])
    if shape is None:
        raise Unsupported("the sizes of its input are not known")
    return shape


def _known(operator: Operator, index: int) -> NDArray[Any] | None:
    value = operator.input(index)
    if value is None:
        return None
    if not is_constant(value):
        raise Unsupported(f"input {operator.node.input[index]!r} must be a constant (--freeze makes it one)")
    array: NDArray[Any] = value.value.numpy()
    return array


CONVERSIONS: dict[Key, Conversion] = {("", "Resize"): _resize, ("", "Upsample"): _upsample}
