"""What a model is compared with where a user does without ONNX Runtime: ONNX's reference evaluator, or nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator

from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.models.foreign import FOREIGN_FAILURES
from tunefarm_coordinator.models.reference import answers
from tunefarm_coordinator.models.samples import InputSet


@dataclass(frozen=True)
class BestAnswers:
    """`outputs`: of each input set, in the model's order; none at all where nobody could run the model. `note`: whose
    they are, if they are not ONNX Runtime's."""

    outputs: tuple[list[NDArray[Any]], ...]
    note: str = ""


def best_answers(
    path: Path, shapes: dict[str, tuple[int, ...]], sets: Sequence[InputSet], *, dispensable: bool
) -> BestAnswers:
    """ONNX Runtime's answers; where it refuses the model and is `dispensable`, the best that there is instead.

    Raises:
        InvalidInput: as `reference.answers`; not for `dispensable`.
    """
    try:
        return BestAnswers(tuple(answers(path, shapes, sets)))
    except InvalidInput as error:
        if not dispensable:
            raise
        try:
            outputs = tuple(_evaluated(path, inputs) for inputs in sets)
        except FOREIGN_FAILURES:
            return BestAnswers((), f"outputs are compared with nothing: {error}")
        return BestAnswers(outputs, f"outputs are compared with those of ONNX's reference evaluator: {error}")


def _evaluated(path: Path, inputs: InputSet) -> list[NDArray[Any]]:
    with np.errstate(all="ignore"):
        return [np.asarray(value) for value in ReferenceEvaluator(str(path)).run(None, dict(inputs))]
