"""The autoscheduler engine: random and evolved schedules of a generated space, ranked by a cost model.

One round draws random schedules and mutates good ones (Ansor's evolutionary search, Zheng et al., OSDI
2020, section 5.1, with a small population), scores all of them and picks the best that are new. It is our
loop over MetaSchedule's parts and not its `EvolutionarySearch`, because a search must be rebuilt from its
records, never propose a candidate twice, and cost little: nearly all of a round is the replaying of traces
and the extraction of features (some 9 ms and 7 ms each), so the number of drafts is the knob.
"""

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

import tvm
from tvm.s_tir import Schedule
from tvm.s_tir.schedule import Trace
from tvm.target import Target

from tunefarm_coordinator.engines import module_text, programs, trace_text
from tunefarm_coordinator.engines.candidate import Neighbour, Proposal
from tunefarm_coordinator.engines.cost_model import Sample, ScoreModel
from tunefarm_coordinator.engines.engine import Observation, TaskRecord
from tunefarm_coordinator.engines.features import FeatureExtractor, Features
from tunefarm_coordinator.engines.neighbours import fitted
from tunefarm_coordinator.engines.plausibility import Plausibility
from tunefarm_coordinator.engines.ranking import Ranking
from tunefarm_coordinator.engines.space import DesignSpace, Draft, Space, schedule_identity
from tunefarm_coordinator.engines.spaces import sketches
from tunefarm_coordinator.engines.tvm_errors import TVM_ERRORS, first_line
from tunefarm_coordinator.errors import InvalidInput

# Draws for each draft that is missing which may give one known already, and which may give none.
_KNOWN_DRAWS = 2
_VOID_DRAWS = 20


MakeSpace = Callable[[tvm.IRModule, Target, random.Random], Space]


@dataclass(frozen=True)
class SearchOptions:
    """How much a round looks at before it proposes.

    Attributes:
        drafts_per_candidate: schedules scored for each one proposed.
        least_drafts: schedules scored in a round, at least.
        of_screened: both, where the space has screened its drafts.
        parents: fastest measured candidates that are mutated.
        explore: share of proposals picked at random and not by score.
    """

    drafts_per_candidate: int = 4
    least_drafts: int = 16
    of_screened: tuple[int, int] = (2, 6)
    parents: int = 5
    explore: float = 0.1


@dataclass(frozen=True)
class _Scored:
    """`features` None: of a program whose settings are ranked by estimate."""

    identity: str
    schedule: Schedule
    features: Features | None
    estimate: float | None = None


@dataclass
class _Measured:
    """Holds no schedule, which weighs far more than its trace. `features` None: not extracted yet."""

    trace: Trace
    seconds: float | None
    features: Features | None


def _go_on() -> None:
    """Nobody waits."""


