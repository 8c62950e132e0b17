"""What the brain knows of one task."""

from collections.abc import Collection
from dataclasses import dataclass, field

from tunefarm_coordinator.jobs.events import TaskSpec
from tunefarm_coordinator.jobs.options import JobOptions


@dataclass
class TaskState:
    """Counts and best of one task; all `seconds` are of one call (median of a measurement's samples).

    `unsettled` trials of the round it is in are neither charged nor refunded yet. `quota`: the most that may be
    charged; None: as much as there is. `incumbents`: schedules found earlier, measured again without a trial. `winner`:
    of the job's earlier finals, where it was resumed.
    """

    spec: TaskSpec
    trials_per_kernel: int
    patience: int
    quota: int | None = None
    incumbents: tuple[str, ...] = ()
    charged: int = 0
    valid: int = 0
    failed: int = 0
    in_round: bool = False
    unsettled: int = 0
    exhausted: bool = False
    since_better: int = 0
    measured: dict[str, float] = field(default_factory=dict)
    tried: set[str] = field(default_factory=set)
    winner: str | None = None

    @classmethod
    def of(cls, spec: TaskSpec, options: JobOptions, quota: int | None) -> "TaskState":
        """A task that nothing is known of yet."""
        return cls(spec, options.trials_per_kernel, options.early_stopping, quota, spec.incumbents)

    @property
    def workload(self) -> str:
        return self.spec.workload

    @property
    def weight(self) -> int:
        return self.spec.weight

    @property
    def flops(self) -> float:
        return max(self.spec.flops, 1.0)

    @property
    def tuned_enough(self) -> bool:
        """Wants no trial of this job: earlier jobs gave it as many as this one would, or it has no template."""
        return self.quota == 0 if self.quota is not None else self.spec.known >= self.trials_per_kernel

    @property
    def covered(self) -> bool:
        """Needs no first round any more."""
        return self.charged > 0 or self.tuned_enough

    @property
    def open(self) -> bool:
        """May get more trials: neither out of candidates, nor stopped early, nor at its quota."""
        return not self.exhausted and self.since_better < self.patience and self.within_quota(1) > 0

    @property
    def waits_for_first_round(self) -> bool:
        """Has its first trials still to get. It may be busy meanwhile: with incumbents, or what a lost round left."""
        return self.open and not self.covered and not self.unsettled

    @property
    def unvisited_incumbents(self) -> bool:
        """Knows schedules that were found earlier and not measured since."""
        return not self.tried.issuperset(self.incumbents)

    @property
    def extras(self) -> tuple[str, ...]:
        """What is measured without a trial, and was not yet: the default schedule, then the incumbents."""
        return tuple(dict.fromkeys(name for name in (self.spec.baseline, *self.incumbents) if name not in self.tried))

    @property
    def baseline_seconds(self) -> float | None:
        return self.measured.get(self.spec.baseline)

    @property
    def best_seconds(self) -> float | None:
        return min(self.measured.values(), default=None)

    def within_quota(self, count: int) -> int:
        """As many of `count` more trials as its quota allows."""
        return count if self.quota is None else max(0, min(count, self.quota - self.charged - self.unsettled))

    def overdraws(self, quota: int | None) -> bool:
        """Whether what is under way would take it over this quota."""
        return quota is not None and self.unsettled > 0 and self.charged + self.unsettled > quota

    def reopen(self, options: JobOptions, quota: int | None, winner: str | None = None) -> None:
        """The job goes on after an end or an interruption: whatever was built is gone, so the fastest schedules, and
        the `winner` of the finals, are built and measured again without a trial. What had stopped the task counts no
        more. The times of the others were another day's, and are forgotten; that they were tried is not."""
        self.trials_per_kernel, self.patience, self.quota = options.trials_per_kernel, options.early_stopping, quota
        self.winner = winner or self.winner
        fastest = [name for name in self.finalists(options.finalists) if name != self.spec.baseline]
        self.measured = {
            name: seconds for name, seconds in self.measured.items() if name in (*fastest, self.spec.baseline)
        }
        self.incumbents = tuple(dict.fromkeys((*fastest, *self.incumbents)))
        self.tried -= {self.spec.baseline, *self.incumbents}
        self.exhausted, self.since_better = False, 0

    def promise(self, unknown: float) -> float:
        """Seconds of the model that another trial might save, optimistically; see policy.DynamicPolicy.

        `unknown` stands in for the seconds of a task of which nothing could be measured yet.
        """
        best = self.best_seconds
        seconds = unknown if best is None else best
        return float(self.weight * seconds / (self.charged + self.spec.known + 1))

    def take(self, identity: str, seconds: float) -> bool:
        """Keeps a valid measurement, in place of an earlier one of the same; true if it is the fastest so far."""
        best = self.best_seconds
        self.measured[identity] = seconds
        return best is None or seconds < best

    def finalists(self, count: int, among: Collection[str] | None = None) -> list[str]:
        """Identities of the fastest `count` candidates (of those `among`, if given). With them always, where they were
        measured: the winner of earlier finals, as one slow measurement must not cost the best; and the baseline."""
        known = {name: seconds for name, seconds in self.measured.items() if among is None or name in among}
        others = sorted((seconds, identity) for identity, seconds in known.items() if identity != self.spec.baseline)
        names = [identity for _, identity in others[:count]]
        if self.winner in known and self.winner not in (*names, self.spec.baseline):
            names.append(self.winner)
        return [*names, self.spec.baseline] if self.spec.baseline in known else names
