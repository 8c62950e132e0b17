"""The gate: who may hold a permit, when timing may begin."""

from tunefarm_agent.gate_state import Gate

CORES = frozenset({0, 1})


def gate() -> Gate:
    return Gate(reserved=CORES)


def test_as_many_permits_as_reserved_cores() -> None:
    g = gate()
    assert g.acquire(1, CORES, 30, 0) == [1]
    assert g.acquire(2, CORES, 30, 0) == [2]
    assert g.acquire(3, CORES, 30, 0) == []
    assert g.release(1, 1) == [3]


def test_the_limit_counts_the_workers_own_overlap() -> None:
    g = gate()
    assert g.acquire(1, frozenset({1, 2, 3}), 30, 0) == [1]
    assert g.acquire(2, frozenset({1, 2, 3}), 30, 0) == []
    assert g.acquire(3, CORES, 30, 0) == [3]


def test_other_cores_never_wait() -> None:
    g = gate()
    g.close()
    assert g.may_time()
    assert g.acquire(1, frozenset({2, 3}), 30, 0) == [1]
    assert g.holders() == []
    assert g.may_time()


def test_timing_waits_for_every_permit_and_no_new_one_is_granted() -> None:
    g = gate()
    g.acquire(1, CORES, 30, 0)
    g.close()
    assert not g.may_time()
    assert g.holders() == [1]
    assert g.acquire(2, CORES, 30, 1) == []
    assert g.release(1, 2) == []
    assert g.may_time()
    assert g.open(3) == [2]


def test_who_waits_at_the_opening_has_a_turn_before_the_next_closing() -> None:
    g = gate()
    g.close()
    assert g.may_time()
    for worker in (1, 2, 3):
        assert g.acquire(worker, CORES, 30, 0) == []
    assert g.open(1) == [1, 2]
    g.close()
    assert g.acquire(4, CORES, 30, 2) == [], "came after the closing"
    assert g.release(1, 3) == [3]
    assert not g.may_time()
    g.release(2, 4)
    assert not g.may_time(), "3 still computes"
    assert g.release(3, 5) == []
    assert g.may_time()
    assert g.open(6) == [4]


def test_who_is_gone_is_owed_no_turn() -> None:
    g = gate()
    g.close()
    g.may_time()
    for worker in (1, 2, 3):
        g.acquire(worker, CORES, 30, 0)
    g.open(1)
    g.close()
    for worker in (3, 1, 2):
        g.release(worker, 2)
    assert g.may_time()


def test_a_permit_expires_unless_renewed() -> None:
    g = gate()
    g.acquire(1, CORES, 10, now=0)
    g.acquire(2, CORES, 10, now=0)
    g.renew(1, 10, now=8)
    assert g.next_expiry() == 10
    assert g.expired(10) == [2]
    g.release(2, 10)
    assert g.expired(17.9) == []
    assert g.expired(18) == [1]


def test_renewing_without_a_permit_gives_none() -> None:
    g = gate()
    g.close()
    g.may_time()
    g.acquire(1, CORES, 10, 0)
    g.renew(1, 10, 1)
    assert g.next_expiry() is None


def test_a_closing_given_up_lets_workers_in_again() -> None:
    g = gate()
    g.acquire(1, CORES, 30, 0)
    g.close()
    g.acquire(2, CORES, 30, 0)
    assert g.open(1) == [2]
