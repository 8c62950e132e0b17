# These tests watch other processes from outside: polling and small files are what that takes.
# ruff: noqa: ASYNC110, ASYNC240
"""A real agent process against the fake coordinator: what goes wrong, and how it recovers."""

import asyncio
import contextlib
import ipaddress
import os
import signal
import statistics
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from tests.agent_process import (
    EVALUATOR,
    AgentProcess,
    at_once,
    at_once_anew,
    candidate,
    expected,
    hostile_candidate,
    kind,
    measure,
    measure_all,
    none_left,
    one_lease,
    spool_empties,
    start_agent,
)
from tests.farm_stand_in import FakeCoordinator
from tests.hostile_kernels import HOSTILE, good, hostile, library, nameless
from tunefarm_proto.v1 import common_pb2, farm_pb2


@pytest.fixture
async def agent(farm: FakeCoordinator, tmp_path: Path) -> AsyncIterator[AgentProcess]:
    agent = await start_agent(farm.address, tmp_path / "state")
    try:
        await farm.attached()
        yield agent
    finally:
        await agent.killed()


@pytest.mark.usefixtures("agent")
async def test_says_what_it_is(farm: FakeCoordinator) -> None:
    hello = farm.hellos[0]
    (device,) = hello.devices
    assert hello.protocols == [1]
    assert hello.version.tvm.startswith("0.27")
    assert hello.host_id == Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    assert device.device_id == "cpu0"
    assert '"kind": "llvm"' in device.target
    assert set(device.cores) == os.sched_getaffinity(0)
    assert oct(Path(hello.gate).parent.stat().st_mode & 0o777) == "0o700"
    await farm.until(lambda: farm.slots["cpu0"] == 2)
    await farm.until(lambda: bool(farm.heartbeats))


async def test_hostile_candidates_cost_themselves_alone(farm: FakeCoordinator, agent: AgentProcess) -> None:
    honest = candidate(farm, good())
    candidates, wanted = [honest], ["measured"]
    for name, (_, failure) in HOSTILE.items():
        candidates += [hostile_candidate(farm, name), honest]
        wanted += [failure or "measured", "measured"]
    measure_all(farm, "batch", [*candidates, candidate(farm, nameless()), honest], limit=100)
    reports = await farm.reports("batch", len(candidates) + 2, 100)
    assert [kind(r) for r in reports] == [*wanted, "LOAD_ERROR", "measured"]
    assert [r.index for r in reports] == list(range(len(reports)))
    ending = await farm.finished("batch")
    assert not ending.HasField("failure")
    messages = {name: reports[1 + 2 * i].failed.message for i, name in enumerate(HOSTILE)}
    assert "SIGSEGV" in messages["segfault"]
    assert "SIGABRT" in messages["abort"]
    assert "status 3" in messages["exit"]
    assert "told so" in messages["raises"]
    assert "1 s" in messages["loops_deaf"]
    assert "0.2" in messages["wrong"] or "0.1" in messages["wrong"]
    measured = reports[0].measured
    assert len(measured.seconds) == 3
    assert all(0 < s < 0.01 for s in measured.seconds)
    assert measured.max_rel_error == 0.0
    assert reports[0].conditions.number > 1
    assert 0 < reports[0].conditions.elapsed < 10
    await none_left(agent)


@pytest.mark.usefixtures("agent")
async def test_takes_the_next_lease_at_once(farm: FakeCoordinator) -> None:
    for name in ("segfault", "loops_deaf", "daemon"):
        delay, ordinary = await delay_after(farm, name, name)
        assert delay < at_once(ordinary), name


