"""The coordinator's configuration, parsed once at the composition root."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

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
        insecure: plain text is allowed off loopback.
        tls: TLS on loopback too.
        agents: (host, port) where agents attach over TLS; None: the same host, the next port.
        ray_address: an existing Ray cluster; None: a local one of our own.
        metrics: (host, port) of the Prometheus endpoint; None: none.
        lifeline, ready: inherited file descriptors, see `tunefarm.embedded`.
        cuda_compiler: what CUDA is compiled with, see `engines.cuda.options`.
        leave_interrupted: jobs that an earlier coordinator left unfinished wait until they are resumed.
        fault: where tests want this process to die; None: nowhere.
    """

    host: str
    port: int
    data: Path
    store: str
    insecure: bool = False
    tls: bool = False
    agents: tuple[str, int] | None = None
    ray_address: str | None = None
    metrics: tuple[str, int] | None = None
    lifeline: int | None = None
    ready: int | None = None
    searchers: int | None = None
    builders: int | None = None
    cuda_compiler: Literal["auto", "nvrtc", "nvcc"] = "auto"
    leave_interrupted: bool = False
    fault: Fault | None = None

    def check(self) -> None:
        """Raises InvalidInput for a combination that must not run."""
        if self.insecure and self.tls:
            raise InvalidInput("--tls and --insecure are opposites: leave one of them out")
        if self.agents is not None and not self.secure:
            raise InvalidInput("--agents names the port for agents over TLS: add --tls, or attach them to --listen")

    @property
    def secure(self) -> bool:
        """Whether peers speak TLS: always off loopback, unless plain text was asked for."""
        return self.tls or (self.host not in LOOPBACK and not self.insecure)

    @property
    def agent_address(self) -> tuple[str, int]:
        """Where agents attach over TLS: a port of its own, as theirs asks for a certificate and the users' does not."""
        return self.agents or (self.host, self.port + 1 if self.port else 0)


def parse_address(text: str, option: str) -> tuple[str, int]:
    """(host, port) of "HOST:PORT". Raises InvalidInput."""
    host, separator, port = text.rpartition(":")
    if not separator or not host or not port.isdigit() or int(port) > 65535:
        raise InvalidInput(f"{option} {text!r} is not HOST:PORT")
    return host.strip("[]"), int(port)


def tell(ready: int | None, message: dict[str, object]) -> None:
    """One line of JSON to whoever started us."""
    if ready is not None:
        os.write(ready, json.dumps(message).encode() + b"\n")
        os.close(ready)
