"""The coordinator's configuration, parsed once at the composition root."""

from dataclasses import dataclass
from pathlib import Path

from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.fault_points import Fault

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True)
class Settings:
    """What `tunefarm serve` was told.

    Attributes:
        host, port: where gRPC listens; port 0 takes a free one.
        data: folder for models, artifacts, packages and, by default, the store.
        store: SQLAlchemy URL of the schedule store.
        ray_address: an existing Ray cluster; None: a local one of our own.
        metrics: (host, port) of the Prometheus endpoint; None: none.
        lifeline, ready: inherited file descriptors, see `tunefarm.embedded`.
        leave_interrupted: jobs that an earlier coordinator left unfinished wait until they are resumed.
        fault: where tests want this process to die; None: nowhere.
    """

    host: str
    port: int
    data: Path
    store: str
    insecure: bool = False
    ray_address: str | None = None
    metrics: tuple[str, int] | None = None
    lifeline: int | None = None
    ready: int | None = None
    searchers: int | None = None
    builders: int | None = None
    leave_interrupted: bool = False
    fault: Fault | None = None

    def check(self) -> None:
        """Raises InvalidInput for a combination that must not run."""
        if self.host not in LOOPBACK and not self.insecure:
            raise InvalidInput(
                f"--listen {self.host}:{self.port} is off loopback and would be plain text: "
                "listen on 127.0.0.1, or type --insecure on a network of your own"
            )


def parse_address(text: str, option: str) -> tuple[str, int]:
    """(host, port) of "HOST:PORT". Raises InvalidInput."""
    host, separator, port = text.rpartition(":")
    if not separator or not host or not port.isdigit() or int(port) > 65535:
        raise InvalidInput(f"{option} {text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)