async def delay_after(farm: FakeCoordinator, name: str, lease_id: str) -> tuple[float, float]:
    """Seconds from a hostile candidate's outcome to the first outcome of the lease queued behind, and from there to
    that of another."""
    measure_all(farm, lease_id, [hostile_candidate(farm, name)])
    measure(farm, f"{lease_id}-next", good())
    measure(farm, f"{lease_id}-after", good())
    reports = [(await farm.reports(f"{lease_id}-{which}", 1, 60))[0] for which in ("next", "after")]
    assert [kind(report) for report in reports] == ["measured", "measured"]
    assert kind(farm.outcomes[lease_id][0]) == (HOSTILE[name][1] or "measured"), name
    came = [farm.came[each, 0] for each in (lease_id, f"{lease_id}-next", f"{lease_id}-after")]
    return came[1] - came[0], came[2] - came[1]


TRIES = 20


def check_delays(name: str, delays: list[float], limit: float) -> None:
    """The next trial in time, at the 95th percentile."""
    worst = _late(delays)
    print(
        f"crash table: {name}: next trial after {statistics.median(delays):.3f} s, 95th percentile {worst:.3f} s, "
        f"limit {limit:.1f} s"
    )
    assert worst < limit


def _late(delays: list[float]) -> float:
    return sorted(delays)[round(len(delays) * 0.95) - 1]


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    ["segfault", "abort", "exit", "killed", "loops", "loops_deaf", "memory_bomb", "daemon", "daemon_then_crash"],
)
async def test_crash_table(farm: FakeCoordinator, agent: AgentProcess, name: str) -> None:
    """What kills a stock TVM RPC server for good (facts.md) costs one outcome here, and leaves nothing."""
    delays, ordinary = zip(*[await delay_after(farm, name, f"lease{i}") for i in range(TRIES)], strict=True)
    check_delays(name, list(delays), at_once(_late(list(ordinary))))
    await none_left(agent)


@pytest.mark.slow
async def test_crash_table_of_a_client_that_vanishes(farm: FakeCoordinator, agent: AgentProcess) -> None:
    """The session's client, our measuring process, is killed while a candidate runs; the candidate is run again."""
    slow = library("usleep(150000); add(in, out, 1.0f);")
    measure(farm, "first", good())
    await farm.finished("first")
    delays, limits = [], []
    for number in range(TRIES):
        work = farm_pb2.MeasureWork(
            candidates=[candidate(farm, slow, timeout=20.0)], evaluator=farm_pb2.Evaluator(number=1, repeat=1)
        )
        one_lease(farm, f"lease{number}", measure=work)
        while not any(process.children() for process in psutil.Process(agent.process.pid).children()):
            await asyncio.sleep(0.01)
        (measurer,) = psutil.Process(agent.process.pid).children()
        measurer.kill()
        began = time.monotonic()
        (report,) = await farm.reports(f"lease{number}", 1)
        assert kind(report) == "measured"
        delays.append(farm.came[f"lease{number}", 0] - began - 0.3)  # what the candidate itself takes
        await farm.finished(f"lease{number}")
        if number % 5 == 0:
            limits.append(await at_once_anew())
    check_delays("vanished client", delays, max(limits))
    await none_left(agent)


@pytest.mark.usefixtures("agent")
async def test_no_candidate_pays_for_anothers_damage(farm: FakeCoordinator) -> None:
    spoils_after = library("add(in, out, 1.0f); memset((char*)in->data + in->byte_offset, 0, 64);")
    measure(farm, "a", spoils_after, good())
    reports = await farm.reports("a", 2)
    # Two input sets and timing calls: its own later calls see what it spoiled, but they are not checked.
    assert [kind(r) for r in reports] == ["measured", "measured"]


async def test_a_killed_measurer_costs_no_outcome(farm: FakeCoordinator, agent: AgentProcess) -> None:
    slow = library("usleep(150000); add(in, out, 1.0f);")
    measure(farm, "a", good(), good())
    work = farm_pb2.MeasureWork(
        candidates=[candidate(farm, slow, timeout=20.0), candidate(farm, good())],
        evaluator=farm_pb2.Evaluator(number=1, repeat=1),
    )
    one_lease(farm, "b", measure=work)
    await farm.finished("a")
    await asyncio.sleep(0.1)
    (measurer,) = psutil.Process(agent.process.pid).children()
    measurer.kill()
    reports = await farm.reports("b", 2)
    assert [kind(r) for r in reports] == ["measured", "measured"]
    await none_left(agent)


