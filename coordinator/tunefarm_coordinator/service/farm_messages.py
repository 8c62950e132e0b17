"""The farm's messages on the wire and in the domain, turned into one another. Raises InvalidInput for nonsense."""

import base64
import binascii
import json
import math
import platform
from importlib.metadata import version

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from tunefarm_coordinator.control.attachment import Attachment, Hello, ToAgent
from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.farm.messages import (
    Acknowledge,
    Calibration,
    Cancel,
    Event,
    FarmDevice,
    Grant,
    Heartbeat,
    LeaseFinished,
    LeaseRef,
    OutcomeArrived,
    OutcomeKind,
    Requested,
    Sharing,
)
from tunefarm_coordinator.farm.states import FarmPolicy
from tunefarm_coordinator.farm.views import DeviceState, DeviceView
from tunefarm_proto.v1 import common_pb2, farm_pb2

LONGEST_NAME = 200
BEATS_PER_TIMEOUT = 4
_STATES = {
    DeviceState.IDLE: common_pb2.DEVICE_STATE_IDLE,
    DeviceState.BUSY: common_pb2.DEVICE_STATE_BUSY,
    DeviceState.DRAINING: common_pb2.DEVICE_STATE_DRAINING,
    DeviceState.QUARANTINED: common_pb2.DEVICE_STATE_QUARANTINED,
    DeviceState.LOST: common_pb2.DEVICE_STATE_LOST,
}
_KINDS = {
    common_pb2.FAILURE_KIND_DEVICE_LOST: OutcomeKind.DEVICE_LOST,
    common_pb2.FAILURE_KIND_CANCELLED: OutcomeKind.CANCELLED,
}


# ---- from the agent


def hello_of(message: farm_pb2.Hello) -> Hello:
    """The agent's hello; `protocols` are not looked at."""
    for field in ("agent_id", "boot_id"):
        name = getattr(message, field)
        if not 0 < len(name) <= LONGEST_NAME:
            raise InvalidInput(f"{field} of a hello has 1 to {LONGEST_NAME} characters, not {len(name)}")
    return Hello(
        agent_id=message.agent_id,
        boot_id=message.boot_id,
        devices=tuple(device_of(device) for device in message.devices),
        leases=tuple(ref_of(ref) for ref in message.leases),
        gate=message.gate,
        host_id=message.host_id,
        held_on={ref_of(ref): ref.device_id for ref in message.leases if ref.device_id},
    )


def device_of(message: common_pb2.Device) -> FarmDevice:
    return FarmDevice(
        device_id=message.device_id,
        fingerprint=message.fingerprint,
        target=message.target,
        name=message.name or message.device_id,
        facts=dict(message.facts),
        labels=dict(message.labels),
        cores=tuple(message.cores),
        runs_onnxruntime=message.runs_onnxruntime,
    )


def ref_of(message: farm_pb2.LeaseRef | farm_pb2.OutcomeReport | farm_pb2.LeaseFinished) -> LeaseRef:
    return LeaseRef(message.lease_id, message.attempt)


def event_of(message: farm_pb2.AgentMessage, attachment: Attachment) -> Event | None:
    """What the agent says on its stream after hello; None: something that this version does not know."""
    session = attachment.session
    match message.WhichOneof("message"):
        case "heartbeat":
            return _heartbeat_of(message.heartbeat, session)
        case "work_request":
            return _request_of(message.work_request, attachment)
        case "outcome":
            return _outcome_of(message.outcome, session)
        case "lease_finished":
            finished = message.lease_finished
            failure = finished.failure.message or "no reason given" if finished.HasField("failure") else None
            return LeaseFinished(session, ref_of(finished), failure, finished.device_failed)
        case "hello":
            raise InvalidInput("a stream has one hello, at its start")
    return None


def _heartbeat_of(message: farm_pb2.Heartbeat, session: str) -> Heartbeat:
    return Heartbeat(
        session,
        tuple(ref_of(ref) for ref in message.leases),
        frozenset(ref_of(ref) for ref in message.leases if ref.waiting),
        dict(message.temperatures),
        {device: Sharing(sharing.by, sharing.busy) for device, sharing in message.shared.items()},
    )


def _request_of(message: farm_pb2.WorkRequest, attachment: Attachment) -> Requested:
    if message.device_id not in {device.device_id for device in attachment.hello.devices}:
        raise InvalidInput(f"work was asked for device {message.device_id!r}, which the hello does not name")
    return Requested(attachment.session, message.device_id, message.slots)


def _outcome_of(message: farm_pb2.OutcomeReport, session: str) -> OutcomeArrived:
    said = message.WhichOneof("outcome")
    if said is None:
        raise InvalidInput(f"outcome {message.index} of lease {message.lease_id} is empty, or of an unknown kind")
    failed = _KINDS.get(message.failed.kind, OutcomeKind.FAILED)
    kind = failed if said == "failed" else OutcomeKind.RESULT
    conditions = message.conditions
    calibration = _calibration_of(conditions)
    return OutcomeArrived(
        session,
        ref_of(message),
        message.index,
        kind,
        message,
        calibration,
        disturbed=conditions.disturbed,
        device_id=message.device_id,
    )


