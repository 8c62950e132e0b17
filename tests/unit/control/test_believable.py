"""What an agent reports is looked at before anybody counts on it."""

import json
import math

import pytest

from tunefarm_coordinator.control import leases
from tunefarm_coordinator.control.believable import believable
from tunefarm_coordinator.schedules.record import Measured, canonical_json, new_record
from tunefarm_proto.v1 import common_pb2, farm_pb2

NO_TIMES = [math.nan, math.inf, 0.0, -1e-3, 1e10]


def measured(*seconds: float, temperature: float | None = None) -> farm_pb2.OutcomeReport:
    return farm_pb2.OutcomeReport(
        measured=farm_pb2.Measured(seconds=seconds, max_rel_error=1e-6),
        conditions=farm_pb2.Conditions(elapsed=0.5, temperature=temperature),
    )


def test_what_is_sound_stays_as_it_is() -> None:
    for report in (
        measured(1e-3, 2e-3, temperature=60.0),
        farm_pb2.OutcomeReport(censored=farm_pb2.Censored(at_least_seconds=0.1)),
        farm_pb2.OutcomeReport(failed=common_pb2.Failure(kind=common_pb2.FAILURE_KIND_RUN_ERROR, message="no")),
    ):
        assert believable(report) == report


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_condition_that_is_no_number_is_unknown(value: float) -> None:
    """It went on record as it was, which the store refused, and everything that had come with it."""
    report = believable(measured(1e-3, temperature=value))
    known = leases.conditions(report)
    assert known == {"elapsed": 0.5}
    canonical_json(known)
    record = new_record(
        workload="w", target=json.dumps({}), identity="i", device_fingerprint="d", outcome=Measured((1e-3,)),
        created=1.0, conditions=known,
    )  # fmt: skip
    assert record.conditions == {"elapsed": 0.5}


@pytest.mark.parametrize("seconds", NO_TIMES)
def test_a_time_that_is_none_is_a_failed_run(seconds: float) -> None:
    event = leases.item_measured(1, 0, believable(measured(1e-3, seconds)))
    assert event.samples == ()
    assert event.failure is not None
    assert event.failure.kind == "RUN_ERROR"
    assert f"{seconds:g} s" in event.failure.message
    censored = believable(farm_pb2.OutcomeReport(censored=farm_pb2.Censored(at_least_seconds=seconds)))
    assert leases.item_measured(1, 0, censored).failure is not None


def test_one_finalist_without_a_time_fails_alone() -> None:
    compared = farm_pb2.ComparedGroup(
        items=[farm_pb2.ComparedItem(measured=farm_pb2.Measured(seconds=[each])) for each in (1e-3, math.nan)]
    )
    items = believable(farm_pb2.OutcomeReport(compared=compared)).compared.items
    assert [item.WhichOneof("outcome") for item in items] == ["measured", "failed"]


def test_a_benchmark_keeps_what_can_be_kept() -> None:
    timings = [
        farm_pb2.ModelTiming(
            name=name,
            measured=farm_pb2.Measured(seconds=[seconds]),
            first_seconds=math.nan,
            kernels=[
                farm_pb2.KernelTiming(name="good", seconds=[1e-6]),
                farm_pb2.KernelTiming(name="bad", seconds=[1e-6, math.nan]),
            ],
        )
        for name, seconds in (("tuned", 1e-3), ("untuned", math.inf))
    ]
    report = farm_pb2.OutcomeReport(benchmark=farm_pb2.ModelBenchmark(timings=timings))
    tuned, untuned = believable(report).benchmark.timings
    assert (tuned.WhichOneof("outcome"), untuned.WhichOneof("outcome")) == ("measured", "failed")
    assert not tuned.HasField("first_seconds")
    assert [kernel.name for kernel in tuned.kernels] == ["good"]
