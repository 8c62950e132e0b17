"""A fake coordinator: speaks the contract over a real gRPC server, and tunes nothing.

In a test it is an object whose answers are set and whose requests are looked at; as a program
(`python tests/tuning_stand_in.py serve|run ...`) it stands in for the two programs that an embedded client
starts.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent import futures
from pathlib import Path
from typing import Any

import grpc

from tunefarm_proto.v1 import (
    common_pb2,
    farm_pb2,
    farm_pb2_grpc,
    schedule_pb2_grpc,
    tuning_pb2,
    tuning_pb2_grpc,
)

JOB_ID = "job-1"
NODES = ("Conv_0", "Relu_0", "Add_1")
TASK_NAMES = ("fused_conv2d_add_relu_with_a_name_that_is_longer_than_any_column", "fused_matmul", "fused_softmax")


def job_at(state: str, sequence: int, charged: int = 0, **extra: Any) -> tuning_pb2.Job:
    """A job of three tasks with a budget of 8 trials."""
    tasks = [
        tuning_pb2.TaskProgress(
            workload=f"w{i}",
            name=name,
            weight=i + 1,
            nodes=NODES,
            charged=charged // 3,
            valid=charged // 3,
            baseline_seconds=3e-3 / (i + 1),
            best_seconds=1e-3 / (i + 1) if charged else None,
        )
        for i, name in enumerate(TASK_NAMES)
    ]
    return tuning_pb2.Job(
        job_id=JOB_ID,
        state=getattr(tuning_pb2, f"JOB_STATE_{state}"),
        model_name="little",
        tuner="autoscheduler",
        trials=tuning_pb2.Trials(budget=8, charged=charged, valid=max(0, charged - 1), failed={"RUN_ERROR": 1}),
        tasks=tasks,
        trials_per_second=2.5,
        estimated_latency_ms=3.0,
        seconds_left=12.0,
        measurements=5,
        sequence=sequence,
        seconds=tuning_pb2.StageSeconds(total=9.5, prepare=1, search=4, build=2, measure=2, package=0.5),
        **extra,
    )


def succeeding() -> list[tuning_pb2.Job]:
    """A job's life, one entry a change."""
    latency = tuning_pb2.LatencyMs(
        tuned=2.0,
        untuned=9.0,
        onnxruntime=3.0,
        tuned_spread=0.1,
        untuned_spread=0.2,
        onnxruntime_spread=0.3,
        tuned_mean=2.5,  # the others as a coordinator that sends no means
    )
    end = job_at("SUCCEEDED", 7, 8, latency_ms=latency, max_rel_error=2e-6, has_package=True, device="cpu0")
    return [
        job_at("QUEUED", 1),
        job_at("PREPARING", 2),
        job_at("TUNING", 3, 4),
        job_at("TUNING", 4, 8),
        job_at("VERIFYING", 5, 8),
        job_at("BENCHMARKING", 6, 8),
        end,
    ]


def failing(kind: str, message: str) -> list[tuning_pb2.Job]:
    """A job that ends FAILED."""
    error = tuning_pb2.JobError(kind=getattr(tuning_pb2, f"JOB_ERROR_KIND_{kind}"), message=message)
    return [job_at("TUNING", 1, 3), job_at("FAILED", 2, 3, error=error)]


def a_plan(tuner: str = "autoscheduler", **extra: Any) -> tuning_pb2.Plan:
    """A plan of three tasks, of which the budget of 8 trials does not reach the last."""
    tasks = [
        tuning_pb2.PlannedTask(
            workload=f"w{i}", name=name, weight=1, flops=2e6, first_round_trials=1 - i // 2, nodes=NODES
        )
        for i, name in enumerate(TASK_NAMES)
    ]
    note = f"the budget of 8 trials does not reach 1 task ({TASK_NAMES[2]}): what the store has is kept"
    return tuning_pb2.Plan(target="llvm", tuner=tuner, tasks=tasks, budget=8, layout="NHWC", notes=[note], **extra)


