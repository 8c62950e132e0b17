"""What a user says about the values of a model's inputs. Plain data: no NumPy, no ONNX."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class InputValues:
    """How input sets are made where they are not simply seeded.

    Attributes:
        samples: an .npz file (`samples.read_samples`); its sets are taken as they are.
        ranges: by input, values from the first number up to the second, which is left out.
    """

    samples: Path | None = None
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)


SEEDED = InputValues()
