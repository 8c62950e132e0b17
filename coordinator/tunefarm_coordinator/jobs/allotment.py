"""What a job may spend in total, and each of its tasks at most, before anything is spent. Pure."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tunefarm_coordinator.jobs.events import TaskSpec
from tunefarm_coordinator.jobs.options import JobOptions

# So many trials a task may lack, or have had too many of, and be as the pool would have it: they go by the round.
_ROUND = 8
# A task lacks trials by itself if it has had less than this share of what the pool comes to for it. What that is
# depends on times, which are another day's.
_STARVED = 0.5
# What all others lack together, as a share of theirs, that is not worth a job's trials: some failed.
_REST = 0.1


@dataclass(frozen=True)
class Allotment:
    """Attributes:
    budget: trials of the whole job.
    quotas: the most that a task is given, by workload; None where that is decided as the job goes; 0: no trial.
    """

    budget: int
    quotas: Mapping[str, int | None]


def allot(options: JobOptions, specs: Sequence[TaskSpec]) -> Allotment:
    """What earlier jobs measured counts. Auto-scheduler, both: one pool for all tasks, less what they have had of it;
    nothing to those that are tuned enough. AutoTVM: to each task with a template what is missing of its trials, in
    equal shares where the job's cap does not reach that far."""
    cap = options.max_trials
    if options.tuner != "autotvm":
        total = options.trials_per_kernel * len(specs)
        total = total if cap is None else min(total, cap)
        return _of_pool(specs, total)
    quotas = {spec.workload: _missing(options, spec) for spec in specs}
    total = sum(quotas.values())
    if cap is not None and cap < total:
        order = sorted(specs, key=lambda spec: (-spec.flops * spec.weight, spec.workload))
        quotas = _shared(cap, {spec.workload: quotas[spec.workload] for spec in order})
    return Allotment(sum(quotas.values()), quotas)


def _of_pool(specs: Sequence[TaskSpec], total: int) -> Allotment:
    """A pool of `total`, less what earlier jobs spent of it. Tasks that had far too few trials lack theirs, however
    many too many others have had; what the rest lacks, it lacks together."""
    shares = _shares(specs, total)
    if shares is None:
        return Allotment(total, {spec.workload: None for spec in specs})
    starved: dict[str, int] = {}
    wanted = had = 0.0
    for spec, share in zip(specs, shares, strict=True):
        if spec.known == 0 or (spec.known < _STARVED * share and share - spec.known > _ROUND):
            starved[spec.workload] = max(1, math.ceil(share) - spec.known)
        else:
            wanted += share
            had += min(spec.known, max(2 * share, share + _ROUND))
    rest = math.ceil(wanted - had) if wanted - had > _REST * wanted else 0
    budget = min(total, sum(starved.values()) + rest)
    return Allotment(budget, {spec.workload: None if rest or spec.workload in starved else 0 for spec in specs})


def _shares(specs: Sequence[TaskSpec], total: int) -> list[float] | None:
    """How `policy.DynamicPolicy` would give `total` trials out, if every task stayed as fast as it is known to be: it
    goes where weight * seconds / (trials + 1) is greatest, and so makes that equal. One that was never measured counts
    as slow as the slowest. None: nothing was ever measured."""
    slowest = max((spec.known_seconds for spec in specs if spec.known_seconds is not None), default=None)
    if slowest is None:
        return None
    costs = [spec.weight * (slowest if spec.known_seconds is None else spec.known_seconds) for spec in specs]
    # With the k costliest tasks served, trials_i + 1 = level * cost_i; the others would get less than none.
    level, summed = 0.0, 0.0
    for served, cost in enumerate(sorted(costs, reverse=True), start=1):
        if served > 1 and cost * level <= 1:
            break
        summed += cost
        level = (total + served) / summed
    return [max(0.0, level * cost - 1) for cost in costs]


def _missing(options: JobOptions, spec: TaskSpec) -> int:
    if not spec.template:
        return 0
    return max(options.trials_per_kernel - spec.known, options.exploration_trials)


def _shared(total: int, wanted: Mapping[str, int]) -> dict[str, int]:
    """`total` in equal shares, nobody given more than wanted; the odd trials go to the first of `wanted`."""
    shares = dict.fromkeys(wanted, 0)
    hungry = [name for name, count in wanted.items() if count > 0]
    while total > 0 and hungry:
        share = max(1, total // len(hungry))
        for name in hungry:
            given = min(share, total, wanted[name] - shares[name])
            shares[name] += given
            total -= given
        hungry = _left(hungry, shares, wanted)
    return shares


def _left(names: Iterable[str], shares: Mapping[str, int], wanted: Mapping[str, int]) -> list[str]:
    return [name for name in names if shares[name] < wanted[name]]
