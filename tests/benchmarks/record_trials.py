"""Records real trials of one model: the data on which `replay_policies.py` compares policies.

    python tests/benchmarks/record_trials.py squeezenet [--trials 48] [--seconds 0] [--unchosen]

Search, cost model, builds and measurements are the product's own; only the order is not: rounds of eight for every
task in turn, so that each has the same number of trials. A run may be broken off, or end by itself after `--seconds`;
the same command goes on from the work folder. What is complete goes to tests/data/recordings/.

With `--unchosen` every schedule that search looks at is measured, the ones that it would not propose as well. That is
the landscape from which `warm_model.py` has cost models choose; it stays in the work folder.

A time is the fastest of ten samples with cold caches: the machine may have other work while it records. Outputs are
not checked (the farm does that), so no failure here says WRONG_OUTPUT.
"""

import argparse
import asyncio
import json
import multiprocessing
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.agent_process import kind, start_agent
from tests.farm_stand_in import FakeCoordinator
from tests.model_zoo import ZOO, model_path
from tests.recording import RecordedTask, Recording, save
from tunefarm_coordinator.compute.messages import PreparedSummary, PrepareModel
from tunefarm_coordinator.compute.model_work import prepare_model
from tunefarm_coordinator.control.leases import MEASURE, RUN_TIMEOUT_SECONDS
from tunefarm_coordinator.engines.build import build_candidate
from tunefarm_coordinator.engines.candidate import BuildError, BuiltCandidate, Proposal
from tunefarm_coordinator.engines.cost_model import CostModelTrainer, ScoreModel
from tunefarm_coordinator.engines.engine import Engine, Observation, Search, TaskRecord, engine
from tunefarm_coordinator.engines.search import Autoscheduler, SearchOptions
from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.models.task import TuningTask
from tunefarm_proto.v1 import farm_pb2

ROUND = 8
BUILDERS = 2
LEASE_SECONDS = 400.0
MEMORY_MIB = "4096"

# Seconds of one call, or the kind of failure.
Result = float | str
# In the place of a trial that search had no candidate for.
EXHAUSTED = "EXHAUSTED"
# Proposes each schedule that it draws.
UNCHOSEN = Autoscheduler(SearchOptions(drafts_per_candidate=1, least_drafts=1))


@dataclass(frozen=True)
class Trial:
    """One line of the work file. `baseline`: it is the default schedule's, which is no trial."""

    workload: str
    trace: str
    result: Result
    baseline: bool = False


@dataclass
class Session:
    """What a recording in progress works with."""

    work: Path
    summary: PreparedSummary
    farm: FakeCoordinator
    builders: ProcessPoolExecutor
    trainer: CostModelTrainer
    engine: Engine
    trials: dict[str, list[Trial]] = field(default_factory=dict)
    searches: dict[str, Search] = field(default_factory=dict)
    leases: int = 0

    @property
    def model(self) -> ScoreModel | None:
        """None where nothing is chosen: a model would choose what is changed next."""
        if self.engine is UNCHOSEN:
            return None
        fitted = self.trainer.model.model
        return None if fitted is None else ScoreModel.from_bytes(fitted)

    def done(self, task: TuningTask) -> int:
        return sum(not trial.baseline for trial in self.trials[task.workload])


async def record(session: Session, depth: int, seconds: float) -> bool:
    """Rounds for all tasks in turn; whether the recording is complete."""
    started = time.monotonic()
    for task in session.summary.tasks:
        session.searches[task.workload] = _open(session, task)
    for begin in range(0, depth, ROUND):
        for task in session.summary.tasks:
            wanted = min(begin + ROUND, depth) - session.done(task)
            if wanted <= 0:
                continue
            if seconds and time.monotonic() - started > seconds:
                return False
            await _round(session, task, wanted)
        spent = time.monotonic() - started
        print(f"{session.work.name}: {begin + ROUND} trials of each task, {spent:.0f} s", flush=True)
    return True


def _open(session: Session, task: TuningTask) -> Search:
    known = session.trials.setdefault(task.workload, [])
    records = [TaskRecord(each.trace, each.result if isinstance(each.result, float) else None) for each in known]
    baseline = session.summary.baselines[task.workload]
    search = session.engine.open(
        task.workload, task.module, session.summary.target, seed=0, records=records, seeds=(baseline,)
    )
    session.trainer.update(search.samples())
    return search


async def _round(session: Session, task: TuningTask, wanted: int) -> None:
    """Proposes, builds, measures, learns, writes down."""
    search = session.searches[task.workload]
    first = not session.trials[task.workload]
    baseline = _default(search, session.summary.baselines[task.workload]) if first else []
    proposals = [*baseline, *search.propose(wanted, session.model)]
    results = await _measured(session, task, proposals)
    trials = [
        Trial(task.workload, proposal.trace, result, baseline=at < len(baseline))
        for at, (proposal, result) in enumerate(zip(proposals, results, strict=True))
    ]
    # The space has no more: noted, so that this task is not asked again.
    trials += [Trial(task.workload, "", EXHAUSTED)] * (wanted - len(proposals) + len(baseline))
    observations = [
        Observation(proposal.identity, result if isinstance(result, float) else None)
        for proposal, result in zip(proposals, results, strict=True)
    ]
    session.trainer.update(search.observe(observations))
    session.trials[task.workload] += trials
    with (session.work / "trials.jsonl").open("a") as file:
        file.writelines(json.dumps(asdict(trial)) + "\n" for trial in trials)


