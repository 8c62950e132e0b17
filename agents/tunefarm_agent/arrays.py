"""Device memory of a session: kept from candidate to candidate, by (position, shape, dtype)."""

from functools import lru_cache
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray

from tunefarm_agent.commands import Argument
from tunefarm_agent.staging import Staging

Array = NDArray[np.generic]
# Kept arrays are dropped when they get to this share of the session's memory limit.
_KEPT_SHARE = 4
_KEPT_WITHOUT_LIMIT = 1 << 30


class Arrays:
    """Remote tensors of one session. Every candidate has shapes of its own, and many share them."""

    def __init__(self, device: Any, memory: int, staging: Staging | None) -> None:
        """`memory`: bytes; `staging`: None where arrays have to go through TVM RPC."""
        self._device = device
        self._staging = staging
        self._limit = memory // _KEPT_SHARE if memory else _KEPT_WITHOUT_LIMIT
        self._kept: dict[tuple[object, ...], Any] = {}
        self._bytes = 0

    def scratch(self, position: int, argument: Argument) -> Any:
        """Memory for an argument, with random floats in it (zeros for integers: they may be indices)."""
        key = ("scratch", position, argument)
        if key not in self._kept:
            self._keep(key, self._upload(_filling(argument)))
        return self._kept[key]

    def blank(self, position: int, argument: Argument) -> Any:
        """Memory for an argument that is written before anything reads it."""
        key = ("blank", position, argument)
        if key not in self._kept:
            self._keep(key, tvm.runtime.empty(argument.shape, argument.dtype, self._device))
        return self._kept[key]

    def holding(self, source: str, name: str, values: Array) -> Any:
        """A copy of `values`, array `name` of the file `source`, on the device."""
        key = ("holding", source, name)
        if key not in self._kept:
            self._keep(key, self._upload(values))
        return self._kept[key]

    def spoil(self, position: int, argument: Argument, expected: Array) -> Any:
        """Memory for an output that holds anything but the expected values.

        Without this a kernel that writes nothing would pass on what the candidate before it wrote.
        """
        output = self.blank(position, argument)
        if expected.dtype.kind not in "biu":  # floats, bfloat16 too, which NumPy does not count among them
            self._nan(argument).copyto(output)
        elif expected.dtype == np.bool_:
            self._write(~expected.astype(np.bool_), output)
        else:
            self._write(np.bitwise_not(expected.astype(np.int64)).astype(expected.dtype), output)
        return output

    def make_room(self) -> None:
        """Drop everything kept, if it has grown too large. Call between candidates only."""
        if self._bytes > self._limit:
            self._kept.clear()
            self._bytes = 0

    def _nan(self, argument: Argument) -> Any:
        key = ("nan", argument)
        if key not in self._kept:
            self._keep(key, self._upload(np.full(argument.shape, np.nan, argument.dtype)))
        return self._kept[key]

    def read(self, tensor: Any) -> Array:
        """A copy of a tensor on the device."""
        values: Array = tensor.numpy() if self._staging is None else self._staging.read(tensor)
        return values

    def _upload(self, values: Array) -> Any:
        tensor = tvm.runtime.empty(values.shape, str(values.dtype), self._device)
        self._write(values, tensor)
        return tensor

    def _write(self, values: Array, tensor: Any) -> None:
        if self._staging is None:
            tensor.copyfrom(np.asarray(values, order="C"))
        else:
            self._staging.write(values, tensor)

    def _keep(self, key: tuple[object, ...], tensor: Any) -> None:
        self._kept[key] = tensor
        self._bytes += int(np.prod(tensor.shape, dtype=np.int64)) * np.dtype(str(tensor.dtype)).itemsize


@lru_cache(maxsize=8)
def _filling(argument: Argument) -> Array:
    dtype = np.dtype(argument.dtype)
    if dtype.kind not in "biu":
        return np.random.default_rng(0).random(argument.shape, dtype=np.float32).astype(dtype)
    return np.zeros(argument.shape, dtype)
