"""Schedules as messages, and back: nothing that comes in is believed before it was checked."""

import json
import math
from collections.abc import Callable

from google.protobuf.timestamp_pb2 import Timestamp

from tunefarm_coordinator.errors import Conflict, InvalidInput
from tunefarm_coordinator.schedules.changes import DeviceFacts, KnownWorkload
from tunefarm_coordinator.schedules.merging import Offer, OfferedRecord
from tunefarm_coordinator.schedules.pruning import Pruning
from tunefarm_coordinator.schedules.record import (
    Censored,
    Failed,
    Measured,
    Outcome,
    Record,
    SentinelTime,
    Source,
    facts_digest,
    new_record,
    printable,
)
from tunefarm_coordinator.schedules.retracting import Facts, Retracted
from tunefarm_coordinator.schedules.stats_reads import StoreStats
from tunefarm_proto.v1 import common_pb2, schedule_pb2

_FAILURE_PREFIX = "FAILURE_KIND_"
# Names stand in indices: PostgreSQL takes some 2,700 bytes in one row of an index, for two of them and a digest.
LONGEST_NAME_BYTES = 500
LONGEST_KIND_BYTES = 2000
LONGEST_REASON = 400  # characters: a batch has hundreds, and they may quote what came
_LAST_MOMENT = 253_402_300_799  # the end of the year 9999, as a proto timestamp has it
_DIGEST = "sha256:"


class ChangedContent(InvalidInput):
    """What came does not have the digest that it is named by."""


class UnknownItem(InvalidInput):
    """An item of a kind that this program does not know."""


_REFUSALS: tuple[tuple[type[Exception], schedule_pb2.RefusalKind], ...] = (
    (ChangedContent, schedule_pb2.REFUSAL_KIND_CHANGED),
    (SentinelTime, schedule_pb2.REFUSAL_KIND_SENTINEL_TIME),
    (UnknownItem, schedule_pb2.REFUSAL_KIND_UNKNOWN_ITEM),
    (Conflict, schedule_pb2.REFUSAL_KIND_CONFLICT),
)


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
        agent_id=record.agent_id,
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
    created = _moment(message)
    record = new_record(
        workload=message.workload,
        target=message.target,
        identity=message.candidate_id,
        device_fingerprint=message.device_fingerprint,
        outcome=_outcome_of(message),
        created=created,
        project=message.project,
        job_id=message.job_id,
        task_name=message.task_name,
        source=Source.IMPORTED,
    )
    if message.record_id not in ("", record.record_id):
        raise ChangedContent(f"its content has the digest {record.record_id}: it was changed on its way")
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


def facts_of(request: schedule_pb2.RetractSchedulesRequest) -> Facts:
    """The facts that are to be taken back."""
    return Facts(
        agent_id=request.agent_id,
        device_fingerprint=request.device_fingerprint,
        job_id=request.job_id,
        since=unix_seconds(request.since) if request.HasField("since") else None,
        until=unix_seconds(request.until) if request.HasField("until") else None,
    )


def retracted_message(retracted: Retracted) -> schedule_pb2.RetractedSchedules:
    """How much was taken back, or would be."""
    return schedule_pb2.RetractedSchedules(**vars(retracted))


def pruning_of(request: schedule_pb2.PruneSchedulesRequest) -> Pruning:
    """What is to stay, and which records may go."""
    return Pruning(
        keep_top=request.keep_top,
        workload=request.workload,
        target=request.target,
        device_class=request.device_class,
        project=request.project,
        before=unix_seconds(request.before) if request.HasField("before") else None,
    )


def offer_of(item: schedule_pb2.ScheduleItem) -> Offer:
    """What another store gives, checked as far as it can be without replaying it. Raises InvalidInput."""
    reader = _READERS.get(item.WhichOneof("item") or "")
    if reader is None:
        raise UnknownItem("it is of a kind that this coordinator does not know: upgrade it")
    return reader(item)


def refusal(line: int, error: Exception) -> schedule_pb2.RefusedItem:
    """What the caller is told of an item that was not taken."""
    kind = next((kind for of, kind in _REFUSALS if isinstance(error, of)), schedule_pb2.REFUSAL_KIND_MALFORMED)
    reason = printable(str(error))
    if len(reason) > LONGEST_REASON:
        reason = reason[: LONGEST_REASON - 1] + "\N{HORIZONTAL ELLIPSIS}"
    return schedule_pb2.RefusedItem(line=line, kind=kind, reason=reason)


