"""TuningService on the wire: validate, call, convert."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from tunefarm_coordinator.control.folders import Folders
from tunefarm_coordinator.control.job import AUTOTVM
from tunefarm_coordinator.control.library import Chunk, ModelFile, ModelLibrary, StoredModel, UploadHeader
from tunefarm_coordinator.control.planning import PlannedJob, Planner
from tunefarm_coordinator.control.registry import JobRegistry
from tunefarm_coordinator.control.report import shape_set, timestamp
from tunefarm_coordinator.errors import InvalidInput, NotReady
from tunefarm_coordinator.jobs.events import Resumed
from tunefarm_coordinator.models.onnx_file import TensorSignature
from tunefarm_coordinator.models.task import TuningTask
from tunefarm_coordinator.service.packages import package_chunks
from tunefarm_proto.v1 import common_pb2, tuning_pb2, tuning_pb2_grpc

# Several changes of a job within this time reach a watcher as one.
WATCH_SECONDS = 0.25
# A watcher hears from a quiet job this often, so that rates and times move.
QUIET_SECONDS = 2.0
LARGEST_PAGE = 500
DEFAULT_PAGE = 50

TERMINAL = frozenset({tuning_pb2.JOB_STATE_SUCCEEDED, tuning_pb2.JOB_STATE_FAILED, tuning_pb2.JOB_STATE_CANCELLED})


class TuningServicer(tuning_pb2_grpc.TuningServiceServicer):
    """See tuning.proto for what each RPC promises."""

    def __init__(self, registry: JobRegistry, planner: Planner, library: ModelLibrary, folders: Folders) -> None:
        self._registry = registry
        self._planner = planner
        self._library = library
        self._folders = folders

    async def UploadModel(
        self, request_iterator: AsyncIterator[tuning_pb2.UploadModelRequest], _context: object
    ) -> tuning_pb2.Model:
        first = await anext(aiter(request_iterator), None)
        if first is None or first.WhichOneof("part") != "header":
            raise InvalidInput("the first message of an upload is its header")
        return _model(await self._library.add(_header(first.header), _chunks(request_iterator)))

    async def UploadValues(
        self, request_iterator: AsyncIterator[tuning_pb2.UploadValuesRequest], _context: object
    ) -> tuning_pb2.Values:
        first = await anext(aiter(request_iterator), None)
        if first is None or first.WhichOneof("part") != "header":
            raise InvalidInput("the first message of an upload is its header")
        data = (request.data async for request in request_iterator)
        values_id = await self._library.values.add(first.header.size, first.header.sha256, data)
        return tuning_pb2.Values(values_id=values_id)

    async def GetModel(self, request: tuning_pb2.GetModelRequest, _context: object) -> tuning_pb2.Model:
        return _model(await self._library.get(request.model_id))

    async def PlanJob(self, request: tuning_pb2.PlanJobRequest, _context: object) -> tuning_pb2.Plan:
        return _plan(await self._planner.plan(request.spec))

    async def SubmitJob(self, request: tuning_pb2.SubmitJobRequest, _context: object) -> tuning_pb2.Job:
        return await self._registry.submit(request.idempotency_key, request.spec)

    async def GetJob(self, request: tuning_pb2.GetJobRequest, _context: object) -> tuning_pb2.Job:
        return await self._registry.get(request.job_id)

    async def ListJobs(self, request: tuning_pb2.ListJobsRequest, _context: object) -> tuning_pb2.ListJobsResponse:
        states = [tuning_pb2.JobState.Name(state).removeprefix("JOB_STATE_") for state in request.states]
        size = min(request.page_size or DEFAULT_PAGE, LARGEST_PAGE)
        jobs, token = await self._registry.list(request.project, states, size, request.page_token)
        return tuning_pb2.ListJobsResponse(jobs=jobs, next_page_token=token)

    async def WatchJob(
        self, request: tuning_pb2.WatchJobRequest, _context: object
    ) -> AsyncIterator[tuning_pb2.JobUpdate]:
        job = await self._registry.get(request.job_id)
        self._registry.check_moves(request.job_id)
        seen = request.after_sequence
        if job.sequence > seen or job.state in TERMINAL or not seen:
            yield tuning_pb2.JobUpdate(sequence=job.sequence, job=job)
        while job.state not in TERMINAL:
            # In this task: one of its own would be left behind by a call that is cancelled meanwhile.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(QUIET_SECONDS):
                    await self._registry.wait_change(request.job_id, job.sequence)
            await asyncio.sleep(WATCH_SECONDS)
            job = await self._registry.get(request.job_id)
            yield tuning_pb2.JobUpdate(sequence=job.sequence, job=job)

    async def CancelJob(self, request: tuning_pb2.CancelJobRequest, _context: object) -> tuning_pb2.Job:
        return await self._registry.cancel(request.job_id, request.reason)

    async def ResumeJob(self, request: tuning_pb2.ResumeJobRequest, _context: object) -> tuning_pb2.Job:
        return await self._registry.resume(request.job_id, _wish(request))

    async def FetchPackage(
        self, request: tuning_pb2.FetchPackageRequest, _context: object
    ) -> AsyncIterator[tuning_pb2.PackageChunk]:
        job = await self._registry.get(request.job_id)
        if not job.has_package:
            state = tuning_pb2.JobState.Name(job.state).removeprefix("JOB_STATE_")
            raise NotReady(f"job {request.job_id} has no package: it is {state}")
        folder = self._folders.package(request.job_id)
        async for chunk in package_chunks(folder):
            yield chunk


def _header(header: tuning_pb2.UploadModelHeader) -> UploadHeader:
    files = tuple(ModelFile(file.path, file.size, file.sha256) for file in header.files)
    return UploadHeader(header.name, header.project, header.owner, files)


async def _chunks(requests: AsyncIterator[tuning_pb2.UploadModelRequest]) -> AsyncIterator[Chunk]:
    async for request in requests:
        if request.WhichOneof("part") != "chunk":
            raise InvalidInput("an upload has one header, and chunks after it")
        yield Chunk(request.chunk.file, request.chunk.offset, request.chunk.data)


def _model(model: StoredModel) -> tuning_pb2.Model:
    return tuning_pb2.Model(
        model_id=model.model_id,
        name=model.name,
        project=model.project,
        owner=model.owner,
        digest=model.digest,
        inputs=[_tensor(tensor) for tensor in model.signature.inputs],
        outputs=[_tensor(tensor) for tensor in model.signature.outputs],
        created=timestamp(model.created),
    )


def _tensor(tensor: TensorSignature) -> common_pb2.TensorSpec:
    dims = [dim if isinstance(dim, int) else -1 for dim in tensor.dims or ()]
    return common_pb2.TensorSpec(name=tensor.name, shape=dims, dtype=tensor.dtype)


def _wish(request: tuning_pb2.ResumeJobRequest) -> Resumed:
    """The wish; a total that is absent is None."""
    given = {
        field.name: value for field, value in request.ListFields() if field.name not in ("job_id", "idempotency_key")
    }
    if "max_seconds" in given and not given["max_seconds"] > 0:
        raise InvalidInput(f"max_seconds is {given['max_seconds']:g}: give more than 0, or leave it out")
    return Resumed(key=request.idempotency_key, **given)


def _plan(plan: PlannedJob) -> tuning_pb2.Plan:
    summary, outlook = plan.summary, plan.outlook
    message = tuning_pb2.Plan(
        target=summary.target,
        tuner=plan.sheet.tuner,
        tasks=[_planned_task(plan, task) for task in summary.tasks],
        budget=outlook.budget,
        layout=summary.layout,
        pipeline_version=summary.pipeline_version,
        notes=plan.notes,
        estimated_seconds=plan.estimated_seconds,
        allow_tf32=plan.sheet.spec.allow_tf32,
        exact_math=plan.sheet.spec.exact_math,
        shape_sets=[shape_set(shapes) for shapes in plan.sheet.shape_sets],
    )
    if plan.pace is not None:
        message.trials_per_second, message.measured_jobs = plan.pace.trials_per_second, plan.pace.jobs
    getattr(message, plan.sheet.tuner).CopyFrom(plan.options)
    return message


def _planned_task(plan: PlannedJob, task: TuningTask) -> tuning_pb2.PlannedTask:
    templated = plan.sheet.tuner == AUTOTVM
    return tuning_pb2.PlannedTask(
        workload=task.workload,
        name=task.name,
        weight=task.weight,
        flops=task.flops,
        known_records=plan.known[task.workload],
        first_round_trials=plan.outlook.first_rounds.get(task.workload, 0),
        template=plan.summary.templates.get(task.workload, "") if templated else "",
        trials=plan.outlook.quotas[task.workload] if templated else None,
        weights=plan.summary.weights(task.workload),
        nodes=task.nodes,
    )
