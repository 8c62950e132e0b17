"""Work on one lease: fetch what it needs, run it, report item by item."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace

from tunefarm_agent import wire
from tunefarm_agent.artifacts import Artifacts, Held
from tunefarm_agent.benchmark import Benchmark
from tunefarm_agent.commands import DEVICE_LOST, RUN_TIMEOUT, Evaluation, Expected, Kernel
from tunefarm_agent.devices import OwnDevice
from tunefarm_agent.errors import DeviceFailed, LeaseGivenUp
from tunefarm_agent.gate import TimingGate
from tunefarm_agent.results import Failed, Measured, ReferenceTime, Result
from tunefarm_agent.rounds import in_the_running
from tunefarm_agent.stand import Stand
from tunefarm_proto.v1 import farm_pb2

# Some hundred calls of a short kernel.
_WARM_SAMPLE_MS = 1.0

# Takes (index, outcome without its address); returns when the outcome is safe on this host.
Report = Callable[[int, farm_pb2.OutcomeReport], Awaitable[None]]


class WorkClock:
    """Counts the time limit of a lease while it is worked on, and stands still while the gate is waited for."""

    def __init__(self, limit: float) -> None:
        """`limit`: seconds; 0 for none."""
        self._limit = limit
        self._spent = 0.0
        self.runs = False

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Raises LeaseGivenUp when the limit is reached; what runs is cancelled."""
        start = time.monotonic()
        self.runs = True
        try:
            async with asyncio.timeout(self._limit - self._spent if self._limit else None):
                yield
        except TimeoutError as error:
            raise LeaseGivenUp(f"the lease's time limit of {self._limit:g} s is over") from error
        finally:
            self.runs = False
            self._spent += time.monotonic() - start


@dataclass(frozen=True)
class _Reference:
    """The reference kernel of a batch; `limit`: seconds."""

    kernel: Kernel
    evaluation: Evaluation
    limit: float


def _around(conditions: farm_pb2.Conditions, *timed: ReferenceTime | None) -> farm_pb2.Conditions:
    """The conditions with the slowest time of the reference kernel, where it was timed."""
    known = [each for each in timed if each is not None]
    if known:
        slowest = max(known, key=lambda each: each.seconds)
        conditions.reference_seconds, conditions.reference_spread = slowest.seconds, slowest.spread
    return conditions


def warm(evaluation: Evaluation) -> Evaluation:
    """The evaluation for a device that takes work in a queue, and whose caches stay warm: calls follow one another, so
    many in a sample that launching them counts for little. One by one, a short kernel's time is mostly its launch's."""
    longest = max(evaluation.min_repeat_ms, _WARM_SAMPLE_MS)
    return replace(evaluation, flush_cache=False, min_repeat_ms=longest)


def _behind(result: Result, error: DeviceFailed) -> Result:
    """What came of a candidate after which the device can't do its work. What was checked and timed stays; a failure is
    the device's as likely as the candidate's, so it is none yet."""
    if isinstance(result, Failed):
        return Failed(DEVICE_LOST, f"{result.kind}: {result.message}; after it {error}")
    return result


@dataclass
class _Entrant:
    """A finalist in a comparison, with what is left of its own time."""

    candidate: farm_pb2.Candidate
    left: float
    failure: Failed | None = None
    max_rel_error: float | None = None
    number: int = 0
    seconds: tuple[float, ...] = ()

    def result(self) -> Result:
        return self.failure or Measured(self.seconds, self.number, self.max_rel_error)


