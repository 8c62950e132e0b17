"""The far side of a session: a forked child that serves TVM RPC to exactly one client, on loopback."""

import ctypes
import hmac
import os
import signal
import socket
import struct
import sys
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

import tvm
import tvm_ffi
from tvm.rpc import _ffi_api
from tvm.rpc.base import RPC_CODE_MISMATCH, RPC_CODE_SUCCESS, RPC_MAGIC

from tunefarm_agent import kernel_clock, model_clock, staging
from tunefarm_agent.commands import Confinement
from tunefarm_agent.confinement import be_first_out_of_memory, become, die_with_parent, limit_resources

LOG_NAME = "session.log"
# The client connects at once; whoever does not say the key in time is not the client.
_HANDSHAKE_SECONDS = 5.0
_LONGEST_KEY = 256
# What TVM's wheel is built against.
_CUDA_RUNTIME = "libcudart.so.13"
_TVM_LIBRARIES = Path(tvm.__file__).parent / "lib"
# Kernels that TVM has in C++ (sorting, TopK): a runtime-only TVM leaves them to its host program to load. A TVM that
# somebody built for a board may lack the file.
_OPERATORS = "libtvm_runtime_extra.so"
_TO_DEFAULT = (
    signal.SIGINT,
    signal.SIGTERM,
    signal.SIGPIPE,
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGABRT,
    signal.SIGFPE,
    signal.SIGILL,
)


def serve(listener: socket.socket, key: str, confinement: Confinement, parent: int) -> NoReturn:
    """Confine this process, take one client that knows the key, serve it to its end, exit.

    Never returns: the caller is a fork, whose stack is another program's.
    """
    status = 1
    try:
        _confine(listener, confinement, parent)
        connection = _accept(listener, key)
        listener.close()
        _register(tvm.runtime.device(confinement.place.kind, 0))
        _ffi_api.ServerLoop(connection.fileno())
        status = 0
    except BaseException as error:
        # Whatever it is must not unwind into the measurer's code, of which this process is a copy.
        print(f"session: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        raise
    finally:
        os._exit(status)


def _confine(listener: socket.socket, confinement: Confinement, parent: int) -> None:
    os.setsid()
    # TVM's handler prints frames, for which it allocates: after a crash inside malloc it would wait for ever.
    for number in _TO_DEFAULT:
        signal.signal(number, signal.SIG_DFL)
    _redirect(Path(confinement.scratch))
    os.closerange(3, listener.fileno())
    os.closerange(listener.fileno() + 1, os.sysconf("SC_OPEN_MAX"))
    os.chdir(confinement.scratch)
    be_first_out_of_memory()
    os.sched_setaffinity(0, confinement.cores)
    os.environ.update(thread_settings(confinement.cores))
    if confinement.place.gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = confinement.place.gpu
    limit_resources(confinement.memory, confinement.cpu_seconds)
    # Before it is another user's process, which may not be let into the agent's Python environment.
    if (_TVM_LIBRARIES / _OPERATORS).exists():
        ctypes.CDLL(str(_TVM_LIBRARIES / _OPERATORS), ctypes.RTLD_GLOBAL)
    if confinement.place.kind == "cuda":
        _load_cuda()
    become(confinement.uid)
    # Last: the kernel forgets it when a process becomes another user (prctl(2)).
    die_with_parent(parent)


def thread_settings(cores: tuple[int, ...]) -> dict[str, str]:
    """TVM's thread pool: one thread for each core; pinned only where that can't leave the reserved cores.

    TVM pins its threads to the host's first cores, whatever this process's affinity is, so pinning is left
    on only if all of the host's cores are reserved.
    """
    whole_host = len(cores) == os.cpu_count()
    return {"TVM_NUM_THREADS": str(len(cores)), "TVM_BIND_THREADS": "1" if whole_host else "0"}


def _redirect(scratch: Path) -> None:
    """Standard streams are the measurer's command channel: a candidate gets a log file in their place."""
    nothing = os.open(os.devnull, os.O_RDONLY)
    log = os.open(scratch / LOG_NAME, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(nothing, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)


def _accept(listener: socket.socket, key: str) -> socket.socket:
    """The first connection that says the key (TVM's RPC handshake); others are turned away."""
    listener.settimeout(_HANDSHAKE_SECONDS)
    while True:
        connection, _ = listener.accept()
        connection.settimeout(_HANDSHAKE_SECONDS)
        try:
            if _handshake(connection, key):
                connection.settimeout(None)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return connection
        except (OSError, ValueError):
            pass
        connection.close()


def _handshake(connection: socket.socket, key: str) -> bool:
    magic, length = struct.unpack("<ii", _receive(connection, 8))
    if magic != RPC_MAGIC or not 0 < length <= _LONGEST_KEY:
        return False
    said = _receive(connection, length).split(b" ")[0]
    if not hmac.compare_digest(said, f"client:{key}".encode()):
        connection.sendall(struct.pack("<i", RPC_CODE_MISMATCH))
        return False
    answer = f"server:{key}".encode()
    connection.sendall(struct.pack("<ii", RPC_CODE_SUCCESS, len(answer)) + answer)
    return True


def _receive(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        chunk = connection.recv(count - len(data))
        if not chunk:
            raise ConnectionResetError("the client went away in the handshake")
        data += chunk
    return data


def _register(device: Any) -> None:
    """The two functions that TVM's RPC server leaves to its host program, and our own.

    Paths are relative to the scratch folder, which this process is in: its user may not be let into the folders above.
    """

    def path_in_scratch(name: str) -> str:
        return f"./{name}"

    def load(name: str) -> object:
        # Not `tvm.runtime.load_module`: it makes the path absolute.
        return tvm_ffi.load_module(path_in_scratch(name))

    tvm_ffi.register_global_func("tvm.rpc.server.workpath", path_in_scratch, override=True)
    tvm_ffi.register_global_func("tvm.rpc.server.load_module", load, override=True)
    clock = partial(kernel_clock.time_kernels, device.sync)
    tvm_ffi.register_global_func(kernel_clock.FUNCTION, clock, override=True)
    tvm_ffi.register_global_func(model_clock.FUNCTION, model_clock.time_model, override=True)
    staging.register()


def _load_cuda() -> None:
    """TVM's CUDA runtime, which a runtime-only TVM leaves to its host program to load.

    Raises OSError: it, CUDA's own runtime or the driver is not there; the message names the file that is missing.
    """
    try:
        ctypes.CDLL(_CUDA_RUNTIME, ctypes.RTLD_GLOBAL)
    except OSError:
        # Where it came as a Python package, it lies on no path that the linker searches.
        for library in sorted(_TVM_LIBRARIES.parents[1].glob(f"nvidia/*/lib/{_CUDA_RUNTIME}")):
            ctypes.CDLL(str(library), ctypes.RTLD_GLOBAL)
    ctypes.CDLL(str(_TVM_LIBRARIES / "libtvm_runtime_cuda.so"), ctypes.RTLD_GLOBAL)
