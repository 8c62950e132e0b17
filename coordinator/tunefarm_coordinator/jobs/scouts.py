"""The first rounds of a job are its scouts: where nothing works, two of them are enough to know it. Pure.

Until anything of the job was measured, no more than two rounds may spend trials; others wait with their candidates.
If both fail, and mostly alike, the job stops.
"""

import re
from collections import Counter
from dataclasses import dataclass, field

from tunefarm_coordinator.jobs.events import Failure
from tunefarm_coordinator.jobs.round import Round

ROUNDS = 2
# Of all failures, at least so many have to be alike: a stray compile error among them changes nothing.
ALIKE_SHARE = 0.75

# What differs from candidate to candidate: paths, numbers, addresses, names of kernels; and lists of those.
_PARTICULARS = re.compile(r"(?:/[\w.+-]+)+|\b\w*\d\w*\b|\b[a-z]+(?:_\w+)+\b")
_LISTS = re.compile(r"#(?:[\s,x*-]+#)+")

_ADVICE = {
    "BUILD_ERROR": "Look at the target and at the compiler on the coordinator's side (`tunefarm doctor`)",
    "BUILD_TIMEOUT": "Look at the target and at the compiler on the coordinator's side (`tunefarm doctor`)",
    "LOAD_ERROR": "Look whether the target is the device's (`tunefarm devices` shows it)",
}
_LOOK_AT_DEVICE = "Look at the device, its driver and its agent's log (`tunefarm devices` names both)"

Gist = tuple[str, str]


def gist(failure: Failure) -> Gist:
    """What failures that are alike have in common: the kind, and the message without a candidate's particulars."""
    text = _LISTS.sub("#", _PARTICULARS.sub("#", failure.message))
    return failure.kind, " ".join(text.split())


@dataclass
class Scouts:
    """Attributes:
    released: something was measured, be it a default schedule: nothing is held back any more.
    under_way: numbers of the rounds that may spend trials meanwhile.
    failed: of each round that ended without a measurement, how often it failed in which way.
    defaults: default schedules and incumbents among those failures.
    examples: the first message of each kind of failure, as it came.
    """

    released: bool = False
    under_way: set[int] = field(default_factory=set)
    failed: list[Counter[Gist]] = field(default_factory=list)
    defaults: int = 0
    examples: dict[Gist, str] = field(default_factory=dict)

    def admit(self, round_: Round) -> bool:
        """Whether a round that has its candidates may go on to be built and measured."""
        if self.released or round_.number in self.under_way or not any(item.trial for item in round_.items):
            return True
        # After a first failure the other one decides.
        if len(self.under_way) >= (1 if len(self.failed) == 1 else ROUNDS):
            return False
        self.under_way.add(round_.number)
        return True

    def release(self) -> None:
        """Something was measured."""
        self.released = True

    def ended(self, round_: Round) -> None:
        """A round is over."""
        self.under_way.discard(round_.number)
        faults = [item for item in round_.items if item.failure is not None and item.failure.kind != "CANCELLED"]
        if self.released or not faults:
            return
        gists = [(gist(item.failure), item.failure.message) for item in faults if item.failure is not None]
        self.failed.append(Counter(each for each, _ in gists))
        self.defaults += sum(not item.trial for item in faults)
        for each, message in gists:
            self.examples.setdefault(each, message)

    def verdict(self) -> str:
        """Why the job should stop, and what to do; empty while it should go on."""
        if self.released or len(self.failed) < ROUNDS:
            return ""
        every = sum(self.failed, Counter())
        worst, count = every.most_common(1)[0]
        if count < ALIKE_SHARE * every.total() or sum(worst in each for each in self.failed) < ROUNDS:
            return ""
        kind = worst[0]
        alike = "alike" if count == every.total() else f"{count} of them alike"
        defaults = ", default schedules among them," if self.defaults else ""
        return (
            f"stopped early: all {every.total()} candidates of the first {len(self.failed)} rounds{defaults} failed, "
            f"{alike}: {kind}: {self.examples[worst]}. {_ADVICE.get(kind, _LOOK_AT_DEVICE)}"
        )
