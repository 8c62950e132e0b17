"""When a device that keeps losing leases rests, and when it is tried again."""

from collections import deque
from dataclasses import dataclass, field

from tunefarm_coordinator.farm.states import HEALTH_MOVES, FarmPolicy, Health, HealthMove, moved


@dataclass
class DeviceHealth:
    """`strikes`: losses in a row. `sentences`: quarantines since the device last did well. `until`: end of this one.
    `lately`: when it lost leases. `drifted`: it rests because it is slow, so that outcomes say nothing against it.
    `unsteady`: it rests though it does well between its losses, so that outcomes of what it still holds do neither."""

    policy: FarmPolicy
    state: Health = Health.GOOD
    strikes: int = 0
    sentences: int = 0
    until: float = 0.0
    reason: str = ""
    drifted: bool = False
    unsteady: bool = False
    lately: deque[float] = field(default_factory=deque)

    def lost(self, now: float, reason: str) -> None:
        """The device lost the lease that it worked on."""
        self.strikes += 1
        self.lately.append(now)
        while self.lately[0] < now - self.policy.losses_window:
            self.lately.popleft()
        in_a_row, too_many = self.strikes >= self.policy.strikes, len(self.lately) >= self.policy.losses
        if self.state is Health.GOOD and not in_a_row and not too_many:
            return
        if self.state is not Health.QUARANTINED:
            rest = self._rest(now)
            self.unsteady = too_many and not in_a_row
            counted = (
                f"{len(self.lately)} leases lost within {self.policy.losses_window / 60:.0f} min"
                if self.unsteady
                else f"{self.strikes} leases lost in a row"
            )
            self.reason = f"{counted}, the last one: {reason}; tried again in {rest:.0f} s"
            self.lately.clear()
        self.state = moved(HEALTH_MOVES, self.state, HealthMove.STRIKE_OUT)

    def failed(self, now: float, reason: str) -> None:
        """The device can't do its work, as it says itself: it rests at once."""
        if self.state is not Health.QUARANTINED:
            rest = self._rest(now)
            self.drifted = self.unsteady = False
            self.reason = f"{reason}; tried again in {rest:.0f} s"
        self.state = moved(HEALTH_MOVES, self.state, HealthMove.STRIKE_OUT)

    @property
    def hopeless(self) -> bool:
        """It failed, rested and failed again, so often that nobody should wait for it."""
        return self.state is not Health.GOOD and not self.drifted and self.sentences >= self.policy.hopeless

    def _rest(self, now: float) -> float:
        """Begins a quarantine; its seconds."""
        rest = min(self.policy.quarantine * 2.0**self.sentences, self.policy.quarantine_max)
        self.sentences += 1
        self.until = now + rest
        return rest

    def slow(self, now: float, ratio: float) -> bool:
        """The reference kernel has drifted to `ratio` times its usual time. False: after enough rests that is how the
        device is now, and no reason for another."""
        return self._drift(now, f"its reference kernel takes {ratio:.1f}x its usual time")

    def occupied(self, now: float, by: str) -> bool:
        """Others work on the device. False: see `slow`."""
        return self._drift(now, f"shared with {by}")

    def _drift(self, now: float, why: str) -> bool:
        if self.sentences >= self.policy.drift_rests:
            self.prove()
            return False
        rest = self.policy.drift_rest * 2.0**self.sentences
        self.sentences += 1
        self.drifted = True
        self.until = now + rest
        self.reason = f"{why}; timed again in {rest:.0f} s"
        self.state = moved(HEALTH_MOVES, self.state, HealthMove.STRIKE_OUT)
        return True

    def did_well(self) -> None:
        """An outcome came from the device."""
        if self.drifted or (self.unsteady and self.state is Health.QUARANTINED):
            self.strikes = 0
        else:
            self.prove()

    def prove(self) -> None:
        """The device is as it should be."""
        self.state = moved(HEALTH_MOVES, self.state, HealthMove.PROVE)
        self.strikes = self.sentences = 0
        self.reason = ""
        self.drifted = self.unsteady = False

    def pardon(self, now: float) -> None:
        """End a quarantine before its time."""
        self.until = min(self.until, now)
        self.sentences = 0
        self.release_if_due(now)

    def release_if_due(self, now: float) -> bool:
        """End a quarantine whose time is over. Returns whether it did."""
        if self.state is not Health.QUARANTINED or now < self.until:
            return False
        self.state = moved(HEALTH_MOVES, self.state, HealthMove.RELEASE)
        return True

    def room(self) -> int:
        """How many leases the device may hold at once."""
        if self.state is Health.QUARANTINED:
            return 0
        return 1 if self.state is Health.PROBATION else self.policy.leases_per_device
