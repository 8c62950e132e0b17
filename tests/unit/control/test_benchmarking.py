"""The benchmarks of several shape sets, as the one that the job's brain is told of."""

import io
from typing import Any

import numpy as np

from tunefarm_coordinator.control.benchmarking import added_up, count_sets, first_set, sets_of, summed_up
from tunefarm_coordinator.jobs import events as ev


def test_a_kernel_of_several_sets_is_added_up_round_by_round() -> None:
    narrow = (ev.KernelTiming("head", (1.0, 2.0), (3.0, 4.0)), ev.KernelTiming("narrow", (5.0,), (6.0,)))
    wide = (ev.KernelTiming("wide", (7.0,), (8.0,)), ev.KernelTiming("head", (10.0, 20.0, 30.0), (30.0, 40.0)))
    assert added_up([narrow, (), wide]) == (
        ev.KernelTiming("head", (11.0, 22.0), (33.0, 44.0)),
        ev.KernelTiming("narrow", (5.0,), (6.0,)),
        ev.KernelTiming("wide", (7.0,), (8.0,)),
    )


def benchmarked(seconds: float, error: float | None, *, matches: bool = True, message: str = "") -> ev.Benchmarked:
    timing = ev.ModelTiming("tuned", (seconds,))
    return ev.Benchmarked((timing,), error, matches, message, f"device-{seconds:g}", seconds=seconds)


def test_one_set_is_what_was_measured() -> None:
    alone = benchmarked(1.0, 1e-5)
    assert summed_up([alone]) is alone


def test_of_several_sets_the_first_is_timed_and_all_are_judged() -> None:
    sets = [benchmarked(1.0, 1e-5), benchmarked(2.0, 0.5, matches=False, message="set 2: off")]
    whole = summed_up(sets)
    assert (whole.timings, whole.device, whole.seconds) == (sets[0].timings, "device-1", 3.0)
    assert (whole.max_rel_error, whole.matches, whole.message) == (0.5, False, "set 2: off")
    assert whole.sets == tuple(ev.SetBenchmark(each.timings, each.max_rel_error, each.device) for each in sets)
    assert ev.decode(ev.encode(whole)) == whole


def test_a_journal_of_a_job_with_one_set_says_nothing_of_sets() -> None:
    written = ev.encode(benchmarked(1.0, None))
    del written["sets"]
    assert ev.decode(written) == benchmarked(1.0, None)


def test_a_manifest_without_sets_is_its_own() -> None:
    assert sets_of({"library": "model.so"}) == [{"library": "model.so"}]
    assert sets_of({"library": "model.so", "shape_sets": [{"library": "a"}, {"library": "b"}]})[1] == {"library": "b"}


def archive(**arrays: Any) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def test_the_package_keeps_the_first_set_under_the_inputs_names() -> None:
    arrays = {"s0_infile": np.array(5), "s0_ina/b": np.ones(2), "s1_infile": np.array(6), "s10_infile": np.array(7)}
    inputs = archive(**arrays)
    assert count_sets(archive(s0_out0=np.ones(1), s0_out1=np.ones(1), s1_out0=np.ones(1))) == 2
    with np.load(io.BytesIO(first_set(inputs))) as kept:
        assert {name: kept[name].tolist() for name in kept.files} == {"file": 5, "a/b": [1, 1]}
