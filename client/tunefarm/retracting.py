"""Taking schedules back: what is said of them, and how much it was."""

from __future__ import annotations

import dataclasses
import datetime

from google.protobuf.message import Message

from tunefarm.access import parse_duration
from tunefarm.errors import InvalidInput
from tunefarm_proto.v1 import schedule_pb2


@dataclasses.dataclass(frozen=True)
class Retracted:
    """How much was taken back, or would be; `workloads`: that the records are of."""

    records: int
    verifications: int
    comparisons: int
    workloads: int

    @property
    def nothing(self) -> bool:
        return not (self.records or self.verifications or self.comparisons)


def retract_request(
    *,
    agent: str,
    device: str,
    job: str,
    since: datetime.datetime | None,
    until: datetime.datetime | None,
    reason: str,
    dry_run: bool,
) -> schedule_pb2.RetractSchedulesRequest:
    """Raises InvalidInput where nothing is named, or a time says no zone."""
    request = schedule_pb2.RetractSchedulesRequest(
        agent_id=agent, device_fingerprint=device, job_id=job, reason=reason, dry_run=dry_run
    )
    set_moment(request, "since", since)
    set_moment(request, "until", until)
    if not (agent or device or job or since or until):
        raise InvalidInput("whose schedules are to be taken back? Name an agent, a device, a job or a time")
    return request


def set_moment(request: Message, name: str, moment: datetime.datetime | None) -> None:
    """Sets a timestamp of the request; None leaves it open. Raises InvalidInput: it says no zone."""
    if moment is None:
        return
    if moment.tzinfo is None:
        raise InvalidInput(f"{name}={moment!r} has no time zone: give one, or moment.astimezone() for this machine's")
    getattr(request, name).FromDatetime(moment)


def retracted_from(wire: schedule_pb2.RetractedSchedules) -> Retracted:
    return Retracted(wire.records, wire.verifications, wire.comparisons, wire.workloads)


def parse_moment(text: str, now: datetime.datetime) -> datetime.datetime:
    """A moment as people write it: "2026-11-26", "2026-11-26 14:30" (this machine's zone, unless it says another), or
    how long ago: "90m", "36h", "2d". Raises InvalidInput."""
    try:
        return now - datetime.timedelta(seconds=parse_duration(text))
    except (InvalidInput, OverflowError):
        pass  # no duration: a date, if anything
    try:
        return datetime.datetime.fromisoformat(text.strip()).astimezone()
    except (ValueError, OverflowError) as error:
        raise InvalidInput(
            f'{text!r} is no time: write "2026-11-26", "2026-11-26 14:30", or 2d for two days ago'
        ) from error
