"""The GPU check's program: `check.sh` starts it under tunefarm's Python and tells it which Python has PyTorch."""

import argparse
import contextlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import check_report
from card_facts import Utilisation, machine_facts
from case_files import HERE, Case, begin_export, exported, from_onnx, missing_from, seeded_squeezenet
from rich.console import Console
from timing_run import TimingRun
from tuning_run import Tuned, Wish, farm, tune_all

from tunefarm.errors import TunefarmError

# Of the limit, what is kept for timing and the report when jobs take too long.
KEPT_SECONDS = 75.0
RUN_SCRIPT_SECONDS = 60.0
# Options that say nothing of what was measured.
_UNTOLD = ("out", "work", "commit", "torch_python")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="tests/gpu/check.sh",
        description="Tunes models for this machine's NVIDIA GPU and times them against PyTorch on the same card.",
    )
    add = parser.add_argument
    add("--trials-per-kernel", type=int, default=16, metavar="N", help="the budget (default: 16)")
    add("--models", default="resnet18,encoder", help="of PyTorch's (default: both; empty: none)")
    add("--dtypes", default="float32,float16", help="default: both")
    add("--onnx", type=Path, action="append", default=[], metavar="FILE", help="tune this one as well; repeatable")
    add("--out", type=Path, default=Path("gpu-check"), metavar="DIR", help="for check.json, check.txt and logs")
    add("--work", type=Path, metavar="DIR", help="for all else, kept; default: a temporary one, removed at the end")
    add("--max-seconds", type=float, default=180.0, help="no trial starts later in a job (default: 180)")
    add("--limit", type=float, default=560.0, help="seconds after which jobs that still run are ended (default: 560)")
    add("--rounds", type=int, default=21, help="of timing, in each of which every contender has a turn (default: 21)")
    add("--one-by-one", action="store_true", help="a job begins when the one before has ended; default: all at once")
    add("--allow-tf32", action="store_true", help="on both sides")
    add("--compile", action="store_true", help="times torch.compile(mode='max-autotune') as well: minutes more")
    add("--commit", default="", help="what to write down as the commit (default: git's word)")
    add("--dry-run-on-cpu", action="store_true", help="tries this script on a CPU; says on everything that it did")
    add("torch_python", nargs="*", help=argparse.SUPPRESS)
    return parser.parse_args()