class LeaseRunner:
    """Runs the leases of one device, one at a time."""

    def __init__(
        self, device: OwnDevice, stand: Stand, artifacts: Artifacts, gate: TimingGate, benchmark: Benchmark
    ) -> None:
        self._device = device
        self._stand = stand
        self._artifacts = artifacts
        self._gate = gate
        self._benchmark = benchmark
        self._clock: WorkClock | None = None

    @property
    def works(self) -> bool:
        """Whether the clock of a lease runs: it is neither fetched for, nor does it wait for the gate."""
        return self._clock is not None and self._clock.runs

    async def fetch(self, lease: farm_pb2.Lease) -> Held:
        """What the lease needs; may be asked for before it is its turn. Raises LeaseGivenUp, ArtifactUnavailable."""
        limit = lease.fetch_limit.ToTimedelta().total_seconds()
        try:
            async with asyncio.timeout(limit or None):
                return await self._artifacts.fetch(wire.artifacts_of(lease))
        except TimeoutError as error:
            raise LeaseGivenUp(f"its artifacts could not be fetched within {limit:g} s") from error

    async def run(self, lease: farm_pb2.Lease, files: wire.Files, report: Report) -> None:
        """Every item's outcome goes to `report`. `files`: those that `fetch` brought. Raises LeaseGivenUp,
        ArtifactUnavailable."""
        with self._device.at_work():
            await self._run(lease, files, report)

    async def _run(self, lease: farm_pb2.Lease, files: wire.Files, report: Report) -> None:
        limit = lease.time_limit.ToTimedelta().total_seconds()
        clock = self._clock = WorkClock(limit)
        async with self._stand.set_up(limit) as scratch:
            match lease.WhichOneof("work"):
                case "measure":
                    work = lease.measure
                    async with self._gate.closed(), clock.running():
                        await self._batch(
                            wire.wanted(lease, work.candidates),
                            wire.expected_of(work.expected, files),
                            self._evaluation(work.evaluator, work.give_up_seconds),
                            files,
                            report,
                            self._reference_of(work, files),
                        )
                case "verify":
                    expected = wire.expected_of(lease.verify.expected, files)
                    async with clock.running():
                        candidates = wire.wanted(lease, lease.verify.candidates)
                        await self._batch(candidates, expected, None, files, report)
                case "calibrate":
                    async with self._gate.closed(), clock.running():
                        await report(0, await self._calibrate(lease.calibrate, files))
                case "compare":
                    async with self._gate.closed(), clock.running():
                        for index, group in wire.wanted(lease, lease.compare.groups).items():
                            await report(index, await self._compare(lease.compare, group, files))
                case "benchmark":
                    start = self._conditions_from()
                    result = await self._benchmark.run(lease.benchmark, files, scratch, clock)
                    await report(0, farm_pb2.OutcomeReport(benchmark=result, conditions=self._conditions(start)))
                case _:
                    raise LeaseGivenUp("this agent does not know the lease's kind of work: update the agent")

    async def _batch(
        self,
        candidates: Mapping[int, farm_pb2.Candidate],
        expected: tuple[Expected, ...],
        evaluation: Evaluation | None,
        files: wire.Files,
        report: Report,
        reference: _Reference | None = None,
    ) -> None:
        """Candidates one by one, the reference kernel before, between and after them: an outcome carries the slower
        time of the two around it. Raises DeviceFailed when that kernel can't be timed any more."""
        before = await self._time(reference)
        for index, candidate in candidates.items():
            start = self._conditions_from()
            kernel = wire.kernel_of(candidate, files)
            result = await self._stand.run(kernel, expected, evaluation, wire.time_of(candidate))
            conditions = self._conditions(start, evaluation, inside=isinstance(result, Measured))
            try:
                after = await self._time(reference)
            except DeviceFailed as error:
                result = _behind(result, error)
                await report(index, wire.item_report(result, _around(conditions, before)))
                raise
            await report(index, wire.item_report(result, _around(conditions, before, after)))
            before = after

    def _evaluation(self, evaluator: farm_pb2.Evaluator, give_up: float = 0.0) -> Evaluation:
        """Where TVM can't flush the caches (it can on CPUs alone) they stay warm, and the conditions say so."""
        evaluation = wire.evaluation_of(evaluator, give_up)
        return evaluation if self._device.place.kind == "cpu" else warm(evaluation)

    def _reference_of(
        self, work: farm_pb2.MeasureWork | farm_pb2.CalibrateWork, files: wire.Files
    ) -> _Reference | None:
        if not work.HasField("reference"):
            return None
        evaluator = work.reference_evaluator if isinstance(work, farm_pb2.MeasureWork) else work.evaluator
        return _Reference(
            wire.kernel_of(work.reference, files), self._evaluation(evaluator), wire.time_of(work.reference)
        )

    async def _time(self, reference: _Reference | None) -> ReferenceTime | None:
        if reference is None:
            return None
        return await self._stand.time_reference(reference.kernel, reference.evaluation, reference.limit)

    async def _calibrate(self, work: farm_pb2.CalibrateWork, files: wire.Files) -> farm_pb2.OutcomeReport:
        """The reference kernel alone."""
        start = self._conditions_from()
        reference = self._reference_of(work, files)
        timed = await self._time(reference)
        if reference is None or timed is None:
            raise LeaseGivenUp("a lease to calibrate came without a reference kernel")
        conditions = _around(self._conditions(start, reference.evaluation), timed)
        measured = Measured(timed.samples, max(1, work.evaluator.number), None)
        return wire.item_report(measured, conditions)

    async def _compare(
        self, work: farm_pb2.CompareWork, group: farm_pb2.CompareGroup, files: wire.Files
    ) -> farm_pb2.OutcomeReport:
        """Check each on every input, then time those that are right in turn, A B A B, as long as they may win."""
        start = self._conditions_from()
        evaluation = self._evaluation(work.evaluator)
        expected = wire.expected_of(group.expected, files)
        entrants = [_Entrant(candidate, wire.time_of(candidate)) for candidate in group.candidates]
        self._stand.renew()
        for entrant in entrants:
            await self._turn(entrant, expected, None, files)
        for done in range(work.rounds):
            held = [entrant for entrant in entrants if entrant.failure is None]
            for at in in_the_running([entrant.seconds for entrant in held], done):
                await self._turn(held[at], (), evaluation, files)
        compared = farm_pb2.ComparedGroup(items=[wire.compared_item(e.result()) for e in entrants])
        return farm_pb2.OutcomeReport(compared=compared, conditions=self._conditions(start, evaluation))

    async def _turn(
        self,
        entrant: _Entrant,
        expected: tuple[Expected, ...],
        evaluation: Evaluation | None,
        files: wire.Files,
    ) -> None:
        """One turn of an entrant: its check or one round of its timing."""
        if entrant.left <= 0:
            entrant.failure = Failed(RUN_TIMEOUT, f"took longer than {wire.time_of(entrant.candidate):.3g} s")
            return
        start = time.monotonic()
        kernel = wire.kernel_of(entrant.candidate, files)
        result = await self._stand.run(kernel, expected, evaluation, entrant.left, keep=True)
        entrant.left -= time.monotonic() - start
        if isinstance(result, Failed):
            entrant.failure = result
        elif evaluation is None:
            entrant.max_rel_error = result.max_rel_error
        else:
            entrant.seconds += result.seconds
            entrant.number = result.number

    @staticmethod
    def _conditions_from() -> tuple[float, float]:
        return time.time(), time.monotonic()

    def _conditions(
        self, start: tuple[float, float], evaluation: Evaluation | None = None, inside: bool = False
    ) -> farm_pb2.Conditions:
        """`inside`: what ran has its session still open."""
        conditions = farm_pb2.Conditions(
            started_unix=start[0],
            elapsed=time.monotonic() - start[1],
            temperature=self._device.temperature(),
            cache_flushed=evaluation is not None and evaluation.flush_cache,
        )
        if self._device.watch is not None:
            conditions.MergeFrom(wire.reading_to_wire(self._device.watch.look(inside)))
        return conditions