async def test_cancel_is_prompt(farm: FakeCoordinator, agent: AgentProcess) -> None:
    work = farm_pb2.MeasureWork(
        candidates=[candidate(farm, good()), candidate(farm, hostile("loops_deaf"), timeout=60.0)],
        evaluator=EVALUATOR,
    )
    one_lease(farm, "a", measure=work)
    measure(farm, "b", good())
    measure(farm, "c", good())
    await farm.reports("a", 1)
    start = time.monotonic()
    farm.cancel("b")
    farm.cancel("a")
    for lease_id in "ab":
        ending = await farm.finished(lease_id)
        assert ending.failure.kind == common_pb2.FAILURE_KIND_CANCELLED
    ended = time.monotonic() - start
    await farm.reports("c", 1)
    assert ended < await at_once_anew()
    assert not farm.outcomes["b"]
    await none_left(agent)


@pytest.mark.usefixtures("agent")
async def test_time_limit_ends_a_lease(farm: FakeCoordinator) -> None:
    work = farm_pb2.MeasureWork(
        candidates=[candidate(farm, good()), candidate(farm, hostile("loops"), timeout=60.0)],
        evaluator=EVALUATOR,
    )
    one_lease(farm, "a", limit=1, measure=work)
    ending = await farm.finished("a")
    assert ending.failure.kind == common_pb2.FAILURE_KIND_DEVICE_LOST
    assert "time limit" in ending.failure.message
    assert [kind(r) for r in farm.outcomes["a"]] == ["measured"]


@pytest.mark.usefixtures("agent")
async def test_a_missing_artifact_gives_the_lease_up(farm: FakeCoordinator) -> None:
    for lease_id, digest in (("a", f"sha256:{'0' * 64}"), ("b", "sha256:../../etc/passwd")):
        work = farm_pb2.MeasureWork(candidates=[farm_pb2.Candidate(artifact=digest)])
        one_lease(farm, lease_id, measure=work)
        ending = await farm.finished(lease_id)
        assert ending.failure.kind == common_pb2.FAILURE_KIND_DEVICE_LOST
        assert "sha256" in ending.failure.message or "not a digest" in ending.failure.message
    measure(farm, "c", good())
    await farm.reports("c", 1)


async def test_unacknowledged_outcomes_outlive_the_stream(farm: FakeCoordinator, agent: AgentProcess) -> None:
    farm.acknowledges = False
    slow = library("usleep(300000); add(in, out, 1.0f);")
    work = farm_pb2.MeasureWork(
        candidates=[candidate(farm, good()), candidate(farm, slow, timeout=20.0), candidate(farm, good())],
        evaluator=farm_pb2.Evaluator(number=1, repeat=1),
    )
    one_lease(farm, "a", measure=work)
    await farm.reports("a", 1)
    farm.lose_stream()
    await farm.attached(times=2)
    assert [(r.lease_id, r.attempt) for r in farm.hellos[1].leases] == [("a", 1)]
    await farm.finished("a")
    await farm.reports("a", 4)
    assert sorted(r.index for r in farm.outcomes["a"]) == [0, 0, 1, 2]
    farm.acknowledges = True
    farm.lose_stream()
    await farm.attached(times=3)
    await farm.reports("a", 7)
    await spool_empties(agent)
    farm.lose_stream()
    await farm.attached(times=4)
    assert not farm.hellos[3].leases
    measure(farm, "b", good())
    await farm.reports("b", 1)
    assert len(farm.outcomes["a"]) == 7


