"""The templates there are, found by operator and target kind. A file under `templates/` enters itself."""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache

from tvm.s_tir import Schedule
from tvm.target import Target

from tunefarm_coordinator.engines.autotvm import templates
from tunefarm_coordinator.engines.autotvm.knobs import Knobs
from tunefarm_coordinator.engines.autotvm.operators import Kernel
from tunefarm_coordinator.engines.register_tiles import Vectors


@dataclass
class Job:
    """What a template works on: the schedule it changes, the kernel, its knobs, the target, and a CPU's vectors.

    Attributes:
        memory: what templates found out of the kernel, kept from one schedule of it to the next.
        estimate: seconds that the schedule is estimated to take, where the template has an idea of it.
        laid_out: the template has laid the weights out itself.
    """

    schedule: Schedule
    kernel: Kernel
    knobs: Knobs
    target: Target
    vectors: Vectors
    memory: dict[str, object] = field(default_factory=dict)
    estimate: float | None = None
    laid_out: bool = False


Template = Callable[[Job], None]

_TEMPLATES: dict[tuple[str, str], Template] = {}


def template(kinds: tuple[str, ...], *operators: str) -> Callable[[Template], Template]:
    """Enters a function as the template of `operators` on target `kinds` ("x86", "arm_cpu", "cuda")."""

    def enter(function: Template) -> Template:
        for kind in kinds:
            for operator in operators:
                _TEMPLATES[operator, kind] = function
        return function

    return enter


def find(operator: str, kind: str | None) -> Template | None:
    """The template of an operator on a target kind; None where there is none."""
    _load()
    return None if kind is None else _TEMPLATES.get((operator, kind))


@cache
def _load() -> None:
    for module in pkgutil.iter_modules(templates.__path__):
        importlib.import_module(f"{templates.__name__}.{module.name}")
