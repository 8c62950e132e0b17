"""Memory that a session's process shares with the measurer: arrays cross there, not through TVM RPC's socket.

A socket takes several times as long for some megabytes as a copy in memory does. Kernels are never timed on this
memory: it has small pages, and what a model allocates may have large ones. Each array is copied once more, on the far
side.
"""

import json
import mmap
import os
from typing import Any

import numpy as np
import tvm_ffi
from numpy.typing import NDArray

_OPEN, _TENSOR = "tunefarm.staging.open", "tunefarm.staging.tensor"

Array = NDArray[np.generic]


def register() -> None:
    """The far side: functions for `Staging`, in a session's process."""
    memory = _Memory(os.memfd_create("tunefarm-staging", os.MFD_CLOEXEC))

    def tensor(shape: str, dtype: str) -> Any:
        return tvm_ffi.from_dlpack(memory.view(tuple(json.loads(shape)), np.dtype(dtype), grow=True))

    tvm_ffi.register_global_func(_OPEN, lambda: memory.descriptor, override=True)
    tvm_ffi.register_global_func(_TENSOR, tensor, override=True)


class Staging:
    """The near side. Raises what TVM raises, and OSError."""

    def __init__(self, remote: Any, pid: int) -> None:
        """`remote`: the RPC session with process `pid`."""
        descriptor = remote.get_function(_OPEN)()
        # This process may look into that one: it forked it, and is root where that one is not.
        self._memory = _Memory(os.open(f"/proc/{pid}/fd/{descriptor}", os.O_RDWR | os.O_CLOEXEC))
        self._tensor = remote.get_function(_TENSOR)

    def write(self, values: Array, tensor: Any) -> None:
        """Copy to a tensor of the session's."""
        far = self._tensor(json.dumps(values.shape), str(values.dtype))
        self._memory.view(values.shape, values.dtype)[...] = values
        far.copyto(tensor)

    def read(self, tensor: Any) -> Array:
        """A copy of a tensor of the session's."""
        shape, dtype = tuple(int(extent) for extent in tensor.shape), np.dtype(str(tensor.dtype))
        tensor.copyto(self._tensor(json.dumps(shape), str(dtype)))
        return self._memory.view(shape, dtype).copy()

    def close(self) -> None:
        self._memory.close()


class _Memory:
    """A memfd, mapped anew whenever more of it is needed."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._map: mmap.mmap | None = None

    def view(self, shape: tuple[int, ...], dtype: "np.dtype[Any]", grow: bool = False) -> Array:
        """The memory's beginning as an array. `grow`: make it as large as that takes."""
        size = max(1, int(np.prod(shape, dtype=np.int64)) * dtype.itemsize)
        if grow and os.fstat(self.descriptor).st_size < size:
            os.ftruncate(self.descriptor, size)
        if self._map is None or len(self._map) < size:
            self._map = mmap.mmap(self.descriptor, 0)
        return np.frombuffer(self._map, dtype, count=int(np.prod(shape, dtype=np.int64))).reshape(shape)

    def close(self) -> None:
        self._map = None
        os.close(self.descriptor)
