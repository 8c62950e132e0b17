"""Arrays through shared memory, with the far side of the session in this process."""

import os
from collections.abc import Iterator

import numpy as np
import pytest
import tvm
from numpy.typing import NDArray
from tvm import rpc

from tunefarm_agent import staging
from tunefarm_agent.staging import Staging


@pytest.fixture
def session() -> rpc.LocalSession:
    staging.register()
    return rpc.LocalSession()


@pytest.fixture
def shared(session: rpc.LocalSession) -> Iterator[Staging]:
    shared = Staging(session, os.getpid())
    yield shared
    shared.close()


@pytest.mark.parametrize(
    "values",
    [
        np.float32(3.5).reshape(()),
        np.arange(12, dtype=np.float32).reshape(3, 4).T,
        np.array([True, False, True]),
        np.zeros((0, 4), np.int64),
        np.random.default_rng(0).standard_normal((300, 1000)).astype(np.float16),
    ],
    ids=["scalar", "transposed", "bool", "empty", "half"],
)
def test_arrays_come_back_as_they_went(session: rpc.LocalSession, shared: Staging, values: NDArray[np.generic]) -> None:
    tensor = tvm.runtime.empty(values.shape, str(values.dtype), session.cpu(0))
    shared.write(values, tensor)
    np.testing.assert_array_equal(tensor.numpy(), values)
    back = shared.read(tensor)
    assert (back.shape, back.dtype) == (values.shape, values.dtype)
    np.testing.assert_array_equal(back, values)


def test_a_large_array_between_small_ones(session: rpc.LocalSession, shared: Staging) -> None:
    """The memory grows on both sides, and what was read before stays what it was."""
    small = tvm.runtime.empty((2,), "int32", session.cpu(0))
    shared.write(np.array([1, 2], np.int32), small)
    first = shared.read(small)
    large = tvm.runtime.empty((1 << 20,), "float32", session.cpu(0))
    shared.write(np.full(1 << 20, 7, np.float32), large)
    assert shared.read(large).sum() == 7 << 20
    np.testing.assert_array_equal(first, [1, 2])
    np.testing.assert_array_equal(shared.read(small), [1, 2])


def test_an_array_of_another_size_is_refused(session: rpc.LocalSession, shared: Staging) -> None:
    tensor = tvm.runtime.empty((3,), "float32", session.cpu(0))
    with pytest.raises(RuntimeError, match="size mismatch"):
        shared.write(np.zeros(4, np.float32), tensor)
