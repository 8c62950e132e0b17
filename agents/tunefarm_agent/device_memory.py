"""Out of memory on a device: whose fault it is. A candidate fails by it only where the device had room for it."""

from dataclasses import dataclass
from typing import Any

# How CUDA says it, by itself and through TVM.
_SIGNS = ("out of memory", "memoryallocation")
# Below this share of the memory, what is held is CUDA's own: the context of the process, the driver's reserve.
_OWN_SHARE = 4


@dataclass(frozen=True)
class Room:
    """Memory of a device, in bytes. `free`: of it, while nothing of ours is there but an empty session."""

    total: int
    free: int

    def __str__(self) -> str:
        return f"{_readable(self.free)} of the device's {_readable(self.total)} are free"

    def is_taken(self, needed: int) -> bool:
        """Whether others hold what was missing to work that takes `needed` bytes, and an unknown amount besides."""
        if needed > self.total:
            return False
        return needed > self.free or self.total - self.free > self.total // _OWN_SHARE


def room_of(device: Any) -> Room | None:
    """None for a kind of device that doesn't tell. Raises what TVM raises."""
    total, free = device.total_global_memory, device.available_global_memory
    return Room(int(total), int(free)) if total and free is not None else None


def is_exhausted(message: str) -> bool:
    """Whether an error's message, or what a session that died of it said last, tells that memory is exhausted."""
    return any(sign in message.lower() for sign in _SIGNS)


def too_much(room: Room, needed: int) -> str:
    """What a candidate is told that needed more than there is. `needed`: bytes that are known of."""
    return f"out of memory on the device: it takes at least {_readable(needed)}, and {room}"


def taken(room: Room, needed: int) -> str:
    """What is said of a device whose memory others hold."""
    return (
        f"others hold the device's memory: {room}, and what takes at least {_readable(needed)} found no room. "
        "nvidia-smi lists the processes that run on it"
    )


def _readable(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB" if size >= 1 << 30 else f"{size / (1 << 20):.1f} MiB"