class FakeCoordinator:
    """Set the public attributes, start it, look at what it was sent."""

    def __init__(self) -> None:
        self.script = succeeding()
        self.hold_at: int | None = None  # index in the script that is only left by CancelJob
        self.break_watch_after: list[int] = []  # updates that each successive stream sends before it breaks
        self.errors: dict[str, tuple[grpc.StatusCode, str]] = {}  # by RPC
        self.fail_once: set[str] = set()  # RPCs that answer UNAVAILABLE the first time
        self.package = {"manifest.json": b"{}", "lib/model.so": b"\x7fELF" * 400_000, "run.py": b"print()\n"}
        self.package_chunks: Callable[[], Iterator[tuning_pb2.PackageChunk]] = self._package
        self.page_size = 2
        self.job_count = 1
        self.drained: str | None = None
        self.uploaded: dict[str, bytes] = {}
        self.headers: list[tuning_pb2.UploadModelHeader] = []
        self.submitted: list[tuning_pb2.SubmitJobRequest] = []
        self.watched_after: list[int] = []
        self.tokens: set[str] = set()
        self.deadlines: dict[str, float | None] = {}
        self.resumed: list[tuning_pb2.ResumeJobRequest] = []
        self.planned: list[tuning_pb2.PlanJobRequest] = []
        self.plan = a_plan()
        self.cancelled = threading.Event()
        self.released = threading.Event()  # what is held goes on: cancelled, or the server stops
        self._step = 0
        self._server: grpc.Server | None = None

    def start(self, address: str = "127.0.0.1:0") -> str:
        """Listens; returns the address."""
        server = grpc.server(futures.ThreadPoolExecutor(8))
        tuning_pb2_grpc.add_TuningServiceServicer_to_server(_Tuning(self), server)
        farm_pb2_grpc.add_FarmServiceServicer_to_server(_Farm(self), server)
        schedule_pb2_grpc.add_ScheduleServiceServicer_to_server(schedule_pb2_grpc.ScheduleServiceServicer(), server)
        port = server.add_insecure_port(address)
        server.start()
        self._server = server
        return f"127.0.0.1:{port}"

    def stop(self) -> None:
        """Ends every stream and waits for the port to be free."""
        self.released.set()
        if self._server is not None:
            self._server.stop(0).wait()
            self._server = None
        self.released.clear()

    def meet(self, rpc: str, context: Any) -> None:
        """Notes what came with a call, and answers it with an error where one was set."""
        self.tokens |= {str(value) for key, value in context.invocation_metadata() if key == "authorization"}
        self.deadlines[rpc] = context.time_remaining()
        if rpc in self.fail_once:
            self.fail_once.remove(rpc)
            context.abort(grpc.StatusCode.UNAVAILABLE, "restarting")
        if rpc in self.errors:
            context.abort(*self.errors[rpc])

    def current(self, *, advance: bool = True) -> tuning_pb2.Job:
        """The job now; each look moves it on."""
        if self.cancelled.is_set():
            return job_at("CANCELLED", 100, 4)
        job = self.script[self._step]
        held = self.hold_at is not None and self._step >= self.hold_at
        if advance and not held and self._step + 1 < len(self.script):
            self._step += 1
        return job

    def reach(self, step: int) -> None:
        """The job is at least this far."""
        self._step = max(self._step, step)

    def _package(self) -> Iterator[tuning_pb2.PackageChunk]:
        for path, data in self.package.items():
            yield from file_chunks(path, data)


def file_chunks(path: str, data: bytes, **header: Any) -> Iterator[tuning_pb2.PackageChunk]:
    """One file of a package; `header` overrides what it is announced as."""
    announced: dict[str, Any] = {"path": path, "size": len(data), "sha256": hashlib.sha256(data).hexdigest()} | header
    yield tuning_pb2.PackageChunk(file=tuning_pb2.FileHeader(**announced))
    for start in range(0, len(data), 65536):
        yield tuning_pb2.PackageChunk(data=data[start : start + 65536])


