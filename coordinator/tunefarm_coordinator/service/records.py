"""Records on the wire."""

import math

from google.protobuf.timestamp_pb2 import Timestamp

from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.schedules.record import Censored, Failed, Measured, Outcome, Record, Source, new_record
from tunefarm_proto.v1 import common_pb2, schedule_pb2

_FAILURE_PREFIX = "FAILURE_KIND_"


def record_message(record: Record, trace: str) -> schedule_pb2.ScheduleRecord:
    """A record as it travels. `source` and `conditions` stay here."""
    message = schedule_pb2.ScheduleRecord(
        record_id=record.record_id,
        workload=record.workload,
        target=record.target,
        trace=trace,
        candidate_id=record.identity,
        device_fingerprint=record.device_fingerprint,
        created=timestamp(record.created),
        project=record.project,
        job_id=record.job_id,
        task_name=record.task_name,
    )
    if isinstance(record.outcome, Measured):
        message.seconds.extend(record.outcome.samples)
    elif isinstance(record.outcome, Censored):
        message.at_least_seconds = record.outcome.at_least_seconds
    else:
        kind = _FAILURE_PREFIX + record.outcome.kind
        message.failure.CopyFrom(common_pb2.Failure(kind=kind, message=record.outcome.message))
    return message


def record_of(message: schedule_pb2.ScheduleRecord) -> Record:
    """The record that a message stands for, as an imported one. Raises InvalidInput."""
    if not message.HasField("created"):
        raise InvalidInput("created is missing")
    record = new_record(
        workload=message.workload,
        target=message.target,
        identity=message.candidate_id,
        device_fingerprint=message.device_fingerprint,
        outcome=_outcome_of(message),
        created=unix_seconds(message.created),
        project=message.project,
        job_id=message.job_id,
        task_name=message.task_name,
        source=Source.IMPORTED,
    )
    if message.record_id not in ("", record.record_id):
        raise InvalidInput(f"its content has the digest {record.record_id}: it was changed on its way")
    return record


def timestamp(unix: float) -> Timestamp:
    """Unix seconds as a proto timestamp. Nanoseconds are finer than a double here: nothing is lost."""
    whole = math.floor(unix)
    stamp = Timestamp()
    stamp.FromNanoseconds(whole * 10**9 + round((unix - whole) * 1e9))
    return stamp


def unix_seconds(stamp: Timestamp) -> float:
    """The time that `timestamp` was given."""
    return float(stamp.seconds + stamp.nanos / 1e9)


def _outcome_of(message: schedule_pb2.ScheduleRecord) -> Outcome:
    outcomes: list[Outcome] = []
    if message.seconds:
        outcomes.append(Measured(tuple(message.seconds)))
    if message.HasField("at_least_seconds"):
        outcomes.append(Censored(message.at_least_seconds))
    if message.HasField("failure"):
        outcomes.append(Failed(_failure_kind(message.failure.kind), message.failure.message))
    if len(outcomes) != 1:
        raise InvalidInput("it needs exactly one of seconds, at_least_seconds and failure")
    return outcomes[0]


def _failure_kind(kind: common_pb2.FailureKind) -> str:
    try:
        return str(common_pb2.FailureKind.Name(kind)).removeprefix(_FAILURE_PREFIX)
    except ValueError:
        return str(kind)  # of a newer program; new_record names it as not known
