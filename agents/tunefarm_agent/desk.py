"""What the agent holds and owes, decided: leases, slots, unacknowledged outcomes. No I/O, no clock.

A lease is queued, then running, then finished; it leaves the desk when the coordinator was told that it
finished and acknowledged every outcome. The coordinator may forget or cancel one at any time.
"""

from dataclasses import dataclass, field
from enum import Enum
from typing import Generic, NamedTuple, TypeVar

Report = TypeVar("Report")
Ending = TypeVar("Ending")


class Ref(NamedTuple):
    """One attempt at a lease."""

    lease_id: str
    attempt: int


class Stage(Enum):
    QUEUED = "queued"
    RUNNING = "running"
    FINISHED = "finished"


@dataclass
class _Held(Generic[Report, Ending]):
    device: str
    stage: Stage
    unacked: dict[int, Report] = field(default_factory=dict)
    ending: Ending | None = None
    told: bool = False


class Desk(Generic[Report, Ending]):
    """`Report` is an outcome and `Ending` a finished lease as the session sends them; the desk keeps them."""

    def __init__(self, devices: list[str], slots: int) -> None:
        """`slots`: leases that a device holds at most, the one it works on among them."""
        self._slots = slots
        self._devices = list(devices)
        self._held: dict[Ref, _Held[Report, Ending]] = {}

    # ---- from the coordinator

    def take(self, ref: Ref, device: str) -> bool:
        """A lease came. False: it is held already, or not for a device of this agent."""
        if ref in self._held or device not in self._devices:
            return False
        self._held[ref] = _Held(device, Stage.QUEUED)
        return True

    def acknowledge(self, ref: Ref, index: int) -> bool:
        """An outcome is safe with the coordinator. False: it was not waiting for that."""
        held = self._held.get(ref)
        known = held is not None and held.unacked.pop(index, None) is not None
        self._drop_if_done(ref)
        return known

    def forget(self, ref: Ref) -> Stage | None:
        """The lease is no longer the agent's: keep nothing. Answers the stage that it was in."""
        held = self._held.pop(ref, None)
        return held.stage if held is not None else None

    # ---- from the devices

    def next(self, device: str) -> Ref | None:
        """The oldest queued lease of an idle device, which runs from now on."""
        mine = [(ref, held) for ref, held in self._held.items() if held.device == device]
        if any(held.stage is Stage.RUNNING for _, held in mine):
            return None
        for ref, held in mine:
            if held.stage is Stage.QUEUED:
                held.stage = Stage.RUNNING
                return ref
        return None

    def report(self, ref: Ref, index: int, report: Report) -> bool:
        """An outcome is there, kept until acknowledged. False: the lease was forgotten meanwhile."""
        held = self._held.get(ref)
        if held is None:
            return False
        held.unacked[index] = report
        return True

    def finish(self, ref: Ref, ending: Ending) -> bool:
        """Work on a lease ended, one way or another. False: it was forgotten, or had finished before."""
        held = self._held.get(ref)
        if held is None or held.stage is Stage.FINISHED:
            return False
        held.stage = Stage.FINISHED
        held.ending = ending
        return True

    def told(self, ref: Ref) -> None:
        """The ending went out on a living stream."""
        if ref in self._held:
            self._held[ref].told = True
            self._drop_if_done(ref)

    def restore(self, ref: Ref, device: str, index: int, report: Report, ending: Ending) -> None:
        """An outcome from before the agent's restart: nobody goes on with its lease, and the coordinator is told so."""
        held = self._held.setdefault(ref, _Held(device, Stage.FINISHED, ending=ending))
        held.unacked[index] = report

    # ---- for the session

    def stage(self, ref: Ref) -> Stage | None:
        held = self._held.get(ref)
        return held.stage if held is not None else None

    def refs(self) -> list[Ref]:
        """Every lease held, or held for its unacknowledged outcomes."""
        return list(self._held)

    def devices(self) -> dict[Ref, str]:
        """The device that each of them is of; empty where that is not known any more."""
        return {ref: held.device for ref, held in self._held.items()}

    def queued(self) -> list[Ref]:
        return [ref for ref, held in self._held.items() if held.stage is Stage.QUEUED]

    def running(self) -> list[Ref]:
        return [ref for ref, held in self._held.items() if held.stage is Stage.RUNNING]

    def owed(self) -> tuple[list[Report], list[tuple[Ref, Ending]]]:
        """What a new stream has to carry again: outcomes without acknowledgement, endings not told."""
        outcomes = [report for held in self._held.values() for report in held.unacked.values()]
        endings = [
            (ref, held.ending)
            for ref, held in self._held.items()
            if held.ending is not None and (held.unacked or not held.told)
        ]
        return outcomes, endings

    def wants(self) -> dict[str, int]:
        """Free slots by device."""
        busy = [held.device for held in self._held.values() if held.stage is not Stage.FINISHED]
        return {device: max(0, self._slots - busy.count(device)) for device in self._devices}

    def _drop_if_done(self, ref: Ref) -> None:
        held = self._held.get(ref)
        if held is not None and held.stage is Stage.FINISHED and held.told and not held.unacked:
            del self._held[ref]
