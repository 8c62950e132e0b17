"""A store made smaller, workload after workload; between two steps it writes what else comes."""

import asyncio
from collections.abc import AsyncIterator

from tunefarm_coordinator.errors import NotFound
from tunefarm_coordinator.schedules.pruning import Pruned, Pruning
from tunefarm_coordinator.schedules.store import Store
from tunefarm_proto.v1 import schedule_pb2


async def pruned(store: Store, wanted: Pruning, *, dry_run: bool) -> AsyncIterator[schedule_pb2.PrunedSchedules]:
    """What came of it after each step, at least once. Raises InvalidInput, NotFound (device class), StoreError."""
    workloads = await asyncio.to_thread(_workloads, store, wanted)
    so_far = schedule_pb2.PrunedSchedules(workloads_total=len(workloads))
    yield so_far
    freed = 0
    for workload in workloads:
        taken, more = 0, True
        while more:
            step = await _step(store, wanted, workload, dry_run=dry_run)
            more = step.more
            so_far.workloads += bool(step.records and not taken)
            so_far.workloads_seen += not more
            so_far.records += step.records
            so_far.traces += step.traces
            if step.freed is not None:
                # The names of what went take room as well: of a few records, more than they leave.
                freed += step.freed
                so_far.freed_bytes = max(0, freed)
            taken += step.records
            yield so_far
    if dry_run:
        return
    so_far.returned_bytes = returned = 0
    while given := await asyncio.wrap_future(store.give_back()):
        returned += given
        # The file grew for the names, before anything could be given back.
        so_far.returned_bytes = min(returned, so_far.freed_bytes)
        yield so_far
    yield so_far


def _workloads(store: Store, wanted: Pruning) -> list[str]:
    names = store.prunable(wanted)
    if wanted.device_class and wanted.device_class not in set(store.device_classes().values()):
        raise NotFound(f"no device of class {wanted.device_class!r} is known: `tunefarm schedules stats` shows them")
    return names


async def _step(store: Store, wanted: Pruning, workload: str, *, dry_run: bool) -> Pruned:
    if dry_run:
        return await asyncio.to_thread(store.would_prune, wanted, workload)
    return await asyncio.wrap_future(await asyncio.to_thread(store.prune, wanted, workload))
