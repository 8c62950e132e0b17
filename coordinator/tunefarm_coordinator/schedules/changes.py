"""What can be written to the store. One `Store.write` applies all of its changes, or none."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tunefarm_coordinator.schedules.record import Comparison, Record, Verification


@dataclass(frozen=True)
class AddModel:
    """An uploaded model. The same model again changes nothing.

    Attributes:
        document: what else is to be kept of it (files, inputs, outputs); JSON-able.
        created: Unix time in seconds.

    Conflict: another model has this id, or this digest in the project.
    """

    model_id: str
    digest: str
    project: str
    owner: str
    name: str
    document: Mapping[str, Any]
    created: float


@dataclass(frozen=True)
class AddJob:
    """A new job. Conflict: the id, or the idempotency key in the project, is taken. NotFound: no such model.

    Attributes:
        spec_digest: tells a repeated submission from another one under the same key.
        spec: serialised `JobSpec`.
        state: a JobState without its prefix.
        created: Unix time in seconds.
    """

    job_id: str
    idempotency_key: str
    spec_digest: str
    spec: bytes
    model_id: str
    project: str
    owner: str
    state: str
    created: float


@dataclass(frozen=True)
class UpdateJob:
    """The job as users see it now. NotFound: no such job. Conflict: it has ended in another state.

    Attributes:
        summary: serialised proto `Job`.
        ended: Unix time in seconds for a terminal state, else None.
    """

    job_id: str
    state: str
    summary: bytes
    ended: float | None = None


@dataclass(frozen=True)
class ReopenJob:
    """A job that had ended goes on: unfinished again until the next UpdateJob. NotFound: no such job."""

    job_id: str
    state: str


@dataclass(frozen=True)
class JournalEntry:
    """One event of a job's journal. `seq` counts from 1 without a hole; `at` is Unix time in seconds."""

    seq: int
    at: float
    kind: str
    payload: Mapping[str, Any]


@dataclass(frozen=True)
class AppendEvents:
    """The journal's next events, in order. NotFound: no such job. Conflict: `seq` is not the next one."""

    job_id: str
    events: tuple[JournalEntry, ...]


@dataclass(frozen=True)
class CandidateTrace:
    """A trace (JSON text) that replays the schedule `identity` on the workload's module."""

    workload: str
    identity: str
    trace: str


@dataclass(frozen=True)
class KnownWorkload:
    """What a workload's identity stands for.

    Attributes:
        name: readable; the one that it was first met by.
        module: the kernel's TIR before scheduling (`models.task.TuningTask.module`).
        flops: estimated floating-point operations of one call; 0 where unknown.
        created: Unix time in seconds.
        kind, shapes: see `models.task.TuningTask`; empty: not known.
    """

    workload: str
    name: str
    module: str
    flops: float
    created: float
    kind: str = ""
    shapes: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class AddWorkloads:
    """Workloads. One that is known already stays as it is."""

    workloads: tuple[KnownWorkload, ...]


@dataclass(frozen=True)
class AddCandidates:
    """Traces of candidates. One that is known already stays as it is."""

    candidates: tuple[CandidateTrace, ...]


@dataclass(frozen=True)
class AddRecords:
    """Records; one that is known is kept once. InvalidInput: a record that `new_record` did not make."""

    records: tuple[Record, ...]


@dataclass(frozen=True)
class AddVerifications:
    """Verifications; one that is known is kept once."""

    verifications: tuple[Verification, ...]


@dataclass(frozen=True)
class AddComparison:
    """One comparison; kept once."""

    comparison: Comparison


@dataclass(frozen=True)
class DeviceFacts:
    """What a device is. Device classes derive from it."""

    fingerprint: str
    facts: Mapping[str, str]


@dataclass(frozen=True)
class AddDevices:
    """Devices; known ones stay. Conflict: a fingerprint that stands for other facts."""

    devices: tuple[DeviceFacts, ...]


@dataclass(frozen=True)
class AddToken:
    """A user's token. Times are Unix seconds; `expires` None: never. `role`: the contract's number."""

    token_id: str
    secret_hash: str
    name: str
    role: int
    project: str
    created: float
    expires: float | None
    revoked: float | None = None


@dataclass(frozen=True)
class RevokeToken:
    """The token is refused from now on. One that is revoked stays as it is. NotFound: no such token."""

    token_id: str
    at: float


@dataclass(frozen=True)
class AddInvite:
    """An invite for one agent. `agent_id`: the one that used it up, or None. Times are Unix seconds."""

    invite_id: str
    secret_hash: str
    labels: Mapping[str, str]
    project: str
    created: float
    expires: float
    agent_id: str | None = None


@dataclass(frozen=True)
class AddAgent:
    """An agent enrols, and uses its invite up.

    Conflict: an agent of this id enrolled before. NotFound: no such invite, or it is used up.
    """

    agent_id: str
    invite_id: str
    key_digest: str
    labels: Mapping[str, str]
    project: str
    enrolled: float


@dataclass(frozen=True)
class RevokeAgent:
    """The agent is refused from now on. One that is revoked stays as it is. NotFound: no such agent."""

    agent_id: str
    at: float
    reason: str


@dataclass(frozen=True)
class DrainDevices:
    """These devices, (agent id, device id), get no work until they are resumed; the newest reason counts.

    `since`: Unix time in seconds.
    """

    devices: tuple[tuple[str, str], ...]
    reason: str
    since: float


@dataclass(frozen=True)
class ResumeDevices:
    """An end to the drain of these devices; others stay as they are."""

    devices: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Calibrate:
    """What the reference kernel of this name usually takes on the device, seconds of one call; the newest counts."""

    fingerprint: str
    reference: str
    seconds: float


Change = (
    AddModel
    | AddJob
    | UpdateJob
    | ReopenJob
    | AppendEvents
    | AddWorkloads
    | AddCandidates
    | AddRecords
    | AddVerifications
    | AddComparison
    | AddDevices
    | AddToken
    | RevokeToken
    | AddInvite
    | AddAgent
    | RevokeAgent
    | DrainDevices
    | ResumeDevices
    | Calibrate
)
