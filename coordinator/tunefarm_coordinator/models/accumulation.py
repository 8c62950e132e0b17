"""Products of narrow floats accumulate in float32, as ONNX Runtime, PyTorch and tensor cores do.

The importer's convolutions and products of float16 add up in float16: a sum of thousands of terms then loses what the
reference keeps. Here each becomes one that adds up in float32, and a cast that fuses into it.
"""

from typing import Any

from tvm import relax

from tunefarm_coordinator.models.constants import operator_name

_NARROW = ("float16", "bfloat16")
_WIDE = "float32"
_CONVOLUTION = ("strides", "padding", "dilation", "groups", "data_layout", "kernel_layout", "out_layout")
_TRANSPOSED = ("strides", "padding", "output_padding", *_CONVOLUTION[2:])
_PRODUCTS = {
    "relax.matmul": (relax.op.matmul, ()),
    "relax.nn.conv1d": (relax.op.nn.conv1d, _CONVOLUTION),
    "relax.nn.conv2d": (relax.op.nn.conv2d, _CONVOLUTION),
    "relax.nn.conv3d": (relax.op.nn.conv3d, _CONVOLUTION),
    "relax.nn.conv1d_transpose": (relax.op.nn.conv1d_transpose, _TRANSPOSED),
    "relax.nn.conv2d_transpose": (relax.op.nn.conv2d_transpose, _TRANSPOSED),
}


def accumulate_wide(mod: Any) -> Any:
    """The module with every product of float16 or bfloat16 accumulated in float32; dtypes of values stay."""
    new_mod = mod.clone()
    new_mod["main"] = _Widener().visit_expr(mod["main"])
    return relax.transform.Normalize()(new_mod)


@relax.expr_functor.mutator
class _Widener(relax.PyExprMutator):  # type: ignore[misc]
    def visit_call_(self, call: Any) -> Any:
        call = super().visit_call_(call)
        known = _PRODUCTS.get(operator_name(call) or "")
        narrow = str(call.args[0].ty.dtype) if known else ""
        if known is None or narrow not in _NARROW or str(call.args[1].ty.dtype) != narrow:
            return call
        if str(call.attrs.out_dtype) == _WIDE:
            return call
        operator, names = known
        attributes = {name: getattr(call.attrs, name) for name in names}
        wide = self.builder_.emit(operator(*call.args, **attributes, out_dtype=_WIDE))
        return relax.op.astype(wide, narrow)
