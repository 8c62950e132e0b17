"""A farm made of dice: answers what a job brain asks for, in any order, with every fault that the contract knows.

It keeps its own books, so that the tests compare two accounts of one job instead of one with itself.
"""

import json
from dataclasses import dataclass, field
from enum import Enum
from random import Random
from typing import Any

from tunefarm_coordinator.jobs import events as ev
from tunefarm_coordinator.jobs import instructions as ins
from tunefarm_coordinator.jobs.brain import REFUNDED, JobBrain
from tunefarm_coordinator.jobs.options import JobOptions

OWN_FAULT = ("LOAD_ERROR", "RUN_ERROR", "RUN_TIMEOUT", "WRONG_OUTPUT")

# One thing that has to be answered: what it is, and the numbers that name it.
Ask = tuple[str, int, int]


@dataclass(frozen=True)
class Scenario:
    """One job and the farm's luck. Rates are probabilities of one answer.

    Attributes:
        spaces: by workload, how many candidates there are.
        echoes: search proposes, among others, something that it proposed before.
        shuffled: answers come in any order, else oldest ask first.
        alike: failures of one kind say the same; else no two do.
    """

    options: JobOptions
    tasks: tuple[ev.TaskSpec, ...]
    spaces: dict[str, int]
    seed: int = 0
    build_faults: float = 0.0
    run_faults: float = 0.0
    losses: float = 0.0
    censored: float = 0.0
    short: float = 0.0
    echoes: float = 0.0
    late: float = 0.0
    shuffled: bool = True
    alike: bool = False


def artifact_of(identity: str) -> ev.Artifact:
    return ev.Artifact(
        f"sha256:{identity}", (((1, 3, 8, 8), "float32"), ((4,), "int64")), ((1, f"prepack_{identity}"),)
    )


def expand(instructions: list[ins.Instruction]) -> dict[Ask, Any]:
    """The single answers that instructions wait for, with what it takes to give them."""
    asks: dict[Ask, Any] = {}
    for wanted in instructions:
        match wanted:
            case ins.Prepare() | ins.TimeKernels() | ins.Benchmark():
                asks[type(wanted).__name__, 0, 0] = wanted
            case ins.Package():
                asks["Package", wanted.number, 0] = wanted
            case ins.Propose():
                asks["Propose", wanted.round, 0] = wanted
            case ins.Build():
                asks["Build", wanted.round, wanted.index] = wanted
            case ins.Measure():
                asks.update({("Measure", wanted.round, item.index): item for item in wanted.items})
            case ins.Compare():
                asks.update({("Compare", wanted.number, index): group for index, group in wanted.groups})
    return asks


def through_json(event: ev.Event) -> ev.Event:
    """The event as it comes back from a journal."""
    return ev.decode(json.loads(json.dumps(ev.encode(event))))


