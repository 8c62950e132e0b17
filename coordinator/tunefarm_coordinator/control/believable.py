"""Numbers that an agent reported, looked at before anybody counts on them. Pure."""

import math
from typing import Any

from tunefarm_coordinator.schedules.record import LONGEST_SAMPLE_SECONDS
from tunefarm_proto.v1 import common_pb2, farm_pb2


def believable(report: farm_pb2.OutcomeReport) -> farm_pb2.OutcomeReport:
    """The report without numbers that can't be: a condition of the device that is none is unknown, and a time that is
    none (not a number, nothing, less, over an hour) is a failed run of its item, which says so.

    An agent would send what is refused again and again, and whatever came with it too.
    """
    found = farm_pb2.OutcomeReport()
    found.CopyFrom(report)
    _clear_no_numbers(found.conditions)
    match found.WhichOneof("outcome"):
        case "measured":
            _judge(found)
        case "censored":
            if not _is_time(found.censored.at_least_seconds):
                found.failed.CopyFrom(_no_time([found.censored.at_least_seconds]))
        case "compared":
            for item in found.compared.items:
                _judge(item)
        case "benchmark":
            for timing in found.benchmark.timings:
                _judge(timing)
                _clear_no_numbers(timing)
                kernels = [kernel for kernel in timing.kernels if all(map(math.isfinite, kernel.seconds))]
                del timing.kernels[:]
                timing.kernels.extend(kernels)
    return found


def _judge(item: farm_pb2.OutcomeReport | farm_pb2.ComparedItem | farm_pb2.ModelTiming) -> None:
    """A measurement with a time that is none becomes a failure."""
    if item.WhichOneof("outcome") != "measured":
        return
    wrong = [seconds for seconds in item.measured.seconds if not _is_time(seconds)]
    if wrong:
        item.failed.CopyFrom(_no_time(wrong))
    else:
        _clear_no_numbers(item.measured)


def _is_time(seconds: float) -> bool:
    return 0.0 < seconds < LONGEST_SAMPLE_SECONDS


def _no_time(seconds: list[float]) -> common_pb2.Failure:
    message = f"the agent reported {seconds[0]:g} s as a time that it took"
    return common_pb2.Failure(kind=common_pb2.FAILURE_KIND_RUN_ERROR, message=message)


def _clear_no_numbers(message: Any) -> None:
    """Single fields alone; what stays unset is unknown."""
    for field, value in message.ListFields():
        if isinstance(value, float) and not math.isfinite(value):
            message.ClearField(field.name)