def _default(search: Search, trace: str) -> list[Proposal]:
    """The default schedule as a proposal; none where it has no features, so that search can't take it in."""
    try:
        return [search.adopt(trace)]
    except InvalidInput:
        return []


async def _measured(session: Session, task: TuningTask, proposals: list[Proposal]) -> list[Result]:
    loop = asyncio.get_running_loop()
    target = session.summary.target
    builds = [
        loop.run_in_executor(session.builders, build, task.module, proposal.trace, target) for proposal in proposals
    ]
    results: list[Result] = []
    candidates = []
    for built in await asyncio.gather(*builds):
        results.append("BUILD_ERROR" if built is None else "RUN_ERROR")
        if built is not None:
            candidates.append((len(results) - 1, _candidate(session.farm, built)))
    if candidates:
        session.leases += 1
        reports = await _lease(session, [candidate for _, candidate in candidates])
        for report in reports:
            good = report.WhichOneof("outcome") == "measured"
            results[candidates[report.index][0]] = min(report.measured.seconds) if good else kind(report)
    return results


async def _lease(session: Session, candidates: list[farm_pb2.Candidate]) -> list[farm_pb2.OutcomeReport]:
    lease = farm_pb2.Lease(lease_id=f"round{session.leases}", attempt=1, device_id="cpu0")
    lease.time_limit.FromSeconds(int(LEASE_SECONDS))
    lease.measure.CopyFrom(farm_pb2.MeasureWork(candidates=candidates, evaluator=MEASURE))
    session.farm.lease(lease)
    reports = await session.farm.reports(lease.lease_id, len(candidates), LEASE_SECONDS)
    session.farm.artifacts.clear()
    return reports


def _candidate(farm: FakeCoordinator, built: BuiltCandidate) -> farm_pb2.Candidate:
    return farm_pb2.Candidate(
        artifact=farm.put(built.library),
        arguments=[farm_pb2.KernelArgument(shape=each.shape, dtype=each.dtype) for each in built.arguments],
        prepacks=[farm_pb2.PrepackStep(argument=each.argument, function=each.function) for each in built.prepacks],
        run_timeout=RUN_TIMEOUT_SECONDS,
    )


def build(module: str, trace: str, target: str) -> BuiltCandidate | None:
    """In a builder process; None where the candidate can't be built."""
    try:
        return build_candidate(module, trace, target)
    except BuildError:
        return None


def read_trials(work: Path) -> dict[str, list[Trial]]:
    """The lines that earlier runs wrote, by workload. A last line that was cut off is left out."""
    trials: dict[str, list[Trial]] = {}
    path = work / "trials.jsonl"
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    for line in lines:
        if line.endswith("\n"):
            trial = Trial(**json.loads(line))
            trials.setdefault(trial.workload, []).append(trial)
    return trials


def recording_of(model: str, summary: PreparedSummary, trials: dict[str, list[Trial]], depth: int) -> Recording:
    """What is kept: no traces, and the same number of trials of every task, but where its space has no more."""
    tasks = []
    for task in summary.tasks:
        known = trials[task.workload]
        baseline = next((trial.result for trial in known if trial.baseline), None)
        results = [trial.result for trial in known if not trial.baseline and trial.result != EXHAUSTED]
        seconds = baseline if isinstance(baseline, float) else None
        tasks.append(RecordedTask(task.name, task.weight, task.flops, seconds, tuple(results[:depth])))
    return Recording(model, summary.target, tuple(tasks))


async def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=sorted(ZOO))
    parser.add_argument("--trials", type=int, default=48, help="of every task")
    parser.add_argument("--seconds", type=float, default=0.0, help="break off after so long; 0: never")
    parser.add_argument("--unchosen", action="store_true", help="all schedules that search looks at, for warm_model.py")
    parser.add_argument("--work", type=Path, default=Path("bench-recording"), help="folder of recordings in progress")
    given = parser.parse_args()
    work = given.work / (f"{given.model}-unchosen" if given.unchosen else given.model)
    work.mkdir(parents=True, exist_ok=True)
    shapes, path = ZOO[given.model].shapes, model_path(given.model)
    summary = prepare_model(PrepareModel(path, shapes, "host", work / "prepared"))
    with ProcessPoolExecutor(BUILDERS, multiprocessing.get_context("spawn")) as builders:
        async with FakeCoordinator() as farm:
            agent = await start_agent(farm.address, work / "agent", "--memory-limit", MEMORY_MIB)
            try:
                await farm.attached()
                tuner = UNCHOSEN if given.unchosen else engine("autoscheduler")
                session = Session(work, summary, farm, builders, CostModelTrainer(), tuner, read_trials(work))
                complete = await record(session, given.trials, given.seconds)
            finally:
                await agent.killed()
    if complete and not given.unchosen:
        print(f"wrote {save(recording_of(given.model, summary, session.trials, given.trials))}")


if __name__ == "__main__":
    asyncio.run(main())
