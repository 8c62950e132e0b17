"""Replays a recording: the real job brain on a farm whose answers were recorded.

The k-th trial of a task is its k-th record, whoever asks for it and when, so two policies are compared on the very
same trials. A seed draws what differs from day to day: the order in which answers come, which of eight neighbouring
candidates search proposes first, and 2% of noise on each measurement. What the recording can't tell: search learns
from all tasks, so under another order of rounds it would have proposed somewhat other candidates.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from tests.recording import RecordedTask, Recording
from tests.unit.jobs.simulated_farm import artifact_of, expand
from tunefarm_coordinator.jobs import events as ev
from tunefarm_coordinator.jobs import instructions as ins
from tunefarm_coordinator.jobs.brain import JobBrain
from tunefarm_coordinator.jobs.options import JobOptions
from tunefarm_coordinator.jobs.policy import Policy
from tunefarm_coordinator.jobs.state import JobState

NOISE = 0.02
WINDOW = 8
# The default schedule of a task, as the identity of a candidate.
BASELINE = "default"


@dataclass(frozen=True)
class Replayed:
    """One job as it went: `latency[n]`: seconds of the model after n charged trials."""

    latency: tuple[float, ...]
    charged: dict[str, int]
    first_rounds_first: bool

    def at(self, share: float) -> float:
        """Seconds of the model after that share of the trials."""
        return self.latency[round(share * (len(self.latency) - 1))]


@dataclass
class RecordedFarm:
    """Answers one brain from one recording, up to the finals."""

    recording: Recording
    brain: JobBrain
    seed: int
    tasks: dict[str, RecordedTask] = field(init=False)
    records: dict[str, list[float | str]] = field(init=False)
    random: Random = field(init=False)
    proposed: dict[str, int] = field(init=False)
    pending: dict[Any, Any] = field(init=False)
    curve: list[float] = field(default_factory=list)
    first_rounds_first: bool = True

    def __post_init__(self) -> None:
        self.random = Random(self.seed)
        self.tasks = {task.name: task for task in self.recording.tasks}
        self.records = {task.name: _shuffled(task.trials, self.random) for task in self.recording.tasks}
        self.proposed = dict.fromkeys(self.tasks, 0)
        self.pending = expand(self.brain.outstanding())

    def run(self) -> Replayed:
        """Until all trials are spent."""
        self._tell(self._prepared())
        self.pending.pop(("Prepare", 0, 0))
        while self.brain.state is JobState.TUNING:
            ask = self.random.choice(sorted(self.pending))
            self._tell(self._answer(ask, self.pending.pop(ask)))
        charged = {name: task.charged for name, task in self.brain.tasks.items()}
        return Replayed(tuple(self.curve), charged, self.first_rounds_first)

    def _tell(self, event: ev.Event) -> None:
        before = self.brain.ledger.charged
        instructions = self.brain.handle(event)
        self.pending.update(expand(instructions))
        if self.brain.ledger.charged > before or not self.curve:
            self.curve.append(self._latency())
        waiting = any(task.waits_for_first_round for task in self.brain.tasks.values())
        again = any(isinstance(each, ins.Propose) and self.proposed[each.workload] for each in instructions)
        self.first_rounds_first &= not (waiting and again)

    def _prepared(self) -> ev.Prepared:
        specs = tuple(
            ev.TaskSpec(task.name, task.name, task.weight, task.flops, BASELINE, template="any")
            for task in self.recording.tasks
        )
        return ev.Prepared(self.recording.target, "class-1", specs, seconds=0.0)

    def _answer(self, ask: tuple[str, int, int], wanted: Any) -> ev.Event:
        kind, number, index = ask
        if kind == "Propose":
            begin = self.proposed[wanted.workload]
            end = min(begin + wanted.count, len(self.records[wanted.workload]))
            self.proposed[wanted.workload] = end
            return ev.Proposed(number, tuple(str(at) for at in range(begin, end)), seconds=0.0)
        round_ = self.brain.rounds[number]
        record = self._record(round_.workload, round_.items[index].identity)
        if kind == "Build":
            if record == "BUILD_ERROR":
                return ev.BuildEnded(number, index, None, ev.Failure("BUILD_ERROR", "as recorded"), seconds=0.0)
            return ev.BuildEnded(number, index, artifact_of(round_.items[index].identity), None, seconds=0.0)
        if isinstance(record, str):
            return ev.ItemMeasured(number, index, failure=ev.Failure(record, "as recorded"))
        return ev.ItemMeasured(number, index, samples=(record * self.random.lognormvariate(0.0, NOISE),))

    def _record(self, workload: str, identity: str) -> float | str:
        if identity != BASELINE:
            return self.records[workload][int(identity)]
        seconds = self.tasks[workload].baseline
        return "RUN_ERROR" if seconds is None else seconds

    def _latency(self) -> float:
        """By the recorded times of what was measured as the fastest. A task runs with its default schedule until
        something faster is known; if that was never measured, it is as slow as the slowest candidate."""
        total = 0.0
        for name, task in self.tasks.items():
            state = self.brain.tasks.get(name)
            slowest = max((each for each in task.trials if isinstance(each, float)), default=0.0)
            default = slowest if task.baseline is None else task.baseline
            measured = {BASELINE: default, **(state.measured if state else {})}
            record = self._record(name, min(measured, key=lambda identity: measured[identity]))
            total += task.weight * (slowest if isinstance(record, str) else record)
        return total


def replay(recording: Recording, options: JobOptions, seed: int, policy: Policy | None = None) -> Replayed:
    """One job on the recording."""
    return RecordedFarm(recording, JobBrain(options, policy), seed).run()


def _shuffled(trials: Sequence[float | str], random: Random) -> list[float | str]:
    """The trials in their order, but for neighbours."""
    shuffled: list[float | str] = []
    for begin in range(0, len(trials), WINDOW):
        window = list(trials[begin : begin + WINDOW])
        random.shuffle(window)
        shuffled += window
    return shuffled
