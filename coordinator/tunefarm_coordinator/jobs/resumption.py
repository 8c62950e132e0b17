"""A job that ended, or was interrupted, goes on: what may be asked for. Pure."""

from collections.abc import Sequence
from dataclasses import replace

from tunefarm_coordinator.errors import InvalidInput, NotReady
from tunefarm_coordinator.jobs.allotment import allot
from tunefarm_coordinator.jobs.events import Resumed, TaskSpec
from tunefarm_coordinator.jobs.options import JobOptions
from tunefarm_coordinator.jobs.state import JobState

NO_TEMPLATE = "AutoTVM has no template for any kernel of this model: use --tuner autoscheduler"


def options_after(options: JobOptions, event: Resumed) -> JobOptions:
    """The job's options from then on; a total that was not given stays as it was."""
    trials = event.kernel_trials if options.tuner == "autotvm" else event.trials_per_kernel
    return replace(
        options,
        trials_per_kernel=options.trials_per_kernel if trials is None else trials,
        max_trials=options.max_trials if event.max_trials is None else event.max_trials,
    )


def check_resumed(
    event: Resumed, options: JobOptions, state: JobState, charged: int, specs: Sequence[TaskSpec]
) -> None:
    """Raises InvalidInput for totals that can't be served, NotReady where nothing would be left to spend.

    `charged` trials are spent already; `specs` is empty where the job never came to know its tasks.
    """
    _check_tuner(event, options)
    for name in ("trials_per_kernel", "kernel_trials", "max_trials"):
        if getattr(event, name) == 0:
            raise InvalidInput(f"{name} is 0: give at least 1, or leave it out")
    if not specs:
        if state is JobState.SUCCEEDED:
            raise NotReady("the job succeeded, and its model has no kernel to tune: there is nothing to go on with")
        return
    if options.tuner == "autotvm" and not any(spec.template for spec in specs):
        raise InvalidInput(NO_TEMPLATE)
    after = options_after(options, event)
    budget = allot(after, specs).budget
    if budget < charged:
        raise InvalidInput(
            f"the new total of {budget} trials is less than the {charged} that the job has spent: totals count them"
        )
    if state is JobState.SUCCEEDED and budget == charged:
        raise NotReady(f"the job succeeded and has spent its {charged} trials: {_raise_what(after, specs)}")


def _check_tuner(event: Resumed, options: JobOptions) -> None:
    if options.tuner != "autotvm" and event.kernel_trials is not None:
        tuner = "Auto-scheduler" if options.tuner == "autoscheduler" else '"both"'
        raise InvalidInput(f"kernel_trials is AutoTVM's, and this job's tuner is {tuner}: give trials_per_kernel")
    if options.tuner == "autotvm" and event.trials_per_kernel is not None:
        raise InvalidInput("trials_per_kernel is Auto-scheduler's, and this job's tuner is AutoTVM: give kernel_trials")


def _raise_what(options: JobOptions, specs: Sequence[TaskSpec]) -> str:
    """Which total stands in the way of more."""
    name = "kernel_trials" if options.tuner == "autotvm" else "trials_per_kernel"
    cap, uncapped = options.max_trials, allot(replace(options, max_trials=None), specs).budget
    wanted = []
    if cap is None or cap >= uncapped:
        wanted.append(f"{name} of more than {options.trials_per_kernel}")
    if cap is not None and cap <= uncapped:
        wanted.append(f"max_trials of more than {cap}")
    return f"give {' and '.join(wanted)}"
