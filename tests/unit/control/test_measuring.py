"""The device side of a job: which outcomes are the job's."""

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tunefarm_coordinator.control.job import JobSheet
from tunefarm_coordinator.control.measuring import MeasuringStage
from tunefarm_coordinator.control.runner import JobRunner
from tunefarm_coordinator.control.services import Services
from tunefarm_coordinator.control.tuning import TuningStage
from tunefarm_coordinator.errors import NoDevice
from tunefarm_coordinator.farm.messages import Deliver, FarmDevice, LeaseRef, Unserved
from tunefarm_coordinator.fault_points import FaultPoints
from tunefarm_coordinator.jobs import instructions as ins
from tunefarm_coordinator.jobs.brain import JobBrain
from tunefarm_coordinator.schedules.store import Store
from tunefarm_proto.v1 import farm_pb2, tuning_pb2

DEVICE = FarmDevice("cpu0", "f1", "{}")


class Farm:
    """Keeps the callbacks of the only work."""

    def __init__(self) -> None:
        self.submitted = asyncio.Event()
        self.withdrawn: list[str] = []

    def submit(
        self,
        work: Any,
        on_outcome: Any,
        _on_lost: Any,
        *,
        resumed: bool = False,
        on_suspected: Any = None,
        on_unserved: Any = None,
    ) -> None:
        self.suspected, self.unserved = on_suspected, on_unserved
        self.work, self.deliver, self.resumed = work, on_outcome, resumed
        self.submitted.set()

    def withdraw(self, ids: list[str]) -> None:
        self.withdrawn += ids


def stage_on(farm: Farm) -> MeasuringStage:
    sheet = JobSheet("job", tuning_pb2.JobSpec(), Path("m.onnx"), "m", ({},), "{}", 0.0)
    runner = SimpleNamespace(sheet=sheet, brain=JobBrain(sheet.options), resumed=frozenset())
    services = SimpleNamespace(farm=farm, faults=FaultPoints(), store=cast(Store, None))
    return MeasuringStage(cast(JobRunner, runner), cast(Services, services), cast(TuningStage, None))


async def test_work_that_only_failing_devices_could_do_is_not_waited_for() -> None:
    farm = Farm()
    work = asyncio.create_task(stage_on(farm).benchmark("b1", ins.Benchmark(1), farm_pb2.BenchmarkWork()))
    await farm.submitted.wait()
    farm.unserved(Unserved("job/b1", "the only GPU fell off its bus"))
    farm.unserved(Unserved("job/b1", "said anew until it is withdrawn"))
    with pytest.raises(NoDevice, match="fell off its bus"):
        await work
    assert farm.withdrawn == ["job/b1"]


async def test_what_was_durable_before_a_restart_is_not_taken_twice() -> None:
    farm = Farm()
    stage = stage_on(farm)
    wanted = ins.Benchmark(1)
    work = asyncio.create_task(stage.benchmark("b1", wanted, farm_pb2.BenchmarkWork()))
    await farm.submitted.wait()
    report = farm_pb2.OutcomeReport()
    # The agent never heard that item 3 was written down, and brings it again: it is acknowledged, and changes nothing.
    await farm.deliver(Deliver("job/b1", LeaseRef("job/b1", 1), 3, DEVICE, "agent", True, report), report)
    assert not work.done()
    await farm.deliver(Deliver("job/b1", LeaseRef("job/b1", 1), 0, DEVICE, "agent", False, report), report)
    answer = await work
    assert isinstance(answer, tuple)
    assert answer[0].index == 0
    assert farm.withdrawn == ["job/b1"]
