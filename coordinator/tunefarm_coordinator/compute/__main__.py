"""`python -m tunefarm_coordinator.compute SOCKET FOLDER`: the compute child, started by `client.py` only."""

import signal
import sys
from pathlib import Path

from tunefarm_coordinator.compute.guard import guard

if __name__ == "__main__":
    # The end of standard input is what ends this process; an early signal would leave Ray behind.
    # Handlers, because an ignored signal would stay ignored in everything that is started from here.
    for early in (signal.SIGINT, signal.SIGTERM):
        signal.signal(early, lambda *_: None)
    raise SystemExit(guard(int(sys.argv[1]), Path(sys.argv[2])))
