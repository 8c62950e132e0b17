"""One candidate on one session: load, check its outputs, time it."""

import functools
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tunefarm_agent.arrays import Array, Arrays
from tunefarm_agent.commands import LOAD_ERROR, WRONG_OUTPUT, Evaluation, Expected, Kernel
from tunefarm_agent.matching import matches
from tunefarm_agent.rpc_session import TVM_ERRORS, Session, describe
from tunefarm_proto.arrays import Archive

ENTRY = "main"
# Clears the caches before each sample, but for the first argument's lines.
_FLUSH = "cache_flush_cpu_non_first_arg"
# The shortest time that a call is taken to last, so that a clock that did not move gives no endless sample.
_SHORTEST_CALL = 1e-7
# Samples of a first look: the faster of two, so that one hiccup lets nothing go.
_LOOKS = 2
# So many samples are enough of a kernel all of which are slower than this share of what it would be let go for. Of 582
# candidates on a busy machine 183 were that slow, half as slow again as the best, and by ten samples none came near it.
_FEW, _SLOW = 4, 0.5


class CandidateFailed(Exception):
    """The candidate's own fault, with the failure's kind."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class DataUnreadable(Exception):
    """What the farm sent along can't be read; no candidate is to blame."""


@dataclass(frozen=True)
class Measurement:
    """`seconds`: one call, one value a sample; `number`: calls in a sample (0 where nothing was timed). `let_go`: after
    the first samples, which were slow enough."""

    seconds: tuple[float, ...]
    number: int
    max_rel_error: float | None
    let_go: bool = False


