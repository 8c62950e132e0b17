"""Inputs of the right kind, and the same ones everywhere."""

import io
from typing import Any

import numpy as np
import pytest
import tvm
from tvm import te, topi

from tunefarm_coordinator.models.expected import expected_outputs
from tunefarm_coordinator.models.target import quickly_built
from tunefarm_coordinator.models.task import TuningTask
from tunefarm_coordinator.models.tasks import normalized, workload_of


def _task(*tensors: Any, free: tuple[int, ...] = ()) -> TuningTask:
    function = te.create_prim_func(list(tensors)).with_attr("layout_free_buffers", list(free))
    module = normalized(function)
    return TuningTask(workload_of(module), "test", 1, str(tvm.ir.save_json(module)), 0.0)


def _arrays(task: TuningTask, seed: int) -> dict[str, Any]:
    with np.load(io.BytesIO(expected_outputs(task, seed))) as archive:
        return {name: archive[name] for name in archive.files}


def test_inputs_are_seeded_and_outputs_computed() -> None:
    a, b = te.placeholder((16, 40), name="a"), te.placeholder((40, 8), name="b")
    task = _task(a, b, topi.matmul(a, b), free=(1,))
    first, again, other = _arrays(task, 1), _arrays(task, 1), _arrays(task, 2)
    assert set(first) == {"arg0", "arg1", "out0"}
    assert all(np.array_equal(first[name], again[name]) for name in first)
    assert not np.array_equal(first["arg0"], other["arg0"])
    assert np.allclose(first["out0"], first["arg0"] @ first["arg1"], atol=1e-4)
    # He: the weight's variance makes up for the forty terms of the sum.
    assert 0.5 < np.std(first["arg1"]) / np.sqrt(2 / 40) < 1.5


def test_indices_stay_in_range() -> None:
    table, rows = te.placeholder((11, 16), name="table"), te.placeholder((50,), "int64", name="rows")
    arrays = _arrays(_task(table, rows, topi.take(table, rows, axis=0)), 0)
    assert arrays["arg1"].min() >= 0
    assert 5 < arrays["arg1"].max() < 11
    assert np.array_equal(arrays["out0"], arrays["arg0"][arrays["arg1"]])


def test_floats_that_are_made_indices_stay_in_range() -> None:
    """RoiAlign's regions: the first number of each is its image's."""
    images, regions = te.placeholder((3, 2, 5, 6), name="images"), te.placeholder((9, 5), name="regions")
    pooled = topi.vision.roi_align(images, regions, (2, 2), 1.0, mode="avg", sample_ratio=2, layout="NCHW")
    arrays = _arrays(_task(images, regions, pooled, free=(1,)), 0)
    assert arrays["arg1"].min() >= 0
    assert 2 < arrays["arg1"].max() < 3
    assert arrays["arg0"].min() < 0


def test_whole_numbers_are_not_divided_by_nothing() -> None:
    x, y = te.placeholder((64,), "int32", name="x"), te.placeholder((64,), "int32", name="y")
    for divided in (
        te.compute((64,), lambda i: tvm.tirx.truncdiv(x[i], y[i])),
        te.compute((64,), lambda i: tvm.tirx.truncmod(x[i], y[i])),
        topi.floor_divide(x, y),
    ):
        arrays = _arrays(_task(x, y, divided), 0)
        assert arrays["arg1"].min() > 0
    assert _arrays(_task(x, topi.floor_divide(x, 3)), 0)["arg0"].min() == 0


def test_domains_are_respected() -> None:
    x = te.placeholder((64,), name="x")
    for output in (topi.log(x), topi.sqrt(x), topi.rsqrt(x), topi.power(x, 0.5), topi.divide(1.0, x)):
        arrays = _arrays(_task(x, output), 3)
        assert arrays["arg0"].min() > 0
        assert np.isfinite(arrays["out0"]).all()
    assert _arrays(_task(x, topi.divide(x, 6.0)), 3)["arg0"].min() < 0


def test_booleans_are_both() -> None:
    condition = te.placeholder((64,), "bool", name="condition")
    x, y = te.placeholder((64,), name="x"), te.placeholder((64,), name="y")
    arrays = _arrays(_task(condition, x, y, topi.where(condition, x, y)), 0)
    assert set(arrays["arg0"]) == {True, False}
    assert np.array_equal(arrays["out0"], np.where(arrays["arg0"], arrays["arg1"], arrays["arg2"]))


def test_several_outputs_are_told_from_inputs() -> None:
    x = te.placeholder((8,), name="x")
    arrays = _arrays(_task(x, topi.add(x, 1.0), topi.multiply(x, 2.0)), 0)
    assert set(arrays) == {"arg0", "out0", "out1"}
    assert np.array_equal(arrays["out1"], arrays["arg0"] * 2)


@pytest.mark.parametrize(
    "sizes",
    [
        pytest.param((9, 72, 40), id="whole vectors"),
        pytest.param((9, 30, 7), id="a few"),
        pytest.param((9, 30, 1), id="one"),
    ],
)
def test_neighbours_summed_up_side_by_side_are_each_summed_up_as_they_were(sizes: tuple[int, int, int]) -> None:
    """Bit for bit what the kernel gives as it stands: a product whose weights lie along its outputs, one whose weights
    lie across them, and a convolution."""
    rows, terms, lanes = sizes
    a, along = te.placeholder((rows, terms), name="a"), te.placeholder((terms, lanes), name="b")
    across = te.placeholder((lanes, terms), name="c")
    image, filters = te.placeholder((1, rows, rows, 6), name="x"), te.placeholder((3, 3, 6, lanes), name="w")
    for operands, result in (
        ((a, along), topi.matmul(a, along)),
        ((a, across), topi.nn.dense(a, across)),
        ((image, filters), topi.nn.conv2d_nhwc(image, filters, 1, 1, 1)),
    ):
        task = _task(*operands, result, free=(1,))
        arrays = _arrays(task, 3)
        plain = tvm.tirx.build(tvm.ir.load_json(task.module), target=quickly_built())["main"]
        out = tvm.runtime.empty(arrays["out0"].shape, "float32")
        plain(tvm.runtime.tensor(arrays["arg0"]), tvm.runtime.tensor(arrays["arg1"]), out)
        assert np.array_equal(arrays["out0"], out.numpy())
