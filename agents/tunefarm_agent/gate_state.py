"""The gate, decided: who may hold a permit, when timing may begin. No I/O; the clock is an argument.

Workers of our own search and builds hold permits while they compute on cores that the agent reserves. Timing
waits until no permit is out, and grants none while it runs. Whoever waits when the gate opens gets a turn
before it closes again, so that a stream of leases can't starve the workers.
"""

from dataclasses import dataclass, field


@dataclass
class _Permit:
    cores: frozenset[int]
    expires: float


@dataclass
class Gate:
    """Workers are named by any integer that is theirs alone. `reserved`: the agent's cores."""

    reserved: frozenset[int]
    closed: bool = False
    closing: bool = False
    _permits: dict[int, _Permit] = field(default_factory=dict)
    _waiting: dict[int, tuple[frozenset[int], float]] = field(default_factory=dict)
    _promised: set[int] = field(default_factory=set)

    def acquire(self, worker: int, cores: frozenset[int], ttl: float, now: float) -> list[int]:
        """A worker asks for a permit of `ttl` seconds. Answers: who is granted one now."""
        if not cores & self.reserved:
            self._permits[worker] = _Permit(frozenset(), now + ttl)
            return [worker]
        self._waiting[worker] = (cores, ttl)
        return self._grant(now)

    def renew(self, worker: int, ttl: float, now: float) -> None:
        """Nothing happens for a permit that is not there."""
        if worker in self._permits:
            self._permits[worker].expires = now + ttl

    def release(self, worker: int, now: float) -> list[int]:
        """A permit comes back, or a worker stops waiting. Answers: who is granted one now."""
        self._permits.pop(worker, None)
        self._waiting.pop(worker, None)
        self._promised.discard(worker)
        return self._grant(now)

    def expired(self, now: float) -> list[int]:
        """Workers whose permit ran out: each is to be killed, then released."""
        return [worker for worker, permit in self._permits.items() if permit.expires <= now]

    def next_expiry(self) -> float | None:
        return min((permit.expires for permit in self._permits.values()), default=None)

    def holders(self) -> list[int]:
        """Workers that timing waits for."""
        return [worker for worker, permit in self._permits.items() if permit.cores]

    def close(self) -> None:
        """Timing wants to begin: from now on only who was promised a turn is granted a permit."""
        self.closing = True

    def may_time(self) -> bool:
        """True once the gate, asked to close, is closed: no turn is owed and no permit is out."""
        if self.closing and not self._promised and not self._overlapping():
            self.closing, self.closed = False, True
        return self.closed

    def open(self, now: float) -> list[int]:
        """Timing is over, or no longer wanted. Answers: who is granted a permit now."""
        self.closing = self.closed = False
        self._promised = set(self._waiting)
        return self._grant(now)

    def _overlapping(self) -> int:
        return len(self.holders())

    def _grant(self, now: float) -> list[int]:
        granted = []
        for worker, (cores, ttl) in list(self._waiting.items()):
            turn = worker in self._promised if self.closing else not self.closed
            if turn and self._overlapping() < len(cores & self.reserved):
                del self._waiting[worker]
                self._promised.discard(worker)
                self._permits[worker] = _Permit(cores, now + ttl)
                granted.append(worker)
        return granted
