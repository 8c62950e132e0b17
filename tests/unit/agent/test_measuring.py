"""How many samples are taken of a kernel, on a session that only says how long calls took."""

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

from tunefarm_agent.commands import Evaluation, Kernel
from tunefarm_agent.measuring import Bench, Measurement
from tunefarm_agent.rpc_session import Session


class FakeModule:
    """A kernel whose calls take what is given, one after the other."""

    def __init__(self, seconds: list[float]) -> None:
        self._seconds: Iterator[float] = iter(seconds)

    def get_function(self, _name: str) -> None:
        """It has every function."""

    def time_evaluator(self, *_: object, repeat: int, **__: object) -> Any:
        return lambda: SimpleNamespace(results=[next(self._seconds) for _ in range(repeat)])


def measured(seconds: list[float], give_up: float, flush_cache: bool = True) -> Measurement:
    module = FakeModule(seconds)
    session = SimpleNamespace(device=None, staging=None, used=False, upload=lambda _: module)
    evaluation = Evaluation(1, 10, min_repeat_ms=0.0, flush_cache=flush_cache, give_up=give_up)
    return Bench(cast(Session, session), 0).measure(Kernel("k.so", ()), (), evaluation)


def test_one_that_is_clearly_too_slow_is_let_go_after_a_look() -> None:
    assert measured([4.0, 3.5], give_up=3.0) == Measurement((4.0, 3.5), 1, None, let_go=True)


def test_a_slow_one_has_few_samples() -> None:
    assert measured([4.0, 1.6, 1.7, 1.8], give_up=3.0) == Measurement((4.0, 1.6, 1.7, 1.8), 1, None)


def test_one_fast_sample_is_enough_to_go_on() -> None:
    seconds = [1.6, 1.7, 1.8, 1.5, *[1.0] * 6]
    assert measured(seconds, give_up=3.0) == Measurement(tuple(seconds), 1, None)


def test_where_caches_stay_warm_a_look_is_no_sample() -> None:
    assert measured([1.0] * 12, give_up=3.0, flush_cache=False) == Measurement((1.0,) * 10, 1, None)
