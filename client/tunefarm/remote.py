"""A coordinator that somebody else runs."""

from __future__ import annotations

import dataclasses

from tunefarm.address import Address


@dataclasses.dataclass(frozen=True)
class Remote:
    """Knows its address; starting and stopping it is not ours, and whether it is gone only calls can tell."""

    where: Address

    def address(self) -> Address:
        return self.where

    def check(self) -> None:
        """A remote coordinator may always come back."""

    def close(self) -> None:
        """Nothing of it is ours to end."""
