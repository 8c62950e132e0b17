"""Quantisation by the range of a tensor's values (DynamicQuantizeLinear), as one kernel: loops make it every step."""

from typing import Any

from tvm import te, tirx


def quantised_dynamically(data: Any) -> list[Any]:
    """A matrix of float32 as (integers in uint8, scale (1), zero point (1) in int32)."""
    low, high = _extreme(data, te.min), _extreme(data, te.max)
    nothing, one = tirx.const(0, "float32"), tirx.const(1, "float32")
    steps = tirx.const(255, "float32")

    def width(i: Any) -> Any:
        return tirx.max(high[i], nothing) - tirx.min(low[i], nothing)

    scale = te.compute((1,), lambda i: tirx.Select(width(i) == nothing, one, width(i) / steps), "scale")
    zero = te.compute((1,), lambda i: tirx.round(-tirx.min(low[i], nothing) / scale[i]).astype("int32"), "zero_point")

    def whole(*at: Any) -> Any:
        value = tirx.round(data[at] / scale[0]) + zero[0].astype("float32")
        return tirx.max(tirx.min(value, steps), nothing).astype("uint8")

    return [te.compute(data.shape, whole, "whole"), scale, zero]


def _extreme(data: Any, reduce: Any) -> Any:
    axes = [te.reduce_axis((0, size)) for size in data.shape]
    return te.compute((1,), lambda _: reduce(data[tuple(axes)], axis=axes), "extreme")
