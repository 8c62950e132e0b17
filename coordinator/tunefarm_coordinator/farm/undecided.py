"""After a restart agents come back before every job is: what they bring waits here for the job to ask for it."""

from collections import defaultdict

from tunefarm_coordinator.farm.messages import LeaseRef, OutcomeArrived


class Undecided:
    """Leases and outcomes, by work id, of work that an earlier coordinator gave out and nobody submitted again yet."""

    def __init__(self) -> None:
        self._leases: defaultdict[str, dict[LeaseRef, str]] = defaultdict(dict)
        self._outcomes: defaultdict[str, list[OutcomeArrived]] = defaultdict(list)

    def keep_lease(self, ref: LeaseRef, session: str) -> None:
        """`session` is the one that came with the lease last."""
        self._leases[ref.lease_id][ref] = session

    def keep_outcome(self, event: OutcomeArrived) -> None:
        self._outcomes[event.lease.lease_id].append(event)

    def work_ids(self) -> set[str]:
        return {*self._leases, *self._outcomes}

    def take(self, work_id: str) -> tuple[dict[LeaseRef, str], list[OutcomeArrived]]:
        """All that waits for this work: (session by lease, outcomes in the order of arrival)."""
        return self._leases.pop(work_id, {}), self._outcomes.pop(work_id, [])