class _Tuning(tuning_pb2_grpc.TuningServiceServicer):
    def __init__(self, fake: FakeCoordinator) -> None:
        self._fake = fake

    def UploadModel(self, parts: Iterator[tuning_pb2.UploadModelRequest], context: Any) -> tuning_pb2.Model:
        self._fake.meet("UploadModel", context)
        header = next(parts).header
        self._fake.headers.append(header)
        data = [bytearray() for _ in header.files]
        for part in parts:
            if part.chunk.offset != len(data[part.chunk.file]):
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "a chunk is missing")
            data[part.chunk.file] += part.chunk.data
        for file, content in zip(header.files, data, strict=True):
            if hashlib.sha256(content).hexdigest() != file.sha256:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"digest of {file.path} does not match")
            self._fake.uploaded[file.path] = bytes(content)
        spec = common_pb2.TensorSpec(name="x", shape=[-1, 3], dtype="float32")
        return tuning_pb2.Model(model_id="model-1", name=header.name, project=header.project, inputs=[spec])

    def PlanJob(self, request: tuning_pb2.PlanJobRequest, context: Any) -> tuning_pb2.Plan:
        self._fake.planned.append(request)
        self._fake.meet("PlanJob", context)
        return self._fake.plan

    def SubmitJob(self, request: tuning_pb2.SubmitJobRequest, context: Any) -> tuning_pb2.Job:
        self._fake.submitted.append(request)
        self._fake.meet("SubmitJob", context)
        return self._fake.current(advance=False)

    def GetJob(self, request: tuning_pb2.GetJobRequest, context: Any) -> tuning_pb2.Job:
        self._fake.meet("GetJob", context)
        if request.job_id != JOB_ID:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no job {request.job_id!r}: `tunefarm jobs` lists them")
        return self._fake.current()

    def ListJobs(self, request: tuning_pb2.ListJobsRequest, context: Any) -> tuning_pb2.ListJobsResponse:
        self._fake.meet("ListJobs", context)
        first = int(request.page_token or 0)
        last = min(first + self._fake.page_size, self._fake.job_count)
        jobs = [tuning_pb2.Job(job_id=f"job-{i}", state=tuning_pb2.JOB_STATE_QUEUED) for i in range(first, last)]
        token = str(last) if last < self._fake.job_count else ""
        return tuning_pb2.ListJobsResponse(jobs=jobs, next_page_token=token)

    def WatchJob(self, request: tuning_pb2.WatchJobRequest, context: Any) -> Iterator[tuning_pb2.JobUpdate]:
        self._fake.meet("WatchJob", context)
        self._fake.watched_after.append(request.after_sequence)
        left = self._fake.break_watch_after.pop(0) if self._fake.break_watch_after else 1000
        for index, job in enumerate(self._fake.script):
            if left == 0:
                context.abort(grpc.StatusCode.UNAVAILABLE, "the coordinator goes down")
            if self._fake.cancelled.is_set():
                break
            self._fake.reach(index)
            if job.sequence > request.after_sequence:
                yield tuning_pb2.JobUpdate(sequence=job.sequence, job=job)
                left -= 1
            if index == self._fake.hold_at:
                self._fake.released.wait(60)
                if not self._fake.cancelled.is_set():
                    context.abort(grpc.StatusCode.UNAVAILABLE, "the coordinator goes down")
        if self._fake.cancelled.is_set():
            yield tuning_pb2.JobUpdate(sequence=100, job=job_at("CANCELLED", 100, 4))

    def CancelJob(self, _request: tuning_pb2.CancelJobRequest, context: Any) -> tuning_pb2.Job:
        self._fake.meet("CancelJob", context)
        self._fake.cancelled.set()
        self._fake.released.set()
        return self._fake.current()

    def ResumeJob(self, request: tuning_pb2.ResumeJobRequest, context: Any) -> tuning_pb2.Job:
        self._fake.resumed.append(request)
        self._fake.meet("ResumeJob", context)
        if request.job_id != JOB_ID:
            context.abort(grpc.StatusCode.NOT_FOUND, f"no job {request.job_id!r}: `tunefarm jobs` lists them")
        self._fake.cancelled.clear()
        self._fake.released.clear()
        self._fake.hold_at = None
        return self._fake.current(advance=False)

    def FetchPackage(self, _request: tuning_pb2.FetchPackageRequest, context: Any) -> Iterator[tuning_pb2.PackageChunk]:
        self._fake.meet("FetchPackage", context)
        yield from self._fake.package_chunks()


