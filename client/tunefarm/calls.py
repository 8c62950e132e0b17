"""The coordinator's RPCs as typed calls: a deadline for each, and each error translated once."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from typing import Any, Protocol, cast

import grpc

from tunefarm.address import Address
from tunefarm.aside import aside, items_of, result_of
from tunefarm.channel import open_channel, serves
from tunefarm.errors import (
    JOB_STATE_ERRORS,
    PACKAGE_ERRORS,
    STATUS_ERRORS,
    ClientClosed,
    Internal,
    TunefarmError,
    Unavailable,
)
from tunefarm_proto.v1 import (
    access_pb2,
    access_pb2_grpc,
    farm_pb2,
    farm_pb2_grpc,
    schedule_pb2,
    schedule_pb2_grpc,
    tuning_pb2,
    tuning_pb2_grpc,
)

QUICK_SECONDS = 30.0
SUBMIT_SECONDS = 120.0
STATS_SECONDS = 120.0  # counts every record
PLAN_SECONDS = 900.0  # imports and prepares the model
UPLOAD_BYTES_PER_SECOND = 200_000  # slower than this, an upload counts as hung
PAGE_SIZE = 100


class Coordinator(Protocol):
    """Where calls go: a remote address, or processes of our own."""

    def address(self) -> Address:
        """Where it listens; starts it where that is ours to do. Raises EmbeddedFailed, StoreError, ..."""

    def check(self) -> None:
        """Raises EmbeddedFailed if it is known to be gone for good."""

    def close(self) -> None:
        """Ends what was started; returns when it has ended."""


class Calls:
    """Connects at the first call; raises ClientClosed once it was closed. Safe to use from several threads."""

    def __init__(self, coordinator: Coordinator, *, token: str | None, insecure: bool) -> None:
        self.coordinator = coordinator
        self._token = token
        self._insecure = insecure
        self._lock = threading.Lock()
        self._channel: grpc.Channel | None = None
        self._closed = False

    @property
    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self._token}"),) if self._token else ()

    def _open(self) -> grpc.Channel:
        with self._lock:
            self._check_open()
            if self._channel is None:
                address = self.coordinator.address()
                self._channel = aside(lambda: open_channel(address, token=self._token, insecure=self._insecure))
            return self._channel

    def healthy(self) -> bool:
        """What the coordinator says of itself; True where it has no way to say it."""
        channel = self._open()
        with self._translated(STATUS_ERRORS):
            try:
                return aside(lambda: serves(channel))
            except grpc.RpcError as error:
                if error.code() is grpc.StatusCode.UNIMPLEMENTED:
                    return True
                raise

    def _check_open(self) -> None:
        if self._closed:
            raise ClientClosed("this client was closed: make a new one")

    def _tuning(self) -> Any:
        return cast(Any, tuning_pb2_grpc).TuningServiceStub(self._open())

    def close(self) -> None:
        """Closes the channel, then the coordinator if it is ours."""
        with self._lock:
            channel, self._channel = self._channel, None
            self._closed = True
        if channel is not None:
            aside(channel.close)
        self.coordinator.close()

    # ---- calls; what each may answer stands in the contract's comments

    def upload(self, parts: Callable[[], Iterator[tuning_pb2.UploadModelRequest]], size: int) -> tuning_pb2.Model:
        """Sends a model of `size` bytes; `parts` yields the whole stream anew each time it is called."""
        limit = QUICK_SECONDS * 2 + size / UPLOAD_BYTES_PER_SECOND
        answer = self._unary(self._tuning().UploadModel, parts(), limit)
        return cast(tuning_pb2.Model, answer)

    def upload_values(self, parts: Callable[[], Iterator[tuning_pb2.UploadValuesRequest]], size: int) -> str:
        """Sends a NumPy file of `size` bytes, as `upload` sends a model; its values_id."""
        limit = QUICK_SECONDS * 2 + size / UPLOAD_BYTES_PER_SECOND
        return str(self._unary(self._tuning().UploadValues, parts(), limit).values_id)

    def plan(self, spec: tuning_pb2.JobSpec) -> tuning_pb2.Plan:
        request = tuning_pb2.PlanJobRequest(spec=spec)
        return cast(tuning_pb2.Plan, self._unary(self._tuning().PlanJob, request, PLAN_SECONDS))

    def submit(self, spec: tuning_pb2.JobSpec, key: str) -> tuning_pb2.Job:
        request = tuning_pb2.SubmitJobRequest(idempotency_key=key, spec=spec)
        return cast(tuning_pb2.Job, self._unary(self._tuning().SubmitJob, request, SUBMIT_SECONDS))

    def job(self, job_id: str) -> tuning_pb2.Job:
        request = tuning_pb2.GetJobRequest(job_id=job_id)
        return cast(tuning_pb2.Job, self._unary(self._tuning().GetJob, request))

    def jobs(self, project: str, states: Iterable[tuning_pb2.JobState]) -> Iterator[tuning_pb2.Job]:
        """Every job that matches, newest first, page by page."""
        request = tuning_pb2.ListJobsRequest(page_size=PAGE_SIZE, project=project, states=states)
        while True:
            page = cast(tuning_pb2.ListJobsResponse, self._unary(self._tuning().ListJobs, request))
            yield from page.jobs
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def cancel(self, job_id: str, reason: str) -> tuning_pb2.Job:
        request = tuning_pb2.CancelJobRequest(job_id=job_id, reason=reason)
        return cast(tuning_pb2.Job, self._unary(self._tuning().CancelJob, request))

    def resume(self, request: tuning_pb2.ResumeJobRequest) -> tuning_pb2.Job:
        method = self._tuning().ResumeJob
        return cast(tuning_pb2.Job, self._unary(method, request, SUBMIT_SECONDS, JOB_STATE_ERRORS))

    def watch(self, job_id: str, after_sequence: int) -> Generator[tuning_pb2.JobUpdate]:
        """One stream of updates; it may break with Unavailable (`watching.py` resumes)."""
        request = tuning_pb2.WatchJobRequest(job_id=job_id, after_sequence=after_sequence)
        return self._stream(self._tuning().WatchJob, request, JOB_STATE_ERRORS)

    def package(self, job_id: str) -> Generator[tuning_pb2.PackageChunk]:
        request = tuning_pb2.FetchPackageRequest(job_id=job_id)
        return self._stream(self._tuning().FetchPackage, request, PACKAGE_ERRORS)

    def devices(self) -> Iterator[farm_pb2.ListDevicesResponse]:
        """The pages of the farm's devices."""
        request = farm_pb2.ListDevicesRequest(page_size=PAGE_SIZE)
        while True:
            stub = cast(Any, farm_pb2_grpc).FarmServiceStub(self._open())
            page = cast(farm_pb2.ListDevicesResponse, self._unary(stub.ListDevices, request))
            yield page
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def drain(self, agent_id: str, device_id: str, reason: str) -> farm_pb2.ListDevicesResponse:
        stub = cast(Any, farm_pb2_grpc).FarmServiceStub(self._open())
        request = farm_pb2.DrainDeviceRequest(agent_id=agent_id, device_id=device_id, reason=reason)
        return cast(farm_pb2.ListDevicesResponse, self._unary(stub.DrainDevice, request))

    def resume_device(self, agent_id: str, device_id: str) -> farm_pb2.ListDevicesResponse:
        stub = cast(Any, farm_pb2_grpc).FarmServiceStub(self._open())
        request = farm_pb2.ResumeDeviceRequest(agent_id=agent_id, device_id=device_id)
        return cast(farm_pb2.ListDevicesResponse, self._unary(stub.ResumeDevice, request))

    # ---- schedules

    def _schedules(self) -> Any:
        return cast(Any, schedule_pb2_grpc).ScheduleServiceStub(self._open())

    def query_best(self, request: schedule_pb2.QueryBestRequest) -> schedule_pb2.QueryBestResponse:
        return cast(schedule_pb2.QueryBestResponse, self._unary(self._schedules().QueryBest, request))

    def find_schedules(self, request: schedule_pb2.FindSchedulesRequest) -> schedule_pb2.FoundSchedules:
        return cast(schedule_pb2.FoundSchedules, self._unary(self._schedules().FindSchedules, request, PLAN_SECONDS))

    def compile(self, request: schedule_pb2.CompileModelRequest) -> Generator[schedule_pb2.CompiledModel]:
        return self._stream(self._schedules().CompileModel, request)

    def export_schedules(
        self, request: schedule_pb2.ExportSchedulesRequest
    ) -> Generator[schedule_pb2.ExportSchedulesResponse]:
        return self._stream(self._schedules().ExportSchedules, request, STATUS_ERRORS)

    def import_schedules(
        self, requests: Iterator[schedule_pb2.ImportSchedulesRequest]
    ) -> Generator[schedule_pb2.ImportSchedulesResponse]:
        """One stream; it may break with Unavailable (`schedules.py` sends again what was not answered). `requests`
        runs in gRPC's own thread, and has to end."""
        return self._stream(self._schedules().ImportSchedules, requests, STATUS_ERRORS)

    def import_metaschedule(
        self, requests: Iterator[schedule_pb2.ImportMetaScheduleRequest]
    ) -> Generator[schedule_pb2.ImportMetaScheduleResponse]:
        """One stream; it may break with Unavailable. `requests` runs in gRPC's own thread, and has to end."""
        return self._stream(self._schedules().ImportMetaSchedule, requests, STATUS_ERRORS)

    def export_metaschedule(
        self, request: schedule_pb2.ExportSchedulesRequest
    ) -> Generator[schedule_pb2.ExportedMetaSchedule]:
        return self._stream(self._schedules().ExportMetaSchedule, request, STATUS_ERRORS)

    def schedule_stats(self) -> schedule_pb2.ScheduleStats:
        request = schedule_pb2.GetScheduleStatsRequest()
        answer = self._unary(self._schedules().GetScheduleStats, request, STATS_SECONDS)
        return cast(schedule_pb2.ScheduleStats, answer)

    def retract_schedules(self, request: schedule_pb2.RetractSchedulesRequest) -> schedule_pb2.RetractedSchedules:
        answer = self._unary(self._schedules().RetractSchedules, request, STATS_SECONDS)
        return cast(schedule_pb2.RetractedSchedules, answer)

    def prune_schedules(self, request: schedule_pb2.PruneSchedulesRequest) -> Generator[schedule_pb2.PrunedSchedules]:
        """What came of it so far, again and again; it ends where its caller no longer asks."""
        return self._stream(self._schedules().PruneSchedules, request)

    # ---- who may do what

    def _access(self) -> Any:
        return cast(Any, access_pb2_grpc).AccessServiceStub(self._open())

    def invite(self, request: access_pb2.CreateInviteRequest) -> access_pb2.Invite:
        return cast(access_pb2.Invite, self._unary(self._access().CreateInvite, request, errors=JOB_STATE_ERRORS))

    def agents(self) -> Iterator[access_pb2.EnrolledAgent]:
        """Every agent that ever enrolled, page by page."""
        request = access_pb2.ListAgentsRequest(page_size=PAGE_SIZE)
        while True:
            page = self._unary(self._access().ListAgents, request, errors=JOB_STATE_ERRORS)
            yield from page.agents
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def revoke_agent(self, request: access_pb2.RevokeAgentRequest) -> access_pb2.EnrolledAgent:
        answer = self._unary(self._access().RevokeAgent, request, errors=JOB_STATE_ERRORS)
        return cast(access_pb2.EnrolledAgent, answer)

    def create_token(self, request: access_pb2.CreateTokenRequest) -> access_pb2.Token:
        return cast(access_pb2.Token, self._unary(self._access().CreateToken, request, errors=JOB_STATE_ERRORS))

    def tokens(self) -> Iterator[access_pb2.Token]:
        """Every token, revoked ones too, page by page."""
        request = access_pb2.ListTokensRequest(page_size=PAGE_SIZE)
        while True:
            page = self._unary(self._access().ListTokens, request, errors=JOB_STATE_ERRORS)
            yield from page.tokens
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def revoke_token(self, token_id: str) -> access_pb2.Token:
        request = access_pb2.RevokeTokenRequest(token_id=token_id)
        return cast(access_pb2.Token, self._unary(self._access().RevokeToken, request, errors=JOB_STATE_ERRORS))

    # ---- how

    def _unary(
        self,
        method: Any,
        request: Any,
        seconds: float = QUICK_SECONDS,
        errors: Mapping[str, type[TunefarmError]] = STATUS_ERRORS,
    ) -> Any:
        with self._translated(errors):
            return result_of(lambda: method.future(request, timeout=seconds, metadata=self._metadata))

    def _stream(
        self, method: Any, request: Any, errors: Mapping[str, type[TunefarmError]] = STATUS_ERRORS
    ) -> Generator[Any]:
        with self._translated(errors):
            yield from items_of(lambda: method(request, metadata=self._metadata))

    @contextlib.contextmanager
    def _translated(self, errors: Mapping[str, type[TunefarmError]]) -> Iterator[None]:
        try:
            yield
        except grpc.RpcError as error:
            self._check_open()  # its coordinator has no address any more
            self.coordinator.check()
            raise _translate(cast(grpc.Call, error), self.coordinator.address(), errors) from error


def _translate(error: grpc.Call, address: Address, errors: Mapping[str, type[TunefarmError]]) -> TunefarmError:
    code = error.code().name
    kind = errors.get(code, Internal)
    details = error.details() or code
    if kind is Unavailable:
        return Unavailable(f"the coordinator at {address} does not answer now: {details}")
    if kind is Internal:
        return Internal(f"the coordinator at {address} failed ({code}): {details}; its log says more")
    return kind(details)
