"""Tile sizes divide what they tile, and fit the registers they are meant for."""

from hypothesis import given
from hypothesis import strategies as st

from tunefarm_coordinator.engines.register_tiles import Vectors, lane_tile, register_tile, vectors_of

UNITS = [Vectors(16, 24), Vectors(8, 12), Vectors(4, 16)]


@given(st.integers(1, 4096), st.integers(1, 4096), st.sampled_from(UNITS))
def test_a_tile_divides_and_fits(rows: int, lanes: int, unit: Vectors) -> None:
    row, lane = register_tile(rows, lanes, unit)
    assert rows % row == 0
    assert lanes % lane == 0
    assert row * -(-lane // unit.lanes) <= unit.accumulators
    assert lanes % lane_tile(lanes, unit.lanes) == 0


def test_whole_registers_and_enough_chains() -> None:
    row, lane = register_tile(56, 64, Vectors(16, 24))
    assert lane % 16 == 0
    assert row * lane // 16 >= 8


def test_units_of_known_targets() -> None:
    assert vectors_of('{"kind":"llvm","mcpu":"skylake-avx512","num-cores":2}').lanes == 16
    assert vectors_of('{"kind":"llvm","mcpu":"haswell","num-cores":2}').lanes == 8
    assert (
        vectors_of(
            '{"kind":"llvm","mattr":["+neon"],"mcpu":"cortex-a72","mtriple":"aarch64-linux-gnu","num-cores":4}'
        ).lanes
        == 4
    )
