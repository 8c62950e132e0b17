"""What is done to a model for a GPU's sake: sums of narrow floats in float32, products of one value joined, names."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
from onnx import helper
from tvm import relax

from tests.unit.models import graphs
from tunefarm_coordinator.models.accumulation import accumulate_wide
from tunefarm_coordinator.models.constants import operator_name
from tunefarm_coordinator.models.importer import import_onnx
from tunefarm_coordinator.models.parallel_products import join_products


def _module(body: Any, dtype: str, *shapes: tuple[int, ...]) -> Any:
    arguments = [relax.Var(f"a{i}", relax.TensorType(shape, dtype)) for i, shape in enumerate(shapes)]
    builder = relax.BlockBuilder()
    with builder.function("main", arguments):
        with builder.dataflow():
            out = builder.emit_output(builder.normalize(body(builder, *arguments)))
        builder.emit_func_output(out)
    return builder.finalize()


def _calls(module: Any, name: str) -> list[Any]:
    found: list[Any] = []
    relax.analysis.post_order_visit(
        module["main"], lambda expr: found.append(expr) if operator_name(expr) == name else None
    )
    return found


def _run(module: Any, *arrays: Any) -> list[Any]:
    machine = relax.VirtualMachine(relax.build(module, target="llvm"), tvm.cpu())
    out = machine["main"](*[tvm.runtime.tensor(array) for array in arrays])
    return [each.numpy() for each in ([out] if hasattr(out, "shape") else out)]


def test_sums_of_float16_do_not_stand_still() -> None:
    """Beyond 2048 float16 can't count."""
    module = _module(lambda _, a, b: relax.op.matmul(a, b), "float16", (1, 4096), (4096, 1))
    wide = accumulate_wide(module)
    ones = np.ones((1, 4096), np.float16), np.ones((4096, 1), np.float16)
    assert _run(module, *ones)[0].item() == 2048
    (out,) = _run(wide, *ones)
    assert (out.item(), out.dtype) == (4096, np.float16)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_products_of_narrow_floats_become_float32_and_values_stay(dtype: str) -> None:
    def body(builder: Any, x: Any, w: Any) -> Any:
        image = builder.emit(relax.op.nn.conv2d(x, w, strides=2, padding=1, groups=2))
        return relax.op.nn.relu(image)

    module = _module(body, dtype, (1, 4, 8, 8), (6, 2, 3, 3))
    wide = accumulate_wide(module)
    (before,), (after,) = _calls(module, "relax.nn.conv2d"), _calls(wide, "relax.nn.conv2d")
    assert (str(before.ty.dtype), str(after.ty.dtype)) == (dtype, "float32")
    for name in ("strides", "padding", "dilation", "groups", "data_layout", "kernel_layout"):
        assert str(getattr(before.attrs, name)) == str(getattr(after.attrs, name)), name
    tvm.ir.assert_structural_equal(wide["main"].ret_ty, module["main"].ret_ty)
    assert str(_calls(wide, "relax.nn.relu")[0].ty.dtype) == dtype


def test_products_of_float32_stay() -> None:
    module = _module(lambda _, a, b: relax.op.matmul(a, b), "float32", (4, 8), (8, 4))
    tvm.ir.assert_structural_equal(accumulate_wide(module), module)


def _weight(columns: int, seed: int) -> Any:
    return relax.const(np.random.default_rng(seed).standard_normal((8, columns)).astype(np.float32))


def test_products_of_one_value_become_one() -> None:
    def body(builder: Any, x: Any, other: Any) -> Any:
        products = [
            builder.emit(relax.op.matmul(x, _weight(5, 0))),
            builder.emit(relax.op.matmul(other, _weight(5, 1))),
            builder.emit(relax.op.matmul(x, _weight(3, 2))),
            builder.emit(relax.op.matmul(x, _weight(4, 3))),
        ]
        return relax.Tuple(products)

    module = _module(body, "float32", (2, 8), (2, 8))
    joined = join_products(module)
    assert sorted(int(call.ty.shape[1]) for call in _calls(joined, "relax.matmul")) == [5, 12]
    arrays = [np.random.default_rng(seed).standard_normal((2, 8)).astype(np.float32) for seed in (4, 5)]
    for before, after in zip(_run(module, *arrays), _run(joined, *arrays), strict=True):
        np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-6)


def test_products_of_different_values_stay() -> None:
    def body(builder: Any, x: Any, other: Any) -> Any:
        first = builder.emit(relax.op.matmul(x, _weight(8, 0)))
        # Its weight is no constant, and so can't be joined before the model runs.
        return relax.op.matmul(builder.emit(relax.op.matmul(first, _weight(8, 1))), other)

    module = _module(body, "float32", (2, 8), (8, 8))
    assert join_products(module) is module


def test_inputs_names_become_identifiers(tmp_path: Path) -> None:
    """They end up in CUDA source."""
    names = ["gpu_0/data:0", "gpu_0.data:0", "données", "1"]
    node = helper.make_node("Sum", names, ["y"])
    path = graphs.save(tmp_path / "m.onnx", [node], {name: [1, 4] for name in names}, ["y"])
    module = import_onnx(path, dict.fromkeys(names, (1, 4)))
    found = [str(parameter.name) for parameter in module["main"].params]
    assert len(set(found)) == len(names)
    assert all(name.isidentifier() and name.isascii() for name in found)
