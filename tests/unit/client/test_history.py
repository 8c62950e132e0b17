import dataclasses

from tests.tuning_stand_in import succeeding
from tunefarm.history import History
from tunefarm.wire import job_from


def test_the_history_has_every_change_of_the_estimate_and_when_it_was_seen() -> None:
    times = iter([100.0, 103.5, 110.0])
    history = History(lambda: next(times))
    job = job_from(succeeding()[-1])
    for latency in (None, 4.0, 4.0, 3.0):
        history.update(dataclasses.replace(job, estimated_latency_ms=latency))
    assert [(point["seconds"], point["latency_ms"]) for point in history.points] == [(3.5, 4.0), (10.0, 3.0)]
