"""SIGKILL in the middle of writing: what was acknowledged is there, and nothing stands behind a hole."""

import signal
import subprocess
import sys
from pathlib import Path

from tunefarm_coordinator.schedules.store import Store

_WRITER = """
import sys
from tests.unit.schedules.schedule_examples import append, job, model
from tunefarm_coordinator.schedules.changes import AddCandidates, CandidateTrace
from tunefarm_coordinator.schedules.store import Store

store = Store.open(sys.argv[1])
if store.job("j1") is None:
    store.write(model(), job()).result()
seq = len(store.events("j1"))
while True:
    waiting = []
    for _ in range(5):
        seq += 1
        trace = CandidateTrace("w", f"c{seq}", "[]")
        waiting.append((seq, store.write(AddCandidates((trace,)), append("j1", seq))))
    for number, future in waiting:
        future.result()
        print(number, flush=True)
"""


def test_kill_9_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    for lines in (3, 41):  # how many acknowledgements to read before the kill
        process = subprocess.Popen(
            [sys.executable, "-c", _WRITER, url], cwd=Path(__file__).parents[3], stdout=subprocess.PIPE, text=True
        )
        with process:
            assert process.stdout is not None
            acknowledged = [int(process.stdout.readline()) for _ in range(lines)]
            process.send_signal(signal.SIGKILL)
            # the last line may be torn: it counts only if it is whole
            acknowledged += [int(line) for line in process.stdout if line.endswith("\n")]
        assert process.returncode == -signal.SIGKILL

        with Store.open(url) as store:
            seqs = [event.seq for event in store.events("j1")]
            assert seqs == list(range(1, len(seqs) + 1))
            assert set(acknowledged) <= set(seqs)
            # a write is whole: each event with its candidate, and no candidate without its event
            names = [f"c{seq}" for seq in range(1, seqs[-1] + 50)]
            assert set(store.traces("w", names)) == {f"c{seq}" for seq in seqs}
