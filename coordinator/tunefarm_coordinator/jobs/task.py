"""What the brain knows of one task."""

from dataclasses import dataclass, field

from tunefarm_coordinator.jobs.events import TaskSpec


@dataclass
class TaskState:
    """Counts and best of one task; all `seconds` are of one call (median of a measurement's samples).

    `unsettled` trials of the round it is in are neither charged nor refunded yet.
    """

    spec: TaskSpec
    trials_per_kernel: int
    patience: int
    charged: int = 0
    valid: int = 0
    failed: int = 0
    in_round: bool = False
    unsettled: int = 0
    exhausted: bool = False
    since_better: int = 0
    dull_rounds: int = 0
    measured: dict[str, float] = field(default_factory=dict)
    tried: set[str] = field(default_factory=set)

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
        """Earlier jobs gave it as many trials as this one would."""
        return self.spec.known >= self.trials_per_kernel

    @property
    def covered(self) -> bool:
        """Needs no first round any more."""
        return self.charged > 0 or self.tuned_enough

    @property
    def open(self) -> bool:
        """May get more trials: neither out of candidates nor stopped early."""
        return not self.exhausted and self.since_better < self.patience

    @property
    def waits_for_first_round(self) -> bool:
        """Has its first trials still to get. It may be busy meanwhile: with incumbents, or what a lost round left."""
        return self.open and not self.covered and not self.unsettled

    @property
    def unvisited_incumbents(self) -> bool:
        """Knows schedules of earlier jobs that this job has not measured."""
        return not self.tried.issuperset(self.spec.incumbents)

    @property
    def baseline_seconds(self) -> float | None:
        return self.measured.get(self.spec.baseline)

    @property
    def best_seconds(self) -> float | None:
        return min(self.measured.values(), default=None)

    def promise(self, unknown: float) -> float:
        """Seconds of the model that another trial might save, optimistically; see policy.DynamicPolicy.

        `unknown` stands in for the seconds of a task of which nothing could be measured yet.
        """
        best = self.best_seconds
        seconds = unknown if best is None else best
        return float(self.weight * seconds / (self.charged + self.spec.known + 1) * 0.5 ** min(self.dull_rounds, 10))

    def take(self, identity: str, seconds: float) -> bool:
        """Keeps a valid measurement; true if it is the fastest so far."""
        best = self.best_seconds
        self.measured[identity] = min(seconds, self.measured.get(identity, seconds))
        return best is None or seconds < best

    def finalists(self, count: int) -> list[str]:
        """Identities of the fastest `count` candidates, the baseline always among them where it was measured."""
        others = sorted(
            (seconds, identity) for identity, seconds in self.measured.items() if identity != self.spec.baseline
        )
        names = [identity for _, identity in others[:count]]
        return [*names, self.spec.baseline] if self.spec.baseline in self.measured else names
