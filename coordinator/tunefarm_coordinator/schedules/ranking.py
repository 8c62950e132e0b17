"""Contender and best as pure views over what is known of one workload and target on one device class.

Callers hand in only what was measured on devices of one class. Every function gives the same answer for the
same facts in any order, however often each is repeated.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeVar

from tunefarm_coordinator.schedules.record import Comparison, Measured, Outcome, Record, Source, Verification


class _InTime(Protocol):
    @property
    def created(self) -> float: ...
    @property
    def comparison_id(self) -> str: ...


InTime = TypeVar("InTime", bound=_InTime)
# As a comparison has them: (identity, outcome).
Results = Sequence[tuple[str, Outcome]]


def speed(record: Record) -> tuple[float, str]:
    """Sort key: median of the samples, then record id; what is not valid comes last."""
    seconds = record.seconds
    return (float("inf") if seconds is None else seconds, record.record_id)


def contender(records: Iterable[Record]) -> Record | None:
    """The fastest valid record, or None."""
    return min((record for record in records if record.seconds is not None), key=speed, default=None)


def fastest_by_candidate(records: Iterable[Record]) -> dict[str, Record]:
    """The fastest valid record of each candidate, fastest candidate first."""
    fastest: dict[str, Record] = {}
    for record in sorted(records, key=speed):
        if record.seconds is not None:
            fastest.setdefault(record.identity, record)
    return fastest


def verified_candidates(verifications: Iterable[Verification]) -> frozenset[str]:
    """Identities that passed a check and failed none since. Of two at the same time the failed one counts."""
    latest: dict[str, tuple[float, bool]] = {}
    for verification in verifications:
        # not ok sorts above ok, so that a tie in time is decided against the candidate
        key = (verification.created, not verification.ok)
        latest[verification.identity] = max(key, latest.get(verification.identity, key))
    return frozenset(identity for identity, (_, bad) in latest.items() if not bad)


def best(
    records: Iterable[Record], verifications: Iterable[Verification], comparisons: Iterable[Comparison]
) -> Record | None:
    """The fastest record of our own measuring whose candidate is verified, or None.

    Samples of two leases were taken at different times, those of a comparison in turn on one device. So where
    the fastest by samples has lost the latest comparison that it was in, the winner takes its place.
    """
    verified = verified_candidates(verifications)
    own = (record for record in records if record.source is not Source.IMPORTED)
    fastest = {identity: record for identity, record in fastest_by_candidate(own).items() if identity in verified}
    return fastest[winner(fastest, [item.results for item in in_time(comparisons)])] if fastest else None


def in_time(comparisons: Iterable[InTime]) -> list[InTime]:
    """Comparisons, or rows of them, oldest first."""
    return sorted(comparisons, key=lambda comparison: (comparison.created, comparison.comparison_id))


def winner(fastest: Mapping[str, object], compared: Sequence[Results]) -> str:
    """Which of the candidates that may be best is. `fastest` has them by identity, fastest first, at least one;
    `compared`: the results of each comparison, oldest first.

    The fastest, or who won the latest comparison that it lost, and so on. Each step goes on in time, so it ends.
    """
    identity = next(iter(fastest))
    start = 0
    while True:
        latest = _latest_with(identity, compared, start)
        if latest is None:
            return identity
        start = latest + 1
        identity = _winner_of(compared[latest], fastest, identity)


def ranked(
    records: Iterable[Record], verifications: Iterable[Verification], comparisons: Iterable[Comparison]
) -> tuple[Record, bool] | None:
    """(best, True), or before there is one (contender, False), or None."""
    known = list(records)
    found = best(known, verifications, comparisons)
    if found is not None:
        return found, True
    first = contender(known)
    return None if first is None else (first, False)


def _latest_with(identity: str, compared: Sequence[Results], start: int) -> int | None:
    for index in range(len(compared) - 1, start - 1, -1):
        if any(name == identity and isinstance(outcome, Measured) for name, outcome in compared[index]):
            return index
    return None


def _winner_of(results: Results, fastest: Mapping[str, object], current: str) -> str:
    """Fastest of the compared that may be best. A tie stays with `current`."""
    medians = [
        (outcome.median, name != current, name)
        for name, outcome in results
        if isinstance(outcome, Measured) and name in fastest
    ]
    return min(medians)[2]