class Check:
    """One run. Phases print when they begin, and what they took."""

    def __init__(self, given: argparse.Namespace, console: Console, work: Path) -> None:
        """Raises RuntimeError where there is no GPU to check."""
        self.given = given
        self.work = work
        self.models = work / "models"
        self.models.mkdir()
        self._console = console
        self._started = time.monotonic()
        self._gpu = not given.dry_run_on_cpu
        options = {key: value for key, value in vars(given).items() if key not in _UNTOLD}
        self.report = check_report.Report(given.dry_run_on_cpu, machine_facts(given.commit, self._gpu), options)

    def say(self, words: str) -> None:
        self._console.print(f"[{time.monotonic() - self._started:6.1f} s] {words}", markup=False, soft_wrap=True)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        self.say(f"== {name}")
        try:
            yield
        finally:
            self.report.phases[name] = round(time.monotonic() - began, 2)

    def run(self) -> None:
        device = "cuda0" if self._gpu else "cpu0"
        self.say(
            "coordinator and agent come up beside the export" if self.given.models else "coordinator and agent come up"
        )
        with self.phase("models, coordinator, agent"):
            export = self._begin_export()
            try:
                opened = contextlib.ExitStack()
                address = opened.enter_context(farm(self.work / "farm", device))
                cases = self._cases(export)
            except BaseException:
                if export is not None:
                    export.kill()
                    export.wait()
                opened.close()
                raise
        with opened, self.phase("tuning"), Utilisation(self._gpu) as utilisation:
            self._tune(address, cases)
        self.report.busy_percent = utilisation.percent
        good = [tuned for tuned in self.report.tuned if not tuned.error]
        with self.phase("run.py"):
            for tuned in good:
                self.report.run_scripts[tuned.case.name] = self._run_script(tuned)
        with self.phase("timing"):
            self._time(good)

    # ---- models

    def _begin_export(self) -> subprocess.Popen[bytes] | None:
        if not self.given.models:
            return None
        missing = missing_from(self.given.torch_python)
        if not missing:
            log = self.work / "export.log"
            return begin_export(self.given.torch_python, self.models, self.given.models, self.given.dtypes, log)
        self.report.skipped.append(f"{self.given.models} and every comparison with PyTorch: {missing}")
        if not self.given.onnx:
            self.given.onnx.append(seeded_squeezenet(self.models))
            self.report.skipped.append("in their place: SqueezeNet with seeded weights, float32")
        return None

    def _cases(self, export: subprocess.Popen[bytes] | None) -> list[Case]:
        cases = [from_onnx(path, self.models) for path in self.given.onnx]
        if export is None:
            return cases
        if export.wait() != 0:
            words = (self.work / "export.log").read_text().strip().splitlines()[-1:]
            raise RuntimeError(f"the export failed: {' '.join(words)}")
        return [*exported(self.models, self.given.models, self.given.dtypes), *cases]

    # ---- tuning

    def _tune(self, address: str, cases: Sequence[Case]) -> None:
        wish = Wish(
            target="cuda" if self._gpu else "host",
            trials_per_kernel=self.given.trials_per_kernel,
            max_seconds=self.given.max_seconds,
            allow_tf32=self.given.allow_tf32,
            deadline=self._started + self.given.limit - KEPT_SECONDS,
        )
        at_once = 1 if self.given.one_by_one else len(cases)
        # One after the other, so that what ended is in the report whatever ends the others.
        for tuned in tune_all(address, cases, self.work, wish, at_once, self.say):
            self.report.tuned.append(tuned)
        order = [case.name for case in cases]
        self.report.tuned.sort(key=lambda tuned: order.index(tuned.case.name))

    def _run_script(self, tuned: Tuned) -> str:
        """The last line that the package's own script prints: "latency: ...", or what went wrong."""
        command = [sys.executable, str(tuned.package / "run.py")]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=RUN_SCRIPT_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            return f"run.py took more than {RUN_SCRIPT_SECONDS:g} s"
        lines = (done.stdout if done.returncode == 0 else done.stderr or done.stdout).strip().splitlines()
        self.say(f"{tuned.case.name}: run.py: {lines[-1] if lines else 'no word'}")
        return (
            lines[-1] if lines and done.returncode == 0 else f"run.py failed: {lines[-1] if lines else done.returncode}"
        )

    # ---- timing

    def _time(self, good: Sequence[Tuned]) -> None:
        with TimingRun(
            self.work, self.given.rounds, self._torch_command(), [t.case for t in good if t.case.torch]
        ) as run:
            if missing := run.wait_for_torch():
                self.report.skipped.append(f"every comparison with PyTorch: {missing}")
            self.report.facts |= run.torch_facts.pop("versions", {})
            for tuned in good:
                self.report.timed.append(run.case(tuned.case, tuned.package, self.given.allow_tf32))
                self.say(f"{tuned.case.name}: timed")

    def _torch_command(self) -> list[str]:
        options = ["--device", "cuda" if self._gpu else "cpu"]
        options += ["--allow-tf32"] if self.given.allow_tf32 else []
        options += ["--compile"] if self.given.compile else []
        return [*self.given.torch_python, str(HERE / "torch_timer.py"), *options]


def main() -> None:
    given = arguments()
    console = Console(highlight=False, width=None if sys.stdout.isatty() else check_report.WIDTH)
    # Whoever ends the check by SIGTERM gets the same clearing up as by Ctrl-C.
    signal.signal(signal.SIGTERM, _end)
    given.out.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as opened:
        work = given.work or Path(opened.enter_context(tempfile.TemporaryDirectory(prefix="tunefarm-gpu-check-")))
        try:
            work.mkdir(parents=True, exist_ok=True)
            # Where this is root, candidates run as another user: what lies in here must not be closed to them.
            work.chmod(0o755)
            check = Check(given, console, work.absolute())
        except (RuntimeError, OSError) as error:
            sys.exit(f"error: {error}")
        try:
            check.run()
        except (RuntimeError, TunefarmError, KeyboardInterrupt) as error:
            check.report.broken = str(error) or "interrupted"
        check.report.phases["in all"] = round(sum(check.report.phases.values()), 2)
        _keep_logs(work, given.out)
        check.report.write(given.out, console)
    sys.exit(1 if check.report.failures else 0)


def _keep_logs(work: Path, out: Path) -> None:
    """What the programs said, and each job's own document."""
    for log in [*work.glob("*.log"), *work.glob("*.json"), *(work / "farm" / "logs").glob("*.log")]:
        (out / log.name).write_bytes(log.read_bytes())


def _end(*_: Any) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
