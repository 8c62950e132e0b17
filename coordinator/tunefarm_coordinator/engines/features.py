"""Features of a schedule, one row for each store of the lowered program.

Row layout: MetaSchedule's per-store features (Zheng et al., Ansor, OSDI 2020, appendix B), float32.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from tvm.s_tir import Schedule
from tvm.s_tir import meta_schedule as ms

from tunefarm_coordinator.engines import prepack
from tunefarm_coordinator.engines.tvm_errors import TVM_ERRORS

Features = NDArray[np.float32]


class FeatureExtractor:
    """Extracts features of schedules of the task that `context` was made for."""

    def __init__(self, context: ms.TuneContext) -> None:
        self._context = context
        self._extractor = ms.feature_extractor.PerStoreFeature()

    def extract(self, schedule: Schedule) -> Features:
        """Features of shape (stores, columns). Raises what TVM raises when the schedule can't be lowered
        (`TVM_ERRORS`)."""
        try:
            rows = self._rows(schedule)
        except TVM_ERRORS:
            # TVM leaves layout conversions out by itself, but knows none that fills a weight's last panel up.
            alone = prepack.kernel_alone(schedule.mod)
            if alone is None:
                raise
            rows = self._rows(Schedule(alone))
        return np.ascontiguousarray(rows[0].numpy(), dtype=np.float32)

    def _rows(self, schedule: Schedule) -> list[Any]:
        return list(self._extractor.extract_from(self._context, [ms.MeasureCandidate(schedule, [])]))
