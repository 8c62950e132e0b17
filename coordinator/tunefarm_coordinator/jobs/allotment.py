"""What a job may spend in total, and each of its tasks at most, before anything is spent. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tunefarm_coordinator.jobs.events import TaskSpec
from tunefarm_coordinator.jobs.options import JobOptions


@dataclass(frozen=True)
class Allotment:
    """Attributes:
    budget: trials of the whole job.
    quotas: the most that a task is given, by workload; None where that is decided as the job goes.
    """

    budget: int
    quotas: Mapping[str, int | None]


def allot(options: JobOptions, specs: Sequence[TaskSpec]) -> Allotment:
    """Auto-scheduler, both: one pool for all tasks. AutoTVM: to each task with a template what is missing of its trials
    (the records of earlier jobs count), in equal shares where the job's cap does not reach that far."""
    cap = options.max_trials
    if options.tuner != "autotvm":
        total = options.trials_per_kernel * len(specs)
        return Allotment(total if cap is None else min(total, cap), {spec.workload: None for spec in specs})
    quotas = {spec.workload: _missing(options, spec) for spec in specs}
    total = sum(quotas.values())
    if cap is not None and cap < total:
        order = sorted(specs, key=lambda spec: (-spec.flops * spec.weight, spec.workload))
        quotas = _shared(cap, {spec.workload: quotas[spec.workload] for spec in order})
    return Allotment(sum(quotas.values()), quotas)


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
