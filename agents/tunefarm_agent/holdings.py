"""What the agent holds for the coordinator, made real: the desk, the spool, the devices at work."""

import asyncio
from collections.abc import Callable, Iterable

import structlog

from tunefarm_agent import wire
from tunefarm_agent.artifacts import Held
from tunefarm_agent.commands import CANCELLED, DEVICE_LOST
from tunefarm_agent.desk import Desk, Ref, Stage
from tunefarm_agent.errors import ArtifactUnavailable, DeviceFailed, LeaseGivenUp
from tunefarm_agent.leases import LeaseRunner
from tunefarm_agent.spool import Spool
from tunefarm_proto.v1 import farm_pb2

_log = structlog.get_logger()

Ending = farm_pb2.LeaseFinished


class Holdings:
    """Takes the coordinator's messages, has leases worked on, and keeps every outcome until it is acknowledged.

    `send` puts a message on the living stream; it answers False while there is none.
    """

    def __init__(
        self,
        runners: dict[str, LeaseRunner],
        slots: int,
        spool: Spool,
        levels: Callable[[], farm_pb2.Heartbeat],
    ) -> None:
        """`levels`: a heartbeat with all but its leases."""
        self.send: Callable[[farm_pb2.AgentMessage], bool] = lambda _: False
        self._desk: Desk[farm_pb2.OutcomeReport, Ending] = Desk(list(runners), slots)
        self._runners = runners
        self._spool = spool
        self._levels = levels
        self._leases: dict[Ref, farm_pb2.Lease] = {}
        # What queued leases need is fetched while the one before runs: a device never waits for the network.
        self._fetches: dict[Ref, asyncio.Task[Held]] = {}
        self._at_work: dict[Ref, asyncio.Task[None]] = {}
        self._wake = {device: asyncio.Event() for device in runners}
        for report in spool.load():
            gone = wire.failure(DEVICE_LOST, "the agent was started again")
            ending = Ending(lease_id=report.lease_id, attempt=report.attempt, failure=gone)
            self._desk.restore(wire.ref_of(report), report.device_id, report.index, report, ending)

    # ---- the session's side

    def refs(self) -> list[farm_pb2.LeaseRef]:
        return [wire.ref_to_wire(ref, device=device) for ref, device in self._desk.devices().items()]

    def heartbeat(self) -> farm_pb2.AgentMessage:
        beat = self._levels()
        beat.leases.extend(wire.ref_to_wire(ref, waiting=self._waits(ref)) for ref in self._desk.refs())
        return farm_pb2.AgentMessage(heartbeat=beat)

    def _waits(self, ref: Ref) -> bool:
        """Whether the lease's own time stands still: it is queued, fetched for, or waits for the gate."""
        lease = self._leases.get(ref)
        return lease is not None and not (ref in self._at_work and self._runners[lease.device_id].works)

    def welcome(self, forget: Iterable[farm_pb2.LeaseRef]) -> None:
        """A stream lives: drop what is no longer ours, say again what nobody acknowledged, ask for work."""
        for each in forget:
            self._forget(wire.ref_of(each))
        outcomes, endings = self._desk.owed()
        for report in outcomes:
            self.send(farm_pb2.AgentMessage(outcome=report))
        for ref, ending in endings:
            self._tell(ref, ending)
        for device in self._runners:
            self._ask_for_work(device)

    def handle(self, message: farm_pb2.CoordinatorMessage) -> None:
        match message.WhichOneof("message"):
            case "lease":
                self._take(message.lease)
            case "ack":
                self._acknowledged(message.ack)
            case "cancel":
                self._cancel(wire.ref_of(message.cancel.lease), message.cancel.reason)
            case other:
                _log.warning("a message of an unknown kind is passed over", kind=other)

    def session_lost(self) -> None:
        """The coordinator has given our leases to others by now: start none of them. A running one ends."""
        for ref in self._desk.queued():
            self._forget(ref)

    def shut_down(self) -> None:
        """Stop all work, and say so, that the coordinator need not wait for the session to time out."""
        for ref in [*self._desk.queued(), *self._desk.running()]:
            self._finish(ref, DEVICE_LOST, "the agent was stopped")
        for task in self._at_work.values():
            task.cancel()

    # ---- the devices' side

    async def work(self, device: str) -> None:
        """Work on the device's leases, one after another, until cancelled."""
        while True:
            ref = self._desk.next(device)
            if ref is None:
                self._wake[device].clear()
                await self._wake[device].wait()
                continue
            task = asyncio.create_task(self._work_on(device, ref))
            self._at_work[ref] = task
            try:
                # A cancelled lease ends its task, and nothing else.
                await asyncio.wait([task])
            finally:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
                del self._at_work[ref]
            if not task.cancelled() and (error := task.exception()) is not None:
                raise error

    async def _work_on(self, device: str, ref: Ref) -> None:
        log = _log.bind(lease=ref.lease_id, attempt=ref.attempt, device=device)
        log.info("lease started", work=self._leases[ref].WhichOneof("work"))

        async def report(index: int, outcome: farm_pb2.OutcomeReport) -> None:
            outcome.lease_id, outcome.attempt, outcome.index = ref.lease_id, ref.attempt, index
            outcome.device_id = device
            await asyncio.to_thread(self._spool.put, outcome)
            if self._desk.report(ref, index, outcome):
                self.send(farm_pb2.AgentMessage(outcome=outcome))
            else:
                self._spool.remove(ref.lease_id, ref.attempt, index)

        try:
            held = await self._fetches.pop(ref)
            try:
                await self._runners[device].run(self._leases[ref], held.files, report)
            finally:
                held.release()
        except (LeaseGivenUp, ArtifactUnavailable, OSError) as error:
            log.warning("lease given up", error=str(error))
            self._finish(ref, DEVICE_LOST, str(error), device_failed=isinstance(error, DeviceFailed))
        except asyncio.CancelledError:
            log.info("lease cancelled")
            self._finish(ref, CANCELLED, "cancelled")
            raise
        else:
            log.info("lease finished")
            self._finish(ref)

    # ---- both

    def _take(self, lease: farm_pb2.Lease) -> None:
        ref = wire.ref_of(lease)
        if self._desk.take(ref, lease.device_id):
            self._leases[ref] = lease
            self._fetches[ref] = asyncio.create_task(self._runners[lease.device_id].fetch(lease))
            self._wake[lease.device_id].set()
        elif self._desk.stage(ref) is None:
            message = f"this agent has no device {lease.device_id!r}"
            ending = Ending(lease_id=ref.lease_id, attempt=ref.attempt, failure=wire.failure(DEVICE_LOST, message))
            self.send(farm_pb2.AgentMessage(lease_finished=ending))

    def _acknowledged(self, ack: farm_pb2.OutcomeAck) -> None:
        if self._desk.acknowledge(wire.ref_of(ack), ack.index):
            self._spool.remove(ack.lease_id, ack.attempt, ack.index)

    def _cancel(self, ref: Ref, reason: str) -> None:
        stage = self._desk.stage(ref)
        if stage in (Stage.QUEUED, Stage.RUNNING):
            self._finish(ref, CANCELLED, reason or "cancelled")
        if ref in self._at_work:
            self._at_work[ref].cancel()

    def _forget(self, ref: Ref) -> None:
        self._desk.forget(ref)
        self._leases.pop(ref, None)
        self._stop_fetching(ref)
        self._spool.remove_lease(ref.lease_id, ref.attempt)
        if ref in self._at_work:
            self._at_work[ref].cancel()

    def _finish(self, ref: Ref, kind: str = "", message: str = "", device_failed: bool = False) -> None:
        ending = Ending(lease_id=ref.lease_id, attempt=ref.attempt, device_failed=device_failed)
        if kind:
            ending.failure.CopyFrom(wire.failure(kind, message))
        if not self._desk.finish(ref, ending):
            return
        lease = self._leases.pop(ref)
        self._stop_fetching(ref)
        self._tell(ref, ending)
        self._ask_for_work(lease.device_id)

    def _stop_fetching(self, ref: Ref) -> None:
        """For a lease that nobody is going to work on."""
        fetch = self._fetches.pop(ref, None)
        if fetch is not None:
            fetch.cancel()
            fetch.add_done_callback(_let_go)

    def _tell(self, ref: Ref, ending: Ending) -> None:
        if self.send(farm_pb2.AgentMessage(lease_finished=ending)):
            self._desk.told(ref)

    def _ask_for_work(self, device: str) -> None:
        request = farm_pb2.WorkRequest(device_id=device, slots=self._desk.wants()[device])
        self.send(farm_pb2.AgentMessage(work_request=request))


def _let_go(fetch: "asyncio.Task[Held]") -> None:
    if not fetch.cancelled() and fetch.exception() is None:
        fetch.result().release()
