"""Jobs share a device class by time: two large ones equally, and a small one is not starved."""

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.farm.farm_scenes import Scene, device, work
from tunefarm_coordinator.farm.messages import LeaseFinished, Requested
from tunefarm_coordinator.farm.states import FarmPolicy


@dataclass
class Shop:
    """Devices that always ask for work, and jobs whose items each take a fixed time; the clock is stepped by leases."""

    seconds: dict[str, float]
    devices: int = 1
    priorities: dict[str, int] = field(default_factory=dict)
    used: Counter[str] = field(default_factory=Counter)
    order: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.scene = Scene(policy=FarmPolicy(session_timeout=1e9))
        self.made: Counter[str] = Counter()
        self.done: list[tuple[float, str]] = []
        self.known = 0

    def submit(self, job: str, count: int, items: int = 1) -> None:
        for _ in range(count):
            self.made[job] += 1
            name = f"{job}/{self.made[job]}"
            priority = self.priorities.get(job, 0)
            self.scene.submit(work(name, items=items, job_id=job, priority=priority, time_limit=1e6))

    def run(self, leases: int) -> None:
        """So many leases to their end, the one that is done first at a time."""
        if not self.order:
            self.scene.attach(devices=tuple(device(f"cpu{i}") for i in range(self.devices)), slots=1)
        for _ in range(leases):
            for grant in self.scene.grants[self.known :]:
                took = self.seconds[grant.work.job_id] * len(grant.indices)
                self.done.append((self.scene.now + took, grant.device_id))
                self.order.append(grant.work.job_id)
                self.used[grant.work.job_id] += took  # type: ignore[assignment]
            self.known = len(self.scene.grants)
            if not self.done:
                return
            self.done.sort()
            at, name = self.done.pop(0)
            self.scene.now = at
            grant = next(g for g in reversed(self.scene.grants) if g.device_id == name)
            for index in grant.indices:
                self.scene.outcome_kept(grant.lease, index)
            self.scene.tell(LeaseFinished("s1", grant.lease))
            self.scene.tell(Requested("s1", name, 1))


@given(st.floats(0.05, 5.0), st.floats(0.05, 5.0), st.integers(1, 8), st.integers(1, 8), st.integers(1, 3))
def test_two_large_jobs_get_the_same_time_whatever_their_leases_last(
    a: float, b: float, a_items: int, b_items: int, devices: int
) -> None:
    shop = Shop({"a": a, "b": b}, devices)
    longest = max(a * a_items, b * b_items)
    rounds = int(40 * longest / min(a * a_items, b * b_items)) + 40
    if rounds > 400:
        return
    shop.submit("a", rounds, a_items)
    shop.submit("b", rounds, b_items)
    shop.run(rounds)
    # What is under way, what was charged before anything was known, and one lease to decide.
    assert abs(shop.used["a"] - shop.used["b"]) <= (devices + 3) * longest + 8


def test_a_small_job_that_comes_late_is_served_next() -> None:
    shop = Shop({"large": 10.0, "small": 1.0})
    shop.submit("large", 100, items=8)
    shop.run(20)
    shop.submit("small", 3)
    before = len(shop.order)
    shop.run(6)
    assert shop.order[before : before + 4].count("small") >= 3


def test_a_job_that_was_away_does_not_catch_up() -> None:
    shop = Shop({"steady": 1.0, "guest": 1.0})
    shop.submit("guest", 1)
    shop.submit("steady", 200)
    shop.run(100)
    shop.submit("guest", 50)
    before = len(shop.order)
    shop.run(20)
    assert 8 <= shop.order[before : before + 20].count("guest") <= 12


def test_priority_goes_before_every_share() -> None:
    shop = Shop({"urgent": 5.0, "patient": 0.1}, priorities={"urgent": 1})
    shop.submit("patient", 10)
    shop.submit("urgent", 10)
    shop.run(20)
    assert shop.order[:10] == ["urgent"] * 10
    assert shop.order[10:] == ["patient"] * 10
