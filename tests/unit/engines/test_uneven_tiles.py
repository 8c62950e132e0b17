"""Tiles that need not divide: what a size costs that has no divisors."""

import pytest

from tunefarm_coordinator.engines import uneven_tiles
from tunefarm_coordinator.engines.register_tiles import Vectors
from tunefarm_coordinator.engines.uneven_tiles import Shape, best_tile, cycles

AVX512, AVX2, NEON = Vectors(16, 24), Vectors(8, 12), Vectors(4, 16)


@pytest.mark.parametrize("vectors", [AVX512, AVX2, NEON])
@pytest.mark.parametrize("rows", [10, 21, 75, 197, 901])
def test_rows_cost_in_proportion(rows: int, vectors: Vectors) -> None:
    def per_row(count: int) -> float:
        shape = Shape(count, 256, 256)
        return cycles(shape, best_tile(shape, vectors), vectors) / count

    assert per_row(rows) < 1.25 * per_row(-(-rows // 48) * 48)


@pytest.mark.parametrize("vectors", [AVX512, AVX2, NEON])
@pytest.mark.parametrize("lanes", [10, 21, 75, 197, 901])
def test_lanes_cost_as_many_registers_as_they_fill(lanes: int, vectors: Vectors) -> None:
    def cost(count: int) -> float:
        shape = Shape(96, count, 256)
        return cycles(shape, best_tile(shape, vectors), vectors)

    assert cost(lanes) < 1.1 * cost(-(-lanes // vectors.lanes) * vectors.lanes)


@pytest.mark.parametrize("vectors", [AVX512, AVX2, NEON])
def test_a_tile_is_left_in_registers(vectors: Vectors) -> None:
    for tile in uneven_tiles.tiles(Shape(97, 101, 64), vectors):
        assert tile.rows * tile.registers <= vectors.accumulators


def test_threads_have_equal_work() -> None:
    alone, two = Shape(1, 1000, 1280, weights_first=True), Shape(1, 1000, 1280, weights_first=True, threads=2)
    tile = best_tile(two, AVX512)
    assert 1000 // tile.columns >= 2
    assert cycles(two, tile, AVX512) < 0.62 * cycles(alone, best_tile(alone, AVX512), AVX512)


def test_what_divides_well_stays_even() -> None:
    shape = Shape(64, 256, 256)
    assert not uneven_tiles.pays(shape, (8, 32), AVX512)
    assert uneven_tiles.pays(Shape(197, 256, 256), (1, 64), AVX512)
    assert uneven_tiles.pays(Shape(64, 58, 256), (4, 58), AVX512)
