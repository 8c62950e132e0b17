"""Memory that a session's process shares with the measurer: arrays cross there, not through TVM RPC's socket.

A socket takes several times as long for some megabytes as a copy in memory does. Kernels are never timed on this
memory: it has small pages, and what a model allocates may have large ones. Each array is copied once more, on the far
side and in that process: TVM RPC copies from one device to another only where both are of one kind.
"""

import ctypes
import mmap
import os
from typing import Any

import numpy as np
import tvm_ffi
from numpy.typing import NDArray

_OPEN, _TO_DEVICE, _FROM_DEVICE = "tunefarm.staging.open", "tunefarm.staging.to_device", "tunefarm.staging.from_device"

Array = NDArray[np.generic]


def register() -> None:
    """The far side: functions for `Staging`, in a session's process."""
    memory = _Memory(os.memfd_create("tunefarm-staging", os.MFD_CLOEXEC))
    # Both return when the copy is made, on any device.
    to_tensor = tvm_ffi.get_global_func("runtime.TVMTensorCopyFromBytes")
    from_tensor = tvm_ffi.get_global_func("runtime.TVMTensorCopyToBytes")

    def copier(copy: Any) -> Any:
        return lambda tensor, size: copy(tensor, ctypes.c_void_p(memory.bytes(size).ctypes.data), size)

    tvm_ffi.register_global_func(_OPEN, lambda: memory.descriptor, override=True)
    tvm_ffi.register_global_func(_TO_DEVICE, copier(to_tensor), override=True)
    tvm_ffi.register_global_func(_FROM_DEVICE, copier(from_tensor), override=True)


class Staging:
    """The near side. Raises what TVM raises, and OSError."""

    def __init__(self, remote: Any, pid: int) -> None:
        """`remote`: the RPC session with process `pid`."""
        descriptor = remote.get_function(_OPEN)()
        # This process may look into that one: it forked it, and is root where that one is not.
        self._memory = _Memory(os.open(f"/proc/{pid}/fd/{descriptor}", os.O_RDWR | os.O_CLOEXEC))
        self._to_device = remote.get_function(_TO_DEVICE)
        self._from_device = remote.get_function(_FROM_DEVICE)

    def write(self, values: Array, tensor: Any) -> None:
        """Copy to a tensor of the session's, on whatever device, of that shape and dtype."""
        self._memory.bytes(values.nbytes).view(values.dtype)[...] = values.reshape(-1)
        self._to_device(tensor, values.nbytes)

    def read(self, tensor: Any) -> Array:
        """A copy of a tensor of the session's."""
        shape, dtype = tuple(int(extent) for extent in tensor.shape), np.dtype(str(tensor.dtype))
        size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
        self._from_device(tensor, size)
        return self._memory.bytes(size).view(dtype).reshape(shape).copy()

    def close(self) -> None:
        self._memory.close()


class _Memory:
    """A memfd, mapped anew whenever more of it is needed."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self._map: mmap.mmap | None = None

    def bytes(self, size: int) -> NDArray[np.uint8]:
        """The memory's first `size` bytes; it grows to them."""
        wanted = max(1, size)
        if os.fstat(self.descriptor).st_size < wanted:
            os.ftruncate(self.descriptor, wanted)
        if self._map is None or len(self._map) < wanted:
            self._map = mmap.mmap(self.descriptor, 0)
        return np.frombuffer(self._map, np.uint8, count=size)

    def close(self) -> None:
        self._map = None
        os.close(self.descriptor)
