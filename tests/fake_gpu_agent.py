"""A fake agent with a GPU that is not there: real gRPC, real artifacts, made-up times.

It lets a job for CUDA go through the real coordinator on a machine without a GPU. Outputs of whole models are ONNX
Runtime's, of the very model that the job is about; times are drawn from each artifact's digest, the same every time.
"""

import asyncio
import contextlib
import hashlib
import io
import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc.aio
import numpy as np
import onnxruntime

from tunefarm_agent.commands import ModelInput
from tunefarm_agent.model_inputs import named_input
from tunefarm_proto.v1 import common_pb2, farm_pb2, farm_pb2_grpc

_MICROSECOND = 1e-6
_BEAT_SECONDS = 2.0


class FakeGpuAgent:
    """Attach it with `async with FakeGpuAgent(address, target) as agent`.

    Attributes:
        measured: the libraries that it "measured", as they came.
    """

    def __init__(self, address: str, target: str) -> None:
        self.measured: list[bytes] = []
        self._target = target
        self._channel = grpc.aio.insecure_channel(address, options=[("grpc.max_receive_message_length", 64 << 20)])
        self._stub = farm_pb2_grpc.FarmServiceStub(self._channel)
        self._task: asyncio.Task[None] | None = None
        self._writing = asyncio.Lock()

    async def __aenter__(self) -> "FakeGpuAgent":
        self._task = asyncio.create_task(self._live())
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._task is not None
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        await self._channel.close()

    async def _live(self) -> None:
        call = self._stub.Attach()
        device = common_pb2.Device(
            device_id="cuda0", name="Fake GPU", fingerprint="sha256:fake", facts={"gpu": "fake"}, target=self._target
        )
        hello = farm_pb2.Hello(protocols=[1], agent_id="fake", boot_id=uuid.uuid4().hex, devices=[device])
        await self._say(call, farm_pb2.AgentMessage(hello=hello))
        await call.read()
        beats = asyncio.create_task(self._beat(call))
        try:
            await self._serve(call)
        finally:
            beats.cancel()

    async def _beat(self, call: Any) -> None:
        while True:
            await self._say(call, farm_pb2.AgentMessage(heartbeat=farm_pb2.Heartbeat()))
            await asyncio.sleep(_BEAT_SECONDS)

    async def _say(self, call: Any, message: farm_pb2.AgentMessage) -> None:
        """One at a time: a stream takes no second message while the first is being written."""
        async with self._writing:
            await call.write(message)

    async def _serve(self, call: Any) -> None:
        while True:
            await self._say(call, farm_pb2.AgentMessage(work_request=farm_pb2.WorkRequest(device_id="cuda0", slots=1)))
            message = await call.read()
            while message is not grpc.aio.EOF and message.WhichOneof("message") != "lease":
                message = await call.read()
            if message is grpc.aio.EOF:
                return
            lease = message.lease
            async for index, report in self._work(lease):
                report.lease_id, report.attempt, report.index = lease.lease_id, lease.attempt, index
                await self._say(call, farm_pb2.AgentMessage(outcome=report))
            ending = farm_pb2.LeaseFinished(lease_id=lease.lease_id, attempt=lease.attempt)
            await self._say(call, farm_pb2.AgentMessage(lease_finished=ending))

    async def _work(self, lease: farm_pb2.Lease) -> AsyncIterator[tuple[int, farm_pb2.OutcomeReport]]:
        match lease.WhichOneof("work"):
            case "measure":
                for index, candidate in enumerate(lease.measure.candidates):
                    if not lease.indices or index in lease.indices:
                        self.measured.append(await self._fetch(candidate.artifact))
                        yield index, farm_pb2.OutcomeReport(measured=_timed(candidate.artifact))
            case "compare":
                for index, group in enumerate(lease.compare.groups):
                    items = [farm_pb2.ComparedItem(measured=_timed(c.artifact)) for c in group.candidates]
                    yield index, farm_pb2.OutcomeReport(compared=farm_pb2.ComparedGroup(items=items))
            case "calibrate":
                yield 0, farm_pb2.OutcomeReport(measured=_timed(lease.calibrate.reference.artifact))
            case "benchmark":
                yield 0, farm_pb2.OutcomeReport(benchmark=await self._benchmark(lease.benchmark))
            case other:
                raise AssertionError(f"a lease of an unknown kind: {other}")

    async def _benchmark(self, work: farm_pb2.BenchmarkWork) -> farm_pb2.ModelBenchmark:
        timings = []
        for contender in work.contenders:
            timing = farm_pb2.ModelTiming(name=contender.name, measured=_timed(contender.artifact))
            if contender.report_outputs:
                timing.outputs_digest = await self._outputs(work)
            timings.append(timing)
        return farm_pb2.ModelBenchmark(timings=timings)

    async def _outputs(self, work: farm_pb2.BenchmarkWork) -> str:
        runtime = farm_pb2.ModelContender.RUNTIME_ONNXRUNTIME
        contender = next(each for each in work.contenders if each.runtime == runtime)
        session = onnxruntime.InferenceSession(await self._fetch(contender.artifact))
        arrays: dict[str, Any] = {}
        with np.load(io.BytesIO(await self._fetch(work.inputs))) as data:
            for i in range(work.input_sets):
                feed = {each.name: named_input(data, ModelInput(each.name, each.dtype), i) for each in contender.inputs}
                for j, output in enumerate(session.run(None, feed)):
                    arrays[f"s{i}_out{j}"] = output
        file = io.BytesIO()
        np.savez(file, **arrays)
        digest = f"sha256:{hashlib.sha256(file.getvalue()).hexdigest()}"
        request = farm_pb2.UploadArtifactRequest(digest=digest, data=file.getvalue())
        await self._stub.UploadArtifact(iter([request]))
        return digest

    async def _fetch(self, digest: str) -> bytes:
        request = farm_pb2.FetchArtifactsRequest(artifacts=[farm_pb2.WantedArtifact(digest=digest)])
        messages = [message async for message in self._stub.FetchArtifacts(request)]
        return b"".join(chunk.data for message in messages for chunk in message.chunks)


def _timed(digest: str) -> farm_pb2.Measured:
    seconds = (1 + int(digest[-4:], 16) / 0xFFFF) * _MICROSECOND
    return farm_pb2.Measured(seconds=[seconds] * 5, max_rel_error=0.0)
