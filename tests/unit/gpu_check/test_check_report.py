"""What the GPU check says: who is faster, what failed, and that a dry run is none."""

import io
import json
from pathlib import Path

import pytest
from case_files import Case
from check_report import DRY, Report, verdict
from interleaved import Ratio
from rich.console import Console
from timing_run import AGAIN, PACKAGE, Timed
from tuning_run import Tuned

GRAPH = "PyTorch graph"
CASE = Case("resnet18-float16", "float16", Path("m.onnx"), Path("m.npz"), "PyTorch, float32, CPU", torch=True)


def tuned(error: str = "") -> Tuned:
    return Tuned(
        CASE,
        Path("package"),
        seconds=20.0,
        document={"trials": {"budget": 12, "charged": 10, "failed": {"RUN_ERROR": 1}}, "seconds": {"prepare": 3.0}},
        states={"PREPARING": 1.0, "TUNING": 4.0, "VERIFYING": 9.0, "SUCCEEDED": 15.0},
        first_outcome=5.0,
        error=error,
    )


def timed(ours: float = 1e-3, matches: bool = True, missing: str = "") -> Timed:
    seconds = {PACKAGE: [ours] * 5, AGAIN: [ours] * 5, GRAPH: [2e-3] * 5}
    errors = dict.fromkeys(seconds, 3e-4)
    found = Timed(CASE, seconds, errors, {name: matches or name == GRAPH for name in seconds})
    if missing:
        found.missing[missing] = f"{missing} ended with -9"
        for each in (found.seconds, found.errors, found.matches):
            each.pop(missing)
    return found


def report(*, dry: bool = False, error: str = "", broken: str = "", **of_timed: object) -> Report:
    facts = {"card": None if dry else "H", "cores": 16}
    found = Report(dry, facts, {"trials_per_kernel": 16}, tuned=[tuned(error)], broken=broken)
    found.timed.append(timed(**of_timed))  # type: ignore[arg-type]
    found.run_scripts[CASE.name] = "latency: 1.000 ms (median of 20)"
    return found


def printed(found: Report) -> str:
    page = io.StringIO()
    found.print(Console(file=page, width=160))
    return page.getvalue()


@pytest.mark.parametrize(
    ("interval", "says"),
    [((0.8, 0.9), "faster"), ((0.9, 1.1), "as fast"), ((1.0, 1.2), "as fast"), ((1.1, 1.2), "slower")],
)
def test_an_interval_that_holds_1_is_no_difference(interval: tuple[float, float], says: str) -> None:
    assert verdict(Ratio(sum(interval) / 2, *interval)) == says


def test_the_document_has_rates_latencies_and_ratios() -> None:
    document = json.loads(json.dumps(report().document()))
    job, timing = document["jobs"][CASE.name], document["timing"][CASE.name]
    assert job["trials_per_second"] == 2.0  # 10 trials between TUNING and VERIFYING
    assert timing["contenders"][PACKAGE]["ms"] == 1.0
    assert timing["package_over"][GRAPH]["median"] == 0.5
    assert timing["package_over"][AGAIN]["median"] == 1.0
    assert timing["package_against_pytorch_graph"] == "faster"
    assert (document["failures"], document["dry_run"]) == ([], False)


def test_the_rate_of_jobs_side_by_side_is_that_of_all() -> None:
    found = report()
    later = tuned()
    later.started = 5.0
    found.tuned.append(later)
    assert found.trials_per_second == 2.0  # twice 10 trials, from 4 s to 14 s
    assert found.document()["trials_per_second"] == 2.0
    assert "; 2.0 trials/s in all" in printed(found)


@pytest.mark.parametrize(
    ("found", "says"),
    [
        (report(error="failed: NO_VALID_TRIAL"), "NO_VALID_TRIAL"),
        (report(matches=False), f"{PACKAGE}'s output is off by 0.0003 from PyTorch, float32, CPU"),
        (report(missing=PACKAGE), f"{PACKAGE} ended with -9"),
        (report(broken="interrupted"), "the check was broken off: interrupted"),
    ],
)
def test_what_makes_the_check_fail(found: Report, says: str) -> None:
    assert any(says in failure for failure in found.failures)
    assert "FAILED" in printed(found)


def test_a_run_script_that_fails_makes_the_check_fail() -> None:
    found = report()
    found.run_scripts[CASE.name] = "run.py failed: error: CUDA can't be loaded"
    assert found.failures == [f"{CASE.name}: run.py failed: error: CUDA can't be loaded"]


def test_what_pytorch_could_not_do_is_no_failure_and_is_told() -> None:
    found = report(missing=GRAPH)
    assert found.failures == []
    assert found.document()["timing"][CASE.name]["missing"] == {GRAPH: f"{GRAPH} ended with -9"}
    assert f"{GRAPH} ended with -9" in printed(found)


def test_a_dry_run_says_so_on_everything(tmp_path: Path) -> None:
    found = report(dry=True)
    found.write(tmp_path, Console(file=io.StringIO()))
    assert (tmp_path / "check.txt").read_text().startswith(DRY)
    document = json.loads((tmp_path / "check.json").read_text())
    assert (document["what"], document["dry_run"], document["facts"]["card"]) == (DRY, True, None)
    assert DRY not in printed(report())
