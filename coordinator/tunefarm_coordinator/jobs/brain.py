"""The job brain: what happens to a job, and what is to be done next. Pure.

`handle(event)` is the only way in. Replaying a job's journal through it rebuilds the brain; `outstanding()` then names
everything that was asked for and not yet answered, to be asked for again.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from statistics import median
from typing import Any

from tunefarm_coordinator.jobs import events as ev
from tunefarm_coordinator.jobs import instructions as ins
from tunefarm_coordinator.jobs.allotment import allot
from tunefarm_coordinator.jobs.finals import Finals
from tunefarm_coordinator.jobs.ledger import Ledger
from tunefarm_coordinator.jobs.options import JobOptions
from tunefarm_coordinator.jobs.policy import Policy, policy_for
from tunefarm_coordinator.jobs.resumption import NO_TEMPLATE, check_resumed, options_after
from tunefarm_coordinator.jobs.round import Item, Round, Stage
from tunefarm_coordinator.jobs.scouts import Scouts
from tunefarm_coordinator.jobs.state import JobState, check_resumption, check_transition
from tunefarm_coordinator.jobs.task import TaskState

# Not the candidate's fault: the trial goes back to the budget.
REFUNDED = frozenset({"DEVICE_LOST", "CANCELLED"})
# A candidate that takes so many times the best one's time at first look is let go: it won't come to the finals.
GIVE_UP_SHARE = 3.0


class JobBrain:
    """One job. Every public attribute is for reading."""

    def __init__(self, options: JobOptions, policy: Policy | None = None) -> None:
        self.options = options
        self.policy = policy or policy_for(options)
        self.state = JobState.PREPARING
        self.ledger = Ledger(0)
        self.tasks: dict[str, TaskState] = {}
        self.rounds: dict[int, Round] = {}
        self.scouts = Scouts()
        self.failures: Counter[str] = Counter()
        self.messages: Counter[tuple[str, str]] = Counter()
        self.measurements = 0
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.notes: list[str] = []
        self.target = ""
        self.device_class = ""
        self.error: tuple[str, str] | None = None
        self.finals = Finals()
        self.benchmark: ev.Benchmarked | None = None
        self.resumptions: dict[str, ev.Resumed] = {}
        self._artifacts: dict[tuple[str, str], ev.Artifact] = {}
        self._rounds_started = 0
        self._time_spent = False
        self._packages = 0
        self._timing_kernels = False
        self._last_word = ""
        self._handlers: dict[type[Any], Callable[[Any], list[ins.Instruction]]] = {
            ev.Prepared: self._prepared,
            ev.StageFailed: self._stage_failed,
            ev.Proposed: self._proposed,
            ev.BuildEnded: self._build_ended,
            ev.ItemMeasured: self._item_measured,
            ev.ItemSuspected: self._item_suspected,
            ev.GroupCompared: self._group_compared,
            ev.Packaged: self._packaged,
            ev.KernelsTimed: self._kernels_timed,
            ev.Benchmarked: self._benchmarked,
            ev.BenchmarkLost: self._benchmark_lost,
            ev.TimeSpent: self._time_is_spent,
            ev.CancelRequested: self._cancel_requested,
            ev.Resumed: self._resumed,
        }

    # ---- in and out

    def handle(self, event: ev.Event) -> list[ins.Instruction]:
        """What is to be done after `event`. An event that comes late, or twice, changes nothing."""
        if self.state.terminal and not isinstance(event, ev.Resumed):
            return []
        return self._handlers[type(event)](event)

    def outstanding(self) -> list[ins.Instruction]:
        """Everything asked for and not yet answered."""
        match self.state:
            case JobState.PREPARING:
                return [ins.Prepare()]
            case JobState.TUNING:
                return [wanted for number in sorted(self.rounds) for wanted in self.rounds[number].outstanding()]
            case JobState.VERIFYING:
                return self.finals.comparing()
            case JobState.PACKAGING:
                return [self._time_kernels() if self._timing_kernels else self._package()]
            case JobState.BENCHMARKING:
                return [ins.Benchmark(self._packages)]
        return []

    @property
    def estimated_seconds(self) -> float | None:
        """Latency of one inference (of the first shape set) as the sum of weights x best; None until every task was
        measured once."""
        best = [(task.spec.first_weight, task.best_seconds) for task in self.tasks.values()]
        if not best or any(seconds is None for _, seconds in best):
            return None
        return sum(weight * seconds for weight, seconds in best if seconds is not None)

    @property
    def valid_trials(self) -> int:
        return sum(task.valid for task in self.tasks.values())

    @property
    def refunded(self) -> int:
        """Trials that were asked for and cost nothing: lost with a device, cancelled, or never proposed."""
        return self.ledger.refunded

    # ---- tuning

    def _prepared(self, event: ev.Prepared) -> list[ins.Instruction]:
        if self.state is not JobState.PREPARING:
            return []
        self.target, self.device_class = event.target, event.device_class
        # A model without tasks is prepared anew when its job goes on.
        self.notes.extend(note for note in event.notes if note not in self.notes)
        self.seconds["prepare"] += event.seconds
        allotment = allot(self.options, event.tasks)
        for spec in event.tasks:
            self.tasks[spec.workload] = TaskState.of(spec, self.options, allotment.quotas[spec.workload])
        self.ledger = Ledger(allotment.budget)
        enough = sum(quota == 0 for quota in allotment.quotas.values())
        if enough and self.options.tuner != "autotvm":
            self._note(
                f"{enough} of {len(event.tasks)} tasks were tuned enough by earlier jobs: their best schedules are"
                " measured again, without a trial (a larger budget searches on)"
            )
        if self.options.tuner == "autotvm" and event.tasks and not any(spec.template for spec in event.tasks):
            return self._end_with_error("INVALID_INPUT", NO_TEMPLATE)
        self._enter(JobState.TUNING)
        return self._begin()

    def _begin(self) -> list[ins.Instruction]:
        """Rounds without trials for the tasks that get none, then the first rounds of the others."""
        first = self.policy.first_rounds(self.tasks.values(), self.ledger.free)
        missed = [task for task in self.tasks.values() if not (first.get(task.workload) or task.in_round)]
        return self._without_trials(task for task in missed if task.extras) + self._next()

    def _revisit_incumbents(self) -> list[ins.Instruction]:
        """What was found earlier is measured again, on today's device, for each task that no round came to."""
        return self._without_trials(task for task in self.tasks.values() if task.unvisited_incumbents)

    def _without_trials(self, tasks: Iterable[TaskState]) -> list[ins.Instruction]:
        return [wanted for task in tasks for wanted in self._fill(self._start_round(task, 0), ())]

    def _next(self) -> list[ins.Instruction]:
        """New rounds as far as budget and pipeline allow; the finals when there is nothing left to wait for."""
        wanted: list[ins.Instruction] = []
        while self.state is JobState.TUNING and len(self.rounds) < self.options.rounds_in_flight:
            free = 0 if self._time_spent else self.ledger.free
            chosen = self.policy.next_round(self.tasks.values(), free)
            if chosen is None:
                break
            task, count = chosen
            self.ledger.reserve(count)
            round_ = self._start_round(task, count)
            wanted.append(ins.Propose(round_.number, task.workload, count))
        if self.state is JobState.TUNING and not self.rounds:
            # No first round came to some tasks (time spent): what the store has for them is still worth having.
            return self._revisit_incumbents() or self._verify()
        return wanted

    def _start_round(self, task: TaskState, count: int) -> Round:
        self._rounds_started += 1
        task.in_round, task.unsettled = True, count
        round_ = Round(self._rounds_started, task.workload, count)
        self.rounds[round_.number] = round_
        return round_

    def _proposed(self, event: ev.Proposed) -> list[ins.Instruction]:
        round_ = self.rounds.get(event.round)
        if round_ is None or round_.stage is not Stage.PROPOSING:
            return []
        self.seconds["search"] += event.seconds
        if event.message not in self.notes:
            self._note(event.message)
        return self._fill(round_, event.identities[: round_.asked])

    def _fill(self, round_: Round, identities: tuple[str, ...]) -> list[ins.Instruction]:
        """Items of a round: the new candidates, and before them what the task was never measured with."""
        task = self.tasks[round_.workload]
        extras = task.extras
        untried = [identity for identity in dict.fromkeys(identities) if identity not in task.tried]
        # Search may find an extra by itself, and a rebuilt searcher propose a candidate again: neither is a trial.
        fresh = [identity for identity in untried if identity not in extras]
        self._refund(task, round_.asked - len(fresh))
        if round_.asked and not untried:
            task.exhausted = True
        round_.items = [Item(identity, trial=False) for identity in extras]
        round_.items += [Item(identity, trial=True) for identity in fresh]
        if not extras and task.best_seconds is not None:
            # Not where the default schedule or an incumbent is among them: they are what others are compared with.
            round_.give_up = GIVE_UP_SHARE * task.best_seconds
        task.tried.update(item.identity for item in round_.items)
        round_.stage = Stage.WAITING
        return self._admit_waiting()

    def _admit_waiting(self) -> list[ins.Instruction]:
        """Rounds that have their candidates go on, as far as the scouts let them."""
        wanted: list[ins.Instruction] = []
        for round_ in list(self.rounds.values()):
            # One that ends at once, as it is empty, lets others go on by itself.
            if round_.stage is Stage.WAITING and self.scouts.admit(round_):
                wanted += self._build(round_)
        return wanted

    def _build(self, round_: Round) -> list[ins.Instruction]:
        round_.stage = Stage.BUILDING
        return round_.builds() + self._progress(round_)

    def _build_ended(self, event: ev.BuildEnded) -> list[ins.Instruction]:
        round_ = self.rounds.get(event.round)
        if round_ is None or round_.stage not in (Stage.WAITING, Stage.BUILDING):
            return []
        # Built, so it did not wait: the journal of a coordinator that let no round wait.
        round_.stage = Stage.BUILDING
        item = round_.items[event.index]
        if item.ended or item.artifact is not None:
            return []
        self.seconds["build"] += event.seconds
        if event.artifact is not None:
            item.artifact = event.artifact
            self._artifacts[round_.workload, item.identity] = event.artifact
        else:
            self._fail(round_, item, event.failure or ev.Failure("BUILD_ERROR", "no artifact"))
        return self._progress(round_)

    def _item_measured(self, event: ev.ItemMeasured) -> list[ins.Instruction]:
        round_ = self.rounds.get(event.round)
        if round_ is None or round_.stage is not Stage.MEASURING or round_.items[event.index].ended:
            return []
        item = round_.items[event.index]
        self.seconds["measure"] += event.seconds
        self.measurements += event.remeasured + (not item.trial)
        if event.failure is not None:
            self._fail(round_, item, event.failure)
        else:
            item.at_least = event.at_least
            self._succeed(round_, item, median(event.samples) if event.samples else None)
        return self._progress(round_)

    def _item_suspected(self, event: ev.ItemSuspected) -> list[ins.Instruction]:
        round_ = self.rounds.get(event.round)
        if round_ is not None and event.index < len(round_.items):
            round_.items[event.index].suspicions = event.times
        return []

    def _succeed(self, round_: Round, item: Item, seconds: float | None) -> None:
        """A measured item; `seconds` is None where it was let go early (slower than the best for certain)."""
        task = self.tasks[round_.workload]
        item.ended, item.seconds = True, seconds
        self.scouts.release()
        better = seconds is not None and task.take(item.identity, seconds)
        if item.trial:
            self._charge(task)
            task.valid += 1
            task.since_better = 0 if better else task.since_better + 1

    def _fail(self, round_: Round, item: Item, failure: ev.Failure) -> None:
        item.ended, item.failure = True, failure
        item.lost = failure.kind in REFUNDED
        if not item.trial:
            return
        self.messages[failure.kind, failure.message] += 1
        task = self.tasks[round_.workload]
        if item.lost:
            self._refund(task, 1)
            return
        self._charge(task)
        task.failed += 1
        self.failures[failure.kind] += 1

    def _charge(self, task: TaskState) -> None:
        self.ledger.charge()
        task.unsettled -= 1
        task.charged += 1

    def _refund(self, task: TaskState, count: int) -> None:
        self.ledger.refund(count)
        task.unsettled -= count

    def _progress(self, round_: Round) -> list[ins.Instruction]:
        wanted = round_.advance()
        if round_.stage is not Stage.ENDED:
            return wanted + (self._admit_waiting() if self.scouts.released else [])
        del self.rounds[round_.number]
        task = self.tasks[round_.workload]
        task.in_round = False
        self.scouts.ended(round_)
        if verdict := self.scouts.verdict():
            return self._end_with_error("NO_VALID_TRIAL", verdict)
        # What was lost says nothing of the candidate: search learns nothing of it.
        results = tuple((item.identity, item.observed) for item in round_.items if not item.lost)
        observe: list[ins.Instruction] = [ins.Observe(round_.workload, results)] if results else []
        return wanted + observe + self._admit_waiting() + self._next()

    # ---- finals

    def _verify(self) -> list[ins.Instruction]:
        if self.messages and not self.valid_trials:
            (kind, message), count = self.messages.most_common(1)[0]
            tried = f"none of {self.messages.total()} trials could be measured"
            return self._end_with_error("NO_VALID_TRIAL", f"{tried}; most frequent ({count}x): {kind}: {message}")
        comparisons = self.finals.start(self.tasks.values(), self._artifacts, self.options.finalists)
        self._enter(JobState.VERIFYING)
        return comparisons or self._start_packaging()

    def _group_compared(self, event: ev.GroupCompared) -> list[ins.Instruction]:
        if self.state is not JobState.VERIFYING or not self.finals.take(event):
            return []
        self.seconds["measure"] += event.seconds
        self.measurements += len(event.results)
        self._note(self.finals.judge(self.tasks[event.workload], event))
        return [] if self.finals.comparing() else self._start_packaging()

    def _start_packaging(self) -> list[ins.Instruction]:
        self._enter(JobState.PACKAGING)
        return self._next_package()

    def _next_package(self) -> list[ins.Instruction]:
        self._packages += 1
        return [self._package()]

    def _package(self) -> ins.Package:
        return ins.Package(tuple(sorted(self.finals.winners.items())), self._packages)

    def _packaged(self, event: ev.Packaged) -> list[ins.Instruction]:
        if self.state is not JobState.PACKAGING or self._timing_kernels or event.package != self._packages:
            return []
        self.seconds["package"] += event.seconds
        if self.finals.winners and not self.finals.settled:
            self._timing_kernels = True
            return [self._time_kernels()]
        return self._start_benchmark()

    def _time_kernels(self) -> ins.TimeKernels:
        return ins.TimeKernels(tuple(sorted(self.finals.winners)), self._packages)

    def _kernels_timed(self, event: ev.KernelsTimed) -> list[ins.Instruction]:
        """A package without the winners that do not pay, if there were any; else the one that is there is it."""
        if self.state is not JobState.PACKAGING or not self._timing_kernels:
            return []
        self._timing_kernels = False
        self.seconds["measure"] += event.seconds
        self._note(event.message)
        return self._next_package() if self.finals.settle(event) else self._start_benchmark()

    def _start_benchmark(self) -> list[ins.Instruction]:
        self._enter(JobState.BENCHMARKING)
        return [ins.Benchmark(self._packages)]

    def _benchmarked(self, event: ev.Benchmarked) -> list[ins.Instruction]:
        if self.state is not JobState.BENCHMARKING:
            return []
        self.benchmark = event
        self.seconds["measure"] += event.seconds
        if not event.matches:
            return self._end_with_error("WRONG_OUTPUT", event.message)
        self._enter(JobState.SUCCEEDED)
        return []

    def _benchmark_lost(self, event: ev.BenchmarkLost) -> list[ins.Instruction]:
        if self.state is not JobState.BENCHMARKING:
            return []
        return self._end_with_error("INTERNAL", f"the package could not be benchmarked: {event.message}")

    # ---- the ends

    def _stage_failed(self, event: ev.StageFailed) -> list[ins.Instruction]:
        return self._end_with_error(event.error, event.message)

    def _time_is_spent(self, _event: ev.TimeSpent) -> list[ins.Instruction]:
        self._time_spent = True
        return []

    def _cancel_requested(self, event: ev.CancelRequested) -> list[ins.Instruction]:
        if event.reason:
            self._last_word = f"cancelled: {event.reason}"
            self.notes.append(self._last_word)
        self._enter(JobState.CANCELLED)
        return self._let_go()

    # ---- and on again

    def check_resume(self, event: ev.Resumed) -> None:
        """Raises InvalidInput or NotReady for a wish that can't be served; see `resumption.check_resumed`."""
        specs = [task.spec for task in self.tasks.values()]
        check_resumed(event, self.options, self.state, self.ledger.charged, specs)

    def _resumed(self, event: ev.Resumed) -> list[ins.Instruction]:
        """Goes on from an end, or from where it was interrupted. Nothing that was built is there any more."""
        if event.key in self.resumptions:
            return []
        self.resumptions[event.key] = event
        self.options = options_after(self.options, event)
        self.error, self.benchmark = None, None
        self.notes = [note for note in self.notes if note != self._last_word]
        self._time_spent, self._timing_kernels = False, False
        winners, self.finals = self.finals.compared, Finals(self.finals.next_compare)
        self._artifacts.clear()
        state = JobState.TUNING if self.tasks else JobState.PREPARING
        check_resumption(self.state, state)
        self.state = state
        return self._reopen(winners) if self.tasks else [ins.Prepare()]

    def _reopen(self, winners: Mapping[str, str]) -> list[ins.Instruction]:
        allotment = allot(self.options, [task.spec for task in self.tasks.values()])
        overdrawn = any(task.overdraws(allotment.quotas[task.workload]) for task in self.tasks.values())
        if overdrawn or allotment.budget < self.ledger.charged + self.ledger.reserved:
            # The new total, or a task's share of it, is smaller than what was under way would need.
            self._let_go()
        self.ledger.extend(allotment.budget)
        for task in self.tasks.values():
            task.reopen(self.options, allotment.quotas[task.workload], winners.get(task.workload))
        self.scouts = Scouts()
        for round_ in self.rounds.values():
            round_.rebuild()
            if round_.stage is not Stage.PROPOSING:
                round_.stage = Stage.BUILDING if self.scouts.admit(round_) else Stage.WAITING
        return self.outstanding() + self._begin()

    def _end_with_error(self, kind: str, message: str) -> list[ins.Instruction]:
        self.error = (kind, message)
        self._enter(JobState.FAILED)
        return self._let_go()

    def _let_go(self) -> list[ins.Instruction]:
        self.ledger.refund(self.ledger.reserved)
        # What did not end may be proposed again, should the job go on.
        for round_ in self.rounds.values():
            self.tasks[round_.workload].tried -= {item.identity for item in round_.items if not item.ended}
        self.rounds.clear()
        for task in self.tasks.values():
            task.in_round, task.unsettled = False, 0
        self.finals.clear()
        return [ins.WithdrawAll()]

    def _note(self, text: str | None) -> None:
        if text:
            self.notes.append(text)

    def _enter(self, state: JobState) -> None:
        check_transition(self.state, state)
        self.state = state