class Bench:
    """A session with the kernels that were loaded into it and the arrays they run on."""

    def __init__(self, session: Session, memory: int) -> None:
        self.session = session
        self._arrays = Arrays(session.device, memory, session.staging)
        self._modules: dict[str, Any] = {}
        self._checked: dict[str, list[Any]] = {}

    def measure(self, kernel: Kernel, expected: tuple[Expected, ...], evaluation: Evaluation | None) -> Measurement:
        """Check on every expected set, then time if there is an evaluation.

        Raises CandidateFailed; what TVM raises goes through, for the caller to tell a crash from an error.
        """
        self._arrays.make_room()
        self.session.used = True
        module = self._load(kernel)
        worst = max((self._check(module, kernel, each) for each in expected), default=None)
        if evaluation is None:
            return Measurement((), 0, worst)
        arguments = self._checked.get(kernel.library) or self._unchecked(kernel)
        if evaluation.give_up:
            return replace(self._gradually(module, arguments, evaluation), max_rel_error=worst)
        seconds, number = self._time(module, arguments, evaluation)
        return Measurement(seconds, number, worst)

    def _gradually(self, module: Any, arguments: list[Any], evaluation: Evaluation) -> Measurement:
        """No more samples than it takes to see that the kernel is slow."""
        look, calls = self._time(module, arguments, replace(evaluation, repeat=_LOOKS))
        if min(look) > evaluation.give_up:
            return Measurement(look, calls, None, let_go=True)
        if not evaluation.flush_cache or evaluation.repeat <= _FEW:
            return Measurement(*self._time(module, arguments, evaluation), None)
        few = look + self._time(module, arguments, replace(evaluation, repeat=_FEW - _LOOKS))[0]
        if min(few) > _SLOW * evaluation.give_up:
            return Measurement(few, calls, None)
        rest, _ = self._time(module, arguments, replace(evaluation, repeat=evaluation.repeat - _FEW))
        return Measurement(few + rest, calls, None)

    def time_reference(self, kernel: Kernel, evaluation: Evaluation) -> tuple[float, ...]:
        """Samples of a kernel of ours, in seconds a call. Raises as `measure` does."""
        return self._time(self._load(kernel), self._unchecked(kernel), evaluation)[0]

    def forget(self, kernel: Kernel) -> None:
        """Let go of a kernel that won't be asked for again."""
        self._modules.pop(kernel.library, None)
        self._checked.pop(kernel.library, None)

    def _load(self, kernel: Kernel) -> Any:
        if kernel.library not in self._modules:
            try:
                module = self.session.upload(kernel.library)
                for name in (ENTRY, *(p.function for p in kernel.prepacks)):
                    module.get_function(name)
            except TVM_ERRORS as error:
                if self.session.death_behind(error) is not None:
                    raise
                raise CandidateFailed(LOAD_ERROR, f"can't load: {describe(error)}") from error
            self._modules[kernel.library] = module
        return self._modules[kernel.library]

    def _check(self, module: Any, kernel: Kernel, expected: Expected) -> float:
        """The greatest relative error of the kernel's outputs on one input set."""
        data = _load_arrays(expected.path)
        outputs = [data[f"out{i}"] for i in range(sum(name.startswith("out") for name in data))]
        first = len(kernel.arguments) - len(outputs)
        arguments = self._inputs(module, kernel, data, expected.path, first)
        for i, values in enumerate(outputs):
            arguments.append(self._arrays.spoil(first + i, kernel.arguments[first + i], values))
        module[ENTRY](*arguments)
        worst = 0.0
        for i, values in enumerate(outputs):
            good, error = matches(self._arrays.read(arguments[first + i]), values, expected.rtol, expected.atol)
            if not good:
                raise CandidateFailed(WRONG_OUTPUT, f"output {i} is wrong: greatest relative error {error:.3g}")
            worst = max(worst, error)
        self._checked[kernel.library] = arguments
        return worst

    def _inputs(self, module: Any, kernel: Kernel, data: Mapping[str, Array], source: str, count: int) -> list[Any]:
        packed = {p.argument: p.function for p in kernel.prepacks}
        arguments = []
        for position in range(count):
            name, wanted = f"arg{position}", kernel.arguments[position]
            given = data[name]
            tensor = self._arrays.holding(source, name, given)
            if position in packed:
                weight, tensor = tensor, self._arrays.blank(position, wanted)
                module[packed[position]](weight, tensor)
            elif (given.shape, str(given.dtype)) != (wanted.shape, wanted.dtype):
                raise CandidateFailed(
                    LOAD_ERROR,
                    f"argument {position} is {wanted.dtype}{list(wanted.shape)}, "
                    f"the expected input {given.dtype}{list(given.shape)}",
                )
            arguments.append(tensor)
        return arguments

    def _unchecked(self, kernel: Kernel) -> list[Any]:
        return [self._arrays.scratch(i, argument) for i, argument in enumerate(kernel.arguments)]

    def _time(self, module: Any, arguments: list[Any], evaluation: Evaluation) -> tuple[tuple[float, ...], int]:
        """Samples in seconds a call, and the calls in each.

        The first sample finds out how many calls fill `min_repeat_ms`; it counts if it was long enough itself.
        TVM calls the kernel once before each evaluation's samples, so every page is touched.
        """

        def samples(number: int, repeat: int) -> tuple[float, ...]:
            evaluator = module.time_evaluator(
                ENTRY,
                self.session.device,
                number=number,
                repeat=repeat,
                f_preproc=_FLUSH if evaluation.flush_cache else "",
            )
            return tuple(evaluator(*arguments).results)

        if evaluation.flush_cache:
            return samples(1, evaluation.repeat), 1
        number = max(1, evaluation.number)
        if not evaluation.min_repeat_ms:
            return samples(number, evaluation.repeat), number
        first = samples(number, 1)
        seconds = evaluation.min_repeat_ms / 1000
        if first[0] * number >= seconds:
            rest = samples(number, evaluation.repeat - 1) if evaluation.repeat > 1 else ()
            return first + rest, number
        number = max(number, math.ceil(seconds / max(first[0], _SHORTEST_CALL)))
        return samples(number, max(1, evaluation.repeat)), number


@functools.lru_cache(maxsize=8)
def _load_arrays(path: str) -> Mapping[str, Array]:
    """All arrays of an .npz. Raises DataUnreadable."""
    try:
        with np.load(Path(path), allow_pickle=False) as data:
            return dict(Archive(data))
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise DataUnreadable(f"can't read the expected outputs in {path}: {error}") from error
