"""Arrays of every type through an archive, here and as the package's run.py reads and writes it."""

import io
from pathlib import Path
from typing import Any

import ml_dtypes  # noqa: F401 - NumPy knows the types by name from then on
import numpy as np
import pytest
from numpy.typing import NDArray

from tunefarm_coordinator.models import packaged_run
from tunefarm_coordinator.models.samples import npz_archive
from tunefarm_proto.arrays import Archive, meant, npz_bytes

TYPES = ("float64", "float16", "bool", "uint64", "int8", "bfloat16", "float8_e4m3fn", "float8_e5m2")


def _same(found: NDArray[Any], expected: NDArray[Any]) -> bool:
    return found.dtype == expected.dtype and found.shape == expected.shape and found.tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", TYPES)
@pytest.mark.parametrize("shape", [(), (2, 3), (0, 4)])
def test_arrays_come_back(tmp_path: Path, dtype: str, shape: tuple[int, ...]) -> None:
    value = np.ones(shape, dtype)
    for content in (npz_bytes({"x": value}), npz_archive({"x": value})):
        with np.load(io.BytesIO(content), allow_pickle=False) as opened:
            assert _same(Archive(opened)["x"], value)
        (tmp_path / "x.npz").write_bytes(content)
        assert _same(packaged_run.read_arrays(tmp_path / "x.npz")["x"], value)
    assert _same(np.asarray(packaged_run.storable(value)).view(dtype), value)


def test_an_array_that_turns_its_axes_is_stored() -> None:
    value = np.arange(6, dtype=np.float32).reshape(2, 3).astype("bfloat16").T
    with np.load(io.BytesIO(npz_bytes({"x": value}))) as opened:
        assert np.array_equal(Archive(opened)["x"], value)


def test_plain_bytes_are_what_the_input_is() -> None:
    value = np.array([1.5, -2.0], np.float32).astype("bfloat16")
    buffer = io.BytesIO()
    np.savez(buffer, x=value)
    buffer.seek(0)
    with np.load(buffer) as opened:
        stored = opened["x"]
    assert _same(meant(stored, "bfloat16"), value)
    assert _same(packaged_run.as_numbers(stored, "bfloat16"), value)


def test_floats_become_bfloat16_and_integers_do_not() -> None:
    assert packaged_run.as_numbers(np.array([1.0], np.float32), "bfloat16").dtype == "bfloat16"
    with pytest.raises(TypeError):
        packaged_run.as_numbers(np.array([1.0], np.float32), "int32")
