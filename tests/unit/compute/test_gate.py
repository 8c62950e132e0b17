import contextlib
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.compute.fake_gate import FakeGate
from tunefarm_coordinator.compute.gate import HostGates, host_id
from tunefarm_coordinator.compute.messages import Gate


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[FakeGate]:
    served = FakeGate(tmp_path / "gate")
    yield served
    served.stop()


@pytest.fixture
def gates(gate: FakeGate) -> Iterator[HostGates]:
    worker = HostGates([Gate(host_id(), gate.path)], ttl=30.0)
    yield worker
    worker.close()


@contextlib.contextmanager
def permit(gates: HostGates) -> Iterator[None]:
    assert gates.acquire(5)
    yield
    gates.release()


def test_a_permit_is_asked_for_with_its_cores_and_given_back(gate: FakeGate, gates: HostGates) -> None:
    with permit(gates):
        _, request = gate.next_told()
    assert request == {"op": "acquire", "ttl": 30.0, "cores": sorted(os.sched_getaffinity(0)), "breathes": True}
    assert gate.ops(1) == ["release"]


def test_one_connection_serves_one_permit_after_the_other(gate: FakeGate, gates: HostGates) -> None:
    for _ in range(3):
        with permit(gates):
            pass
    told = [gate.next_told() for _ in range(6)]
    assert [message["op"] for _, message in told] == ["acquire", "release"] * 3
    assert {connection for connection, _ in told} == {1}


def test_a_permit_in_hand_is_not_asked_for_again(gate: FakeGate, gates: HostGates) -> None:
    assert gates.acquire(5)
    assert gates.acquire(5)
    gates.release()
    assert gate.ops(2) == ["acquire", "release"]


def test_long_work_gives_a_permit_back_that_is_wanted_and_goes_on_with_the_next(gate: FakeGate) -> None:
    worker = HostGates([Gate(host_id(), gate.path)], ttl=30.0, turn=0.0)
    with permit(worker):
        worker.breathe()
        gate.want_back()
        worker.breathe()
        worker.breathe()
    worker.close()
    assert gate.ops(5) == ["acquire", "release", "acquire", "release", "closed"]


def test_what_was_said_of_the_last_permit_is_not_taken_for_the_next_one(gate: FakeGate) -> None:
    worker = HostGates([Gate(host_id(), gate.path)], ttl=30.0, turn=0.0)
    with permit(worker):
        gate.want_back()
    with permit(worker):
        worker.breathe()
    worker.close()
    assert gate.ops(5) == ["acquire", "release", "acquire", "release", "closed"]


def test_who_has_not_had_his_turn_yet_keeps_his_permit(gate: FakeGate) -> None:
    worker = HostGates([Gate(host_id(), gate.path)], ttl=30.0, turn=60.0)
    with permit(worker):
        gate.want_back()
        worker.breathe()
    worker.close()
    assert gate.ops(3) == ["acquire", "release", "closed"]


def test_a_closed_gate_is_waited_for(gate: FakeGate, gates: HostGates) -> None:
    gate.opened.clear()
    computing = threading.Event()

    def compute() -> None:
        with permit(gates):
            computing.set()

    thread = threading.Thread(target=compute)
    thread.start()
    assert gate.ops(1) == ["acquire"]
    assert not computing.is_set()
    gate.opened.set()
    assert computing.wait(5)
    thread.join()


def test_a_gate_that_stays_closed_is_told_of_and_asked_again(gate: FakeGate, gates: HostGates) -> None:
    """The permit that the first request gets after all is never taken for the second's."""
    gate.opened.clear()
    assert not gates.acquire(0.05)
    gate.opened.set()
    assert sorted(gate.ops(2)) == ["acquire", "closed"]
    with permit(gates):
        number, request = gate.next_told()
        assert (number, request["op"]) == (2, "acquire")
    assert gate.next_told() == (2, {"op": "release"})


def test_a_closed_gate_costs_the_permits_of_the_others(gate: FakeGate, tmp_path: Path) -> None:
    """A worker that is in nobody's hands keeps no host from timing."""
    open_gate = FakeGate(tmp_path / "before")
    gate.opened.clear()
    gates = HostGates([Gate(host_id(), gate.path), Gate(host_id(), open_gate.path)])
    assert not gates.acquire(0.05)
    assert open_gate.ops(2) == ["acquire", "closed"]
    gates.close()
    open_gate.stop()


def test_a_permit_is_renewed_while_it_is_held(gate: FakeGate) -> None:
    gates = HostGates([Gate(host_id(), gate.path)], ttl=0.03)
    with permit(gates):
        assert gate.ops(3) == ["acquire", "renew", "renew"]
    gates.close()


def test_another_hosts_gate_is_none_of_ours(gate: FakeGate) -> None:
    gates = HostGates([Gate("another host", gate.path)])
    with permit(gates):
        assert gate.told.empty()
    gates.close()


def test_without_an_agent_there_is_no_waiting(tmp_path: Path) -> None:
    gates = HostGates([Gate(host_id(), str(tmp_path / "nobody"))])
    with permit(gates):
        pass
    gates.close()


def test_an_agent_that_restarts_is_found_again(gate: FakeGate, gates: HostGates) -> None:
    with permit(gates):
        pass
    gate.stop()
    Path(gate.path).unlink()
    with permit(gates):
        pass  # nobody there: not waited for
    again = FakeGate(Path(gate.path))
    with permit(gates):
        assert again.ops(1) == ["acquire"]
    again.stop()


def test_an_agent_that_dies_while_we_wait_lets_us_go(gate: FakeGate, gates: HostGates) -> None:
    gate.opened.clear()
    waited = threading.Thread(target=gates.acquire, args=(60,))
    waited.start()
    assert gate.ops(1) == ["acquire"]
    gate._server.socket.close()
    gate._connections[0].shutdown(2)
    waited.join(5)
    assert not waited.is_alive()


def test_a_gate_that_is_taken_away_gets_its_permit_back(gate: FakeGate, gates: HostGates) -> None:
    assert gates.acquire(5)
    gates.set([])
    assert gate.ops(2) == ["acquire", "closed"]
