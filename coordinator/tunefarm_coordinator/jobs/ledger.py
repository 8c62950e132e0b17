"""The trial ledger: to the trial, whatever happens."""

from dataclasses import dataclass


@dataclass
class Ledger:
    """Trials of one job. A trial is reserved when it is asked for and then charged or refunded, once.

    Invariant: charged + reserved <= budget.
    """

    budget: int
    charged: int = 0
    reserved: int = 0
    refunded: int = 0

    @property
    def free(self) -> int:
        """Trials that may still be reserved."""
        return self.budget - self.charged - self.reserved

    def reserve(self, count: int) -> None:
        if not 0 <= count <= self.free:
            raise ValueError(f"can't reserve {count} trials: {self.free} are free")
        self.reserved += count

    def charge(self, count: int = 1) -> None:
        self._settle(count)
        self.charged += count

    def refund(self, count: int = 1) -> None:
        self._settle(count)
        self.refunded += count

    def extend(self, budget: int) -> None:
        """A new total for a job that goes on; what was charged stays charged."""
        if budget < self.charged + self.reserved:
            raise ValueError(f"{self.charged + self.reserved} trials are spent or reserved: more than {budget}")
        self.budget = budget

    def _settle(self, count: int) -> None:
        if not 0 <= count <= self.reserved:
            raise ValueError(f"can't settle {count} trials: {self.reserved} are reserved")
        self.reserved -= count
