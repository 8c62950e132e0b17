"""Ray itself: starting a private one or joining a cluster, making actors, and noticing that the head is gone."""

import contextlib
import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import ray
from ray._private.node import Node
from ray.actor import ActorHandle
from ray.exceptions import RayError

from tunefarm_coordinator.compute.settings import ComputeSettings
from tunefarm_coordinator.compute.sizing import PoolSizes, pool_sizes

# Ray asks for the head itself only once a minute or so; asking for its port is cheap.
START_ERRORS = (OSError, RuntimeError, ValueError, RayError)
PROBE_SECONDS = 1.0
PROBES_LOST = 3
# Sockets' paths hold 107 bytes; Ray puts some 75 of them below its folder.
_LONGEST_RAY_FOLDER = 32
_SHORT_RAY_FOLDER = "/tmp/ray"
# Of Ray's node: the dashboard's server, the autoscaler, and what sends workers' output to the driver.
_HELPERS = ("start_api_server", "start_monitor", "start_log_monitor")


@dataclass(frozen=True)
class Cluster:
    """A Ray that runs.

    Attributes:
        head: host and port of its control store.
        private: ours alone, on this machine.
        cpus_each: what Ray books for a worker, so that all of them fit.
    """

    head: tuple[str, int]
    private: bool
    sizes: PoolSizes
    cpus_each: float
    detail: str


def start(settings: ComputeSettings, folder: Path) -> Cluster:
    """Starts a private Ray, or joins the cluster that is named. Raises one of START_ERRORS."""
    if settings.ray_address is None:
        return _start_private(settings, folder)
    context = ray.init(address=settings.ray_address, namespace="tunefarm", log_to_driver=False, logging_level="ERROR")
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cores = settings.cores or int(sum(node.get("CPU", 0) for node in nodes))
    memory = int(sum(node.get("memory", 0) for node in nodes))
    sizes = pool_sizes(cores, memory, settings.searchers, settings.builders)
    return _cluster(context, private=False, sizes=sizes, cores=cores)


def leave() -> None:
    """Leaves the cluster; workers end."""
    ray.shutdown()


def _start_private(settings: ComputeSettings, folder: Path) -> Cluster:
    cores = settings.cores or len(os.sched_getaffinity(0))
    sizes = pool_sizes(cores, psutil.virtual_memory().available, settings.searchers, settings.builders)
    with _without_helpers():
        context = ray.init(
            address="local",
            # One for each process: our own sizes decide, not Ray's scheduler.
            num_cpus=sizes.processes,
            object_store_memory=settings.object_store_bytes,
            include_dashboard=False,
            log_to_driver=False,
            logging_level="ERROR",
            namespace="tunefarm",
            _temp_dir=str(folder) if len(str(folder)) <= _LONGEST_RAY_FOLDER else _SHORT_RAY_FOLDER,
        )
    return _cluster(context, private=True, sizes=sizes, cores=cores)


@contextlib.contextmanager
def _without_helpers() -> Iterator[None]:
    """Ray starts without the processes that nobody asks anything here: there is no option for them, and it waits for
    the first. They take more of the cores' time than all the rest of Ray."""
    kept = {name: getattr(Node, name) for name in _HELPERS}
    for name in _HELPERS:
        setattr(Node, name, lambda *_, **__: None)
    try:
        yield
    finally:
        for name, start in kept.items():
            setattr(Node, name, start)


def _cluster(context: Any, *, private: bool, sizes: PoolSizes, cores: int) -> Cluster:
    host, _, port = context.address_info["gcs_address"].rpartition(":")
    where = "a private Ray" if private else f"Ray at {host}:{port}"
    detail = f"{where}, {cores} cores: {sizes.searchers} searchers, {sizes.builders} builders"
    cpus_each = 1.0 if private else min(1.0, cores * 1000 // sizes.processes / 1000)
    return Cluster((host.strip("[]"), int(port)), private, sizes, cpus_each, detail)


def make_actor(cluster: Cluster, kind: type, *arguments: object) -> ActorHandle:
    """A new process with an instance of `kind`; on a cluster, where there is room. Never restarted by Ray."""
    options = {"num_cpus": cluster.cpus_each, "max_restarts": 0, "max_task_retries": 0, "scheduling_strategy": "SPREAD"}
    return ray.remote(**options)(kind).remote(*arguments)


def watch(cluster: Cluster, on_loss: Callable[[str], None]) -> None:
    """Calls `on_loss` with the reason, from a thread, when Ray can't go on: its head is gone, or our node's part."""
    wait = _first_exit if cluster.private else _first_silence
    threading.Thread(target=lambda: on_loss(wait(cluster)), name="watch Ray", daemon=True).start()


def _first_exit(_: Cluster) -> str:
    """Waits for the end of one of Ray's own processes without which nothing works; all are our children."""
    poll, names = select.poll(), {}
    for child in psutil.Process().children():
        if child.name() in ("gcs_server", "raylet"):
            descriptor = os.pidfd_open(child.pid)
            poll.register(descriptor, select.POLLIN)
            names[descriptor] = child.name()
    ended = poll.poll()[0][0]
    return f"Ray's {names[ended]} ended"


def _first_silence(cluster: Cluster) -> str:
    lost = 0
    while lost < PROBES_LOST:
        time.sleep(PROBE_SECONDS)
        lost = 0 if _answers(cluster.head) else lost + 1
    return f"Ray's head at {cluster.head[0]}:{cluster.head[1]} does not answer any more"


def _answers(head: tuple[str, int]) -> bool:
    try:
        with contextlib.closing(socket.create_connection(head, timeout=PROBE_SECONDS)):
            return True
    except OSError:
        return False


def first_line(error: BaseException) -> str:
    """The first line of an error's message that says something, at most 300 characters."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[0] if lines else type(error).__name__)[:300]
