"""When a device that keeps losing leases rests, and when it is tried again."""

from dataclasses import dataclass

from tunefarm_coordinator.farm.states import HEALTH_MOVES, FarmPolicy, Health, HealthMove, moved


@dataclass
class DeviceHealth:
    """`strikes`: losses in a row. `sentences`: quarantines since the device last did well. `until`: end of this one."""

    policy: FarmPolicy
    state: Health = Health.GOOD
    strikes: int = 0
    sentences: int = 0
    until: float = 0.0
    reason: str = ""

    def lost(self, now: float, reason: str) -> None:
        """The device lost the lease that it worked on."""
        self.strikes += 1
        if self.state is Health.GOOD and self.strikes < self.policy.strikes:
            return
        if self.state is not Health.QUARANTINED:
            rest = min(self.policy.quarantine * 2.0**self.sentences, self.policy.quarantine_max)
            self.sentences += 1
            self.until = now + rest
            self.reason = f"{self.strikes} leases lost in a row, the last one: {reason}; tried again in {rest:.0f} s"
        self.state = moved(HEALTH_MOVES, self.state, HealthMove.STRIKE_OUT)

    def did_well(self) -> None:
        """An outcome came from the device."""
        self.state = moved(HEALTH_MOVES, self.state, HealthMove.PROVE)
        self.strikes = self.sentences = 0
        self.reason = ""

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
