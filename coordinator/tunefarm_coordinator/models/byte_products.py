"""Products and convolutions of 8-bit integers in the form that the target's instructions take (`engines.dot_products`).

They multiply integers of one signedness by int8, four at a time. So constants are padded to whole fours with zeros, and
data of the other signedness is shifted by 128, which takes 128 times the sum of each filter's weights from the result:
a constant. All that is exact.
"""

from math import prod
from typing import Any

import numpy as np
from tvm import relax

from tunefarm_coordinator.engines.dot_products import STEPS, Dots, dots_of
from tunefarm_coordinator.models.constants import constant, is_constant, operator_name, static_shape

_BYTES = ("int8", "uint8")
_HALF = 128


def arrange_byte_products(mod: Any, target_json: str) -> Any:
    """The module with its products of 8-bit integers by constants so arranged; as it is where the target, a CPU or
    GPU, has no such instruction. Convolutions have to be in NHWC."""
    dots = dots_of(target_json)
    if dots is None:
        return mod
    new_mod = mod.clone()
    new_mod["main"] = _Arranger(dots).visit_expr(mod["main"])
    return relax.transform.Normalize()(new_mod)


@relax.expr_functor.mutator
class _Arranger(relax.PyExprMutator):  # type: ignore[misc]
    def __init__(self, dots: Dots) -> None:
        super().__init__()
        self._dots = dots

    def visit_call_(self, call: Any) -> Any:
        call = super().visit_call_(call)
        if not _is_product(call, self._dots):
            return call
        weight = call.args[1].value.numpy()
        data = self._shifted(call.args[0])
        extra = -weight.shape[-2] % STEPS
        if extra:
            axes = data.ty.ndim
            data = self.builder_.emit(relax.op.nn.pad(data, [0] * (2 * axes - 1) + [extra]))
            weight = np.pad(weight, [(0, 0)] * (weight.ndim - 2) + [(0, extra), (0, 0)])
        total = self.builder_.normalize(_again(call, data, constant(weight)))
        if str(call.args[0].ty.dtype) == self._dots.first:
            return total
        sums = weight.astype(np.int32).sum(tuple(range(weight.ndim - 1)), dtype=np.int32)
        offset = constant(sums * np.int32(-_HALF if self._dots.first == "uint8" else _HALF))
        return relax.op.add(self.builder_.emit(total), offset)

    def _shifted(self, data: Any) -> Any:
        """`data` as the instruction's type, 128 more or less."""
        if str(data.ty.dtype) == self._dots.first:
            return data
        bits = data if self._dots.first == "int8" else self.builder_.emit(relax.op.astype(data, "uint8"))
        mask = constant(np.array(_HALF, "uint8"))
        flipped = self.builder_.emit(relax.op.bitwise_xor(bits, mask))
        return flipped if self._dots.first == "uint8" else self.builder_.emit(relax.op.astype(flipped, "int8"))


def _is_product(call: Any, dots: Dots) -> bool:
    name = operator_name(call)
    if name not in ("relax.matmul", "relax.nn.conv2d") or not is_constant(call.args[1]):
        return False
    data, weight = call.args
    if str(data.ty.dtype) not in _BYTES or str(weight.ty.dtype) != "int8" or str(call.attrs.out_dtype) != "int32":
        return False
    shape = static_shape(weight) or ()
    if len(shape) < 2 or static_shape(data) is None or dots.lanes(shape[-1]) is None:
        return False
    if name == "relax.matmul":
        return len(shape) == 2 and data.ty.ndim >= 2
    attrs = call.attrs
    channels_last = attrs.data_layout == "NHWC" and attrs.kernel_layout == "HWIO" and attrs.groups == 1
    # Padding lies before the convolution as an operator of its own (its value is the zero point).
    return channels_last and not any(int(pad) for pad in attrs.padding) and prod(shape) > 0


def _again(call: Any, data: Any, weight: Any) -> Any:
    if operator_name(call) == "relax.matmul":
        return relax.op.matmul(data, weight, out_dtype="int32")
    names = ("strides", "padding", "dilation", "groups", "data_layout", "kernel_layout", "out_layout", "out_dtype")
    return relax.op.nn.conv2d(data, weight, **{name: getattr(call.attrs, name) for name in names})
