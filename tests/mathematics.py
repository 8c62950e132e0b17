"""The functions of `models.mathematics` as kernels, and how far their answers are from those of float64."""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import te, tirx
from tvm.target import Target

from tunefarm_coordinator.engines.build import build_kernels
from tunefarm_coordinator.engines.mathematics.lowering import mark_exact
from tunefarm_coordinator.models.default_schedule import default_schedule
from tunefarm_coordinator.models.target import host_target
from tunefarm_coordinator.models.tasks import normalized

Array = NDArray[Any]
Kernel = Callable[..., Array]

SPECIAL = (0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 1e-38, -1e-38, 2.0**-126, 3.4e38, -3.4e38)
# Where single functions overflow, vanish or change their form.
_EDGES = (88.72, 88.73, -87.3, -87.4, -103.9, -104.1, 89.4, -88.8, 9.02, 3.93, 0.70710677, 0.70710683, 1.4142135, 38.5)


def built(name: str, size: int, dtype: str = "float32", target: str | None = None, *, exact: bool = False) -> Any:
    """A library whose `main` applies a function to arrays of `size` elements, scheduled as untuned kernels are; `exact`
    with libm."""
    target = target or host_target()
    apply = getattr(tirx, {"pow": "power"}.get(name, name))
    inputs = [te.placeholder((size,), dtype, name=f"x{index}") for index in range(2 if name == "pow" else 1)]
    output = te.compute((size,), lambda at: apply(*[it[at] for it in inputs]), name="y")
    module = tvm.IRModule({"main": te.create_prim_func([*inputs, output])})
    if exact:
        module = mark_exact(module)
    return build_kernels(default_schedule(normalized(module["main"]), target).mod, Target(target))


def raised(values: Array, exponent: float) -> Array:
    """Powers of a constant exponent."""
    x = te.placeholder(values.shape, "float32", name="x")
    y = te.compute(values.shape, lambda at: tirx.power(x[at], tirx.const(exponent, "float32")), name="y")
    kernel = normalized(te.create_prim_func([x, y]))
    library = build_kernels(default_schedule(kernel, host_target()).mod, Target(host_target()))
    output = tvm.runtime.tensor(np.zeros_like(values))
    library["main"](tvm.runtime.tensor(values), output)
    found: Array = output.numpy()
    return found


def applied(name: str, *values: Array, exact: bool = False) -> Array:
    """The function of each element."""
    library = built(name, values[0].size, str(values[0].dtype), exact=exact)
    output = tvm.runtime.tensor(np.zeros_like(values[0]))
    library["main"](*[tvm.runtime.tensor(value) for value in values], output)
    found: Array = output.numpy()
    return found


def reference(name: str, *values: Array) -> Array:
    """In float64."""
    with np.errstate(all="ignore"):
        wide = [value.astype(np.float64) for value in values]
        if name == "erf":
            return applied(name, *wide)
        result: Array = _REFERENCES[name](*wide)
    return result


_REFERENCES: dict[str, Callable[..., Array]] = {
    "exp10": lambda x: np.power(10.0, x),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "pow": np.power,
    **{name: getattr(np, name) for name in ("exp", "exp2", "log", "log2", "log10", "log1p", "tanh", "sinh", "cosh")},
    **{name: getattr(np, name) for name in ("sin", "cos", "tan")},
}


def errors(found: Array, expected: Array) -> Array:
    """In units in the last place of float32: of what lies below 2^-126, of that. Infinite where one of the two is NaN,
    or an infinity that the other, rounded, is not."""
    with np.errstate(all="ignore"):
        rounded = expected.astype(np.float32)
        _, exponents = np.frexp(np.abs(expected))
        unit = np.ldexp(1.0, np.maximum(exponents, -125) - 24)
        distance = np.abs(found.astype(np.float64) - expected) / unit
    same = (found == rounded) | (np.isnan(found) & np.isnan(rounded))
    return np.where(same & ~np.isfinite(distance), 0.0, np.where(np.isnan(distance), np.inf, distance))


def floats(step: int, first: int = 0) -> Array:
    """Every `step`-th float32 from the `first` on, by its bits: infinities, NaN and denormals among them."""
    return np.arange(first, 2**32, step, dtype=np.uint64).astype(np.uint32).view(np.float32)


@cache
def edges() -> Array:
    """Special values; where functions change; densely what networks compute with."""
    dense = [np.linspace(-bound, bound, 4001) for bound in (0.01, 1.5, 12.0, 110.0, 1e5)]
    return np.concatenate([SPECIAL, _EDGES, *dense]).astype(np.float32)


def pairs(count: int) -> tuple[Array, Array]:
    """Bases and exponents: any bits, whole exponents, bases near 1, large and small bases; all special pairs."""
    draw = np.random.default_rng(0)
    any_bits = floats(2**32 // count, 12345)
    special = np.array([*SPECIAL, 2.0, -2.0, 3.0, -3.0, 0.5, -1.5, 16777216.0, 8388609.0], np.float32)
    drawn = [
        (any_bits, draw.permutation(any_bits)),
        (draw.uniform(-6, 6, count), draw.uniform(-40, 40, count).round()),
        (draw.uniform(0.9, 1.1, count), draw.uniform(-800, 800, count)),
        (np.exp(draw.uniform(-88, 88, count)), draw.uniform(-1.5, 1.5, count)),
        (np.repeat(special, len(special)), np.tile(special, len(special))),
    ]
    bases, exponents = zip(*drawn, strict=True)
    return _joined(bases), _joined(exponents)


def _joined(parts: Sequence[Array]) -> Array:
    return np.concatenate([part.astype(np.float32, copy=False) for part in parts])
