"""Convolutions in channels-last form: `layout` decides where, here is how."""

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm import relax

from tunefarm_coordinator.models.constants import constant, is_constant, operator_name, static_shape

Emit = Callable[[Any], Any]

# Spatial axes, layouts of data and weights in the importer's form and in the channels-last form.
_FORMS = {
    "relax.nn.conv1d": (relax.op.nn.conv1d, "NCW", "OIW", "NWC", "WIO"),
    "relax.nn.conv2d": (relax.op.nn.conv2d, "NCHW", "OIHW", "NHWC", "HWIO"),
}
_TRANSPOSED = {
    "relax.nn.conv1d_transpose": ("relax.nn.conv1d", "NCW", "IOW"),
    "relax.nn.conv2d_transpose": ("relax.nn.conv2d", "NCHW", "IOHW"),
}


def is_convolution(call: Any) -> bool:
    """Whether a call is a convolution of one or two spatial axes, transposed or not."""
    return operator_name(call) in _FORMS or operator_name(call) in _TRANSPOSED


def macs(call: Any) -> float:
    """Multiply-adds of a convolution; of a transposed one without those by the zeros between its pixels."""
    data, weight = static_shape(call.args[0]), static_shape(call.args[1])
    if operator_name(call) in _TRANSPOSED:
        return float(prod(data or ()) * prod((weight or (0, 0))[1:]))
    return float(prod(static_shape(call) or ()) * prod((weight or (0, 0))[1:]))


def convertible(call: Any, grouped: bool) -> bool:
    """A convolution of known sizes in the importer's layout, or a transposed one that becomes a dense one. Of several
    groups of several channels: only where `grouped`."""
    name = operator_name(call)
    if name in _TRANSPOSED:
        return _phases(call) is not None
    if name not in _FORMS:
        return False
    data, weight = static_shape(call.args[0]), static_shape(call.args[1])
    attrs = call.attrs
    _, data_layout, kernel_layout, _, _ = _FORMS[name]
    if data is None or weight is None or attrs.data_layout != data_layout or attrs.kernel_layout != kernel_layout:
        return False
    return bool(grouped or attrs.groups == 1 or weight[1] == 1)


def converted(call: Any, data: Any, weight: Any, emit: Emit) -> Any:
    """The channels-last form of a convertible convolution. `data` is channels-last, `weight` as the importer has it."""
    if operator_name(call) in _TRANSPOSED:
        return _transposed(call, data, weight, emit)
    rank = len(static_shape(weight) or ())
    order = (*range(2, rank), 1, 0)
    if is_constant(weight):
        weight = constant(weight.value.numpy().transpose(order))
    else:
        weight = emit(relax.op.permute_dims(weight, order))
    attrs = call.attrs
    make, _, _, data_layout, kernel_layout = _FORMS[operator_name(call)]
    window = (attrs.strides, attrs.padding, attrs.dilation, attrs.groups)
    return make(data, weight, *window, data_layout, kernel_layout, data_layout, attrs.out_dtype)


@dataclass(frozen=True)
class _Phases:
    """A transposed convolution along one axis as a plain one with an output for each place between two pixels.

    Output place `stride * q + r` of the whole, uncut result is the sum of the pixels q - t times the weights
    r + stride * t. So for each r it is a convolution with a window of `taps` pixels, all of them over the same
    windows (the sub-pixel form: Shi et al., "Is the deconvolution layer the same as a convolutional layer?", 2016).

    Attributes:
        padding: zeros (before, after) the pixels.
        cut: places before the first output.
        size: outputs.
    """

    stride: int
    taps: int
    padding: tuple[int, int]
    cut: int
    size: int


def _phases(call: Any) -> list[_Phases] | None:
    """Along each axis; None where the convolution has no such form, or sizes that are not known."""
    attrs, data, weight = call.attrs, static_shape(call.args[0]), static_shape(call.args[1])
    _, data_layout, kernel_layout = _TRANSPOSED[operator_name(call)]
    if data is None or weight is None or not is_constant(call.args[1]) or attrs.groups != 1:
        return None
    if attrs.data_layout != data_layout or attrs.kernel_layout != kernel_layout:
        return None
    if any(int(dilation) != 1 for dilation in attrs.dilation):
        return None
    axes = len(data) - 2
    before = [int(pad) for pad in attrs.padding][:axes]
    if any(pad >= window for pad, window in zip(before, weight[2:], strict=True)):
        return None
    given = zip(data[2:], weight[2:], attrs.strides, before, (static_shape(call) or ())[2:], strict=True)
    return [_phases_of(*(int(value) for value in axis)) for axis in given]


def _phases_of(pixels: int, window: int, stride: int, before: int, size: int) -> _Phases:
    taps = -(-window // stride)
    first, last = before // stride, (before + size - 1) // stride
    padding = taps - 1 - first, max(0, last - (pixels - 1))
    return _Phases(stride, taps, padding, before - first * stride, size)


def _transposed(call: Any, data: Any, weight: Any, emit: Emit) -> Any:
    phases = _phases(call) or []
    kernel = constant(_phase_weights(weight.value.numpy(), phases))
    padding = [phase.padding[0] for phase in phases] + [phase.padding[1] for phase in phases]
    make, _, _, data_layout, kernel_layout = _FORMS[_TRANSPOSED[operator_name(call)][0]]
    pixels = make(data, kernel, padding=padding, data_layout=data_layout, kernel_layout=kernel_layout)
    if all(phase.stride == 1 for phase in phases):
        return _cut_out(pixels, phases, emit)
    pixels = emit(pixels)
    batch, *counts, _ = static_shape(pixels) or ()
    strides, outputs = [phase.stride for phase in phases], (static_shape(call) or ())[1]
    if len(phases) > 1:
        pixels = emit(relax.op.reshape(pixels, (batch, *counts, *strides, outputs)))
        pixels = emit(relax.op.permute_dims(pixels, (0, 1, 3, 2, 4, 5)))
    sizes = [count * stride for count, stride in zip(counts, strides, strict=True)]
    return _cut_out(relax.op.reshape(pixels, (batch, *sizes, outputs)), phases, emit)


def _cut_out(whole: Any, phases: list[_Phases], emit: Emit) -> Any:
    whole = emit(whole)
    sizes = (static_shape(whole) or ())[1:-1]
    if all(phase.cut == 0 and phase.size == size for phase, size in zip(phases, sizes, strict=True)):
        return whole
    axes = list(range(1, 1 + len(phases)))
    ends = [phase.cut + phase.size for phase in phases]
    return relax.op.strided_slice(whole, axes, [phase.cut for phase in phases], ends)


def _phase_weights(weight: NDArray[Any], phases: list[_Phases]) -> NDArray[Any]:
    """(inputs, outputs, *window) as (*taps, inputs, strides * outputs), the window from behind."""
    inputs, outputs, *window = weight.shape
    full = [(0, phase.taps * phase.stride - size) for phase, size in zip(phases, window, strict=True)]
    padded = np.pad(weight, [(0, 0), (0, 0), *full])
    split = padded.reshape(inputs, outputs, *(size for phase in phases for size in (phase.taps, phase.stride)))
    axes = range(len(phases))
    taps, strides = [2 + 2 * axis for axis in axes], [3 + 2 * axis for axis in axes]
    ordered = split.transpose(*taps, 0, *strides, 1)
    return np.flip(ordered, tuple(axes)).reshape(*(phase.taps for phase in phases), inputs, -1)