async def test_unacknowledged_outcomes_outlive_the_agent(farm: FakeCoordinator, tmp_path: Path) -> None:
    farm.acknowledges = False
    first = await start_agent(farm.address, tmp_path / "state")
    second = None
    try:
        await farm.attached()
        measure(farm, "a", good(), good())
        await farm.reports("a", 2)
        await first.killed()
        farm.acknowledges = True
        second = await start_agent(farm.address, tmp_path / "state")
        await farm.attached(times=2)
        assert farm.hellos[0].agent_id == farm.hellos[1].agent_id
        assert farm.hellos[0].boot_id != farm.hellos[1].boot_id
        assert [r.lease_id for r in farm.hellos[1].leases] == ["a"]
        reports = await farm.reports("a", 4)
        assert [r.index for r in reports] == [0, 1, 0, 1]
        assert reports[2] == reports[0]
    finally:
        await first.killed()
        if second is not None:
            await second.killed()


async def test_forgotten_leases_are_dropped(farm: FakeCoordinator, agent: AgentProcess) -> None:
    farm.acknowledges = False
    work = farm_pb2.MeasureWork(
        candidates=[candidate(farm, good()), candidate(farm, hostile("loops"), timeout=60.0)],
        evaluator=EVALUATOR,
    )
    one_lease(farm, "a", measure=work)
    await farm.reports("a", 1)
    farm.forget = [farm_pb2.LeaseRef(lease_id="a", attempt=1)]
    farm.lose_stream()
    await farm.attached(times=2)
    farm.acknowledges = True
    measure(farm, "b", good())
    await farm.reports("b", 1)
    assert len(farm.outcomes["a"]) == 1
    assert "a" not in farm.endings
    await spool_empties(agent)


@pytest.mark.usefixtures("agent")
async def test_a_coordinator_that_comes_back_gets_its_agent_back(farm: FakeCoordinator) -> None:
    await farm.stop()
    await asyncio.sleep(0.5)
    await farm.start()
    await farm.attached(times=2)
    measure(farm, "a", good())
    await farm.reports("a", 1)


@pytest.mark.usefixtures("agent")
async def test_a_broken_fetch_is_resumed(farm: FakeCoordinator) -> None:
    padded = good() + bytes(512 << 10)
    farm.break_fetch_after = 128 << 10
    measure(farm, "a", padded)
    (report,) = await farm.reports("a", 1)
    assert kind(report) == "measured"
    digest = farm.put(padded)
    resumed = [offset for fetched, offset in farm.fetches if fetched == digest and offset > 0]
    assert resumed, "nothing was resumed"
    assert all(offset % (64 << 10) == 0 for offset in resumed)
    fetched = len(farm.fetches)
    measure(farm, "b", padded)
    await farm.reports("b", 1)
    assert len(farm.fetches) == fetched, f"{digest} was fetched again"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_stopped_agent_leaves_nothing(
    farm: FakeCoordinator, agent: AgentProcess, number: signal.Signals
) -> None:
    work = farm_pb2.MeasureWork(
        candidates=[
            candidate(farm, hostile("daemon")),
            candidate(farm, hostile("daemon_then_loop"), timeout=60.0),
        ],
        evaluator=EVALUATOR,
    )
    one_lease(farm, "a", measure=work)
    await farm.reports("a", 1)
    await asyncio.sleep(0.3)
    assert len(agent.below()) >= 3
    agent.process.send_signal(number)
    assert await agent.ended() == 0
    ending = await farm.finished("a")
    assert ending.failure.kind == common_pb2.FAILURE_KIND_DEVICE_LOST
    assert not agent.marked()
    assert not (agent.state_dir / "gate").exists()
    assert not list((agent.state_dir / "scratch").iterdir())


async def test_a_killed_agent_leaves_nothing_for_long(farm: FakeCoordinator, tmp_path: Path) -> None:
    first = await start_agent(farm.address, tmp_path / "state")
    await farm.attached()
    work = farm_pb2.MeasureWork(
        candidates=[candidate(farm, hostile("daemon_then_loop"), timeout=60.0)], evaluator=EVALUATOR
    )
    one_lease(farm, "a", measure=work)
    await farm.until(lambda: bool(farm.heartbeats))
    async with asyncio.timeout(30):
        while len(first.below()) < 3:
            await asyncio.sleep(0.05)
    first.process.kill()
    await first.ended()
    async with asyncio.timeout(30):
        # The measurer and its session die with the agent; the daemon has left them.
        while len(first.marked()) > 1:
            await asyncio.sleep(0.02)
    second = await start_agent(farm.address, tmp_path / "state")
    try:
        await farm.attached(times=2)
        assert {p.pid for p in second.marked()} <= {p.pid for p in second.tree()}
    finally:
        await second.killed()


