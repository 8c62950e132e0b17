"""From an ONNX file to a prepared module: what is tuned, what is compiled, and the tasks between them.

The prepared module is Relax with legalised, fused TIR kernels. Its `main` takes the model's inputs and then
every weight as a parameter (attribute `num_input` says where they begin), so the module is small and the
weights lie beside it. Weights are layout-free (`layout_free_buffers`): a schedule may ask for them in a
layout of its own, and packaging prepacks them.

A prepared model is a folder; whoever packages it may be another process:

    prepared.json           target, layout, precision, inputs, outputs, tasks
    prepared_module.json    the module (`tvm.ir.load_json`); plain TVM compiles it, with a database or without
    weights.npz             w0, w1, ...: main's parameters after the inputs, in order
    host/                   the same of a model for a GPU, lowered for this machine's CPU: what can be checked here
    network/, tail.onnx     where the end of the model can't be compiled: the part that was prepared, and that end
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from numpy.typing import NDArray
from tvm import relax
from tvm.target import Target

from tunefarm_coordinator.engines import module_text, programs
from tunefarm_coordinator.engines.mathematics.lowering import functions_of, mark_exact
from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.models.accumulation import accumulate_wide
from tunefarm_coordinator.models.byte_products import arrange_byte_products
from tunefarm_coordinator.models.constants import is_constant, operator_name, static_shape
from tunefarm_coordinator.models.footprint import footprint
from tunefarm_coordinator.models.layout import convert_layout
from tunefarm_coordinator.models.layout_free import read_at_one_place
from tunefarm_coordinator.models.legalisation import OURS
from tunefarm_coordinator.models.loops import attach_layout_free
from tunefarm_coordinator.models.network import NETWORK_FILE, TAIL_FILE, imported_network
from tunefarm_coordinator.models.onnx_file import read_signature
from tunefarm_coordinator.models.parallel_products import join_products
from tunefarm_coordinator.models.provenance import Origins, Tracer, calls_of
from tunefarm_coordinator.models.target import host_target
from tunefarm_coordinator.models.task import TuningTask
from tunefarm_coordinator.models.tasks import PIPELINE_VERSION, Kernel, kernels_of, normalized, tasks_of
from tunefarm_coordinator.models.tf32 import mark_tf32
from tunefarm_coordinator.models.tiny_weights import without_tiny_weights
from tunefarm_proto.arrays import Archive, write_npz

MODULE_FILE = "prepared_module.json"
WEIGHTS_FILE = "weights.npz"
SUMMARY_FILE = "prepared.json"
_HOST_FOLDER = "host"


@dataclass(frozen=True)
class TensorSpec:
    """One input or output of the whole model; `name` is the ONNX file's, `shape` in elements."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class PreparedModel:
    """What `prepare` made.

    Attributes:
        directory: the folder that holds it.
        pipeline_version: of the preparation; part of every workload.
        target: canonical JSON that it was prepared for.
        layout: "NHWC", or "NCHW" where convolutions kept the importer's layout.
        allow_tf32: float32 products may round their factors to TF32.
        exact_math: exp, tanh and their like stay libm's on CPUs.
        vector_functions: those that are computed as vectors instead.
        kernels: how many kernels the model has, the ones not worth tuning included.
        tasks: what trials are spent on, most work first.
        memory: bytes that it takes while it runs, about (`footprint`).
        whole_outputs: where the end of the model stays ONNX: names of what the whole gives; `outputs` are then what
            the network before gives.
        notes: what the user should know.
    """

    directory: Path
    pipeline_version: str
    target: str
    layout: str
    allow_tf32: bool
    exact_math: bool
    vector_functions: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    kernels: int
    tasks: tuple[TuningTask, ...]
    memory: int
    whole_outputs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def network(self) -> Path | None:
        """ONNX file of the network before an end that stays ONNX; None where all of the user's model was prepared."""
        return self.directory / NETWORK_FILE if self.whole_outputs else None

    @property
    def tail(self) -> Path | None:
        """ONNX file of that end."""
        return self.directory / TAIL_FILE if self.whole_outputs else None

    @property
    def for_cpu(self) -> bool:
        """Whether what was prepared can be compiled for this machine's CPU as well."""
        return bool(Target(self.target).kind.name == "llvm")

    @property
    def host_directory(self) -> Path:
        """The same model prepared for this machine's CPU: this one, unless it is for a GPU."""
        return self.directory if self.for_cpu else self.directory / _HOST_FOLDER

    def module(self) -> Any:
        """The prepared IRModule."""
        return module_text.load((self.directory / MODULE_FILE).read_text())

    def weights(self) -> list[NDArray[Any]]:
        """Main's parameters after the inputs, in order, in the layout that the module has them."""
        with np.load(self.directory / WEIGHTS_FILE) as opened:
            archive = Archive(opened)
            return [archive[f"w{index}"] for index in range(len(archive))]