def _calibration_of(conditions: farm_pb2.Conditions) -> Calibration | None:
    """The reference kernel around an outcome; None where it was not timed, or by a clock that did not move."""
    seconds, spread = conditions.reference_seconds, conditions.reference_spread
    if not (math.isfinite(seconds) and seconds > 0):
        return None
    return Calibration(seconds, spread if math.isfinite(spread) else 0.0)


# ---- to the agent


def welcome(attachment: Attachment, protocol: int, policy: FarmPolicy) -> farm_pb2.CoordinatorMessage:
    return farm_pb2.CoordinatorMessage(
        welcome=farm_pb2.Welcome(
            protocol=protocol,
            version=program_version(),
            session_id=attachment.session,
            heartbeat_interval=duration(policy.session_timeout / BEATS_PER_TIMEOUT),
            session_timeout=duration(policy.session_timeout),
            forget=[lease_ref(ref) for ref in attachment.forget],
        )
    )


def message_to_agent(instruction: ToAgent) -> farm_pb2.CoordinatorMessage:
    match instruction:
        case Grant():
            return farm_pb2.CoordinatorMessage(lease=_lease(instruction))
        case Cancel(lease=ref, reason=reason):
            cancel = farm_pb2.CancelLease(lease=lease_ref(ref), reason=reason)
            return farm_pb2.CoordinatorMessage(cancel=cancel)
        case Acknowledge(lease=ref, index=index):
            ack = farm_pb2.OutcomeAck(lease_id=ref.lease_id, attempt=ref.attempt, index=index)
            return farm_pb2.CoordinatorMessage(ack=ack)


def _lease(grant: Grant) -> farm_pb2.Lease:
    """The job side's lease with everything in it that the farm side knows."""
    lease = farm_pb2.Lease()
    if not isinstance(grant.work.payload, farm_pb2.Lease):
        raise TypeError(f"payload of work {grant.work.work_id} is a {type(grant.work.payload).__name__}, not a Lease")
    lease.CopyFrom(grant.work.payload)
    lease.lease_id, lease.attempt = grant.lease.lease_id, grant.lease.attempt
    lease.device_id = grant.device_id
    lease.job_id = lease.job_id or grant.work.job_id
    lease.time_limit.CopyFrom(duration(grant.work.time_limit))
    lease.fetch_limit.CopyFrom(duration(grant.work.fetch_limit))
    everything = tuple(range(grant.work.item_count))
    lease.indices[:] = [] if grant.indices == everything else grant.indices
    return lease


def lease_ref(ref: LeaseRef) -> farm_pb2.LeaseRef:
    return farm_pb2.LeaseRef(lease_id=ref.lease_id, attempt=ref.attempt)


def duration(seconds: float) -> Duration:
    """Seconds as a proto duration."""
    value = Duration()
    value.FromNanoseconds(round(seconds * 1e9))
    return value


def program_version() -> common_pb2.ProgramVersion:
    """What runs here. TVM's version is left out: the coordinator process never loads it."""
    return common_pb2.ProgramVersion(program=version("tunefarm"), python=platform.python_version())


# ---- for users


def device_status(view: DeviceView, seen_unix: float) -> common_pb2.DeviceStatus:
    """A device as users see it; `seen_unix` in seconds since 1970."""
    device = view.device
    seen = Timestamp()
    seen.FromNanoseconds(round(seen_unix * 1e9))
    return common_pb2.DeviceStatus(
        device=common_pb2.Device(
            device_id=device.device_id,
            name=device.name,
            fingerprint=device.fingerprint,
            facts=device.facts,
            target=device.target,
            labels=device.labels,
            cores=device.cores,
            runs_onnxruntime=device.runs_onnxruntime,
        ),
        agent_id=view.agent_id,
        state=_STATES[view.state],
        reason=view.reason,
        running=view.running,
        measured=view.measured,
        failed=view.failed,
        last_seen=seen,
        device_class=device.device_class,
        temperature=view.temperature,
        trials_per_second=view.rate,
        reference_seconds=view.reference_seconds,
        remeasured=view.remeasured,
    )


def page_token(view: DeviceView) -> str:
    """Names the last device of a page; the next page begins after it, whatever came or went meanwhile."""
    return base64.urlsafe_b64encode(json.dumps([view.agent_id, view.device.device_id]).encode()).decode()


def page_start(token: str) -> tuple[str, str]:
    """(agent id, device id) that the page comes after. Raises InvalidInput if the token is not ours."""
    if not token:
        return "", ""
    try:
        agent_id, device_id = json.loads(base64.urlsafe_b64decode(token.encode()))
    except (binascii.Error, ValueError, TypeError) as error:
        raise InvalidInput(f"page token {token[:100]!r} is not one of ours") from error
    if not isinstance(agent_id, str) or not isinstance(device_id, str):
        raise InvalidInput(f"page token {token[:100]!r} is not one of ours")
    return agent_id, device_id
