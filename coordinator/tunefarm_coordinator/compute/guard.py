"""Stands between coordinator and Ray driver, so that Ray never outlives the coordinator.

Ray's agents stay for good when their driver is killed (seen with 2.60), and the driver can't clear up after
its own SIGKILL. This process starts the driver in a Unix session of its own, waits for the end of either side
(the coordinator's is the end of standard input), kills that session and removes the driver's folder.
"""

import os
import select
import shutil
import subprocess
import sys
from pathlib import Path

from tunefarm_coordinator.compute.process_session import end_session

# For the driver to leave a Ray cluster in order; its private Ray needs no order.
GRACE_SECONDS = 5.0


def guard(frames: int, folder: Path) -> int:
    """Runs the driver on the socket `frames` with `folder` for its files; returns the driver's exit code."""
    driver = subprocess.Popen(
        [sys.executable, "-m", "tunefarm_coordinator.compute.driver", str(frames), str(os.getpid())],
        pass_fds=[frames],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(frames)
    try:
        if _wait(driver, None):
            try:
                driver.wait(GRACE_SECONDS)
            except subprocess.TimeoutExpired:
                driver.kill()
        return driver.wait()
    finally:
        end_session(driver.pid)
        shutil.rmtree(folder, ignore_errors=True)


def _wait(driver: "subprocess.Popen[bytes]", timeout: float | None) -> bool:
    """Waits for the end of either side; True if it was the coordinator's."""
    ended = os.pidfd_open(driver.pid)
    try:
        readable, _, _ = select.select([ended, sys.stdin.fileno()], [], [], timeout)
        return ended not in readable
    finally:
        os.close(ended)
