"""The rows of `make bench-kernels` and what they are held against."""

import pytest
from kernel_list import ROWS
from machine_limit import Limit


def test_rows_are_told_apart_by_their_names() -> None:
    assert len({row.name for row in ROWS}) == len(ROWS) >= 60


def test_a_convolution_must_do_its_multiply_adds_and_a_copy_its_bytes() -> None:
    rows = {row.name: row for row in ROWS}
    assert rows["yolo conv 3x3 40x40 64-64 silu"].flops == 2 * 9 * 64 * 64 * 40 * 40
    assert rows["yolo transpose 84x2100"].bytes == 2 * 4 * 84 * 2100
    assert rows["minilm gather 64 of 30522x384"].bytes == pytest.approx(4 * 64 * 384, rel=0.01)


def test_the_limit_is_what_takes_longer_at_the_bandwidth_of_the_working_set() -> None:
    limit = Limit(100.0, {256: 80.0, 65536: 10.0})
    assert limit.seconds(1e9, 256 * 1024) == (0.01, "adds")
    assert limit.seconds(0.0, 256 * 1024) == (256 * 1024 / 80e9, "bytes")
    assert limit.seconds(0.0, 257 * 1024) == (257 * 1024 / 10e9, "bytes")
    assert limit.seconds(0.0, 1 << 30) == ((1 << 30) / 10e9, "bytes")
