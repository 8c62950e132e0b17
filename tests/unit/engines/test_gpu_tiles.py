"""Tiles for GPUs: which there are, what they are estimated to take, and that each makes a schedule."""

import random
from dataclasses import replace
from math import ceil
from typing import Any

import pytest
import tvm
from tvm import te, topi
from tvm.s_tir import Schedule
from tvm.target import Target

from tunefarm_coordinator.engines.gpu import fragments
from tunefarm_coordinator.engines.gpu.contraction import Contraction, normalised
from tunefarm_coordinator.engines.gpu.depthwise import WindowTile, schedule_windows, window_options, windows_of
from tunefarm_coordinator.engines.gpu.estimate import estimated_seconds
from tunefarm_coordinator.engines.gpu.limits import Limits, limits_of
from tunefarm_coordinator.engines.gpu.options import TileOptions, tile_options
from tunefarm_coordinator.engines.gpu.simt import SimtTile, schedule_simt
from tunefarm_coordinator.engines.gpu.tensor_core import FragmentTile, schedule_fragments

_KIB = 1 << 10


def _limits(arch: str) -> Limits:
    return limits_of(Target({"kind": "cuda", "arch": arch}))


H100 = _limits("sm_90")
# A layer of a text encoder, and a late convolution of a residual network: few tiles, a long sum.
DENSE = Contraction(1, 128, 768, 1, 768, "float32", "float32", swapped=False)
LATE = Contraction(1, 49, 512, 9, 512, "float32", "float32", swapped=False)


def _half(product: Contraction) -> Contraction:
    return replace(product, dtype="float16")


def _options(product: Contraction, limits: Limits = H100) -> TileOptions:
    found = tile_options(product, limits)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("arch", "block", "ahead", "tensor_cores"),
    [("sm_90", 227, True, True), ("sm_90a", 227, True, True), ("sm_75", 64, False, True), ("sm_120", 99, True, True)],
)
def test_limits_by_architecture(arch: str, block: int, ahead: bool, tensor_cores: bool) -> None:
    found = _limits(arch)
    assert found.shared_bytes == block * _KIB <= found.processor_shared_bytes
    assert (found.copies_ahead, found.tensor_cores) == (ahead, tensor_cores)


def test_an_unknown_architecture_has_what_every_one_has() -> None:
    old, new = _limits("sm_61"), _limits("sm_103")
    assert old.shared_bytes == new.shared_bytes == 48 * _KIB
    assert (old.copies_ahead, old.tensor_cores) == (False, False)
    assert (new.copies_ahead, new.tensor_cores) == (True, True)


@pytest.mark.parametrize("product", [DENSE, LATE, _half(DENSE), _half(LATE)], ids=lambda p: f"{p.rows} {p.dtype}")
def test_every_tile_fits_the_device_and_splits_evenly(product: Contraction) -> None:
    options = _options(product)
    assert options.kind is (FragmentTile if product.dtype == "float16" else SimtTile)
    assert options.seconds[options.best] == min(options.seconds.values())
    element = 2 if product.dtype == "float16" else 4
    for values in options.seconds:
        tile = options.tile(values)
        assert all(value in field for value, field in zip(values, options.fields, strict=True))
        assert tile.shared_bytes(element) <= H100.shared_bytes
        assert (tile.threads if isinstance(tile, SimtTile) else 32 * tile.warps) <= 512
        assert product.window * ceil(product.depth / tile.depth) % tile.splits == 0
        assert tile.rows < 2 * product.rows


def test_what_has_no_tile() -> None:
    assert tile_options(replace(DENSE, dtype="float64", accumulator="float64"), H100) is None


def test_float16_goes_to_tensor_cores_where_they_are_and_help() -> None:
    assert _options(_half(DENSE), _limits("sm_61")).kind is SimtTile
    assert _options(replace(_half(DENSE), rows=1)).kind is SimtTile
    assert _options(replace(_half(DENSE), swapped=True)).kind is SimtTile
    assert _options(replace(_half(DENSE), accumulator="float16")).kind is SimtTile


def test_without_copies_ahead_there_is_one_stage() -> None:
    assert {values[-1] for values in _options(DENSE, _limits("sm_75")).seconds} == {1}
    assert len({values[-1] for values in _options(DENSE).seconds}) > 1


def test_a_sum_is_split_where_tiles_are_few() -> None:
    splits = list(SimtTile.__dataclass_fields__).index("splits")
    assert _options(LATE).best[splits] > 1
    many = replace(DENSE, rows=100_000, depth=64)
    assert {values[splits] for values in _options(many).seconds} == {1}