def prepare(
    onnx_path: str | Path,
    shapes: dict[str, tuple[int, ...]],
    target_json: str,
    out_dir: str | Path,
    *,
    allow_tf32: bool = False,
    exact_math: bool = False,
) -> PreparedModel:
    """Prepare the model at `onnx_path`, with the input `shapes` of `resolve_shapes`, into `out_dir`.

    `allow_tf32`: float32 products may round their factors to TF32; who asks has checked that the target has it.
    `exact_math`: exp, tanh and their like stay libm's on CPUs, instead of being computed as vectors, and convolutions
    are direct sums.

    Raises:
        InvalidInput: the file can't be read or imported (every unsupported operator with its node), or has
            sizes that depend on its inputs' values.
    """
    path, out_dir = Path(onnx_path), Path(out_dir)
    network = imported_network(path, shapes, out_dir)
    signature = read_signature(network.path)
    target = Target(json.loads(target_json))
    converted, layout = convert_layout(network.module, grouped=target.kind.name == "llvm")
    if target.kind.name == "cuda":
        # One large product fills a GPU better than several small ones; on a CPU each does.
        converted = join_products(converted)
    converted = arrange_byte_products(accumulate_wide(without_tiny_weights(converted)), target_json)
    outputs = _output_types(path, converted)
    lowered, origins = _lowered(converted, target)
    _refuse_unlowered(path, lowered)
    if allow_tf32 and target.kind.name == "cuda":
        lowered = mark_tf32(lowered, target)
    mod, weights = _parametrised(lowered)
    mod, vector_functions = _with_mathematics(mod, target, exact_math)
    kernels = kernels_of(mod, origins.renamed(calls_of(lowered), calls_of(mod)))
    prepared = PreparedModel(
        directory=out_dir,
        pipeline_version=PIPELINE_VERSION,
        target=target_json,
        layout=layout,
        allow_tf32=allow_tf32,
        exact_math=exact_math,
        vector_functions=vector_functions,
        inputs=tuple(TensorSpec(t.name, t.dtype, tuple(shapes[t.name])) for t in signature.inputs),
        outputs=tuple(
            TensorSpec(t.name, dtype, shape) for t, (dtype, shape) in zip(signature.outputs, outputs, strict=True)
        ),
        kernels=len(kernels),
        tasks=tuple(tasks_of(kernels)),
        memory=footprint(mod),
        whole_outputs=() if network.tail is None else tuple(t.name for t in read_signature(path).outputs),
        notes=(*network.notes, *_notes(kernels, target, exact_math)),
    )
    _save(prepared, mod, weights)
    if not prepared.for_cpu:
        host = host_target()
        mod, weights = _parametrised(_lowered(converted, Target(host))[0])
        mod, _ = _with_mathematics(mod, Target(host), exact_math)
        same = replace(prepared, directory=prepared.host_directory, target=host, tasks=(), whole_outputs=())
        _save(same, mod, weights)
    return prepared


def load_prepared(directory: str | Path) -> PreparedModel:
    """The prepared model in `directory`, as `prepare` returned it.

    Raises:
        OSError: no prepared model there.
    """
    directory = Path(directory)
    summary = json.loads((directory / SUMMARY_FILE).read_text())
    return PreparedModel(
        directory=directory,
        pipeline_version=summary["pipeline_version"],
        target=summary["target"],
        layout=summary["layout"],
        allow_tf32=summary["allow_tf32"],
        exact_math=summary["exact_math"],
        vector_functions=tuple(summary["vector_functions"]),
        inputs=tuple(_spec(item) for item in summary["inputs"]),
        outputs=tuple(_spec(item) for item in summary["outputs"]),
        kernels=summary["kernels"],
        tasks=tuple(_task(item) for item in summary["tasks"]),
        memory=summary["memory"],
        whole_outputs=tuple(summary["whole_outputs"]),
        notes=tuple(summary["notes"]),
    )


def weights_as_parameters(mod: Any) -> tuple[Any, list[NDArray[Any]]]:
    """(module whose `main` takes each constant as a parameter after its inputs, their values in order)."""
    main = mod["main"]
    lifter = _ConstantLifter()
    body = lifter.visit_expr(main.body)
    parameters = [*main.params, *(var for var, _ in lifter.lifted)]
    function = relax.Function(parameters, body, main.ret_ty, main.is_pure)
    new_mod = mod.clone()
    new_mod["main"] = function.with_attrs({**main.attrs, "num_input": len(main.params)})
    return relax.transform.Normalize()(new_mod), [value for _, value in lifter.lifted]


def _parametrised(lowered: Any) -> tuple[Any, list[NDArray[Any]]]:
    mod, weights = weights_as_parameters(lowered)
    return read_at_one_place(attach_layout_free(mod)), weights


