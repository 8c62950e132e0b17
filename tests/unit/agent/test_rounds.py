import random

from tunefarm_agent.rounds import FEWEST_ROUNDS, narrow_enough


def timed(rounds: int, ratio: float, noise: float) -> list[list[float]]:
    """Seconds of two contenders, three calls in each round, on a machine whose speed changes from round to round."""
    drawn = random.Random(0)
    first, other = [], []
    for _ in range(rounds):
        speed = drawn.uniform(0.5, 2.0)
        first += [speed] * 3
        other += [speed * ratio * drawn.uniform(1 - noise, 1 + noise)] * 3
    return [first, other]


def test_what_is_known_after_the_fewest_rounds_needs_no_more() -> None:
    assert not narrow_enough(timed(FEWEST_ROUNDS - 1, 1.5, 0.0), 3, 0.03)
    assert narrow_enough(timed(FEWEST_ROUNDS, 1.5, 0.01), 3, 0.03)


def test_noise_asks_for_more_rounds() -> None:
    assert not narrow_enough(timed(FEWEST_ROUNDS, 1.5, 0.03), 3, 0.03)
    assert narrow_enough(timed(40, 1.5, 0.03), 3, 0.03)


def test_one_noisy_contender_is_enough_to_go_on() -> None:
    calm, noisy = timed(FEWEST_ROUNDS, 1.5, 0.0), timed(FEWEST_ROUNDS, 1.5, 0.2)
    assert narrow_enough([*calm, calm[1]], 3, 0.03)
    assert not narrow_enough([*calm, noisy[1]], 3, 0.03)


def test_of_nine_rounds_the_slowest_and_the_fastest_may_be_anything() -> None:
    first, other = timed(9, 2.0, 0.0)
    other[:3], other[-3:] = [100.0] * 3, [0.01] * 3
    assert narrow_enough([first, other], 3, 0.03)
    assert not narrow_enough([first[: 8 * 3], other[: 8 * 3]], 3, 0.03)


def test_a_contender_alone_has_nothing_to_wait_for() -> None:
    assert not narrow_enough([], 3, 0.03)
    assert narrow_enough([[1.0, 2.0, 3.0] * FEWEST_ROUNDS], 3, 0.03)
