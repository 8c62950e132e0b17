"""Fourier transforms of known length: products with a table of cosines and sines (DFT-20)."""

from typing import Any

import numpy as np
from tvm import relax

from tunefarm_coordinator.models.constants import constant, static_shape
from tunefarm_coordinator.models.operators.arguments import dtype_of, known, shape_of
from tunefarm_coordinator.models.operators.family import Conversion, Key, Operator, Unsupported

# A table of more elements than this costs more than a fast transform would.
_LARGEST = 1 << 22


def _transform(operator: Operator) -> Any:
    shape = shape_of(operator)
    given = known(operator, 2) if operator.opset >= 20 else None
    axis = int(operator.attributes.get("axis", 1)) if operator.opset < 20 else -2
    axis = (int(given.reshape(-1)[0]) if given is not None else axis) % len(shape)
    length = known(operator, 1)
    size = shape[axis] if length is None else int(length.reshape(-1)[0])
    inverse, half = (bool(operator.attributes.get(name, 0)) for name in ("inverse", "onesided"))
    if inverse and half:
        raise Unsupported("an inverse transform of one side")
    return _fourier(operator, operator.inputs[0], axis, size, half, inverse)


def _short_time(operator: Operator) -> Any:
    """Transforms of windows that follow one another (STFT-17)."""
    step, given = known(operator, 1), known(operator, 3)
    shape, window = shape_of(operator), operator.input(2)
    size = int(given.reshape(-1)[0]) if given is not None else shape_of(operator, 2)[0] if window is not None else 0
    if step is None or not size:
        raise Unsupported("its frame_step, or the length of its frames, is missing")
    begins = np.arange(0, shape[1] - size + 1, int(step.reshape(-1)[0]))
    places = constant((begins[:, None] + np.arange(size)[None, :]).astype(np.int64))
    signal = operator.inputs[0]
    if len(shape) == 2:
        # Exporters leave the axis of parts out where there are real parts alone; ONNX Runtime takes both.
        signal = operator.emit(relax.op.expand_dims(signal, 2))
    frames = operator.emit(relax.op.take(signal, places, axis=1))
    if window is not None:
        frames = operator.emit(relax.op.multiply(frames, operator.emit(relax.op.reshape(window, [size, 1]))))
    return _fourier(operator, frames, 2, size, bool(operator.attributes.get("onesided", 1)), False)


def _fourier(operator: Operator, value: Any, axis: int, size: int, half: bool, inverse: bool) -> Any:
    """Along one axis; real and imaginary parts along the last one."""
    shape = static_shape(value) or ()
    cosines, sines = _tables(min(size, shape[axis]), size, half, inverse, dtype_of(operator))
    if size < shape[axis]:
        value = operator.emit(relax.op.strided_slice(value, [axis], [0], [size]))
    order = [*(it for it in range(len(shape)) if it != axis), axis]
    last = operator.emit(relax.op.permute_dims(value, order))
    parts = [_part(operator, last, index) for index in range(shape[-1])]
    real = operator.emit(relax.op.matmul(parts[0], cosines))
    imaginary = operator.emit(relax.op.matmul(parts[0], sines))
    if len(parts) == 2:
        crossed = operator.emit(relax.op.matmul(parts[1], sines))
        straight = operator.emit(relax.op.matmul(parts[1], cosines))
        real = operator.emit(relax.op.subtract(real, crossed))
        imaginary = operator.emit(relax.op.add(imaginary, straight))
    both = operator.emit(relax.op.concat([real, imaginary], axis=len(shape) - 2))
    return relax.op.permute_dims(both, [order.index(it) for it in range(len(shape))])


def _part(operator: Operator, last: Any, index: int) -> Any:
    """Real or imaginary numbers; they stand along the axis before the last."""
    at = len(static_shape(last) or ()) - 2
    return operator.emit(relax.op.strided_slice(last, [at], [index], [index + 1]))


def _tables(taken: int, size: int, half: bool, inverse: bool, dtype: str) -> tuple[Any, Any]:
    frequencies = size // 2 + 1 if half else size
    if taken * frequencies > _LARGEST:
        raise Unsupported(f"a transform of {size} elements")
    angles = 2 * np.pi * (np.outer(np.arange(taken), np.arange(frequencies)) % size) / size
    scale, sign = (1 / size, 1) if inverse else (1, -1)
    return constant((np.cos(angles) * scale).astype(dtype)), constant((sign * np.sin(angles) * scale).astype(dtype))


CONVERSIONS: dict[Key, Conversion] = {("", "DFT"): _transform, ("", "STFT"): _short_time}
