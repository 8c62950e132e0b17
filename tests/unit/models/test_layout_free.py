"""Weights that a kernel reads at several places keep their layout."""

from typing import Any

import tvm
from tvm import te, topi

from tunefarm_coordinator.models.layout_free import read_at_one_place


def free(*tensors: Any) -> list[int]:
    """Of a kernel whose second parameter was found to be a weight."""
    kernel = te.create_prim_func(list(tensors)).with_attr("layout_free_buffers", [1])
    left = read_at_one_place(tvm.IRModule({"kernel": kernel}))["kernel"].attrs.get("layout_free_buffers")
    return [int(index) for index in left or ()]


def test_a_weight_of_a_product_may_be_laid_out() -> None:
    rows, weight = te.placeholder((8, 16), name="rows"), te.placeholder((16, 4), name="weight")
    assert free(rows, weight, topi.matmul(rows, weight)) == [1]


def test_regions_whose_numbers_are_read_one_by_one_stay_as_they_lie() -> None:
    images, regions = te.placeholder((3, 2, 5, 6), name="images"), te.placeholder((9, 5), name="regions")
    pooled = topi.vision.roi_align(images, regions, (2, 2), 1.0, mode="avg", sample_ratio=2, layout="NCHW")
    assert free(images, regions, pooled) == []


def test_the_same_place_twice_is_one() -> None:
    rows, weight = te.placeholder((8, 16), name="rows"), te.placeholder((16,), name="weight")
    squared = te.compute((8, 16), lambda i, j: rows[i, j] * weight[j] * weight[j])
    assert free(rows, weight, squared) == [1]
