"""A device that fails everything, on a real coordinator: two rounds at most, and the rest is there for later."""

import asyncio
import json
import platform
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.fake_gpu_agent import FakeGpuAgent
from tests.programs import coordinator, document, tunefarm
from tests.tiny_models import save_convolutions
from tunefarm_agent.detection import proposed_target, this_cpu
from tunefarm_proto.v1 import common_pb2, farm_pb2

pytestmark = pytest.mark.slow

TASKS = 3
TRIALS = 4
FIRST_ROUND = 2


class FakeBrokenDevice(FakeGpuAgent):
    """Fails every candidate with the same words, until it is `mended`."""

    mended = False

    async def _work(self, lease: farm_pb2.Lease) -> AsyncIterator[tuple[int, farm_pb2.OutcomeReport]]:
        async for index, report in super()._work(lease):
            if not self.mended and lease.HasField("measure"):
                kind = common_pb2.FAILURE_KIND_RUN_ERROR
                message = f"can not copy {lease.measure.workload[:8]} from device 129 to 130 at 0x7f{index:02x}"
                report = farm_pb2.OutcomeReport(failed=common_pb2.Failure(kind=kind, message=message))
            yield index, report


async def test_a_device_that_fails_everything_costs_a_job_two_rounds_and_resume_goes_on(
    home: Path, tmp_path: Path
) -> None:
    model = save_convolutions(tmp_path / "convolutions.onnx", TASKS)
    target = json.dumps(proposed_target(platform.machine(), this_cpu(), 1))
    with coordinator(home) as (_, address):

        async def ask(*arguments: str) -> dict[str, Any]:
            done = await asyncio.to_thread(tunefarm, home, *arguments, "--connect", address, "--json")
            return document(done)

        device = FakeBrokenDevice(address, target)
        async with device:
            tune = ("tune", str(model), "--target", target, "--trials-per-kernel", str(TRIALS), "--seed", "1")
            await ask(*tune, "--out", str(tmp_path / "package"))
            (job,) = [each["job_id"] for each in (await ask("jobs"))["jobs"]]
            failed = await ask("job", "show", job)
            assert failed["state"] == "FAILED"
            assert failed["trials"]["budget"] == TASKS * TRIALS
            assert 0 < failed["trials"]["charged"] <= 2 * FIRST_ROUND
            assert failed["error"]["kind"] == "NO_VALID_TRIAL"
            assert "default schedules among them, failed, alike: RUN_ERROR: can not copy" in failed["error"]["message"]
            assert f"`tunefarm job resume {job}` goes on with what is left" in failed["error"]["message"]
            device.mended = True
            await ask("job", "resume", job)
            resumed = await ask("job", "show", job)
    assert resumed["state"] == "SUCCEEDED"
    assert resumed["trials"]["charged"] == TASKS * TRIALS
    assert resumed["trials"]["valid"] == TASKS * TRIALS - failed["trials"]["charged"]