def workload_item(known: KnownWorkload) -> schedule_pb2.ScheduleItem:
    workload = schedule_pb2.ScheduleWorkload(
        workload=known.workload,
        name=known.name,
        module=known.module,
        flops=known.flops,
        created=timestamp(known.created),
        kind=known.kind,
        shapes=[common_pb2.Shape(dims=shape) for shape in known.shapes],
    )
    return schedule_pb2.ScheduleItem(workload=workload)


def device_item(known: DeviceFacts) -> schedule_pb2.ScheduleItem:
    return schedule_pb2.ScheduleItem(
        device=schedule_pb2.ScheduleDevice(fingerprint=known.fingerprint, facts=dict(known.facts))
    )


def stats_message(stats: StoreStats) -> schedule_pb2.ScheduleStats:
    return schedule_pb2.ScheduleStats(
        records=stats.records,
        valid=stats.valid,
        censored=stats.censored,
        failed=dict(stats.failed),
        imported=stats.imported,
        candidates=stats.candidates,
        workloads=stats.workloads,
        oldest=None if stats.oldest is None else timestamp(stats.oldest),
        newest=None if stats.newest is None else timestamp(stats.newest),
        scopes=[schedule_pb2.ScopeStats(**vars(scope)) for scope in stats.scopes],
        retracted=stats.retracted,
        pruned=stats.pruned,
        pipeline_versions=stats.pipeline_versions,
    )


def _workload_of(item: schedule_pb2.ScheduleItem) -> KnownWorkload:
    message = item.workload
    if not (math.isfinite(message.flops) and message.flops >= 0):
        raise InvalidInput(f"flops {message.flops!r} is no number of operations")
    if not isinstance(_json("module", message.module), dict):
        raise InvalidInput("its module is not one that TVM wrote")
    return KnownWorkload(
        workload=_name("workload", message.workload),
        name=printable(message.name),
        module=message.module,
        flops=message.flops,
        created=_moment(message),
        kind=_kind(message.kind),
        shapes=tuple(tuple(shape.dims) for shape in message.shapes),
    )


def _device_of(item: schedule_pb2.ScheduleItem) -> DeviceFacts:
    message = item.device
    if not message.facts:
        raise InvalidInput("the device has no facts")
    facts = dict(message.facts)
    digest = facts_digest(facts)
    if message.fingerprint.startswith(_DIGEST) and message.fingerprint != digest:
        raise ChangedContent(f"these facts have the fingerprint {digest}: they were changed on their way")
    return DeviceFacts(_name("device fingerprint", message.fingerprint), facts)


def _offered_record(item: schedule_pb2.ScheduleItem) -> OfferedRecord:
    message = item.record
    for what in ("workload", "candidate_id", "device_fingerprint"):
        _name(what.partition("_")[0], getattr(message, what))
    for what in ("project", "job_id", "task_name"):
        _without_nul(what, getattr(message, what))
    try:
        record = record_of(message)
    except (ValueError, RecursionError) as error:  # of a target that no parser takes
        raise InvalidInput(f"its target is not JSON that can be read ({error})") from error
    _json("trace", message.trace)
    return OfferedRecord(record, message.trace)


_READERS: dict[str, Callable[[schedule_pb2.ScheduleItem], Offer]] = {
    "workload": _workload_of,
    "device": _device_of,
    "record": _offered_record,
}


def _name(what: str, value: str) -> str:
    if not value:
        raise InvalidInput(f"the {what} is empty")
    if len(value.encode()) > LONGEST_NAME_BYTES:
        raise InvalidInput(f"the name of its {what} is longer than {LONGEST_NAME_BYTES} bytes")
    return _without_nul(what, value)


def _moment(message: schedule_pb2.ScheduleRecord | schedule_pb2.ScheduleWorkload) -> float:
    """Its `created`, which has to be one that can be told again."""
    if not message.HasField("created"):
        raise InvalidInput("created is missing")
    stamp = message.created
    if not (0 <= stamp.seconds < _LAST_MOMENT and 0 <= stamp.nanos < 10**9):
        raise InvalidInput("created is not between the years 1970 and 9999")
    return unix_seconds(stamp)


def _kind(value: str) -> str:
    """A kind that can't be kept is not known: only nearness is found by it."""
    return value if value.isprintable() and len(value.encode()) <= LONGEST_KIND_BYTES else ""


def _without_nul(what: str, value: str) -> str:
    """PostgreSQL's text can't hold NUL."""
    if "\x00" in value:
        raise InvalidInput(f"its {what} has a NUL character in it")
    return value


def _json(what: str, text: str) -> object:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"its {what} is not JSON ({error})") from error


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
