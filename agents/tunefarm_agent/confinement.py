"""What keeps a candidate's processes in their place: limits, death signals, and finding the strays.

Linux only: prctl(2), /proc. A candidate is hostile by accident: it may fork, leave its process group and its
session, and ignore every signal but SIGKILL. It can't leave the process tree, as the measurer adopts orphans.
"""

import contextlib
import ctypes
import errno
import hashlib
import os
import resource
import signal
import time
from collections.abc import Set
from pathlib import Path

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
# Where systemd takes users from that exist only as long as their service (systemd.exec(5), DynamicUser=).
_DYNAMIC_UIDS = range(61184, 65520)
# Processes and threads of all sessions of one agent: a fork bomb stays small, a thread pool on many cores fits.
_MOST_PROCESSES = 4096
# Over the memory limit: shared libraries and thread stacks take address space without taking memory.
_ADDRESS_SPACE_MARGIN = 4 << 30
_FILE_SIZE_LIMIT = 8 << 30
# Names the agent in the environment of everything that it starts, for the agent after it to find strays by.
MARK = "TUNEFARM_AGENT_STATE"

_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"prctl({option}): {os.strerror(code)}")


def die_with_parent(parent: int) -> None:
    """Ask the kernel for SIGKILL when the parent dies. Exits at once if it died before this call."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Become the parent of every descendant whose own parent dies, daemons included.

    Not where the kernel knows no such thing, as QEMU's user-mode emulation does not: there, what a candidate's daemon
    leaves behind is found only by its mark, when the agent starts the next time.
    """
    try:
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise


def unprivileged_uid(state_dir: Path) -> int:
    """The user that an agent which is root runs candidates as: one of its own, the same for the same state folder.
    0: the agent is not root, so that there is nothing to give up, or may not become that user."""
    if os.geteuid() != 0:
        return 0
    digest = hashlib.sha256(bytes(state_dir)).digest()
    uid = _DYNAMIC_UIDS[int.from_bytes(digest[:4], "big") % len(_DYNAMIC_UIDS)]
    return uid if _is_mapped(uid) else 0


def _is_mapped(uid: int) -> bool:
    """Whether this user namespace has the user (user_namespaces(7))."""
    lines = [list(map(int, line.split())) for line in Path("/proc/self/uid_map").read_text().splitlines()]
    return any(first <= uid < first + count for first, _, count in lines)


def become(uid: int) -> None:
    """Give up root for this user, for good. No process of it can gain more again, by set-user-ID programs or others."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)
    if uid:
        resource.setrlimit(resource.RLIMIT_NPROC, (_MOST_PROCESSES, _MOST_PROCESSES))
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)


def limit_resources(memory: int, cpu_seconds: int = 0) -> None:
    """No core files, no endless files, at most `memory` bytes of own data and `cpu_seconds` of the cores' time (0: no
    limit)."""
    if cpu_seconds:
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_seconds, cpu_seconds + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE_SIZE_LIMIT, _FILE_SIZE_LIMIT))
    if memory:
        resource.setrlimit(resource.RLIMIT_DATA, (memory, memory))
        space = memory + _ADDRESS_SPACE_MARGIN
        resource.setrlimit(resource.RLIMIT_AS, (space, space))


def be_first_out_of_memory() -> None:
    """Let the kernel's out-of-memory killer take this process before any other."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")


def _parents(zombies: bool) -> dict[int, int]:
    """Parent of every process."""
    parents = {}
    for entry in os.scandir("/proc"):
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            # The command's name, in brackets, may hold anything, brackets too.
            fields = Path(entry.path, "stat").read_text(errors="replace").rpartition(")")[2].split()
            if zombies or fields[0] != "Z":
                parents[int(entry.name)] = int(fields[1])
    return parents


def descendants(root: int, spare: Set[int] = frozenset(), zombies: bool = False) -> list[int]:
    """Every process below `root`, in no order. None of `spare`, nor what is below those.

    `zombies`: the dead that nobody reaped too.
    """
    children: dict[int, list[int]] = {}
    for pid, parent in _parents(zombies).items():
        if pid not in spare:
            children.setdefault(parent, []).append(pid)
    found: list[int] = []
    pending = [root]
    while pending:
        below = children.get(pending.pop(), [])
        found += below
        pending += below
    return found


def kill_descendants(root: int) -> int:
    """SIGKILL to every process below `root`; how many there were. One that forks on needs another call."""
    found = descendants(root)
    for pid in found:
        kill(pid)
    return len(found)


def kill(pid: int) -> None:
    """SIGKILL, unless it is gone already."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def signal_tree(root: int, number: signal.Signals) -> None:
    """A signal to a process and every process below it; to those that are gone, none."""
    for pid in (root, *descendants(root)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def reap(pid: int) -> None:
    """Collect a dead child, if it is one."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def kill_children(patience: float) -> bool:
    """Kill and reap all descendants of this process. False: some still lived after `patience` seconds."""
    deadline = time.monotonic() + patience
    while True:
        kill_descendants(os.getpid())
        try:
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        except ChildProcessError:
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.001)


def kill_marked(state_dir: Path) -> int:
    """SIGKILL to what an earlier agent with this state folder left behind; how many processes."""
    mark = f"{MARK}={state_dir}".encode()
    count = 0
    for pid in _parents(zombies=False):
        with contextlib.suppress(OSError):
            if pid != os.getpid() and mark in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
                kill(pid)
                count += 1
    return count


def describe_exit(status: int) -> str:
    """How a process ended, from its wait status, for people: "killed by SIGSEGV", "exited with status 3"."""
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return f"exited with status {code}"
    try:
        return f"killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"killed by signal {-code}"
