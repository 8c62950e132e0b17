"""A farm on several hosts: links that are cut, firewalls, long lines. Over TLS wherever it is not loopback.

Hosts are network namespaces on this machine; a line's delay and stalls are a proxy's. A job loses nothing of what was
measured, whatever its agents' links do, and goes on when they are back.
"""

import shlex
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.debian_packages import Unavailable
from tests.network_namespaces import Host, Star, star
from tests.network_proxy import NetworkProxy
from tests.programs import BIN, Program, agent, coordinator, document, environment, tunefarm, until
from tests.tiny_models import save_tiny_cnn

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

PORT = 7700
KERNELS = 2
TRIALS = 48


@dataclass
class Farm:
    """A coordinator in the centre of a star, over TLS."""

    star: Star
    home: Path
    token: str

    def told(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Our command line, on the coordinator's host."""
        command = [str(BIN / "tunefarm"), *arguments, "--connect", f"127.0.0.1:{PORT}", "--token", self.token]
        return subprocess.run(
            self.star.centre.command(*command),
            env=environment(self.home),
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def devices(self) -> dict[str, str]:
        """State by agent."""
        listed = document(self.told("devices", "--json"))["devices"]
        return {device["agent_id"]: device["state"] for device in listed}

    @contextmanager
    def joined(self, host: Host, core: int) -> Iterator[Program]:
        """An agent on a host, by the command that `farm invite` prints; it calls the coordinator by another address."""
        printed = shlex.split(document(self.told("farm", "invite", "--json"))["command"])
        home = self.home / host.name
        home.mkdir()
        command = [f"{host.centre}:{PORT}" if part == f"127.0.0.1:{PORT}" else part for part in printed]
        options = ("--agent-id", host.name, "--cores", str(core), "--device", "cpu0")
        program = Program(home, "agent", *command, *options, within=host.command())
        try:
            yield program
        finally:
            program.stop()


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Farm]:
    with ExitStack() as held:
        try:
            hosts = held.enter_context(star(2))
        except Unavailable as error:
            pytest.skip(str(error))
        command = ("tunefarm", "serve", "--listen", f"0.0.0.0:{PORT}")
        program = Program(tmp_path, "coordinator", *command, within=hosts.centre.command())
        held.callback(program.stop)
        program.wait_for(r"listening", 90)
        token = (tmp_path / "data" / "tunefarm" / "authority" / "admin.token").read_text().strip()
        yield Farm(hosts, tmp_path, token)


def job(told: Any, job_id: str) -> dict[str, Any]:
    shown: dict[str, Any] = document(told("job", "show", job_id, "--json"))
    return shown


def start(told: Any, folder: Path) -> str:
    model = save_tiny_cnn(folder / "tiny.onnx")
    options = ("--trials-per-kernel", str(TRIALS), "--target", "host", "--detach", "--json")
    started = told("tune", str(model), *options)
    assert started.returncode == 0, started.stderr
    return str(document(started)["job_id"])


def check_whole(shown: dict[str, Any]) -> None:
    """The job went to its end, within its budget, and every trial that it charged has its outcome."""
    assert shown["state"] == "SUCCEEDED", shown
    trials = shown["trials"]
    assert 0 < trials["charged"] <= trials["budget"] == TRIALS * KERNELS
    assert trials["charged"] == trials["valid"] + sum(trials["failed"].values())
    assert "DEVICE_LOST" not in trials["failed"]


def charged(told: Any, job_id: str) -> int:
    return int(job(told, job_id)["trials"]["charged"])


def test_links_are_cut_and_restored_in_the_middle_of_a_job(farm: Farm) -> None:
    """Lost: nothing. The job goes on with the other host at once, with both when the link is back."""
    first, second = farm.star.hosts
    with farm.joined(first, 0), farm.joined(second, 1):
        until(lambda: len(farm.devices()) == 2, 60, lambda: f"not two devices: {farm.devices()}")
        job_id = start(farm.told, farm.home)
        until(lambda: charged(farm.told, job_id) >= 4, 120, "nothing was measured")
        first.cut_link()
        before = charged(farm.told, job_id)
        cut = time.monotonic()
        until(lambda: farm.devices()[first.name] == "LOST", 60, lambda: f"never lost: {farm.devices()}")
        print(f"a host whose cable was pulled is LOST after {time.monotonic() - cut:.1f} s")
        until(lambda: charged(farm.told, job_id) > before, 60, "the other host did not go on")
        first.restore_link()
        back = time.monotonic()
        until(lambda: farm.devices()[first.name] in ("IDLE", "BUSY"), 60, lambda: f"never back: {farm.devices()}")
        print(f"and back {time.monotonic() - back:.1f} s after its link")
        second.cut_link()
        time.sleep(3.0)
        second.restore_link()
        until(lambda: job(farm.told, job_id)["state"] in ("SUCCEEDED", "FAILED"), 200, "the job did not end")
        check_whole(job(farm.told, job_id))


def test_a_host_that_nobody_can_connect_to(farm: Farm) -> None:
    """The agent dials out, so a firewall that lets nothing in is no matter."""
    host = farm.star.hosts[0]
    try:
        host.allow_only_outgoing()
    except Unavailable as error:
        pytest.skip(str(error))
    assert not reachable_from_centre(farm.star, host)
    with farm.joined(host, 0):
        until(lambda: bool(farm.devices()), 60, "the agent did not come")
        job_id = start(farm.told, farm.home)
        until(lambda: job(farm.told, job_id)["state"] in ("SUCCEEDED", "FAILED"), 200, "the job did not end")
        check_whole(job(farm.told, job_id))


def reachable_from_centre(hosts: Star, host: Host) -> bool:
    """Whether a connection to a port where somebody listens gets through."""
    listen = "import socket; s = socket.create_server(('0.0.0.0', 9)); print('ready', flush=True); s.accept()"
    connect = f"import socket; socket.create_connection(('{host.address}', 9), timeout=2)"
    python = str(BIN / "python")
    with subprocess.Popen(host.command(python, "-c", listen), stdout=subprocess.PIPE) as listener:
        assert listener.stdout is not None
        assert listener.stdout.readline()
        done = subprocess.run(hosts.centre.command(python, "-c", connect), capture_output=True, check=False)
        listener.kill()
    return done.returncode == 0


def test_a_long_line_that_stalls(tmp_path: Path) -> None:
    """50 ms of delay, then a short stall and one longer than a session lives without a word. Lost: nothing."""
    home = tmp_path / "home"
    home.mkdir()
    with coordinator(home) as (_, address):

        def told(*arguments: str) -> "subprocess.CompletedProcess[str]":
            return tunefarm(home, *arguments, "--connect", address)

        def states() -> list[str]:
            return [device["state"] for device in document(told("devices", "--json"))["devices"]]

        host, _, port = address.rpartition(":")
        with (
            NetworkProxy(host, int(port), 0.025) as line,
            agent(home, f"127.0.0.1:{line.port}", "--device", "cpu0"),
        ):
            until(lambda: states() == ["IDLE"], 60, "the agent did not come")
            job_id = start(told, tmp_path)
            until(lambda: charged(told, job_id) >= 4, 120, "nothing was measured")
            line.stall()
            time.sleep(3.0)
            line.go_on()
            before = charged(told, job_id)
            until(lambda: charged(told, job_id) > before, 60, "it did not go on after a short stall")
            line.stall()
            until(lambda: states() == ["LOST"], 60, lambda: f"a line that was dead for long: {states()}")
            line.go_on()
            back = time.monotonic()
            until(lambda: states()[0] in ("IDLE", "BUSY"), 60, "it did not come back")
            print(f"back {time.monotonic() - back:.1f} s after a stall that cost the session")
            until(lambda: job(told, job_id)["state"] in ("SUCCEEDED", "FAILED"), 200, "the job did not end")
            check_whole(job(told, job_id))
