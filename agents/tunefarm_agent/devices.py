"""The devices that an agent owns, each with the place where its candidates run."""

import contextlib
import json
import os
import platform
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from tunefarm_agent import detection, nvidia
from tunefarm_agent.boards import Board, board_facts, device_kind
from tunefarm_agent.commands import Place
from tunefarm_agent.confinement import descendants
from tunefarm_agent.errors import InvalidInput
from tunefarm_agent.gpu_watch import GpuWatch
from tunefarm_agent.settings import Settings
from tunefarm_proto.v1 import common_pb2

_CPU = "cpu0"
# What a board is taken to have: nobody can ask it.
_BOARD_MEMORY = 1 << 30
_EXAMPLE = '{"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a72", "num-cores": 4}'


@dataclass(frozen=True)
class OwnDevice:
    """A device as the coordinator is told of it, and how to work with it.

    Attributes:
        cores: of this host, that its sessions run on; never empty.
        memory: bytes that a session may take; 0: no limit.
        gated: what is timed on it shares cores of this host with others.
        temperature: reads it, in degrees Celsius; None where nobody tells.
        watch: on a GPU, and on those who share it; None for other devices.
    """

    described: common_pb2.Device
    place: Place
    cores: tuple[int, ...]
    memory: int
    gated: bool
    temperature: Callable[[], float | None]
    watch: GpuWatch | None = None

    @property
    def device_id(self) -> str:
        return self.described.device_id

    def at_work(self) -> contextlib.AbstractContextManager[None]:
        """While a lease is worked on."""
        return contextlib.nullcontext() if self.watch is None else self.watch.at_work()


def own_devices(settings: Settings) -> tuple[OwnDevice, ...]:
    """What there is and was asked for: the CPU, GPUs, boards. Raises InvalidInput."""
    gpus = nvidia.gpus()
    found = {_CPU, *map(_gpu_id, gpus), *(board.key for board in settings.boards)}
    _check_names(settings, found)
    wanted = set(settings.devices) or found
    if settings.cores and _CPU not in wanted:
        raise InvalidInput(f"--cores are {_CPU}'s, which --device leaves out")
    cores = _Cores(settings, gpus_too=any(_gpu_id(gpu) in wanted for gpu in gpus), cpu=_CPU in wanted)
    owned = []
    if _CPU in wanted:
        owned.append(_cpu(settings, cores))
    owned += [_gpu(settings, gpu, cores) for gpu in gpus if _gpu_id(gpu) in wanted]
    owned += [_board(settings, board, cores) for board in settings.boards if board.key in wanted]
    return tuple(owned)


class _Cores:
    """Who runs on which cores of this host: the CPU's candidates on those that are reserved, all else on the others."""

    def __init__(self, settings: Settings, gpus_too: bool, cpu: bool) -> None:
        usable = tuple(sorted(os.sched_getaffinity(0)))
        # A GPU's kernels are launched by somebody: one core is left for that, where there are several.
        proposed = usable[:-1] if gpus_too and len(usable) > 1 else usable
        self.reserved = settings.cores or proposed if cpu else ()
        self.others = tuple(core for core in usable if core not in self.reserved) or usable


def _cpu(settings: Settings, cores: _Cores) -> OwnDevice:
    described = detection.cpu_device(
        cores.reserved, settings.targets.get(_CPU, ""), settings.names.get(_CPU, ""), _labels(settings, _CPU)
    )
    return OwnDevice(described, Place(), cores.reserved, settings.memory, True, detection.cpu_temperature)


def _gpu(settings: Settings, gpu: nvidia.Gpu, cores: _Cores) -> OwnDevice:
    device_id, facts = _gpu_id(gpu), gpu.facts()
    host = detection.proposed_target(platform.machine(), detection.this_cpu(), len(cores.others))
    described = common_pb2.Device(
        device_id=device_id,
        name=settings.names.get(device_id) or gpu.name,
        fingerprint=detection.fingerprint(facts),
        facts=facts,
        target=settings.targets.get(device_id) or json.dumps(gpu.target(host)),
        labels=_labels(settings, device_id),
    )
    # Address space says nothing about memory there: CUDA maps all of the GPU's and the host's.
    shared = bool(set(cores.others) & set(cores.reserved))
    place, watch = Place("cuda", gpu=gpu.uuid), GpuWatch(gpu, own=lambda: descendants(os.getpid()))
    return OwnDevice(described, place, cores.others, 0, shared, lambda: nvidia.temperature(gpu), watch)


def _board(settings: Settings, board: Board, cores: _Cores) -> OwnDevice:
    target = settings.targets.get(board.key)
    if target is None:
        raise InvalidInput(
            f"nobody can ask a plain TVM RPC server what it runs on: say it with --target {board.key}=JSON, such as "
            f"--target {board.key}={_EXAMPLE!r}"
        )
    facts = board_facts(board, target, detection.machine_id())
    described = common_pb2.Device(
        device_id=board.key,
        name=settings.names.get(board.key) or board.key,
        fingerprint=detection.fingerprint(facts),
        facts=facts,
        target=target,
        labels=_labels(settings, board.key),
    )
    place = Place(device_kind(target), address=board.address, key=board.key, tracker=board.tracker)
    return OwnDevice(described, place, cores.others, _BOARD_MEMORY, False, lambda: None)


def _gpu_id(gpu: nvidia.Gpu) -> str:
    return f"cuda{gpu.index}"


def _labels(settings: Settings, device_id: str) -> dict[str, str]:
    return {**settings.labels, **settings.device_labels.get(device_id, {})}


def _check_names(settings: Settings, found: set[str]) -> None:
    for board in settings.boards:
        if board.key == _CPU or board.key.startswith("cuda"):
            raise InvalidInput(f"--rpc: {board.key} is the name of a device of this host itself: choose another key")
    for option, names in _named(settings):
        unknown = sorted(set(names) - found)
        if unknown:
            raise InvalidInput(
                f"{option}: there is no device {', '.join(unknown)} here, only {', '.join(sorted(found))}"
            )


def _named(settings: Settings) -> Iterator[tuple[str, Iterable[str]]]:
    yield "--device", settings.devices
    yield "--target", settings.targets
    yield "--label", settings.device_labels
    yield "--device-name", settings.names
