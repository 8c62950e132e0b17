"""What conversions ask of their node: constants, sizes."""

from typing import Any

from numpy.typing import NDArray

from tunefarm_coordinator.models.constants import is_constant, static_shape
from tunefarm_coordinator.models.operators.family import Operator, Unsupported


def known(operator: Operator, index: int) -> NDArray[Any] | None:
    """The value of an input that has to be a constant; None where it is left out.

    Raises:
        Unsupported: it is no constant.
    """
    value = operator.input(index)
    if value is None:
        return None
    if not is_constant(value):
        raise Unsupported(f"input {operator.node.input[index]!r} must be a constant (--freeze makes it one)")
    array: NDArray[Any] = value.value.numpy()
    return array


def shape_of(operator: Operator, index: int = 0) -> tuple[int, ...]:
    """Sizes of an input, in elements.

    Raises:
        Unsupported: they depend on values.
    """
    shape = static_shape(operator.inputs[index])
    if shape is None:
        raise Unsupported(f"the sizes of input {operator.node.input[index]!r} depend on values")
    return shape


def dtype_of(operator: Operator, index: int = 0) -> str:
    return str(operator.inputs[index].ty.dtype)


def axis_of(operator: Operator, otherwise: int, index: int = 0) -> int:
    """Attribute `axis`, counted from the first one."""
    rank = len(shape_of(operator, index))
    return int(operator.attributes.get("axis", otherwise)) % max(rank, 1)


def is_float(dtype: str) -> bool:
    return dtype.startswith(("float", "bfloat"))
