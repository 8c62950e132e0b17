"""A watch goes on over streams that break, and gives up in the end. No clock runs here."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.tuning_stand_in import JOB_ID, job_at
from tunefarm.errors import NotFound, TunefarmError, Unavailable, Unreachable
from tunefarm.job import JobState
from tunefarm.watching import Outage, watch_job
from tunefarm_proto.v1 import tuning_pb2


class _Streams:
    """Each stream: the jobs that it sends, then the error that it breaks with (None: it just ends)."""

    def __init__(self, *streams: tuple[list[tuning_pb2.Job], TunefarmError | None]) -> None:
        self._streams = list(streams)
        self.asked: list[int] = []

    def watch(self, job_id: str, after_sequence: int) -> Generator[tuning_pb2.JobUpdate]:
        assert job_id == JOB_ID
        self.asked.append(after_sequence)
        jobs, error = self._streams.pop(0)
        for job in jobs:
            yield tuning_pb2.JobUpdate(sequence=job.sequence, job=job)
        if error is not None:
            raise error


class _Time:
    def __init__(self) -> None:
        self.now = 0.0
        self.pauses: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


def _watch(streams: _Streams, time: _Time) -> list[JobState]:
    jobs = watch_job(streams, JOB_ID, outage_seconds=60, clock=time.clock, sleep=time.sleep)
    return [job.state for job in jobs]


def test_resumes_after_the_last_sequence_seen() -> None:
    streams = _Streams(
        ([job_at("TUNING", 3), job_at("TUNING", 4)], Unavailable("gone")),
        ([], Unavailable("still gone")),
        ([job_at("VERIFYING", 9)], None),
        ([job_at("SUCCEEDED", 10)], None),
    )
    time = _Time()
    assert _watch(streams, time) == ["TUNING", "TUNING", "VERIFYING", "SUCCEEDED"]
    assert streams.asked == [0, 4, 4, 9]
    assert time.pauses == [0.2, 0.4, 0.2]


def test_stops_at_a_terminal_job_even_if_the_stream_goes_on() -> None:
    streams = _Streams(([job_at("FAILED", 3), job_at("TUNING", 4)], None))
    assert _watch(streams, _Time()) == ["FAILED"]


def test_gives_up_when_nothing_answers_for_too_long() -> None:
    time = _Time()
    streams = _Streams(([job_at("TUNING", 3)], None), *[([], Unavailable("gone"))] * 100)
    with pytest.raises(Unavailable, match="gone"):
        _watch(streams, time)
    assert 60 <= time.now < 70


@pytest.mark.parametrize("error", [NotFound("no such job"), Unreachable("nobody there")])
def test_other_errors_end_the_watch_at_once(error: TunefarmError) -> None:
    time = _Time()
    with pytest.raises(type(error)):
        _watch(_Streams(([], error)), time)
    assert time.pauses == []


def test_an_answer_ends_the_outage() -> None:
    now = [0.0]
    outage = Outage(10, lambda: now[0])
    lost = Unavailable("gone")
    for _ in range(3):
        outage.next_pause(lost)
        now[0] += 9
        outage.over()
    assert outage.next_pause(lost) == 0.2
    now[0] += 10
    with pytest.raises(Unavailable):
        outage.next_pause(lost)
