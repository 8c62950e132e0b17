"""What earlier jobs of this farm have spent on kernels: it counts in the budget of the next."""

from collections.abc import Sequence

from tunefarm_coordinator.schedules.record import Source
from tunefarm_coordinator.schedules.store import Store

# An imported record was checked by nobody here: whoever made it must not decide that a kernel needs no trials.
_OWN = (Source.TUNED, Source.BASELINE)


def spent_on(
    store: Store, workloads: Sequence[str], target: str, device_class: str
) -> tuple[dict[str, int], dict[str, float]]:
    """Trials on record, and seconds of one call at the fastest, of each workload that has any. Blocks."""
    return (
        store.count_valid(workloads, target, device_class, own=True),
        store.fastest_seconds(workloads, target, device_class, _OWN),
    )
