"""All cases in one table: importing a group enters its cases."""

from tests.cases import (  # noqa: F401
    arrays,
    convolutions,
    detectors,
    pooling,
    products,
    quantised,
    recurrent,
    resizing,
    softmaxes,
    structure,
    transformers,
    types,
)
from tests.cases.files import FILES
from tests.cases.parts import CASES

__all__ = ["CASES", "FILES"]
