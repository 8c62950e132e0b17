from tunefarm_agent.steady import Turn, timed


class Machine:
    """A clock that only calls move; the first ones after a pause take longer."""

    def __init__(self, cold: int, slow: float, fast: float) -> None:
        self.now = 0.0
        self._calls = 0
        self._cold, self._slow, self._fast = cold, slow, fast

    def clock(self) -> float:
        return self.now

    def call(self) -> None:
        self._calls += 1
        self.now += self._slow if self._calls <= self._cold else self._fast


def test_what_a_pause_left_cold_is_not_in_the_samples() -> None:
    machine = Machine(cold=20, slow=0.002, fast=0.001)
    assert max(timed(machine.call, Turn(5, warm_up=0.05), machine.clock)) < 0.0011
    machine = Machine(cold=20, slow=0.002, fast=0.001)
    assert min(timed(machine.call, Turn(5), machine.clock)) > 0.0019


def test_short_calls_fill_the_time_and_long_ones_are_made_as_often_as_asked() -> None:
    short, long = Machine(0, 0.0, 2**-10), Machine(0, 0.0, 1.0)
    assert len(timed(short.call, Turn(5, seconds=0.125), short.clock)) == 128
    assert len(timed(long.call, Turn(5, seconds=0.125, warm_up=0.05), long.clock)) == 5
    assert long.now == 6.0
