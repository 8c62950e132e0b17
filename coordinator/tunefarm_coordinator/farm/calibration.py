"""What a target's reference kernel usually takes on a device, and what it means when it takes longer.

Two questions, two time scales. Was the device slowed while one candidate was measured? Then that measurement is made
again. Has the device been slow for long (thermal, a neighbour that stays)? Then it rests.
"""

from collections import deque
from dataclasses import dataclass, field
from statistics import median

from tunefarm_coordinator.farm.messages import Calibration
from tunefarm_coordinator.farm.states import FarmPolicy

# The usual time is one that a quarter of so many samples kept to: one lucky sample does not set it.
_WINDOW = 64
# Drift is judged on the median of so many of the newest.
_NEWEST = 16
# A usual time that moved by less is not told again.
_WORTH_TELLING = 0.05


@dataclass
class ReferenceClock:
    """One device's reference times. All seconds are of one call.

    Attributes:
        key: the kernel that they are of; another one begins anew.
        usual: what it takes when nothing is in the way; None until enough is known. It only falls by itself: a device
            that got slower is slow, until `accept` says that this is how it is now.
        last: as last timed.
        slow_since: since when the newest are slower than drift allows.
        told: the usual time that was last handed on.
    """

    policy: FarmPolicy
    key: str = ""
    usual: float | None = None
    last: float | None = None
    slow_since: float | None = None
    told: float | None = None
    _samples: deque[float] = field(default_factory=lambda: deque(maxlen=_WINDOW))
    _remeasured: deque[bool] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self._remeasured = deque(maxlen=self.policy.remeasure_window)

    def note(self, key: str, calibration: Calibration, now: float) -> None:
        """The kernel `key` was timed."""
        if key != self.key:
            self.key = key
            self.accept()
            self.told = None
        self.last = calibration.seconds
        self._samples.append(calibration.seconds)
        if len(self._samples) < self.policy.reference_samples:
            return
        fast = sorted(self._samples)[len(self._samples) // 4]
        self.usual = fast if self.usual is None else min(self.usual, fast)
        newest = median(list(self._samples)[-_NEWEST:])
        if newest <= self.usual * (1 + self.policy.drift_share):
            self.slow_since = None
        elif self.slow_since is None:
            self.slow_since = now

    def accept(self) -> None:
        """What was usual is no more: learn it anew."""
        self._samples.clear()
        self.usual = self.slow_since = None

    def recover(self) -> None:
        """The device is well again: the slow times before say nothing any more."""
        self._samples.clear()
        self.slow_since = None

    def slowed(self, calibration: Calibration) -> float | None:
        """How many times its usual time the kernel took, if that is more than noise; None if it is not."""
        if self.usual is None or calibration.seconds <= self.usual * (1 + self.policy.slowed_share):
            return None
        return calibration.seconds / self.usual

    def drifted(self, now: float) -> float | None:
        """How many times its usual time the kernel takes, if it has for long; None if not."""
        if self.usual is None or self.slow_since is None or now - self.slow_since < self.policy.drift_seconds:
            return None
        return median(list(self._samples)[-_NEWEST:]) / self.usual

    def well(self, calibration: Calibration) -> bool:
        """Whether a device that had drifted is what it was."""
        return self.usual is None or calibration.seconds <= self.usual * (1 + self.policy.drift_share)

    def may_remeasure(self) -> bool:
        """Whether the device's share of measurements made again leaves room for one more."""
        return sum(self._remeasured) < self.policy.remeasure_share * self.policy.remeasure_window

    def count(self, remeasured: bool) -> None:
        """One more measurement came, to be believed or not."""
        self._remeasured.append(remeasured)

    def news(self) -> float | None:
        """The usual time, where it is not what was last told; it counts as told then."""
        if self.usual is None or (self.told and abs(self.usual / self.told - 1) <= _WORTH_TELLING):
            return None
        self.told = self.usual
        return self.usual
