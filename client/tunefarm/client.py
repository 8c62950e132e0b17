"""The SDK's entry: a coordinator (somebody's, or one of our own for a while), models and jobs."""

from __future__ import annotations

import dataclasses
import getpass
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

from tunefarm.access import FarmAccess
from tunefarm.address import parse_address
from tunefarm.calls import Calls
from tunefarm.channel import check_security
from tunefarm.embedded import Embedded, EmbeddedSettings
from tunefarm.errors import InvalidInput, NoDevice
from tunefarm.found import FoundSchedules
from tunefarm.input_wishes import InputWishes, wishes_of
from tunefarm.job import Device, Job, JobState, Plan
from tunefarm.model_files import declared_inputs, model_files
from tunefarm.options import TuningOptions
from tunefarm.remote import Remote
from tunefarm.request import (
    InputShapes,
    JobRequest,
    SentInputs,
    TuningParameters,
    caps_of,
    target_text,
    tuning_of,
)
from tunefarm.schedules import Schedules
from tunefarm.shape_sets import Shapes, check_shape_sets
from tunefarm.transfer import TransferProgress, fetch_compiled, header_of, upload, upload_values
from tunefarm.wire import devices_from, found_from, job_from, job_spec, plan_from, wire_state
from tunefarm.workflow import Workflow
from tunefarm_proto.v1 import schedule_pb2, tuning_pb2

_DEVICE_SECONDS = 90.0
_DEVICE_TICK_SECONDS = 0.2


@dataclasses.dataclass(frozen=True)
class ModelInput:
    """An input of an uploaded model; a dimension of -1 is not known yet."""

    name: str
    shape: tuple[int, ...]
    dtype: str


