"""Devices, work and a desk for the farm's unit tests. The clock is a number that the tests move."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from tunefarm_coordinator.farm.desk import FarmDesk
from tunefarm_coordinator.farm.messages import (
    Attached,
    Deliver,
    Event,
    FarmDevice,
    Grant,
    Instruction,
    ItemLost,
    LeaseRef,
    OutcomeArrived,
    OutcomeDurable,
    OutcomeKind,
    Requested,
    Submitted,
    Work,
    WorkKind,
)
from tunefarm_coordinator.farm.states import FarmPolicy

TARGET = json.dumps({"kind": "llvm", "mtriple": "x86_64-linux-gnu", "mcpu": "znver4", "num-cores": 2})
T = TypeVar("T", bound=Instruction)


def device(device_id: str = "cpu0", *, fingerprint: str = "", target: str = TARGET) -> FarmDevice:
    return FarmDevice(device_id, fingerprint or f"print-{device_id}", target, name=device_id)


def work(work_id: str = "w1", items: int = 3, **changes: object) -> Work:
    base = Work(work_id, "job", TARGET, items, WorkKind.MEASURE, time_limit=60.0, payload="p")
    return replace(base, **changes)  # type: ignore[arg-type]


def only(kind: type[T], instructions: list[Instruction]) -> list[T]:
    return [instruction for instruction in instructions if isinstance(instruction, kind)]


class Scene:
    """A desk, its clock, and every instruction so far."""

    def __init__(self, epoch: int = 0, policy: FarmPolicy | None = None) -> None:
        self.desk = FarmDesk(epoch, policy)
        self.now = 100.0
        self.log: list[Instruction] = []

    def tell(self, event: Event) -> list[Instruction]:
        out = self.desk.handle(event, self.now)
        self.log += out
        return out

    def after(self, seconds: float, event: Event) -> list[Instruction]:
        self.now += seconds
        return self.tell(event)

    def attach(
        self, session: str = "s1", agent: str = "a", *, boot: str = "b1", devices: tuple[FarmDevice, ...] = (),
        leases: tuple[LeaseRef, ...] = (), slots: int = 1, held_on: Mapping[LeaseRef, str] | None = None,
    ) -> list[Instruction]:  # fmt: skip
        """Attach an agent; each of its devices asks for `slots` leases."""
        devices = devices or (device(),)
        out = self.tell(Attached(session, agent, boot, devices, leases, held_on or {}))
        for each in devices:
            out = out + self.tell(Requested(session, each.device_id, slots))
        return out

    def submit(self, *works: Work, resumed: bool = False) -> list[Instruction]:
        return [out for each in works for out in self.tell(Submitted(each, resumed))]

    def outcome(
        self,
        lease: LeaseRef,
        index: int,
        session: str = "s1",
        kind: OutcomeKind = OutcomeKind.RESULT,
        device_id: str = "",
    ) -> list[Instruction]:
        return self.tell(OutcomeArrived(session, lease, index, kind, f"report {index}", device_id=device_id))

    def outcome_kept(self, lease: LeaseRef, index: int, session: str = "s1") -> list[Instruction]:
        """An outcome that arrives and becomes durable at once."""
        return self.outcome(lease, index, session) + self.tell(OutcomeDurable(lease, index))

    @property
    def grants(self) -> list[Grant]:
        return only(Grant, self.log)

    @property
    def lost(self) -> list[ItemLost]:
        return only(ItemLost, self.log)

    @property
    def delivered(self) -> list[Deliver]:
        return only(Deliver, self.log)