async def test_ends_with_its_lifeline(farm: FakeCoordinator, tmp_path: Path) -> None:
    ours, theirs = os.pipe()
    agent = await start_agent(farm.address, tmp_path / "state", "--lifeline-fd", str(ours), pass_fds=(ours,))
    try:
        os.close(ours)
        await farm.attached()
        os.close(theirs)
        assert await agent.ended() == 0
        assert not agent.marked()
    finally:
        await agent.killed()


async def test_listens_on_loopback_only(farm: FakeCoordinator, agent: AgentProcess) -> None:
    slow = library("usleep(300000); add(in, out, 1.0f);")
    work = farm_pb2.MeasureWork(
        candidates=[candidate(farm, slow, timeout=20.0)], evaluator=farm_pb2.Evaluator(number=1, repeat=1)
    )
    one_lease(farm, "a", measure=work)
    seen: set[str] = set()
    while "a" not in farm.endings:
        for process in agent.tree():
            with contextlib.suppress(psutil.Error):
                # Bound, listening or connected: no address of ours is one that others could reach.
                seen |= {c.laddr.ip for c in process.net_connections(kind="inet")}
        await asyncio.sleep(0.005)
    addresses = [ipaddress.ip_address(address.removeprefix("::ffff:")) for address in seen]
    assert addresses
    assert all(address.is_loopback for address in addresses)


async def test_refused_versions_end_the_agent(farm: FakeCoordinator, tmp_path: Path) -> None:
    farm.refusal = (grpc.StatusCode.FAILED_PRECONDITION, "this agent speaks 1, the coordinator 9")
    agent = await start_agent(farm.address, tmp_path / "state")
    assert await agent.ended() == 2
    assert "the coordinator 9" in agent.log
    farm.refusal, farm.protocol = None, 9
    agent = await start_agent(farm.address, tmp_path / "state")
    assert await agent.ended() == 2
    assert "speaks protocol 9" in agent.log


@pytest.mark.parametrize(
    ("address", "options", "words"),
    [
        ("10.0.0.1:7700", (), "--insecure"),
        ("nonsense", (), "HOST:PORT"),
        ("127.0.0.1:1", ("--cores", "4096"), "--cores"),
        ("127.0.0.1:1", ("--target", "{"), "--target"),
        ("127.0.0.1:1", ("--label", "k"), "--label"),
        ("127.0.0.1:1", ("--lifeline-fd", "77"), "--lifeline-fd"),
    ],
)
async def test_bad_input(tmp_path: Path, address: str, options: tuple[str, ...], words: str) -> None:
    agent = await start_agent(address, tmp_path / "state", *options)
    assert await agent.ended() == 2
    assert words in agent.log
    assert "Traceback" not in agent.log


async def test_one_agent_for_a_state_folder(agent: AgentProcess, farm: FakeCoordinator) -> None:
    other = await start_agent(farm.address, agent.state_dir)
    assert await other.ended() == 2
    assert "another agent" in other.log


async def test_gives_way_to_its_successor(farm: FakeCoordinator, agent: AgentProcess) -> None:
    farm.lose_stream((grpc.StatusCode.ABORTED, "attached again"))
    assert await agent.ended() == 1
    assert "another agent attached" in agent.log
    assert not agent.marked()


