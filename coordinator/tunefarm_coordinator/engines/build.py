"""Builds one candidate: trace in, linked shared library out."""

import tempfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import tvm
from tvm.target import Target
from tvm.target.codegen import llvm_get_system_triple

from tunefarm_coordinator.engines import fetch_ahead, linker, module_text, prepack, tails, trace_text
from tunefarm_coordinator.engines.candidate import Argument, BuildError, BuiltCandidate
from tunefarm_coordinator.engines.cuda import kernels
from tunefarm_coordinator.engines.cuda.compiler import compiling_for
from tunefarm_coordinator.engines.mathematics import lowering
from tunefarm_coordinator.engines.tvm_errors import TVM_ERRORS, first_line
from tunefarm_coordinator.errors import InvalidInput

# Of the context to build kernels in that nobody calls but with the arrays that they are made for: checks of the
# arguments' types and shapes, with messages, took LLVM a third of its time.
UNCHECKED = {"tirx.disable_assert": True}


def build_candidate(task_module: str, trace: str, target: str, workspace: Path | None = None) -> BuiltCandidate:
    """Replays `trace` on the task's module and compiles and links the result for `target`.

    The same arguments give the same bytes, as long as TVM, LLVM and the linker are the same. There is no
    time limit: the caller ends a process that hangs.

    Args:
        task_module: unscheduled IRModule with one function `main`, as JSON.
        trace: see `trace_text.encode`.
        target: target as JSON; its host is this machine's architecture where none is given.
        workspace: folder for temporary files (which are removed), the system's where None. A caller that
            kills builders gives one, to clear up after them.

    Raises:
        BuildError: the trace does not fit, the schedule can't be compiled, or there is no compiler or linker.
    """
    try:
        kind = Target(target)
        scheduled = trace_text.replay(_load_module(task_module), trace, kind).mod
        kernel = prepack.split(scheduled)
        library = _compiled(kernel, kind, workspace)
    except linker.LinkError as error:
        raise BuildError(str(error)) from error
    except TVM_ERRORS as error:
        raise BuildError(first_line(error)) from error
    return BuiltCandidate(library, kernel_arguments(kernel.module[prepack.KERNEL]), kernel.prepacks)


def _compiled(kernel: prepack.SplitKernel, target: Target, workspace: Path | None) -> bytes:
    """The kernel with its conversions. For a CPU those are compiled quickly: each runs a few times, at 1 to 2 ns an
    element, and to optimise them took half as long as to compile the kernel."""
    if target.kind.name != "llvm" or not kernel.prepacks:
        return export_library(build_kernels(kernel.module, target), target, workspace)
    conversions = kernel.module.clone()
    del conversions[prepack.KERNEL]
    quick = Target({**target.export(), "opt-level": 0})
    built = build_kernels(tvm.IRModule({prepack.KERNEL: kernel.module[prepack.KERNEL]}), target)
    return export_library(built, target, workspace, [build_kernels(conversions, quick)])


def check_toolchain(target: str) -> None:
    """Raises InvalidInput, which says what is missing, where nothing could be built for `target` (JSON)."""
    kind = Target(target)
    try:
        linker.command_for(host_triple(kind))
        with compiling_for(kind):
            pass
    except (linker.LinkError, BuildError) as error:
        raise InvalidInput(f"nothing can be built for this target: {error}") from error


def build_kernels(module: tvm.IRModule, target: Target) -> tvm.runtime.Module:
    """Scheduled functions as code for the target and its host. Raises BuildError, and one of TVM_ERRORS."""
    if target.kind.name != "cuda":
        with tvm.transform.PassContext(config={**tails.PARTITIONING, **UNCHECKED}):
            return lowering.build(tails.with_tails(fetch_ahead.with_fetches(module)), target)
    with compiling_for(target):
        return kernels.build(module, target)


@lru_cache(maxsize=8)
def _load_module(task_module: str) -> tvm.IRModule:
    """Candidates of a task come in batches, and reading its module costs 5% of a build. Never changed."""
    return module_text.load(task_module)


def export_library(
    built: tvm.runtime.Module, target: Target, workspace: Path | None, others: Sequence[tvm.runtime.Module] = ()
) -> bytes:
    """The linked shared library of a built module, and of others that import nothing; `workspace` as in
    `build_candidate`. Raises LinkError."""
    triple = host_triple(target)

    def link(output: str, objects: list[str]) -> None:
        linker.link([Path(path) for path in objects], Path(output), triple)

    with tempfile.TemporaryDirectory(prefix="tunefarm-build-", dir=workspace) as folder:
        output = Path(folder) / "candidate.so"
        objects = [str(Path(folder) / f"beside{at}.o") for at in range(len(others))]
        for other, path in zip(others, objects, strict=True):
            other.write_to_file(path)
        built.export_library(str(output), fcompile=link, addons=objects, workspace_dir=folder)
        return output.read_bytes()


def host_triple(target: Target) -> str:
    """LLVM triple of the code that calls the kernel: the target's own for a CPU, its host's for a GPU."""
    host = target if target.kind.name == "llvm" else target.host
    given = str(host.attrs.get("mtriple", "")) if host is not None else ""
    return given or str(llvm_get_system_triple())


def kernel_arguments(kernel: tvm.tirx.PrimFunc) -> tuple[Argument, ...]:
    """Shape and dtype of each parameter."""
    return tuple(
        Argument(tuple(int(extent) for extent in parameter.shape), str(parameter.dtype)) for parameter in kernel.params
    )
