"""Has TVM compile CUDA kernels to machine code with our compilers and our options."""

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from functools import cache
from typing import Any, Protocol

import tvm_ffi
from tvm.support import nvcc as _registers_its_own  # noqa: F401  (ours takes its place)
from tvm.target import Target

from tunefarm_coordinator.engines.candidate import BuildError
from tunefarm_coordinator.engines.cuda import driver, fragments, nvcc, nvrtc, options
from tunefarm_coordinator.engines.cuda.images import Images
from tunefarm_coordinator.engines.cuda.images import key as image_key


class Compiler(Protocol):
    """CUDA source to machine code."""

    name: str
    version: str

    def compile(self, source: str, arch: str, options: tuple[str, ...]) -> bytes:
        """The image for `arch`, such as "sm_90". Raises RuntimeError with what the compiler says."""


_FINDERS: dict[str, Callable[[], Compiler | None]] = {"nvrtc": nvrtc.find, "nvcc": nvcc.find}
_MISSING = {
    "auto": "no CUDA compiler on this builder: CUDA kernels need tunefarm's extra `cuda` there (pip install "
    "'tunefarm[cuda]', which brings NVRTC), or CUDA's toolkit of major version 13 (nvcc)",
    "nvrtc": "no NVRTC on this builder: install tunefarm's extra `cuda` there (pip install 'tunefarm[cuda]')",
    "nvcc": "no nvcc on this builder: install CUDA's toolkit, of major version 13, there",
}
# The same for both compilers. No fast mathematics, though TVM's own call has it: outputs are compared with ONNX
# Runtime's and with the unscheduled kernel's, which divide, take roots and treat denormal numbers as IEEE 754 says, and
# so do the libraries that a user comes from. Kernels that multiply and add gain nothing by it, and the others wait for
# memory. Registers: as in TVM's own call, candidates are timed anyway.
_OPTIONS = ("--std=c++17", "--disable-warnings", "--ptxas-options=--register-usage-level=10")
_CALLBACK = "tvm_callback_cuda_compile"


_answer: ContextVar[Callable[[str], bytes]] = ContextVar("_answer", default=lambda source: _image(source, _arch()))


def compiling_for(target: Any) -> contextlib.AbstractContextManager[Any]:
    """The scope to call TVM's `build` for `target` in. Raises BuildError: there is no compiler for it here."""
    if target.kind.name != "cuda":
        return contextlib.nullcontext()
    chosen()
    driver.load_runtime()
    _register()
    # The callback reads the architecture from the target in scope.
    scope: contextlib.AbstractContextManager[Any] = target
    return scope


@cache
def _register() -> None:
    tvm_ffi.register_global_func(_CALLBACK, lambda source: _answer.get()(source), override=True)


def chosen() -> Compiler:
    """The compiler of this process, by `options.current()`. Raises BuildError, with what to install: none there."""
    wanted = options.current().compiler
    for name in _FINDERS if wanted == "auto" else (wanted,):
        found = _FINDERS[name]()
        if found is not None:
            return found
    raise BuildError(_MISSING[wanted])


@contextlib.contextmanager
def answering(answer: Callable[[str], bytes]) -> Iterator[None]:
    """While this lasts, TVM gets its images from `answer`, which is called with their sources, in this thread."""
    token = _answer.set(answer)
    try:
        yield
    finally:
        _answer.reset(token)


def images_of(sources: Sequence[str]) -> dict[str, bytes]:
    """The image of each source for the target in scope, compiled in several threads where it is not known yet.

    Raises RuntimeError with what the compiler says.
    """
    arch = _arch()
    with ThreadPoolExecutor(options.current().threads or len(os.sched_getaffinity(0))) as threads:
        wanted = list(dict.fromkeys(sources))
        return dict(zip(wanted, threads.map(lambda source: _image(source, arch), wanted), strict=True))


def _image(source: str, arch: str) -> bytes:
    source = fragments.as_meant(source)
    compiler, images = chosen(), _images(options.current())
    name = image_key(source, arch, compiler.name, compiler.version, *_OPTIONS)
    known = images.get(name) if images is not None else None
    if known is not None:
        return known
    try:
        image = compiler.compile(source, arch, _OPTIONS)
    except RuntimeError as error:
        raise RuntimeError(_complaint(str(error))) from None
    if images is not None:
        images.add(name, image)
    return image


@cache
def _images(given: options.CudaOptions) -> Images | None:
    return None if given.images is None else Images(given.images, given.images_bytes)


def _arch() -> str:
    return str(Target.current().attrs["arch"])


def _complaint(said: str) -> str:
    """What the compiler says, from its first error on."""
    lines = said.splitlines()
    first = next((number for number, line in enumerate(lines) if "error" in line.lower()), 0)
    return "\n".join(lines[first:])