async def test_starts_nothing_that_was_given_to_others(tmp_path: Path) -> None:
    async with FakeCoordinator(session_timeout=1.0) as farm:
        agent = await start_agent(farm.address, tmp_path / "state")
        try:
            await farm.attached()
            measure(farm, "running", hostile("loops"))
            measure(farm, "queued", good())
            await farm.until(lambda: any(len(h.leases) == 2 for h in farm.heartbeats))
            await farm.stop()
            await asyncio.sleep(2.5)
            await farm.start()
            await farm.attached(times=2)
            assert [r.lease_id for r in farm.hellos[1].leases] == ["running"]
        finally:
            await agent.killed()


def batch(farm: FakeCoordinator, kernels: list[bytes], **changes: Any) -> farm_pb2.MeasureWork:
    """A measure lease's work with the honest kernel as its reference."""
    return farm_pb2.MeasureWork(
        candidates=[candidate(farm, kernel) for kernel in kernels],
        evaluator=EVALUATOR,
        expected=[expected(farm)],
        reference=candidate(farm, good()),
        reference_evaluator=farm_pb2.Evaluator(number=10, repeat=5),
        **changes,
    )


@pytest.mark.usefixtures("agent")
async def test_the_reference_kernel_is_timed_around_every_candidate(farm: FakeCoordinator) -> None:
    one_lease(farm, "batch", measure=batch(farm, [good(), hostile("segfault"), good()]))
    reports = await farm.reports("batch", 3, 60)
    assert [kind(report) for report in reports] == ["measured", "RUN_ERROR", "measured"]
    for report in reports:
        assert 0 < report.conditions.reference_seconds < 0.01
        assert report.conditions.reference_spread >= 0
    work = farm_pb2.CalibrateWork(reference=candidate(farm, good()), evaluator=farm_pb2.Evaluator(number=10, repeat=5))
    one_lease(farm, "probe", calibrate=work)
    (report,) = await farm.reports("probe", 1, 60)
    assert statistics.median(report.measured.seconds) == report.conditions.reference_seconds


# A device that breaks when a candidate says so, and stays broken for every session after.
BREAKABLE = 'if (access("broken", F_OK) == 0) abort(); add(in, out, 1.0f);'
BREAKS = 'close(open("broken", O_CREAT | O_WRONLY, 0600));'


@pytest.mark.usefixtures("agent")
async def test_a_device_whose_reference_kernel_fails_gives_the_lease_up_and_blames_no_candidate(
    farm: FakeCoordinator,
) -> None:
    work = batch(farm, [good(), good()])
    work.reference.CopyFrom(candidate(farm, hostile("segfault")))
    one_lease(farm, "batch", measure=work)
    ending = await farm.finished("batch", 60)
    assert ending.device_failed
    assert ending.failure.kind == common_pb2.FAILURE_KIND_DEVICE_LOST
    assert "reference kernel can't be timed, not even in a fresh session: RUN_ERROR" in ending.failure.message
    assert farm.outcomes["batch"] == []
    one_lease(farm, "probe", calibrate=farm_pb2.CalibrateWork(reference=work.reference, evaluator=EVALUATOR))
    assert (await farm.finished("probe", 60)).device_failed
    measure(farm, "next", good())
    (report,) = await farm.reports("next", 1, 60)
    assert kind(report) == "measured"


@pytest.mark.usefixtures("agent")
@pytest.mark.parametrize(("statement", "came"), [("add(in, out, 1.0f);", "measured"), ("abort();", "DEVICE_LOST")])
async def test_what_was_measured_before_the_device_failed_stays_and_a_failure_is_not_the_candidate_s(
    farm: FakeCoordinator, statement: str, came: str
) -> None:
    work = batch(farm, [good(), library(f"{BREAKS} {statement}"), good()])
    work.reference.CopyFrom(candidate(farm, library(BREAKABLE)))
    one_lease(farm, "batch", measure=work)
    assert (await farm.finished("batch", 60)).device_failed
    assert [kind(report) for report in farm.outcomes["batch"]] == ["measured", came]


