"""What the agent holds and owes, event by event."""

from tunefarm_agent.desk import Desk, Ref, Stage

A, B, C = Ref("a", 1), Ref("b", 1), Ref("c", 1)


def desk(*devices: str) -> Desk[str, str]:
    return Desk(list(devices or ("cpu0",)), slots=2)


def running(ref: Ref = A) -> Desk[str, str]:
    held = desk()
    held.take(ref, "cpu0")
    assert held.next("cpu0") == ref
    return held


def test_works_on_one_while_the_next_is_queued() -> None:
    held = desk()
    assert held.wants() == {"cpu0": 2}
    assert held.take(A, "cpu0")
    assert held.take(B, "cpu0")
    assert held.wants() == {"cpu0": 0}
    assert held.next("cpu0") == A
    assert held.next("cpu0") is None
    held.finish(A, "done")
    assert held.wants() == {"cpu0": 1}
    assert held.next("cpu0") == B


def test_devices_have_slots_of_their_own() -> None:
    held = desk("cpu0", "cpu1")
    held.take(A, "cpu1")
    assert held.wants() == {"cpu0": 2, "cpu1": 1}
    assert held.next("cpu0") is None
    assert held.next("cpu1") == A


def test_each_device_works_on_one_lease_at_a_time_whatever_the_others_do() -> None:
    held = desk("cuda0", "cuda1")
    refs = [Ref(f"lease{at}", 1) for at in range(4)]
    for at, ref in enumerate(refs):
        assert held.take(ref, f"cuda{at % 2}")
    assert (held.next("cuda0"), held.next("cuda1")) == (refs[0], refs[1])
    assert (held.next("cuda0"), held.next("cuda1")) == (None, None)
    held.finish(refs[1], "done")
    assert (held.next("cuda0"), held.next("cuda1")) == (None, refs[3])


def test_a_lease_is_taken_once_and_for_our_devices_only() -> None:
    held = desk()
    assert held.take(A, "cpu0")
    assert not held.take(A, "cpu0")
    assert not held.take(B, "cuda0")
    assert held.take(Ref("a", 2), "cpu0"), "another attempt is another lease"
    assert held.refs() == [A, Ref("a", 2)]


def test_an_outcome_is_owed_until_acknowledged() -> None:
    held = running()
    assert held.report(A, 0, "zero")
    assert held.report(A, 1, "one")
    assert held.owed() == (["zero", "one"], [])
    assert held.acknowledge(A, 0)
    assert not held.acknowledge(A, 0), "acknowledged twice"
    assert held.owed() == (["one"], [])


def test_a_finished_lease_is_held_until_all_is_acknowledged_and_told() -> None:
    held = running()
    held.report(A, 0, "zero")
    assert held.finish(A, "done")
    assert not held.finish(A, "done again")
    held.told(A)
    assert held.refs() == [A]
    held.acknowledge(A, 0)
    assert held.refs() == []


def test_an_ending_that_no_stream_carried_is_owed() -> None:
    held = running()
    held.report(A, 0, "zero")
    held.finish(A, "done")
    held.acknowledge(A, 0)
    assert held.owed() == ([], [(A, "done")])
    held.told(A)
    assert held.owed() == ([], [])
    assert held.refs() == []


def test_an_ending_follows_its_outcomes_again_after_a_lost_stream() -> None:
    held = running()
    held.report(A, 0, "zero")
    held.finish(A, "done")
    held.told(A)
    assert held.owed() == (["zero"], [(A, "done")])


def test_a_forgotten_lease_leaves_nothing() -> None:
    held = running()
    held.report(A, 0, "zero")
    assert held.forget(A) is Stage.RUNNING
    assert held.forget(A) is None
    assert not held.report(A, 1, "too late")
    assert not held.finish(A, "too late")
    assert held.owed() == ([], [])
    assert held.wants() == {"cpu0": 2}


def test_restored_outcomes_are_owed_and_take_no_slot() -> None:
    held = desk()
    held.restore(A, "cpu0", 3, "three", "started again")
    assert held.refs() == [A]
    assert held.devices() == {A: "cpu0"}
    assert held.wants() == {"cpu0": 2}
    assert held.next("cpu0") is None
    assert held.owed() == (["three"], [(A, "started again")])
    held.acknowledge(A, 3)
    assert held.refs() == [A]
    held.told(A)
    assert held.refs() == []


def test_queued_and_running_are_told_apart() -> None:
    held = desk()
    for ref in (A, B, C):
        held.take(ref, "cpu0")
    held.next("cpu0")
    assert held.running() == [A]
    assert held.queued() == [B, C]
    assert held.stage(A) is Stage.RUNNING
    assert held.stage(Ref("z", 1)) is None
