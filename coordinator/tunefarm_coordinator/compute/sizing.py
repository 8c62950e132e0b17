"""How many worker processes a number of cores and an amount of memory carries. Pure."""

from dataclasses import dataclass

# A warm worker with TVM in it, and what the rest (Ray, the trainer, a model worker) needs besides. Bytes.
WORKER_BYTES = 300 * 2**20
OTHER_BYTES = 1536 * 2**20


@dataclass(frozen=True)
class PoolSizes:
    """Processes of each kind, at least one. `models`: at most; they are started on demand."""

    searchers: int
    builders: int
    models: int

    @property
    def processes(self) -> int:
        """All of them, and the one trainer."""
        return self.searchers + self.builders + self.models + 1


def pool_sizes(cores: int, memory: int, searchers: int | None = None, builders: int | None = None) -> PoolSizes:
    """Sizes for `cores` cores and `memory` bytes; `searchers` and `builders` as given, where they are given.

    Search and builds take about the same time for each candidate, so they get about the same number. From
    two cores on there is one builder more than half the cores: a build also links, and waits for the disk.
    """
    room = max(2, (memory - OTHER_BYTES) // WORKER_BYTES)
    half = max(1, cores // 2)
    few = max(1, min(half, room // 2))
    more = max(1, min(half + (1 if cores > 1 else 0), room - few))
    return PoolSizes(
        searchers=few if searchers is None else max(1, searchers),
        builders=more if builders is None else max(1, builders),
        models=max(1, cores // 4),
    )