@dataclass
class SimulatedFarm:
    """Drives one brain. `journal` holds what the brain was told, `told` what it answered."""

    scenario: Scenario
    brain: JobBrain
    random: Random = field(init=False)
    pending: dict[Ask, Any] = field(default_factory=dict)
    journal: list[ev.Event] = field(default_factory=list)
    told: list[ins.Instruction] = field(default_factory=list)
    proposed: dict[str, list[str]] = field(default_factory=dict)
    charged: list[tuple[str, str]] = field(default_factory=list)
    seen: set[tuple[str, str]] = field(default_factory=set)
    lost: int = 0

    def __post_init__(self) -> None:
        self.random = Random(self.scenario.seed)
        self.pending = expand(self.brain.outstanding())

    # ---- driving

    def step(self) -> ev.Event:
        """Answers one pending ask, or says once more what was said before."""
        if self.journal and self.random.random() < self.scenario.late:
            event = self.random.choice(self.journal)
            if not isinstance(event, ev.TimeSpent):
                return self._say_again(event)
        ask = self.random.choice(sorted(self.pending)) if self.scenario.shuffled else next(iter(self.pending))
        wanted = self.pending.pop(ask)
        event = self.answer(ask, wanted)
        self._account(ask, event)
        self.tell(event)
        return event

    def tell(self, event: ev.Event) -> list[ins.Instruction]:
        instructions = self.brain.handle(event)
        self.journal.append(event)
        self.told += instructions
        for wanted in instructions:
            if isinstance(wanted, ins.WithdrawAll):
                self.pending.clear()
        self.pending.update(expand(instructions))
        return instructions

    def run(self) -> None:
        """To the end, as long as the farm has anything to answer."""
        while self.pending:
            self.step()

    def _say_again(self, event: ev.Event) -> ev.Event:
        before = snapshot(self.brain)
        assert self.brain.handle(event) == [], f"{event} was heard twice"
        assert snapshot(self.brain) == before, f"{event} counted twice"
        return event

    # ---- answers

    def answer(self, ask: Ask, wanted: Any) -> ev.Event:
        kind, number, index = ask
        match kind:
            case "Prepare":
                return ev.Prepared("llvm", "class-1", self.scenario.tasks, seconds=1.5, notes=("a note",))
            case "Propose":
                return ev.Proposed(number, self._propose(wanted), seconds=0.25)
            case "Build":
                return self._build(wanted)
            case "Measure":
                return self._measure(number, index)
            case "Compare":
                results = tuple(self._compared(finalist.identity) for finalist in wanted.finalists)
                return ev.GroupCompared(number, index, wanted.workload, results, seconds=0.5)
            case "Package":
                return ev.Packaged(seconds=2.0, package=number)
            case "TimeKernels":
                return self._kernels_timed(wanted)
        timings = (
            ev.ModelTiming("tuned", (0.004, 0.005)),
            ev.ModelTiming("onnxruntime", (), ev.Failure("LOAD_ERROR", "no")),
        )
        return ev.Benchmarked(timings, max_rel_error=1e-6, matches=True, message="", device="board", seconds=3.0)

    def _kernels_timed(self, wanted: ins.TimeKernels) -> ev.KernelsTimed:
        """Inside the model some winners are faster than the default schedule, some slower, some can't be timed."""
        dice = {workload: self.random.choice((0.5, 1.5, None)) for workload in wanted.workloads}
        kernels = [ev.KernelTiming(name, (ratio,), (1.0,)) for name, ratio in dice.items() if ratio is not None]
        return ev.KernelsTimed(tuple(kernels), seconds=0.25)

    def _propose(self, wanted: ins.Propose) -> tuple[str, ...]:
        known = self.proposed.setdefault(wanted.workload, [])
        count = min(wanted.count, self.scenario.spaces[wanted.workload] - len(known))
        if count > 1 and self.random.random() < self.scenario.short:
            count = self.random.randint(1, count)
        new = [f"{wanted.workload}/{len(known) + at}" for at in range(count)]
        known += new
        if count > 1 and self.random.random() < self.scenario.echoes:
            new[self.random.randrange(count)] = self.random.choice(known)
        return tuple(new)

    def _build(self, wanted: ins.Build) -> ev.BuildEnded:
        if self.random.random() < self.scenario.build_faults:
            failure = ev.Failure(
                self.random.choice(("BUILD_ERROR", "BUILD_TIMEOUT")), self._says(f"no code for {wanted.identity}")
            )
            return ev.BuildEnded(wanted.round, wanted.index, None, failure, seconds=0.125)
        return ev.BuildEnded(wanted.round, wanted.index, artifact_of(wanted.identity), None, seconds=0.125)

    def _measure(self, number: int, index: int) -> ev.ItemMeasured:
        if self.random.random() < self.scenario.losses:
            kind = self.random.choice(sorted(REFUNDED))
            return ev.ItemMeasured(number, index, failure=ev.Failure(kind, self._says("not its fault")), seconds=0.5)
        if self.random.random() < self.scenario.run_faults:
            failure = ev.Failure(self.random.choice(OWN_FAULT), self._says("its fault"))
            return ev.ItemMeasured(number, index, failure=failure)
        if self.random.random() < self.scenario.censored:
            return ev.ItemMeasured(number, index, at_least=0.125, seconds=0.5)
        return ev.ItemMeasured(number, index, samples=self._samples(), seconds=0.5)

    def _says(self, message: str) -> str:
        """Words, not numbers: those are taken for a candidate's particulars."""
        return message if self.scenario.alike else f"{message}: {''.join(self.random.choices('abcdefgh', k=12))}"

    def _compared(self, identity: str) -> ev.FinalistResult:
        if self.random.random() < self.scenario.run_faults:
            # The agent may have timed it before a later input showed that its output is wrong.
            return ev.FinalistResult(identity, (1e-9,), ev.Failure("WRONG_OUTPUT", "seed 2"))
        return ev.FinalistResult(identity, self._samples())

    def _samples(self) -> tuple[float, ...]:
        return tuple(self.random.uniform(1e-5, 1e-2) for _ in range(self.random.randint(1, 3)))

    # ---- the farm's own books

    def _account(self, ask: Ask, event: ev.Event) -> None:
        """Charges by the contract's words: a new candidate that was measured, let go early, or is at fault."""
        if not isinstance(event, ev.BuildEnded | ev.ItemMeasured) or (event.failure is None and ask[0] == "Build"):
            return
        round_ = self.brain.rounds[event.round]
        identity = round_.items[event.index].identity
        spec = next(spec for spec in self.scenario.tasks if spec.workload == round_.workload)
        if identity in (spec.baseline, *spec.incumbents) or (round_.workload, identity) in self.seen:
            return
        self.seen.add((round_.workload, identity))
        if event.failure is not None and event.failure.kind in REFUNDED:
            self.lost += 1
            return
        self.charged.append((round_.workload, identity))


def snapshot(brain: JobBrain) -> dict[str, Any]:
    """All that a brain knows, as plain data of its own, to compare."""
    return {name: _plain(value) for name, value in vars(brain).items() if name != "_handlers"}


def _plain(value: Any) -> Any:
    """Mappings as pairs in their order, sets sorted, objects by their fields."""
    if isinstance(value, dict):
        return [(_plain(key), _plain(item)) for key, item in value.items()]
    if isinstance(value, set | frozenset):
        return sorted(_plain(item) for item in value)
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, str | int | float | Enum | None):
        return value
    return [type(value).__name__, *((name, _plain(item)) for name, item in vars(value).items())]