def _lowered(mod: Any, target: Any) -> tuple[Any, Origins]:
    """(the module in fused kernels, ONNX nodes of each)."""
    transform, tracer = relax.transform, Tracer()
    with target:
        kernels = tvm.ir.transform.Sequential(
            [
                transform.FoldBatchnormToConv2D(),
                transform.DecomposeOpsForInference(),
                transform.CanonicalizeBindings(),
                relax.backend.DispatchSampling(),
                relax.backend.DispatchSortScan(),
                transform.LegalizeOps(OURS),
                transform.AnnotateTIROpPattern(),
                transform.FoldConstant(),
                tracer.before_fusion(),
                transform.FuseOps(),
                tracer.after_fusion(),
                transform.FuseTIR(),
                transform.DeadCodeElimination(),
                # With the patterns of the fused kernels known, stock `compile_relax` fuses nothing again, so
                # that its kernels are those of the records.
                transform.AnnotateTIROpPattern(),
            ]
        )(mod)
    return kernels, tracer.origins


def _with_mathematics(mod: Any, target: Any, exact: bool) -> tuple[Any, tuple[str, ...]]:
    """(the module, marked where it is computed as it is written; functions that become vectors)."""
    if target.kind.name != "llvm":
        return mod, ()
    return (mark_exact(mod, _has_other_program), ()) if exact else (mod, functions_of(mod))


def _has_other_program(function: Any) -> bool:
    return programs.convolution_of(normalized(function)) is not None


def _notes(kernels: Sequence[Kernel], target: Any, exact: bool) -> tuple[str, ...]:
    """What a user should know of how the kernels are computed."""
    if target.kind.name != "llvm" or exact:
        return ()
    count = sum(programs.convolution_of(kernel.module) is not None for kernel in kernels)
    if not count:
        return ()
    return (
        f"{count} of {len(kernels)} kernels are convolutions that may be made with fewer multiplications (Winograd), "
        "exact to some 1e-5 of the greatest value (--exact-math: as direct sums)",
    )


def _refuse_unlowered(path: Path, mod: Any) -> None:
    """Raises InvalidInput that names every Relax operator which TVM has no kernel for."""
    left: set[str] = set()

    def visit(expr: Any) -> None:
        name = operator_name(expr)
        if name and not name.startswith("relax.call_"):
            left.add(name.removeprefix("relax."))

    relax.analysis.post_order_visit(mod["main"], visit)
    if left:
        raise InvalidInput(f"{path}: TVM has no kernel for {', '.join(sorted(left))}, as used in this model")


def _output_types(path: Path, mod: Any) -> list[tuple[str, tuple[int, ...]]]:
    body = mod["main"].body.body
    types = list(body.ty.fields) if isinstance(body.ty, relax.TupleType) else [body.ty]
    found = []
    for tensor_type in types:
        shape = static_shape(_Typed(tensor_type))
        if shape is None:
            raise InvalidInput(f"{path}: an output's sizes depend on the input's values; only static sizes are served")
        found.append((str(tensor_type.dtype), shape))
    return found


@dataclass(frozen=True)
class _Typed:
    ty: Any


def _save(prepared: PreparedModel, mod: Any, weights: list[NDArray[Any]]) -> None:
    directory = prepared.directory
    directory.mkdir(parents=True, exist_ok=True)
    (directory / MODULE_FILE).write_text(str(tvm.ir.save_json(mod)))
    with (directory / WEIGHTS_FILE).open("wb") as file:
        write_npz(file, {f"w{index}": value for index, value in enumerate(weights)})
    summary = asdict(prepared)
    del summary["directory"]
    (directory / SUMMARY_FILE).write_text(json.dumps(summary))


def _spec(item: dict[str, Any]) -> TensorSpec:
    return TensorSpec(item["name"], item["dtype"], tuple(item["shape"]))


@relax.expr_functor.mutator
class _ConstantLifter(relax.PyExprMutator):  # type: ignore[misc]
    """Puts a variable in the place of every constant; equal objects share one."""

    def __init__(self) -> None:
        super().__init__()
        self.lifted: list[tuple[Any, NDArray[Any]]] = []
        self._seen: dict[Any, Any] = {}

    def visit_generic_const_(self, op: Any) -> Any:
        if not is_constant(op) or not isinstance(op.ty, relax.TensorType):
            return op
        if op not in self._seen:
            self._seen[op] = relax.Var(f"w{len(self.lifted)}", op.ty)
            self.lifted.append((self._seen[op], op.value.numpy()))
        return self._seen[op]


def _task(item: dict[str, Any]) -> TuningTask:
    shapes = tuple(tuple(shape) for shape in item.get("shapes", ()))
    return TuningTask(**{**item, "nodes": tuple(item["nodes"]), "shapes": shapes})
