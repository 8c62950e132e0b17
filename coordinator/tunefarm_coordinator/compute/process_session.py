"""Ending what a process has started, whatever became of it. Linux; standard library only.

Ray's processes and workers leave the process group that they are started in, but not the Unix session: that
of the compute child has exactly its descendants in it.
"""

import contextlib
import ctypes
import os
import signal
import time
from pathlib import Path

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int) -> None:
    """Has the kernel kill this process when the thread that started it ends. Exits if `parent` is gone by now."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        os._exit(1)


def members(session: int) -> list[int]:
    """Live processes (zombies left out) of a Unix session."""
    found = []
    for folder in Path("/proc").iterdir():
        if not folder.name.isdecimal():
            continue
        with contextlib.suppress(OSError):  # it ended while we looked
            # Behind the command's name, which may hold spaces: state, parent, group, session.
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == session and fields[0] not in "ZX":
                found.append(int(folder.name))
    return found


def end_session(session: int, timeout: float = 5.0) -> bool:
    """Kills every process of a session other than the caller; False if some outlive `timeout` seconds.

    Asks again until none is left, because processes start others while they are being ended.
    """
    deadline = time.monotonic() + timeout
    while True:
        others = [pid for pid in members(session) if pid != os.getpid()]
        if not others:
            return True
        for pid in others:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
