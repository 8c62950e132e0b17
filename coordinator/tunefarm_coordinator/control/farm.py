"""The farm desk at work: its clock, its streams' outboxes, and the job side's callbacks."""

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from tunefarm_coordinator.compute.messages import Gate
from tunefarm_coordinator.control.attachment import Attachment, Hello, SessionReplaced
from tunefarm_coordinator.control.believable import believable
from tunefarm_coordinator.errors import NoDevice, PermissionDenied, TunefarmError, Unavailable
from tunefarm_coordinator.farm.desk import FarmDesk
from tunefarm_coordinator.farm.messages import (
    Acknowledge,
    Attached,
    Calibrated,
    Cancel,
    Classified,
    Deliver,
    Detached,
    EndReason,
    EndSession,
    Event,
    Expelled,
    FarmDevice,
    Forget,
    Grant,
    Instruction,
    ItemLost,
    OutcomeDurable,
    OutcomeRefused,
    Paused,
    Submitted,
    Suspected,
    Tick,
    Unserved,
    Withdrawn,
    Work,
)
from tunefarm_coordinator.farm.placement import serves
from tunefarm_coordinator.farm.states import FarmPolicy
from tunefarm_coordinator.farm.views import DeviceState, DeviceView
from tunefarm_coordinator.schedules.device_class import device_class
from tunefarm_proto.v1 import farm_pb2

log = logging.getLogger(__name__)

TICK_SECONDS = 0.5
LOST_RETRY_SECONDS = 1.0

_ENDINGS: dict[EndReason, type[TunefarmError]] = {
    EndReason.REPLACED: SessionReplaced,
    EndReason.SILENT: Unavailable,
    EndReason.OUTCOME_REFUSED: Unavailable,
    EndReason.EXPELLED: PermissionDenied,
}

OnOutcome = Callable[[Deliver, farm_pb2.OutcomeReport], Awaitable[None]]
OnLost = Callable[[ItemLost], Awaitable[None]]
OnSuspected = Callable[[Suspected], Awaitable[None]]
OnUnserved = Callable[[Unserved], None]
OnGates = Callable[[tuple[Gate, ...]], None]


@dataclass(frozen=True)
class _Callbacks:
    """Whom to tell what of a job's piece of work."""

    job_id: str
    outcome: OnOutcome
    lost: OnLost
    suspected: OnSuspected | None
    unserved: OnUnserved