class _Farm(farm_pb2_grpc.FarmServiceServicer):
    def __init__(self, fake: FakeCoordinator) -> None:
        self._fake = fake

    def ListDevices(self, _request: farm_pb2.ListDevicesRequest, context: Any) -> farm_pb2.ListDevicesResponse:
        self._fake.meet("ListDevices", context)
        device = common_pb2.Device(device_id="cpu0", name="a [cpu]", target="llvm", labels={"rack": "1"})
        status = common_pb2.DeviceStatus(
            device=device, agent_id="agent-1", state=common_pb2.DEVICE_STATE_IDLE, measured=4, failed=1
        )
        if self._fake.drained is not None:
            status.state, status.reason = common_pb2.DEVICE_STATE_DRAINING, self._fake.drained
        return farm_pb2.ListDevicesResponse(devices=[status])

    def DrainDevice(self, request: farm_pb2.DrainDeviceRequest, context: Any) -> farm_pb2.ListDevicesResponse:
        if request.agent_id != "agent-1":
            context.abort(grpc.StatusCode.NOT_FOUND, f"no agent {request.agent_id!r} is known here")
        self._fake.drained = request.reason
        return self.ListDevices(farm_pb2.ListDevicesRequest(), context)

    def ResumeDevice(self, _request: farm_pb2.ResumeDeviceRequest, context: Any) -> farm_pb2.ListDevicesResponse:
        self._fake.drained = None
        return self.ListDevices(farm_pb2.ListDevicesRequest(), context)


# ---- as a program


def _await_lifeline(fd: int) -> None:
    while True:
        readable, _, _ = select.select([fd], [], [], 1.0)
        if readable and os.read(fd, 1) == b"":
            return


def _note_pid(folder: str | None, name: str) -> None:
    if folder is not None:
        Path(folder).mkdir(parents=True, exist_ok=True)
        whole = Path(folder) / f"{name}.tmp"
        whole.write_text(str(os.getpid()))
        whole.rename(whole.with_suffix(".pid"))


def _serve(arguments: argparse.Namespace) -> int:
    said: dict[str, Any]
    if arguments.die:
        print("cannot start: the moon is in the wrong phase", flush=True)
        return 3
    fake = FakeCoordinator()
    fake.hold_at = arguments.hold_at
    if arguments.fail:
        said = {"error": {"kind": arguments.fail, "message": "the store is newer than this program"}}
    else:
        # As a coordinator that found jobs unfinished, and was told to leave them so.
        interrupted = [arguments.interrupted] if arguments.interrupted and arguments.leave_interrupted else []
        said = {"address": fake.start(arguments.listen), "interrupted": interrupted}
    with os.fdopen(arguments.ready_fd, "w") as ready:
        ready.write(json.dumps(said) + "\n")
    _await_lifeline(arguments.lifeline_fd)
    if arguments.note_cancel:
        Path(arguments.note_cancel).write_text(str(fake.cancelled.is_set()))
    fake.stop()
    return 0


def _main() -> int:
    parser = argparse.ArgumentParser()
    for flag in ("--listen", "--connect", "--store", "--data-dir", "--state-dir", "--fail", "--pids", "--note-cancel"):
        parser.add_argument(flag)
    for flag in ("--lifeline-fd", "--ready-fd", "--hold-at"):
        parser.add_argument(flag, type=int)
    parser.add_argument("--interrupted", help="the id of a job that an earlier coordinator left unfinished")
    parser.add_argument("--leave-interrupted", action="store_true")
    parser.add_argument("--die", action="store_true")
    parser.add_argument("--deaf", action="store_true", help="ignores the lifeline and SIGTERM")
    parser.add_argument("role", choices=("serve", "run"))
    arguments = parser.parse_args()
    _note_pid(arguments.pids, arguments.role)
    if arguments.deaf:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if arguments.role == "serve":
        return _serve(arguments)
    if arguments.deaf:
        with contextlib.suppress(KeyboardInterrupt):
            threading.Event().wait(120)
    _await_lifeline(arguments.lifeline_fd)
    return 0


if __name__ == "__main__":
    sys.exit(_main())