class TaskSearch:
    """The search of one task; see `engine.Search`. The same arguments and calls give the same proposals."""

    def __init__(
        self,
        workload: str,
        task_module: str,
        target: str,
        seed: int,
        options: SearchOptions = SearchOptions(),
        records: Sequence[TaskRecord] = (),
        forbidden: Collection[str] = (),
        seeds: Sequence[str] = (),
        random_trials: int = 0,
        space: MakeSpace = DesignSpace,
        neighbours: Sequence[Neighbour] = (),
    ) -> None:
        """Arguments as in `engine.Engine.open`; `space` makes what is drawn from. Records that no longer replay
        are left out: their schedules can't come up again. Raises `InvalidInput` for a module, target or task that
        can't be searched."""
        module, self._target = load(task_module, target)
        self._workload = workload
        self._options = options
        # Another seed after each restart, or a rebuilt search would first draw what was drawn before.
        self._rng = random.Random(f"{seed}:{workload}:{len(records)}")
        self._space = space(module, self._target, self._rng)
        self._extractor = FeatureExtractor(self._space.context)
        self._plausible = Plausibility(module, target, self._extractor)
        self._ranking = Ranking(self._target)
        self._seen = set(forbidden)
        self._pending: dict[str, _Scored] = {}
        self._measured: dict[str, _Measured] = {}
        self._exhausted = False
        self._random_left = random_trials
        self._breathe: Callable[[], None] = _go_on
        for record in records:
            self._restore(record)
        # Of a kernel alike first: the default schedule, as it stands, is measured without a trial.
        self._seeds = [trace for each in neighbours if (trace := fitted(each, module, self._target)) is not None]
        self._seeds += [] if self._space.first is None else [self._space.first.trace]
        self._seeds += [trace for text in seeds if (trace := self._seed(text)) is not None]

    @property
    def exhausted(self) -> bool:
        """Whether the last round found fewer new candidates than it was asked for."""
        return self._exhausted

    def propose(self, count: int, model: ScoreModel | None, breathe: Callable[[], None] = _go_on) -> list[Proposal]:
        """See `engine.Search.propose`."""
        self._breathe = breathe
        first = [self._enter(pick) for pick in self._random(count)]
        if not self._measured:
            first += [self._enter(pick) for pick in self._first(count - len(first))]
        left = count - len(first)
        others = [self._enter(pick) for pick in self._pick(self._drafts(left, model), left, model)] if left else []
        self._exhausted = len(others) < left
        return first + others

    def adopt(self, trace: str) -> Proposal:
        """Takes in a schedule made elsewhere (the untuned default, another job's best) as if it had been
        proposed here, so that it can be observed. Raises `InvalidInput` for a trace that does not replay."""
        try:
            schedule = trace_text.replay(self._space.module, trace, self._target)
            features = self._extracted(schedule)
        except TVM_ERRORS as error:
            raise InvalidInput(f"the trace does not fit this task: {first_line(error)}") from error
        identity = schedule_identity(self._space.module, schedule.mod)
        return self._enter(_Scored(identity, schedule, features))

    def observe(self, results: Sequence[Observation]) -> list[Sample]:
        """See `engine.Search.observe`."""
        samples = []
        for result in results:
            scored = self._pending.pop(result.identity, None)
            if scored is not None:
                self._measured[result.identity] = _Measured(scored.schedule.trace, result.seconds, scored.features)
                if scored.features is not None:
                    samples.append(Sample(self._workload, scored.features, result.seconds))
        return samples

    def samples(self) -> list[Sample]:
        """See `engine.Search.samples`: everything observed or recorded so far."""
        known = [(measured, self._features(measured)) for measured in self._measured.values()]
        return [
            Sample(self._workload, features, measured.seconds) for measured, features in known if features is not None
        ]

    def _features(self, measured: _Measured) -> Features | None:
        """Of a measured candidate; None where it can't be lowered (a record of a failed build), or has none."""
        if measured.features is None:
            try:
                schedule = trace_text.replay(self._space.module, trace_text.encode(measured.trace), self._target)
                measured.features = self._extracted(schedule)
            except TVM_ERRORS:
                return None
        return measured.features

    def _random(self, count: int) -> list[_Scored]:
        """What is proposed without a look at its score, as long as random trials are left."""
        drafts: dict[str, _Scored] = {}
        self._draw(drafts, min(count, self._random_left), self._space.sample)
        self._random_left -= len(drafts)
        return list(drafts.values())

    def _first(self, count: int) -> list[_Scored]:
        """What a search that knows no result begins with: its seeds as this space finishes them (weights laid out),
        then a change of one for every random schedule to come. Of random ones alone, four in a row are seldom as
        fast as a default schedule that was written with care."""
        drafts: dict[str, _Scored] = {}
        for seed in self._seeds:
            self._draw(drafts, len(drafts) + 1, partial(self._space.replay, seed))
        starters = list(drafts.values())[:count]
        changed: dict[str, _Scored] = {}
        if self._seeds and len(starters) < count:
            wanted = self._wanted(count) // 2
            self._draw(changed, wanted, lambda: self._mutate(self._seeds))
        known = {scored.identity for scored in starters}
        mutants = [scored for scored in changed.values() if scored.identity not in known]
        return starters + self._best(mutants, None)[: (count - len(starters) + 1) // 2]

    def _drafts(self, count: int, model: ScoreModel | None) -> list[_Scored]:
        """New schedules to choose from: half random, the rest mutations of measured candidates, and of the
        drafts that score best so far once there is a model to tell."""
        wanted = self._wanted(count)
        before_model = wanted if model is None else wanted * 3 // 4
        parents = self._parents()
        drafts: dict[str, _Scored] = {}
        self._draw(drafts, wanted // 2 if parents else before_model, self._space.sample)
        if parents:
            self._draw(drafts, before_model, lambda: self._mutate(parents))
        if model is not None and drafts:
            best = self._best(list(drafts.values()), model)[: self._options.parents]
            traces = [draft.schedule.trace for draft in best]
            self._draw(drafts, wanted, lambda: self._mutate(traces))
        return list(drafts.values())

    def _wanted(self, count: int) -> int:
        """Schedules to score for `count` candidates."""
        options = self._options
        each, least = (
            options.of_screened if self._space.screens else (options.drafts_per_candidate, options.least_drafts)
        )
        return max(least, count * each)

    def _restore(self, record: TaskRecord) -> None:
        try:
            schedule = trace_text.replay(self._space.module, record.trace, self._target)
        except TVM_ERRORS:
            return
        identity = schedule_identity(self._space.module, schedule.mod)
        self._seen.add(identity)
        self._measured[identity] = _Measured(schedule.trace, record.seconds, None)

    def _seed(self, text: str) -> Trace | None:
        """A trace to start from; None where it does not replay, or has no decision to change."""
        try:
            schedule = trace_text.replay(self._space.module, text, self._target)
        except TVM_ERRORS:
            return None
        # As it stands it is measured anyway, without a trial.
        self._seen.add(schedule_identity(self._space.module, schedule.mod))
        return schedule.trace if _can_change(schedule.trace) else None

    def _parents(self) -> list[Trace]:
        """The fastest measured candidates that have a decision to change."""
        fastest = sorted(
            (measured.seconds, position, measured.trace)
            for position, measured in enumerate(self._measured.values())
            if measured.seconds is not None and _can_change(measured.trace)
        )
        return [trace for _, _, trace in fastest[: self._options.parents]]

    def _mutate(self, parents: Sequence[Trace]) -> Draft | None:
        return self._space.mutate(self._rng.choice(parents))

    def _draw(self, drafts: dict[str, _Scored], wanted: int, draw: Callable[[], Draft | None]) -> None:
        """Adds new drafts until there are `wanted`, or too many draws gave one that was known (the space is
        small) or none at all (its decisions seldom fit together, as on a GPU)."""
        missing = wanted - len(drafts)
        known, none = _KNOWN_DRAWS * missing, _VOID_DRAWS * missing
        while len(drafts) < wanted and known > 0 and none > 0:
            self._breathe()
            draft = draw()
            if draft is None:
                none -= 1
                continue
            if draft.identity in self._seen or draft.identity in drafts:
                known -= 1
                continue
            scored = self._scored(draft)
            if scored is None:
                self._seen.add(draft.identity)
                none -= 1
                continue
            drafts[draft.identity] = scored

    def _scored(self, draft: Draft) -> _Scored | None:
        """None for what can't be lowered, so can't be built, and for what is no plausible candidate."""
        try:
            features = self._extracted(draft.schedule)
        except TVM_ERRORS:
            return None
        if features is not None and not self._plausible.may_be_best(features, draft.schedule.trace):
            return None
        return _Scored(draft.identity, draft.schedule, features, draft.estimate)

    def _extracted(self, schedule: Schedule) -> Features | None:
        """None for a program of another algorithm: what its loops cost is known beforehand, and lowering what is
        written out in them takes twenty times as long as it does for other schedules."""
        is_program = programs.winograd_settings(schedule.trace) is not None
        return None if is_program else self._extractor.extract(schedule)

    def _best(self, drafts: list[_Scored], model: ScoreModel | None) -> list[_Scored]:
        """Most promising first: by the features of those that have any, by estimate the others, and both in turn, each
        as often as it was drawn."""
        with_features = [(draft, draft.features) for draft in drafts if draft.features is not None]
        order = self._ranking.order(
            [features for _, features in with_features], model, [draft.estimate for draft, _ in with_features]
        )
        by_estimate = sorted(
            (draft for draft in drafts if draft.features is None), key=lambda draft: draft.estimate or 0
        )
        groups = [[with_features[index][0] for index in order], by_estimate]
        placed = [((place + 0.5) / len(group), draft) for group in groups for place, draft in enumerate(group)]
        return [draft for _, draft in sorted(placed, key=lambda each: each[0])]

    def _pick(self, drafts: list[_Scored], count: int, model: ScoreModel | None) -> list[_Scored]:
        ranked = self._best(drafts, model)
        picks: list[_Scored] = []
        while ranked and len(picks) < count:
            # The first is always the most promising: a first round may be of one candidate.
            explore = picks and self._rng.random() < self._options.explore
            picks.append(ranked.pop(self._rng.randrange(len(ranked)) if explore else 0))
        return picks

    def _enter(self, scored: _Scored) -> Proposal:
        self._seen.add(scored.identity)
        self._pending.setdefault(scored.identity, scored)
        return Proposal(scored.identity, trace_text.encode(scored.schedule.trace))


def _can_change(trace: Trace) -> bool:
    """Whether there is a decision in a trace."""
    return len(trace.decisions) > 0 or programs.winograd_settings(trace) is not None


class Autoscheduler:
    """The engines "autoscheduler" and, with the space of both tuners, "both"."""

    def __init__(self, options: SearchOptions = SearchOptions(), space: MakeSpace = sketches) -> None:
        self._options, self._space = options, space

    def open(
        self,
        workload: str,
        task_module: str,
        target: str,
        seed: int,
        records: Sequence[TaskRecord] = (),
        forbidden: Collection[str] = (),
        random_trials: int = 0,  # noqa: ARG002  AutoTVM's: half of what a round looks at is random anyway
        seeds: Sequence[str] = (),
        neighbours: Sequence[Neighbour] = (),
    ) -> TaskSearch:
        """See `engine.Engine.open`."""
        return TaskSearch(
            workload,
            task_module,
            target,
            seed,
            self._options,
            records,
            forbidden,
            seeds,
            space=self._space,
            neighbours=neighbours,
        )


def load(task_module: str, target: str) -> tuple[tvm.IRModule, Target]:
    """A task's module and target; raises `InvalidInput` for text that is none."""
    try:
        return module_text.load(task_module), Target(target)
    except TVM_ERRORS as error:
        raise InvalidInput(f"the task's module or target can't be read: {first_line(error)}") from error