class FarmControl:
    """The farm, for jobs and for the farm service. All of it runs on one event loop.

    An outcome is acknowledged to its agent only after the job's callback returned, so the callback returns once the
    outcome is durable. It may see the same (lease, attempt, index) again after a restart of the coordinator, and an
    item's outcome after it was lost: it charges an item once, on what ends it first.
    """

    def __init__(self, epoch: int, on_gates: OnGates = lambda _: None, policy: FarmPolicy | None = None) -> None:
        """`epoch` counts the coordinator's starts. `on_gates` gets all gates whenever they change."""
        self.policy = policy or FarmPolicy()
        self._desk = FarmDesk(epoch, self.policy)
        self._on_gates = on_gates
        self._gates_of: dict[str, Gate] = {}
        self._gates: tuple[Gate, ...] = ()
        self._attachments: dict[str, Attachment] = {}
        self._callbacks: dict[str, _Callbacks] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._ticking: asyncio.Task[None] | None = None
        self._devices_changed = asyncio.Event()
        self._classes: dict[str, str] = {}
        # Told what the reference kernel usually takes on a device, whenever that is news.
        self.on_calibrated: Callable[[Calibrated], None] = lambda _: None

    # ---- life

    def start(self) -> None:
        """Let time pass for the desk."""
        self._ticking = asyncio.create_task(self._tick())

    async def stop(self) -> None:
        """End every stream; deliveries under way are dropped, and their agents bring them again."""
        for attachment in self._attachments.values():
            attachment.end(Unavailable("the coordinator is stopping: attach again in a moment"))
        tasks = [*self._tasks, *([self._ticking] if self._ticking else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # ---- for jobs

    def submit(
        self,
        work: Work,
        on_outcome: OnOutcome,
        on_lost: OnLost,
        *,
        resumed: bool = False,
        on_suspected: OnSuspected | None = None,
        on_unserved: OnUnserved = lambda _: None,
    ) -> None:
        """Have work done; `work.payload` is a farm_pb2.Lease with its `work`, job and trace ids set.

        Every wanted index ends with a call of `on_outcome` or `on_lost`. If `on_outcome` raises, the outcome is not
        acknowledged, and comes again. If `on_lost` raises, it is called again until the work is withdrawn.
        `on_suspected` is told of an item that a device was lost over, and that is tried again; `on_unserved`, again and
        again, of work that only devices that fail could do: whoever does not want to wait withdraws it.

        Raises:
            InvalidInput, Conflict: see FarmDesk.handle.
        """
        known = self._callbacks.get(work.work_id)
        self._callbacks[work.work_id] = _Callbacks(work.job_id, on_outcome, on_lost, on_suspected, on_unserved)
        try:
            self._tell(Submitted(work, resumed))
        except TunefarmError:
            if known is None:
                del self._callbacks[work.work_id]
            else:
                self._callbacks[work.work_id] = known
            raise

    def withdraw(self, work_ids: Iterable[str], reason: str = "no longer wanted") -> None:
        """Stop caring for this work; leases on it are cancelled, and no callback is called any more."""
        ids = tuple(work_ids)
        self._tell(Withdrawn(ids, reason=reason))
        for work_id in ids:
            self._callbacks.pop(work_id, None)

    def pause(self, paused: bool) -> None:
        """While paused, devices get nothing new; what they hold goes on."""
        self._tell(Paused(paused))

    def withdraw_job(self, job_id: str, reason: str = "the job is over") -> None:
        """Withdraw all work of the job."""
        self._tell(Withdrawn(job_id=job_id, reason=reason))
        for work_id in [work_id for work_id, its in self._callbacks.items() if its.job_id == job_id]:
            del self._callbacks[work_id]

    def devices(self) -> list[FarmDevice]:
        """Devices whose agent is here now."""
        return [view.device for view in self._desk.devices() if view.state is not DeviceState.LOST]

    async def wait_for_device(self, target: str, seconds: float | None = None) -> list[FarmDevice]:
        """The devices that serve the target (TVM's JSON), as soon as there is one.

        Raises:
            NoDevice: none came within `seconds`; names those that there are.
            InvalidInput: the target is not JSON.
        """
        try:
            async with asyncio.timeout(seconds):
                while not (able := [device for device in self.devices() if serves(device, target)]):
                    self._devices_changed.clear()
                    await self._devices_changed.wait()
                return able
        except TimeoutError:
            there = ", ".join(sorted({f"{device.name} {device.target}" for device in self.devices()})) or "none"
            raise NoDevice(f"no device serves the target {target}; registered: {there}") from None

    @property
    def gates(self) -> tuple[Gate, ...]:
        """Where workers ask for permits, by host."""
        return self._gates

    # ---- for the farm service

    def views(self) -> list[tuple[DeviceView, float]]:
        """Every device, also those that are gone, by agent and device id; each with the Unix time it was last seen."""
        offset = time.time() - self._now()
        return [(view, view.seen + offset) for view in self._desk.devices()]

    def snapshot(self) -> list[DeviceView]:
        """Every device, also those that are gone. May be called from any thread."""
        return self._desk.devices()

    @property
    def waiting(self) -> int:
        """Pieces of work that wait in line for a device."""
        return self._desk.waiting()

    def known(self, agent_id: str, device_id: str) -> list[tuple[str, str]]:
        """Keys of the agent's devices, or of the one; see FarmDesk.known."""
        return self._desk.known(agent_id, device_id)

    def facts_of(self, fingerprint: str) -> dict[str, str]:
        """What the device with this fingerprint is; nothing for one that was never here."""
        devices = (view.device for view in self._desk.devices())
        return next((dict(device.facts) for device in devices if device.fingerprint == fingerprint), {})

    def classify(self, classes: Mapping[str, str]) -> None:
        """Device classes by fingerprint, as derived anew."""
        self._classes = dict(classes)
        self._tell(Classified(self._classes))

    def attach(self, hello: Hello) -> Attachment:
        """Begin a session. Raises InvalidInput for devices that make no sense."""
        devices = tuple(replace(each, device_class=self._class_of(each)) for each in hello.devices)
        attachment = Attachment(uuid.uuid4().hex, hello)
        self._attachments[attachment.session] = attachment
        try:
            self._tell(
                Attached(attachment.session, hello.agent_id, hello.boot_id, devices, hello.leases, hello.held_on)
            )
        except TunefarmError:
            del self._attachments[attachment.session]
            raise
        if hello.gate and hello.host_id:
            self._gates_of[attachment.session] = Gate(hello.host_id, hello.gate)
        self._check_gates()
        log.info("agent attached", extra={"agent": hello.agent_id, "session": attachment.session})
        self._devices_changed.set()
        return attachment

    def expel(self, agent_id: str, reason: str) -> None:
        """The agent was revoked: its stream ends now, and its leases are others'."""
        self._tell(Expelled(agent_id, f"agent {agent_id} was revoked" + (f": {reason}" if reason else "")))

    def _class_of(self, device: FarmDevice) -> str:
        return self._classes.get(device.fingerprint) or device_class(device.facts)

    def feed(self, event: Event) -> None:
        """Hand on what an agent said."""
        self._tell(event)

    def detach(self, attachment: Attachment) -> None:
        """The stream is over."""
        if self._attachments.pop(attachment.session, None) is not None:
            log.info("agent's stream ended", extra={"agent": attachment.hello.agent_id, "session": attachment.session})
            self._tell(Detached(attachment.session))

    # ---- inside

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self._tell(Tick())

    def _tell(self, event: Event) -> None:
        for instruction in self._desk.handle(event, self._now()):
            self._carry_out(instruction)
        if isinstance(event, Expelled | Tick):
            # Sessions may have ended; `attach` looks by itself.
            self._check_gates()

    def _carry_out(self, instruction: Instruction) -> None:
        match instruction:
            case Deliver():
                self._spawn(self._deliver(instruction))
            case ItemLost():
                log.warning("item lost", extra={"work": instruction.work_id, "index": instruction.index})
                self._spawn(self._lose(instruction))
            case Suspected():
                self._spawn(self._suspect(instruction))
            case Unserved():
                if (callbacks := self._callbacks.get(instruction.work_id)) is not None:
                    callbacks.unserved(instruction)
            case Calibrated():
                self.on_calibrated(instruction)
            case Forget():
                self._attachments[instruction.session].forget = instruction.leases
            case EndSession():
                self._end(instruction)
            case Grant() | Cancel() | Acknowledge():
                if isinstance(instruction, Acknowledge) and instruction.dropped:
                    _log_drop(instruction)
                if (attachment := self._attachments.get(instruction.session)) is not None:
                    attachment.put(instruction)

    def _end(self, instruction: EndSession) -> None:
        attachment = self._attachments.get(instruction.session)
        if attachment is None:
            return
        kind = _ENDINGS[instruction.reason]
        log.warning("session ended", extra={"agent": attachment.hello.agent_id, "reason": instruction.message})
        attachment.end(kind(instruction.message))

    async def _deliver(self, delivered: Deliver) -> None:
        """Have the outcome made durable, and say so; or say that it was not."""
        callbacks = self._callbacks.get(delivered.work_id)
        if callbacks is None or not isinstance(delivered.report, farm_pb2.OutcomeReport):
            # Withdrawn meanwhile: nobody wants it.
            self._tell(OutcomeDurable(delivered.lease, delivered.index))
            return
        try:
            await callbacks.outcome(delivered, believable(delivered.report))
        except Exception as error:
            log.exception("an outcome was not recorded", extra={"work": delivered.work_id, "index": delivered.index})
            why = str(error) if isinstance(error, TunefarmError) else "internal error, see the coordinator's log"
            message = f"outcome {delivered.index} of {delivered.work_id} was not recorded: {why}"
            self._tell(OutcomeRefused(delivered.lease, delivered.index, message))
        else:
            self._tell(OutcomeDurable(delivered.lease, delivered.index))

    async def _lose(self, lost: ItemLost) -> None:
        while (callbacks := self._callbacks.get(lost.work_id)) is not None:
            try:
                await callbacks.lost(lost)
            except Exception:
                log.exception("a lost item was not recorded", extra={"work": lost.work_id, "index": lost.index})
                await asyncio.sleep(LOST_RETRY_SECONDS)
            else:
                return

    async def _suspect(self, suspected: Suspected) -> None:
        callbacks = self._callbacks.get(suspected.work_id)
        if callbacks is None or callbacks.suspected is None:
            return
        try:
            await callbacks.suspected(suspected)
        except Exception:
            # The desk knows; only after a restart would the item be tried once more than it should.
            log.exception("a suspicion was not recorded", extra={"work": suspected.work_id, "index": suspected.index})

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _check_gates(self) -> None:
        """Gates of sessions that are live, or away and may come back: their agents may be timing."""
        present = set(self._desk.present_sessions())
        self._gates_of = {session: gate for session, gate in self._gates_of.items() if session in present}
        gates = tuple(sorted(set(self._gates_of.values()), key=lambda gate: (gate.host_id, gate.socket)))
        if gates != self._gates:
            self._gates = gates
            self._on_gates(gates)


def _log_drop(acknowledged: Acknowledge) -> None:
    log.info(
        "outcome dropped",
        extra={
            "lease": acknowledged.lease.lease_id,
            "attempt": acknowledged.lease.attempt,
            "index": acknowledged.index,
            "reason": acknowledged.dropped,
        },
    )
