"""Several hosts on this machine: network namespaces in a star around the coordinator's, each on a link of its own.

Needs root, and iproute2's `ip`. A firewall needs Debian's nftables, which is fetched, not installed.
"""

import contextlib
import os
import platform
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.cache_folder import cache_folder
from tests.debian_packages import Unavailable, unpack_packages

# Answers to what the host began itself come in, and nothing else.
_OUTGOING_ONLY = """
table inet tunefarm_test {
  chain input {
    type filter hook input priority 0; policy drop;
    iifname "lo" accept
    ct state established,related accept
  }
}
"""


@dataclass
class Host:
    """A namespace. `address`: its own; `centre`: the coordinator's, as seen from here."""

    name: str
    address: str = ""
    centre: str = ""
    _link: str = ""

    def command(self, *arguments: str) -> list[str]:
        """A command that runs on this host."""
        return ["ip", "netns", "exec", self.name, *arguments]

    def run(self, *arguments: str) -> str:
        """Runs to its end; what it printed."""
        return subprocess.run(self.command(*arguments), capture_output=True, text=True, check=True, timeout=30).stdout

    def cut_link(self) -> None:
        self.run("ip", "link", "set", self._link, "down")

    def restore_link(self) -> None:
        self.run("ip", "link", "set", self._link, "up")

    def allow_only_outgoing(self) -> None:
        """From now on nobody can open a connection to this host. Raises Unavailable."""
        nft = _nft()
        libraries = nft.parents[1] / "lib" / "x86_64-linux-gnu"
        done = subprocess.run(
            self.command(str(nft), "-f", "-"),
            input=_OUTGOING_ONLY,
            env={**os.environ, "LD_LIBRARY_PATH": f"{libraries}:{nft.parents[2] / 'lib' / 'x86_64-linux-gnu'}"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            raise Unavailable(f"no firewall here: {done.stderr.strip()[:300]}")


@dataclass
class Star:
    """`centre` is where the coordinator goes."""

    centre: Host
    hosts: list[Host] = field(default_factory=list)


@contextlib.contextmanager
def star(count: int) -> Iterator[Star]:
    """`count` hosts around a centre. Raises Unavailable."""
    if os.geteuid() != 0:
        raise Unavailable("network namespaces need root")
    if shutil.which("ip") is None:
        raise Unavailable("network namespaces need iproute2's `ip`")
    _sweep()
    made = Star(Host(f"tf{os.getpid()}c"))
    try:
        _ip("netns", "add", made.centre.name)
        made.centre.run("ip", "link", "set", "lo", "up")
        for number in range(1, count + 1):
            made.hosts.append(_host(made.centre, number))
        yield made
    finally:
        for host in (*made.hosts, made.centre):
            subprocess.run(["ip", "netns", "del", host.name], capture_output=True, check=False)


def _host(centre: Host, number: int) -> Host:
    near, far = f"tf{number}c", f"tf{number}h"
    host = Host(f"tf{os.getpid()}h{number}", f"10.77.{number}.2", f"10.77.{number}.1", far)
    _ip("netns", "add", host.name)
    _ip("-n", centre.name, "link", "add", near, "type", "veth", "peer", "name", far, "netns", host.name)
    for place, device, address in ((centre, near, host.centre), (host, far, host.address)):
        place.run("ip", "address", "add", f"{address}/24", "dev", device)
        place.run("ip", "link", "set", device, "up")
    host.run("ip", "link", "set", "lo", "up")
    return host


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise Unavailable(f"no network namespaces here: {done.stderr.strip()}")


def _sweep() -> None:
    """What a test that was killed left behind."""
    listed = subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=False).stdout
    for name, pid in re.findall(r"^(tf(\d+)\w+)", listed, re.MULTILINE):
        if not psutil.pid_exists(int(pid)):
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def _nft() -> Path:
    if platform.machine() != "x86_64":
        raise Unavailable(f"the recipe for a firewall is for x86-64, this is {platform.machine()}")
    folder = cache_folder() / "nftables"
    if not folder.exists():
        with tempfile.TemporaryDirectory(prefix="nftables-", dir=folder.parent) as drafts:
            draft = Path(drafts) / "nftables"
            unpack_packages(draft, "amd64", "nftables")
            draft.rename(folder)
    return folder / "usr" / "sbin" / "nft"
