"""Candidates as plain data: what search proposes and what a builder makes of it. No TVM here."""

from dataclasses import dataclass


class BuildError(Exception):
    """A candidate can't be built: its trace does not fit, compiling or linking failed."""


@dataclass(frozen=True)
class Proposal:
    """A schedule proposed and not yet measured.

    Attributes:
        identity: digest that is the same for the same schedule of the same workload, in any process.
        trace: `Trace.as_json()` as JSON text; replays the schedule on the workload's module.
    """

    identity: str
    trace: str


@dataclass(frozen=True)
class Neighbour:
    """A kernel like a task's (`models.task.TuningTask.kind`): its module, and the trace of its best schedule."""

    module: str
    trace: str


@dataclass(frozen=True)
class Argument:
    """One tensor argument of a kernel, in call order. `shape` in elements."""

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Prepack:
    """How a weight gets into the candidate's own layout: call `function` of the same artifact with
    (weight as the workload has it, weight as the candidate wants it) before the kernel is called."""

    argument: int
    function: str


@dataclass(frozen=True)
class BuiltCandidate:
    """A candidate as a linked shared library.

    Attributes:
        library: bytes of the linked `.so`; exports the kernel `main` and every prepack function.
        arguments: the kernel's own arguments (inputs, then outputs), in the candidate's layouts.
        prepacks: weights whose layout differs from the workload's.
    """

    library: bytes
    arguments: tuple[Argument, ...]
    prepacks: tuple[Prepack, ...]
