"""A round: candidates of one task on their way from search through build to the device and back."""

from dataclasses import dataclass, field
from enum import Enum

from tunefarm_coordinator.jobs.events import Artifact, Failure
from tunefarm_coordinator.jobs.instructions import Build, Instruction, Measure, MeasureItem, Propose


class Stage(Enum):
    """Where a round is. Only forward: PROPOSING -> (WAITING ->) BUILDING -> MEASURING -> ENDED. WAITING: for the first
    rounds to show that anything works at all (see scouts.py)."""

    PROPOSING = "proposing"
    WAITING = "waiting"
    BUILDING = "building"
    MEASURING = "measuring"
    ENDED = "ended"


@dataclass
class Item:
    """One candidate of a round. `trial` is false for a baseline or an incumbent: a measurement without a trial."""

    identity: str
    trial: bool
    artifact: Artifact | None = None
    ended: bool = False
    lost: bool = False
    failure: Failure | None = None
    seconds: float | None = None
    at_least: float | None = None
    suspicions: int = 0

    @property
    def observed(self) -> float | None:
        """What search is told: seconds of one call, or the least that they are; None where it failed."""
        return self.at_least if self.seconds is None else self.seconds


@dataclass
class Round:
    """`asked` trials stay reserved in the ledger until their items end. `give_up`: see instructions.Measure."""

    number: int
    workload: str
    asked: int
    stage: Stage = Stage.PROPOSING
    items: list[Item] = field(default_factory=list)
    give_up: float | None = None

    def builds(self) -> list[Instruction]:
        """The builds still to do."""
        return [
            Build(self.number, index, self.workload, item.identity)
            for index, item in enumerate(self.items)
            if not item.ended and item.artifact is None
        ]

    def advance(self) -> list[Instruction]:
        """Moves the stage on where nothing of it is left; what is to be done then."""
        if self.stage is Stage.BUILDING and not self.builds():
            self.stage = Stage.MEASURING
            measure = self.measure()
            if measure.items:
                return [measure]
        if self.stage is Stage.MEASURING and all(item.ended for item in self.items):
            self.stage = Stage.ENDED
        return []

    def measure(self) -> Measure:
        """The measurements still to do; an item's index stays the same over restarts."""
        items = tuple(
            MeasureItem(index, item.identity, item.artifact, item.suspicions)
            for index, item in enumerate(self.items)
            if not item.ended and item.artifact is not None
        )
        return Measure(self.number, self.workload, items, self.give_up)

    def rebuild(self) -> None:
        """What was built is gone: everything that was not measured yet is built again."""
        for item in self.items:
            if not item.ended:
                item.artifact = None
        if self.stage is Stage.MEASURING:
            self.stage = Stage.BUILDING

    def outstanding(self) -> list[Instruction]:
        """What a restarted coordinator has to ask for again."""
        if self.stage is Stage.PROPOSING:
            return [Propose(self.number, self.workload, self.asked)]
        if self.stage is Stage.BUILDING:
            return self.builds()
        return [self.measure()] if self.stage is Stage.MEASURING else []