@pytest.mark.usefixtures("agent")
async def test_a_session_that_a_candidate_harmed_is_not_the_device_s_fault(farm: FakeCoordinator) -> None:
    """The reference kernel runs again in a session of its own."""
    harms = library('setenv("HARMED", "1", 1); add(in, out, 1.0f);')
    work = batch(farm, [harms, good()])
    work.reference.CopyFrom(candidate(farm, library('if (getenv("HARMED")) abort(); add(in, out, 1.0f);')))
    one_lease(farm, "batch", measure=work)
    assert [kind(report) for report in await farm.reports("batch", 2, 60)] == ["measured", "measured"]
    assert not (await farm.finished("batch", 60)).HasField("failure")


@pytest.mark.usefixtures("agent")
async def test_a_candidate_that_fails_behind_the_reference_kernel_is_not_tried_twice(farm: FakeCoordinator) -> None:
    """The reference kernel is ours: it leaves the session as good as unused."""
    one_lease(farm, "batch", measure=batch(farm, [hostile("exit")]))
    (report,) = await farm.reports("batch", 1, 60)
    assert kind(report) == "RUN_ERROR"


@pytest.mark.usefixtures("agent")
async def test_a_candidate_that_is_clearly_too_slow_is_let_go_after_a_first_look(farm: FakeCoordinator) -> None:
    one_lease(farm, "slow", measure=batch(farm, [good()], give_up_seconds=1e-9))
    one_lease(farm, "fast", measure=batch(farm, [good()], give_up_seconds=10.0))
    (slow,) = await farm.reports("slow", 1, 60)
    (fast,) = await farm.reports("fast", 1, 60)
    assert slow.WhichOneof("outcome") == "censored"
    assert 0 < slow.censored.at_least_seconds < 0.01
    assert len(fast.measured.seconds) == EVALUATOR.repeat


@pytest.mark.skipif(os.geteuid() != 0, reason="only an agent that is root has rights to give up")
async def test_candidates_of_a_root_agent_run_as_a_user_of_their_own(
    farm: FakeCoordinator, agent: AgentProcess
) -> None:
    measure(farm, "held", hostile("loops"), timeout=5.0)
    async with asyncio.timeout(60):
        while not (found := [p for p in agent.below() if p.uids().real != 0]):
            await asyncio.sleep(0.02)
    (session,) = found
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{session.pid}/status").read_text().splitlines())
    limits = Path(f"/proc/{session.pid}/limits").read_text()
    uid = session.uids().real
    assert 61184 <= uid < 65520
    assert status["Uid"].split() == status["Gid"].split() == [str(uid)] * 4
    assert status["Groups"].strip() == ""
    assert status["NoNewPrivs"] == "1"
    assert int(status["CapEff"], 16) == 0
    cores = len(os.sched_getaffinity(0))
    assert f"Max cpu time              {60 * cores} " in limits
    (scratch,) = (agent.state_dir / "scratch").iterdir()
    assert scratch.stat().st_uid == uid
    (report,) = await farm.reports("held", 1, 60)
    assert kind(report) == "RUN_TIMEOUT"
    await none_left(agent)


@pytest.mark.usefixtures("agent")
async def test_a_running_candidate_is_cancelled_and_the_device_free_within_two_seconds(farm: FakeCoordinator) -> None:
    measure(farm, "long", hostile("loops_deaf"), timeout=60.0)
    measure(farm, "next", good())
    await farm.until(lambda: any(len(h.leases) == 2 for h in farm.heartbeats))
    await asyncio.sleep(1.0)
    started = time.monotonic()
    farm.cancel("long")
    await farm.reports("next", 1, 30)
    freed = farm.came["next", 0] - started
    print(f"from the cancel to the next lease's first outcome: {freed:.2f} s")
    assert freed < await at_once_anew()


@pytest.mark.usefixtures("agent")
async def test_heartbeats_say_whose_clock_stands(farm: FakeCoordinator) -> None:
    measure(farm, "long", hostile("loops"), timeout=8.0)
    measure(farm, "next", good())
    await farm.until(
        lambda: any({r.lease_id: r.waiting for r in h.leases} == {"long": False, "next": True} for h in farm.heartbeats)
    )