class Client:
    """Talks to one coordinator. Close it, or use it as a context manager.

    `Client()` starts a coordinator and a device agent on this machine at the first call and stops them in
    `close()`, at the latest when the process ends. `Client("farm:7700", token=...)` uses a running one:
    the token says who you are, and which farm is to be trusted (TLS). Without a token the connection is plain text, and
    off loopback refused unless `insecure=True`.
    `embedded` says how to start the two, `notice` is told what is being started, and `remark` what the user should
    read: that an earlier job was interrupted (it stays so until it is resumed).

    Methods raise subclasses of `tunefarm.errors.TunefarmError`.
    """

    def __init__(
        self,
        address: str | None = None,
        *,
        token: str | None = None,
        insecure: bool = False,
        embedded: EmbeddedSettings | None = None,
        notice: Callable[[str], None] | None = None,
        remark: Callable[[str], None] | None = None,
    ) -> None:
        self._embedded: Embedded | None = None
        if address is None:
            self._embedded = Embedded(embedded or EmbeddedSettings(), notice, remark)
            self._calls = Calls(self._embedded, token=token, insecure=False)
        else:
            where = parse_address(address)
            check_security(where, token, insecure)
            self._calls = Calls(Remote(where), token=token, insecure=insecure)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection and stops what this client started: any later call, also by its models and workflows,
        raises ClientClosed. May be called again."""
        self._calls.close()

    def upload_model(
        self,
        path: str | Path,
        input_shapes: InputShapes | Sequence[InputShapes] | None = None,
        *,
        input_samples: str | Path | None = None,
        input_ranges: Mapping[str, Sequence[float]] | None = None,
        freeze: Mapping[str, Any] | None = None,
        force_inputs: InputShapes | None = None,
        input_padding: Mapping[str, float] | None = None,
        project: str = "",
        name: str = "",
        progress: TransferProgress | None = None,
    ) -> ModelVariant:
        """Sends an ONNX file, with its external data, and returns it as something to optimize.

        `input_shapes` fixes inputs whose shape the model leaves open, `force_inputs` also those whose sizes it fixes. A
        list of such sets compiles the model for each, and the package chooses by its inputs' shapes. `input_padding`:
        value by name of the inputs that the package takes in smaller sizes and pads to the next set; a model that does
        not mask what is padded answers differently.
        `input_samples`: an .npz file of input sets to check and time with (arrays named as the inputs; NAME/0, NAME/1,
        ... for several sets); `input_ranges`: (low, high) of seeded values, high left out. `freeze` makes constants of
        inputs: numbers, lists, arrays, or the Path of an .npy file. `progress` is given (bytes done, bytes in all).
        Raises InvalidInput before anything is started if the file can't be a model, or does not go with the rest.
        """
        sets = check_shape_sets(input_shapes)
        wishes = wishes_of(input_samples, input_ranges, freeze, force_inputs, input_padding)
        files = model_files(Path(path))
        if wishes:
            wishes.check(declared_inputs(Path(path)))
        header = tuning_pb2.UploadModelHeader(
            name=name or Path(path).stem,
            project=project,
            owner=_owner(),
            files=header_of(files),
            trace_id=uuid.uuid4().hex,
        )
        model = upload(self._calls, files, header, progress)
        forced = dict(wishes.forced)
        sets = tuple({**forced, **shapes} for shapes in sets or ([{}] if forced else []))
        return ModelVariant(self, model, sets, self._sent(wishes))

    def _sent(self, wishes: InputWishes) -> SentInputs:
        """The wishes, their files uploaded."""
        frozen = wishes.frozen.items()
        return SentInputs(
            samples=upload_values(self._calls, wishes.samples) if wishes.samples is not None else "",
            ranges=wishes.ranges,
            frozen_json={name: value for name, value in frozen if isinstance(value, str)},
            frozen_files={name: upload_values(self._calls, value) for name, value in frozen if isinstance(value, Path)},
            forced=tuple(wishes.forced),
            padding=wishes.padding,
        )

    def plan(
        self,
        variant: ModelVariant,
        platform: str | Mapping[str, object] = "host",
        tuning_options: TuningOptions | None = None,
        **parameters: Unpack[TuningParameters],
    ) -> Plan:
        """The tasks and the budget that `variant.optimize` with the same arguments would have."""
        request = variant.request(platform, tuning_options, parameters)
        self._await_own_device()
        return plan_from(self._calls.plan(job_spec(request, uuid.uuid4().hex)))

    def find_schedules(
        self, request: JobRequest, *, device_class: str = "", top: int = 1, task: str = ""
    ) -> FoundSchedules:
        """See `ModelVariant.schedules`."""
        wanted = schedule_pb2.FindSchedulesRequest(
            spec=job_spec(request, uuid.uuid4().hex), device_class=device_class, top=top, task=task
        )
        return found_from(self._calls.find_schedules(wanted))

    def compile(
        self, request: JobRequest, path: str | Path, *, device_class: str = "", verified_only: bool = False
    ) -> FoundSchedules:
        """See `ModelVariant.compile`."""
        wanted = schedule_pb2.CompileModelRequest(
            spec=job_spec(request, uuid.uuid4().hex), device_class=device_class, verified_only=verified_only
        )
        return found_from(fetch_compiled(self._calls, wanted, Path(path)))

    def submit(self, request: JobRequest) -> Workflow:
        """Starts a job. A call that is repeated on the way starts it once."""
        self._await_own_device()
        job = self._calls.submit(job_spec(request, uuid.uuid4().hex), key=uuid.uuid4().hex)
        return Workflow(self._calls, job.job_id, self._await_own_device)

    def jobs(self, project: str = "", states: Iterable[JobState] = ()) -> list[Job]:
        """The jobs that the coordinator knows, newest first, without their tasks."""
        wanted = [wire_state(state) for state in states]
        return [job_from(job) for job in self._calls.jobs(project, wanted)]

    def job(self, job_id: str) -> Workflow:
        """A job that was started before. Raises NotFound."""
        self._calls.job(job_id)
        return Workflow(self._calls, job_id, self._await_own_device)

    @property
    def access(self) -> FarmAccess:
        """Who may do what in the farm: invites, agents, tokens."""
        return FarmAccess(self._calls)

    @property
    def schedules(self) -> Schedules:
        """The best-schedule database: what it holds, and taking in what other farms found."""
        return Schedules(self._calls)

    def devices(self) -> list[Device]:
        """The devices of the farm."""
        self._await_own_device()
        return self._listed_devices()

    def healthy(self) -> bool:
        """Whether the coordinator does its work; False while its store can't be written (a full disk, say): nothing is
        measured then, nothing is lost, and it goes on by itself."""
        return self._calls.healthy()

    def drain_device(self, agent_id: str, device_id: str = "", reason: str = "") -> list[Device]:
        """Gives a device (all of the agent's, where none is named) nothing more, until `resume_device`; what it works
        on ends. Holds over restarts of either side. Returns the devices. Raises NotFound."""
        return devices_from(self._calls.drain(agent_id, device_id, reason))

    def resume_device(self, agent_id: str, device_id: str = "") -> list[Device]:
        """Puts a device back after a drain, or before the end of a quarantine. Returns the devices. Raises NotFound."""
        return devices_from(self._calls.resume_device(agent_id, device_id))

    def _listed_devices(self) -> list[Device]:
        return [device for page in self._calls.devices() for device in devices_from(page)]

    def _await_own_device(self) -> None:
        """Waits until the agent that this client started has registered. Raises NoDevice, EmbeddedFailed."""
        if self._embedded is None or not self._embedded.settings.agent:
            return
        deadline = time.monotonic() + _DEVICE_SECONDS
        while not self._listed_devices():
            self._embedded.check()
            if time.monotonic() > deadline:
                raise NoDevice(
                    f"the device agent on this machine did not register within {_DEVICE_SECONDS:.0f} s: "
                    f"see its log, and run `tunefarm doctor`"
                )
            time.sleep(_DEVICE_TICK_SECONDS)


class ModelVariant:
    """An uploaded model with its input shapes. `shape_sets`: what was given of them, for each set (`input_shapes`: for
    the first)."""

    def __init__(
        self, client: Client, model: tuning_pb2.Model, shape_sets: Sequence[Shapes], sent: SentInputs | None = None
    ) -> None:
        self._client = client
        self.id = model.model_id
        self.name = model.name
        self.project = model.project
        self.inputs = tuple(ModelInput(i.name, tuple(i.shape), i.dtype) for i in model.inputs)
        self.shape_sets = tuple(shape_sets)
        self.input_shapes = dict(self.shape_sets[0]) if self.shape_sets else {}
        self._sent = sent or SentInputs()

    def __repr__(self) -> str:
        return f"ModelVariant({self.id!r}, name={self.name!r})"

    def optimize(
        self,
        platform: str | Mapping[str, object] = "host",
        tuning_options: TuningOptions | None = None,
        **parameters: Unpack[TuningParameters],
    ) -> Workflow:
        """Starts tuning for `platform` ("host", a name that the coordinator knows, or a TVM target).

        Options, or loose parameters, but not both: `tunefarm.options.pick_tuner`. Raises InvalidInput,
        NoDevice.
        """
        return self._client.submit(self.request(platform, tuning_options, parameters))

    # The verb of the platform that this project re-creates; the two are the same.
    octomize = optimize

    def plan(
        self,
        platform: str | Mapping[str, object] = "host",
        tuning_options: TuningOptions | None = None,
        **parameters: Unpack[TuningParameters],
    ) -> Plan:
        """What `optimize` with the same arguments would do; spends nothing."""
        return self._client.plan(self, platform, tuning_options, **parameters)

    def schedules(
        self,
        platform: str | Mapping[str, object] = "host",
        *,
        device_class: str = "",
        top: int = 1,
        task: str = "",
        **parameters: Unpack[TuningParameters],
    ) -> FoundSchedules:
        """What the store has for the model's kernels: the `top` schedules of each, or of the `task` (name or workload)
        alone. Spends nothing, and needs no device.

        `device_class`: whose measurements count; empty: those of the devices that serve the target now, else of the
        only class that the store has records of. Of `parameters`, `allow_tf32` and `exact_math` make other kernels;
        the tuner and its budget mean nothing here. Raises InvalidInput (also: several classes), NotFound.
        """
        if top < 1:
            raise InvalidInput(f"top is {top}: ask for one schedule at least")
        request = self.request(platform, None, parameters)
        return self._client.find_schedules(request, device_class=device_class, top=top, task=task)

    def compile(
        self,
        path: str | Path,
        platform: str | Mapping[str, object] = "host",
        *,
        device_class: str = "",
        verified_only: bool = False,
        **parameters: Unpack[TuningParameters],
    ) -> FoundSchedules:
        """Compiles the model with the best schedules that the store has into the folder `path`: no trial, no device,
        seconds. Kernels that nothing is known of get their default schedules. Returns what it was compiled with.

        `verified_only`: schedules that no job's finals have verified are left out. Otherwise as `schedules`; raises
        InvalidInput also where the compiled model answers otherwise than ONNX Runtime, or the folder can't be written.
        """
        request = self.request(platform, None, parameters)
        return self._client.compile(request, path, device_class=device_class, verified_only=verified_only)

    def request(
        self,
        platform: str | Mapping[str, object],
        tuning_options: TuningOptions | None,
        parameters: TuningParameters,
    ) -> JobRequest:
        """The checked request of a job on this model."""
        caps: dict[str, Any] = {"name": self.name, **caps_of(parameters)}
        return JobRequest(
            model_id=self.id,
            target=target_text(platform),
            shape_sets=self.shape_sets,
            tuning=tuning_of(tuning_options, parameters),
            project=self.project,
            owner=_owner(),
            inputs=self._sent,
            **caps,
        )


def _owner() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in some containers
        return ""