def test_estimates_are_in_a_sensible_order() -> None:
    tile = SimtTile(64, 64, 16, 4, 4, 1, 3)

    def seconds(product: Contraction, tile: SimtTile | FragmentTile, limits: Limits = H100, element: int = 4) -> float:
        return estimated_seconds(product, tile, limits, element)

    # Padding is work, a split sum is worth its parts on few tiles, later tiles arrive in the meantime.
    wide = replace(DENSE, columns=64 * 132 * 64)
    assert seconds(replace(wide, rows=65), tile) > 1.9 * seconds(replace(wide, rows=64), tile)
    assert seconds(LATE, replace(tile, splits=8)) < seconds(LATE, tile)
    assert seconds(LATE, replace(tile, stages=1)) > seconds(LATE, tile)
    assert seconds(DENSE, tile, replace(H100, processors=4)) > seconds(DENSE, tile)
    fragment = FragmentTile(64, 64, 32, 2, 2, 1, 3)
    large = replace(DENSE, rows=4096, columns=4096)
    assert seconds(_half(large), fragment, element=2) < seconds(large, tile)


def _dense(dtype: str) -> tuple[Any, str]:
    """A product of (50, 96) and (96, 130), summed in float32."""
    a, b = te.placeholder((50, 96), dtype, "a"), te.placeholder((96, 130), dtype, "b")
    k = te.reduce_axis((0, 96), "k")
    out = te.compute(
        (50, 130), lambda i, j: te.sum(a[i, k].astype("float32") * b[k, j].astype("float32"), axis=k), name="matmul"
    )
    result = te.compute((50, 130), lambda i, j: out[i, j].astype(dtype), name="compute")
    return tvm.IRModule({"main": te.create_prim_func([a, b, result])}), "matmul"


def _quiet(module: Any) -> Schedule:
    return Schedule(module, debug_mask="none", error_render_level="none")


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_every_tile_makes_a_schedule(dtype: str) -> None:
    fragments.register()
    module, name = _dense(dtype)
    sizes = _quiet(module)
    options = _options(normalised(sizes, sizes.get_sblock(name)))
    for values in [options.best, *random.Random(0).sample(list(options.seconds), 12)]:
        schedule, tile = _quiet(module), options.tile(values)
        if isinstance(tile, SimtTile):
            schedule_simt(schedule, schedule.get_sblock(name), tile)
        else:
            schedule_fragments(schedule, schedule.get_sblock(name), tile)
        assert "blockIdx.x" in schedule.mod.script()


def _depthwise(channels: int, size: int, window: int, stride: int) -> tuple[Any, str]:
    data = te.placeholder((1, channels, size, size), name="data")
    weight = te.placeholder((channels, 1, window, window), name="weight")
    out = topi.nn.group_conv2d_nchw(data, weight, stride, window // 2, 1, channels)
    return tvm.IRModule({"main": te.create_prim_func([data, weight, out])}), "group_conv2d_nchw"


@pytest.mark.parametrize(("size", "window", "stride"), [(14, 3, 1), (15, 5, 2)])
def test_every_tile_of_a_depthwise_convolution_makes_a_schedule(size: int, window: int, stride: int) -> None:
    module, name = _depthwise(12, size, window, stride)
    schedule = _quiet(module)
    sizes = windows_of(schedule, schedule.get_sblock(name), last=False)
    assert (sizes.height, sizes.width, sizes.stride, sizes.apart) == (window, window, stride, 1)
    seconds = window_options(sizes, H100)[1]
    for values in random.Random(0).sample(list(seconds), 6):
        trial, tile = schedule.copy(), WindowTile(*values)
        assert sizes.columns % tile.pixels == 0
        schedule_windows(trial, trial.get_sblock(name), sizes, tile)
        loops = [trial.get(loop) for loop in trial.get_loops(trial.get_sblock(f"{name}_update"))]
        assert [int(loop.extent) for loop in loops if loop.thread_binding is not None][-1] == tile.threads


def test_a_depthwise_tile_loads_wide_where_there_is_work_for_all_and_spreads_out_where_not() -> None:
    """Channels last: 56 x 56 pixels of 144 channels, and 7 x 7 of 960."""
    module, name = _depthwise(12, 14, 3, 1)
    schedule = _quiet(module)
    known = replace(windows_of(schedule, schedule.get_sblock(name), last=False), last=True)
    many = window_options(replace(known, rows=56, columns=56, filters=144, apart=144), H100)[1]
    few = window_options(replace(known, rows=7, columns=7, filters=960, apart=960), H100)[1]
    best = [WindowTile(*min(seconds, key=seconds.__getitem__)) for seconds in (many, few)]
    assert best[0].filters == 4 > best[1].filters
    assert len({values[2] for values in many}) == 3
