import random

from tunefarm_agent.rounds import FEWEST_ROUNDS, in_the_running, narrow_enough


def timed(rounds: int, ratio: float, noise: float) -> list[list[float]]:
    """Seconds of two contenders, round by round, on a machine whose speed changes from round to round."""
    drawn = random.Random(0)
    first, other = [], []
    for _ in range(rounds):
        speed = drawn.uniform(0.5, 2.0)
        first.append(speed)
        other.append(speed * ratio * drawn.uniform(1 - noise, 1 + noise))
    return [first, other]


def test_what_is_known_after_the_fewest_rounds_needs_no_more() -> None:
    assert not narrow_enough(timed(FEWEST_ROUNDS - 1, 1.5, 0.0), 0.03)
    assert narrow_enough(timed(FEWEST_ROUNDS, 1.5, 0.01), 0.03)


def test_noise_asks_for_more_rounds() -> None:
    assert not narrow_enough(timed(FEWEST_ROUNDS, 1.5, 0.03), 0.03)
    assert narrow_enough(timed(40, 1.5, 0.03), 0.03)


def test_one_noisy_contender_is_enough_to_go_on() -> None:
    calm, noisy = timed(FEWEST_ROUNDS, 1.5, 0.0), timed(FEWEST_ROUNDS, 1.5, 0.2)
    assert narrow_enough([*calm, calm[1]], 0.03)
    assert not narrow_enough([*calm, noisy[1]], 0.03)


def test_of_nine_rounds_the_slowest_and_the_fastest_may_be_anything() -> None:
    first, other = timed(9, 2.0, 0.0)
    other[0], other[-1] = 100.0, 0.01
    assert narrow_enough([first, other], 0.03)
    assert not narrow_enough([first[:8], other[:8]], 0.03)


def test_a_contender_alone_has_nothing_to_wait_for() -> None:
    assert not narrow_enough([], 0.03)
    assert narrow_enough([[2.0] * FEWEST_ROUNDS], 0.03)


def test_who_is_clearly_beaten_leaves_once_all_had_two_rounds() -> None:
    fast, near, slow = [1.0, 1.1, 0.9], [1.2, 1.2, 3.0], [1.3, 1.1, 1.3]
    assert in_the_running([slow, fast, near], 1) == [0, 1, 2]
    assert in_the_running([slow, fast, near], 2) == [1, 2]
    assert in_the_running([slow], 4) == [0]
    assert in_the_running([], 4) == []
