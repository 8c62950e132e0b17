"""The schedule of an untuned kernel: right, parallel, vectorised, and a trace like any other."""

import io
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
import tvm_ffi
from onnx import NodeProto, helper
from tvm import te
from tvm.s_tir import SBlockRealize
from tvm.s_tir.transform import ConvertBlocksToOpaque, LoopPartition, LowerOpaqueBlock
from tvm.target import Target
from tvm.tirx import For, ForKind, IntImm, IterVar
from tvm.tirx.analysis import undefined_vars

from tests.unit.models import graphs
from tunefarm_coordinator.engines import tails, trace_text
from tunefarm_coordinator.engines.build import build_kernels
from tunefarm_coordinator.engines.cost_model import ITERATIONS
from tunefarm_coordinator.engines.engine import Observation
from tunefarm_coordinator.engines.search import TaskSearch
from tunefarm_coordinator.models.default_schedule import default_schedule, default_trace
from tunefarm_coordinator.models.expected import expected_outputs
from tunefarm_coordinator.models.matching import match
from tunefarm_coordinator.models.prepare import prepare
from tunefarm_coordinator.models.target import host_target
from tunefarm_coordinator.models.task import TuningTask
from tunefarm_coordinator.models.tasks import Kernel, kernels_of, normalized

_CONV = {"w": graphs.random_weights(48, 24, 3, 3), "b": graphs.random_weights(48)}
_DEPTHWISE = {"w": graphs.random_weights(24, 1, 3, 3)}
_GROUPED = {"w": graphs.random_weights(24, 6, 3, 3)}
_FIRST_LAYER = {"w": graphs.random_weights(32, 3, 3, 3), "b": graphs.random_weights(32)}
_WINDOW = {"w": graphs.random_weights(24, 1, 5, 3)}
_DENSE = {"w": graphs.random_weights(50, 200), "b": graphs.random_weights(50)}
_NORM = {"s": graphs.random_weights(96), "o": graphs.random_weights(96)}
_NORM_OF_A_PRIME = {"s": graphs.random_weights(97), "o": graphs.random_weights(97)}
_NORM_OF_TWO = {"s": graphs.random_weights(6, 40)}
_BESIDE = graphs.random_weights(3, 5, 40)
_TWICE = {"scales": np.array([1, 1, 2, 2], np.float32)}
_TABLE = {"table": graphs.random_weights(40, 64), "rows": np.array([[3, 39, 0, 7]])}
_IMAGE: graphs.Dims = [1, 24, 13, 14]
_FLAT: graphs.Dims = [3, 200]

Case = tuple[list[NodeProto], graphs.Dims, dict[str, Any]]


def _node(operator: str, *inputs: str, output: str = "y", **attributes: Any) -> NodeProto:
    return helper.make_node(operator, inputs, [output], **attributes)


_NORM_OF_A_PRIME = {"s": graphs.random_weights(97), "o": graphs.random_weights(97)}

CASES: dict[str, Case] = {
    "conv": ([_node("Conv", "x", "w", "b", output="c", pads=[1] * 4), _node("Relu", "c")], _IMAGE, _CONV),
    "strided_conv": ([_node("Conv", "x", "w", strides=[2, 2])], _IMAGE, {"w": _CONV["w"]}),
    "depthwise": ([_node("Conv", "x", "w", group=24, pads=[1] * 4)], _IMAGE, _DEPTHWISE),
    "grouped": ([_node("Conv", "x", "w", group=4, pads=[1] * 4)], _IMAGE, _GROUPED),
    "padded_on_some_sides": (
        [_node("Conv", "x", "w", group=24, strides=[2, 1], dilations=[1, 2], pads=[2, 3, 1, 0])],
        _IMAGE,
        _WINDOW,
    ),
    "first_layer": (
        [_node("Conv", "x", "w", "b", strides=[2, 2], pads=[0, 1, 1, 1], output="c"), _node("Relu", "c")],
        [1, 3, 33, 30],
        _FIRST_LAYER,
    ),
    "first_layer_of_many": (
        [_node("Conv", "x", "w", pads=[1] * 4)],
        [1, 3, 9, 17],
        {"w": graphs.random_weights(64, 3, 7, 7)},
    ),
    "dense": ([_node("Gemm", "x", "w", "b", transB=1)], _FLAT, _DENSE),
    "one_filter": (
        [_node("Conv", "x", "w", "b", pads=[1] * 4, output="c"), _node("Sigmoid", "c")],
        _IMAGE,
        {"w": graphs.random_weights(1, 24, 3, 3), "b": graphs.random_weights(1)},
    ),
    "one_filter_of_a_prime": ([_node("Conv", "x", "w")], [1, 37, 9, 8], {"w": graphs.random_weights(1, 37, 1, 1)}),
    "one_column": ([_node("MatMul", "x", "w")], [3, 17, 224], {"w": graphs.random_weights(224, 1)}),
    "one_product": ([_node("MatMul", "x", "w")], [1, 224], {"w": graphs.random_weights(224, 1)}),
    "uneven_channels": (
        [_node("Conv", "x", "w", "b", output="c"), _node("Relu", "c")],
        [1, 26, 13, 11],
        {"w": graphs.random_weights(58, 26, 1, 1), "b": graphs.random_weights(58)},
    ),
    "uneven_window": ([_node("Conv", "x", "w", pads=[1] * 4)], _IMAGE, {"w": graphs.random_weights(37, 24, 3, 3)}),
    "uneven_depthwise": (
        [_node("Conv", "x", "w", "b", group=120, pads=[2] * 4, output="c"), _node("HardSwish", "c")],
        [1, 120, 5, 28],
        {"w": graphs.random_weights(120, 1, 5, 5), "b": graphs.random_weights(120)},
    ),
    "strided_depthwise": (
        [_node("Conv", "x", "w", group=48, strides=[2, 2], pads=[2] * 4)],
        [1, 48, 12, 28],
        {"w": graphs.random_weights(48, 1, 5, 5)},
    ),
    "uneven_rows": ([_node("MatMul", "x", "w")], [2, 53, 40], {"w": graphs.random_weights(40, 90)}),
    "uneven_batches": (
        [_node("Transpose", "x", output="t", perm=[0, 2, 1]), _node("MatMul", "x", "t")],
        [3, 53, 40],
        {},
    ),
    "one_uneven_row": ([_node("MatMul", "x", "w")], [1, 200], {"w": graphs.random_weights(200, 331)}),
    "max_pool": ([_node("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2])], _IMAGE, {}),
    "average_pool": ([_node("AveragePool", "x", kernel_shape=[3, 3], pads=[1] * 4)], _IMAGE, {}),
    "softmax": ([_node("Softmax", "x", axis=-1)], _FLAT, {}),
    "softmax_of_rows_of_two_registers": ([_node("Softmax", "x", axis=-1)], [3, 5, 128], {}),
    "softmax_of_a_prime": ([_node("Softmax", "x", axis=-1)], [7, 197], {}),
    "softmax_of_many_primes": ([_node("Softmax", "x", axis=-1)], [40, 5, 211], {}),
    "softmax_of_a_vector_and_less": ([_node("Softmax", "x", axis=-1)], [9, 13], {}),
    "layer_norm_of_a_prime": ([_node("LayerNormalization", "x", "s", "o")], [2, 9, 97], _NORM_OF_A_PRIME),
    "softmax_of_columns": ([_node("Softmax", "x", axis=1)], [2, 16, 60], {}),
    "softmax_of_one_row": ([_node("Softmax", "x", axis=-1)], [1, 1000], {}),
    "layer_norm": ([_node("LayerNormalization", "x", "s", "o")], [2, 9, 96], _NORM),
    "layer_norm_of_two_axes": ([_node("LayerNormalization", "x", "s", axis=1)], [4, 6, 40], _NORM_OF_TWO),
    "mean_of_two_axes": ([_node("ReduceMean", "x", axes=[2, 3], keepdims=0)], _IMAGE, {}),
    "sum_of_middle": ([_node("ReduceL2", "x", axes=[1], keepdims=0)], [5, 11, 96], {}),
    "maximum_in_a_row": ([_node("ReduceMax", "x", axes=[-1], keepdims=0)], [6, 320], {}),
    "place_in_a_row": ([_node("ArgMax", "x", axis=-1, keepdims=0)], [6, 320], {}),
    "place_in_an_odd_row": ([_node("ArgMax", "x", axis=-1, keepdims=0)], [31, 95], {}),
    "place_in_a_row_of_a_prime": ([_node("ArgMin", "x", axis=-1, select_last_index=1)], [2, 3, 1009], {}),
    "padded_pool": ([_node("MaxPool", "x", kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 0, 0])], _IMAGE, {}),
    "global_pool": ([_node("GlobalAveragePool", "x")], _IMAGE, {}),
    "maximum_of_all": ([_node("ReduceMax", "x", axes=[0, 1], keepdims=0)], _FLAT, {}),
    "mean_of_rows": ([_node("ReduceMean", "x", axes=[1], keepdims=1)], _FLAT, {}),
    "transpose": ([_node("Transpose", "x", perm=[0, 2, 3, 1])], _IMAGE, {}),
    "transpose_of_rows_and_columns": ([_node("Transpose", "x", perm=[0, 2, 1])], [2, 48, 36], {}),
    "transpose_to_a_prime": ([_node("Transpose", "x", perm=[0, 2, 1])], [2, 37, 48], {}),
    "transpose_of_a_prime": ([_node("Transpose", "x", perm=[0, 2, 1])], [2, 48, 37], {}),
    "transpose_of_long_primes": ([_node("Transpose", "x", perm=[1, 0])], [1009, 2003], {}),
    "transpose_of_primes": ([_node("Transpose", "x", perm=[2, 1, 0])], [13, 7, 11], {}),
    "transpose_and_add": (
        [_node("Transpose", "x", output="t", perm=[0, 2, 1]), _node("Add", "t", "c")],
        [3, 24, 20],
        {"c": graphs.random_weights(3, 20, 24)},
    ),
    "transpose_of_inner_blocks": ([_node("Transpose", "x", perm=[1, 0, 2, 3])], [4, 6, 7, 12], {}),
    "concat_on_the_last_axis": ([_node("Concat", "x", "c", "x", axis=2)], [3, 5, 24], {"c": _BESIDE}),
    "concat_on_another_axis": ([_node("Concat", "x", "c", axis=1)], [3, 2, 12], {"c": graphs.random_weights(3, 5, 12)}),
    "padded": ([_node("Pad", "x", "pads")], [3, 5, 24], {"pads": np.array([0, 1, 3, 0, 0, 5])}),
    "scaled_by_channel": ([_node("Mul", "x", "c")], [1, 6, 7, 24], {"c": graphs.random_weights(24)}),
    "scaled_by_row": ([_node("Mul", "x", "c")], [3, 6, 20], {"c": graphs.random_weights(6, 1)}),
    "nearest": ([_node("Resize", "x", "", "scales", mode="nearest")], _IMAGE, _TWICE),
    "linear": ([_node("Resize", "x", "", "scales", mode="linear")], _IMAGE, _TWICE),
    "hard_swish": ([_node("HardSwish", "x")], _IMAGE, {}),
    "odd_sizes": ([_node("Sqrt", "x")], [7, 11, 13], {}),
    "gather": (
        [_node("Gather", "table", "rows", output="g"), _node("Mul", "g", "x")],
        [1, 4, 64],
        _TABLE,
    ),
}


def _kernels(folder: Path, case: Case) -> list[Kernel]:
    nodes, dims, weights = case
    folder.mkdir(exist_ok=True)
    path = graphs.save(folder / "m.onnx", nodes, {"x": dims}, ["y"], weights, opset=17)
    shapes = {"x": tuple(int(d) for d in dims if d)}
    return kernels_of(prepare(path, shapes, host_target(), folder / "prepared").module())


@pytest.mark.parametrize("name", CASES)
def test_scheduled_is_unscheduled(name: str, tmp_path: Path) -> None:
    for kernel in _kernels(tmp_path, CASES[name]):
        text = str(tvm.ir.save_json(kernel.module))
        with np.load(io.BytesIO(expected_outputs(TuningTask(kernel.workload, kernel.name, 1, text, 0.0), 5))) as npz:
            inputs = [npz[f"arg{i}"] for i in range(sum(n.startswith("arg") for n in npz.files))]
            expected = npz["out0"]
        output = tvm.runtime.empty(expected.shape, expected.dtype.name)
        scheduled = default_schedule(kernel.module, host_target()).mod
        library = build_kernels(scheduled, Target(host_target()))
        library["main"](*[tvm.runtime.tensor(value) for value in inputs], output)
        assert match(output.numpy(), expected), kernel.name
        assert np.ptp(expected) > 0 or expected.size == 1


def test_one_result_is_reduced_in_lanes(tmp_path: Path) -> None:
    (kernel,) = _kernels(tmp_path, CASES["one_product"])
    script = str(default_schedule(kernel.module, host_target()).mod.script())
    assert "matmul_rf" in script
    assert "T.vectorized(" in script


@pytest.mark.parametrize("name", ["conv", "strided_conv", "depthwise", "grouped", "dense"])
def test_reductions_accumulate_in_an_unrolled_vectorised_tile(name: str, tmp_path: Path) -> None:
    kernel = max(_kernels(tmp_path, CASES[name]), key=lambda k: k.flops)
    script = str(default_schedule(kernel.module, host_target()).mod.script())
    # What takes a few microseconds is done before a second thread has begun.
    assert ("T.parallel(" in script) == (name not in ("dense", "depthwise"))
    assert "T.unroll(" in script
    # Initialisation, update and epilogue of the tile are each a vector loop.
    assert script.count("T.vectorized(") >= 3


@pytest.mark.parametrize(
    ("name", "written_out"),
    [
        ("conv", False),
        ("strided_conv", False),
        ("first_layer", False),
        ("first_layer_of_many", False),
        ("depthwise", True),
        ("strided_depthwise", False),
        ("uneven_depthwise", True),
    ],
)
def test_a_window_is_written_out_where_its_rows_share_vectors(name: str, written_out: bool, tmp_path: Path) -> None:
    """Elsewhere it only makes the code longer: a first layer took a quarter more time."""
    kernel = max(_kernels(tmp_path, CASES[name]), key=lambda k: k.flops)
    target = '{"kind":"llvm","mcpu":"skylake-avx512","num-cores":2}'
    scheduled = default_schedule(kernel.module, target)
    (kinds,) = [kinds for update, kinds in _reduction_loops(scheduled).items() if update.endswith("_update")]
    assert (ForKind.SERIAL not in kinds) == written_out


def _reduction_loops(scheduled: Any) -> dict[str, set[int]]:
    """By block: kinds of the loops that its reduced axes go along."""
    loops: dict[Any, int] = {}
    found: dict[str, set[int]] = {}

    def realized(node: Any) -> None:
        axes = zip(node.block.iter_vars, node.iter_values, strict=True)
        reduced = [value for axis, value in axes if axis.iter_type == IterVar.CommReduce]
        found[node.block.name_hint] = {loops[each] for value in reduced for each in undefined_vars(value, [])}

    def loop(node: Any) -> None:
        loops[node.loop_var] = int(node.kind)

    tvm_ffi.structural_walk(scheduled.mod["main"], [(SBlockRealize, realized), (For, loop)], order="pre")
    return found


@pytest.mark.parametrize("name", [name for name in CASES if "uneven" in name])
def test_sizes_that_do_not_divide_are_asked_about_in_no_step(name: str, tmp_path: Path) -> None:
    kernel = max(_kernels(tmp_path, CASES[name]), key=lambda k: k.flops)
    scheduled = default_schedule(kernel.module, host_target()).mod
    assert "T.where(" in str(scheduled.script())
    with tvm.transform.PassContext(config=tails.PARTITIONING):
        cut = LoopPartition()(LowerOpaqueBlock()(ConvertBlocksToOpaque()(tails.with_tails(scheduled))))
    conditions = [line for line in str(cut.script()).splitlines() if " if " in line]
    assert conditions
    assert not any("<" in line for line in conditions)


@pytest.mark.parametrize(
    "name", ["softmax_of_rows_of_two_registers", "softmax_of_many_primes", "softmax_of_columns", "layer_norm"]
)
def test_a_row_goes_through_all_steps_before_the_next(name: str, tmp_path: Path) -> None:
    kernel = max(_kernels(tmp_path, CASES[name]), key=lambda k: k.flops)
    script = str(default_schedule(kernel.module, host_target()).mod.script())
    body = script[script.index("root") :]
    assert len(re.findall(r"^ {8}for ", body, re.MULTILINE)) == 1
    assert body.count("T.vectorized(") >= 4


def test_a_step_that_reads_another_row_waits_for_all_of_them() -> None:
    """The greatest of row (j, i) is what is taken off row (i, j): no row can go through both steps by itself."""
    x = te.placeholder((8, 8, 19), name="x")
    k = te.reduce_axis((0, 19), name="k")
    greatest = te.compute((8, 8), lambda i, j: te.max(x[i, j, k], axis=k), name="greatest")
    module = normalized(te.create_prim_func([x, te.compute(x.shape, lambda i, j, n: x[i, j, n] - greatest[j, i])]))
    values = np.random.default_rng(0).standard_normal((8, 8, 19)).astype("float32")
    output = tvm.runtime.empty(values.shape)
    build_kernels(default_schedule(module, host_target()).mod, Target(host_target()))["main"](
        tvm.runtime.tensor(values), output
    )
    assert np.array_equal(output.numpy(), values - values.max(-1).T[..., None])


@pytest.mark.parametrize("length", [19, 67])
def test_a_step_that_reads_another_element_waits_for_the_row(length: int) -> None:
    """What is divided by the row's sum is the row backwards: it can't be taken up as it is made."""
    x = te.placeholder((6, length), name="x")
    k, j = (te.reduce_axis((0, length), name=name) for name in "kj")
    greatest = te.compute((6,), lambda i: te.max(x[i, k], axis=k), name="greatest")
    powers = te.compute(x.shape, lambda i, n: te.exp(x[i, n] - greatest[i]), name="powers")
    backwards = te.compute(x.shape, lambda i, n: powers[i, length - 1 - n], name="backwards")
    total = te.compute((6,), lambda i: te.sum(powers[i, j], axis=j), name="total")
    module = normalized(te.create_prim_func([x, te.compute(x.shape, lambda i, n: backwards[i, n] / total[i])]))
    values = np.random.default_rng(0).standard_normal((6, length)).astype("float32")
    output = tvm.runtime.empty(values.shape)
    build_kernels(default_schedule(module, host_target()).mod, Target(host_target()))["main"](
        tvm.runtime.tensor(values), output
    )
    expected = np.exp(values - values.max(1, keepdims=True))
    assert match(output.numpy(), expected[:, ::-1] / expected.sum(1, keepdims=True))


@pytest.mark.parametrize("name", ["one_filter", "one_filter_of_a_prime", "one_column"])
def test_one_column_of_results_is_summed_in_lanes(name: str, tmp_path: Path) -> None:
    kernel = max(_kernels(tmp_path, CASES[name]), key=lambda k: k.flops)
    assert re.search(r"rf\w* = T.sblock_alloc_buffer", str(default_schedule(kernel.module, host_target()).mod.script()))


def test_rows_of_a_prime_length_are_reduced_in_lanes(tmp_path: Path) -> None:
    (kernel,) = _kernels(tmp_path, CASES["softmax_of_a_prime"])
    script = str(default_schedule(kernel.module, '{"kind":"llvm","mcpu":"skylake-avx512","num-cores":2}').mod.script())
    # Partial results, of the largest and of the sum; and both steps over all elements.
    assert script.count("T.vectorized(T.int64(16))") + script.count("T.vectorized(16)") == 4


def test_padding_before_a_pool_is_no_kernel_of_its_own(tmp_path: Path) -> None:
    nodes = [_node("Conv", "x", "w", output="c"), *CASES["padded_pool"][0]]
    nodes[1].input[0] = "c"
    pool = next(k for k in _kernels(tmp_path, (nodes, _IMAGE, {"w": _CONV["w"]})) if "pool" in k.name)
    assert "pad_temp[" not in str(default_schedule(pool.module, host_target()).mod.script())


@pytest.mark.parametrize("sizes", [(1, 64, 56, 56), (1, 200, 6, 160), (2, 64, 7, 7), (3, 5, 7, 96), (2, 9, 49, 64)])
def test_elements_of_a_vector_lie_side_by_side(sizes: tuple[int, ...]) -> None:
    """However the axes' sizes divide: else each is loaded and stored by itself, ten times as slowly."""
    x = te.placeholder(sizes, name="x")
    y = te.compute(sizes, lambda *place: te.max(x[place], 0.0), name="y")
    module = tvm.IRModule({"main": te.create_prim_func([x, y])})
    target = '{"kind":"llvm","mtriple":"x86_64-linux-gnu","mcpu":"skylake-avx512","num-cores":1}'
    code = build_kernels(default_schedule(module, target).mod, Target(target)).inspect_source("ll")
    assert re.search(r"load <\d+ x float>", code)
    assert "extractelement" not in code


@pytest.mark.parametrize("cores", [1, 2])
@pytest.mark.parametrize(
    ("sizes", "perm"),
    [
        ((1, 309, 172), (0, 2, 1)),
        ((1, 172, 309), (0, 2, 1)),
        ((309, 3, 517), (2, 1, 0)),
        ((5, 701, 4, 40), (3, 0, 2, 1)),
        ((2, 1009), (1, 0)),
    ],
)
def test_a_transpose_of_any_size_compiles_and_is_right(
    sizes: tuple[int, ...], perm: tuple[int, ...], cores: int
) -> None:
    """TVM counts a large model's loops in 64 bits, and cuts those of a smaller last tile where they are no part of
    others."""
    x = te.placeholder([IntImm("int64", size) for size in sizes], name="x")
    back = [perm.index(axis) for axis in range(len(perm))]
    shape = [IntImm("int64", sizes[axis]) for axis in perm]
    y = te.compute(shape, lambda *place: te.sqrt(x[tuple(place[axis] for axis in back)]), name="y")
    target = f'{{"kind":"llvm","num-cores":{cores}}}'
    scheduled = default_schedule(tvm.IRModule({"main": te.create_prim_func([x, y])}), target)
    value = np.random.default_rng(1).random(sizes, "float32")
    found = tvm.runtime.empty([sizes[axis] for axis in perm], "float32")
    build_kernels(scheduled.mod, Target(target))["main"](tvm.runtime.tensor(value), found)
    np.testing.assert_allclose(found.numpy(), np.sqrt(value.transpose(perm)), rtol=1e-6)


def test_no_vector_reaches_over_a_border_of_a_concatenation(tmp_path: Path) -> None:
    (kernel,) = _kernels(tmp_path, CASES["concat_on_the_last_axis"])
    script = str(default_schedule(kernel.module, host_target()).mod.script())
    assert [int(size) for size in re.findall(r"T.vectorized\((?:T.int64\()?(\d+)", script)] == [8]


@pytest.mark.parametrize("name", ["conv", "uneven_channels", "uneven_batches"])
def test_trace_replays_to_the_same_schedule(name: str, tmp_path: Path) -> None:
    for kernel in _kernels(tmp_path, CASES[name]):
        trace = default_trace(str(tvm.ir.save_json(kernel.module)), host_target())
        assert isinstance(json.loads(trace), list)
        replayed = trace_text.replay(kernel.module, trace, Target(host_target())).mod
        tvm.ir.assert_structural_equal(replayed, default_schedule(kernel.module, host_target()).mod)


@pytest.mark.parametrize("name", ["conv", "uneven_channels", "uneven_depthwise", "one_filter"])
def test_search_learns_from_it_and_changes_it(name: str, tmp_path: Path) -> None:
    """TVM has no features of a kernel whose weights' last panel is filled up."""
    kernel = max(_kernels(tmp_path, CASES[name]), key=lambda k: k.flops)
    target = '{"kind":"llvm","mcpu":"skylake-avx512","num-cores":2}'
    module, trace = str(tvm.ir.save_json(kernel.module)), default_trace(kernel.module, target)
    search = TaskSearch("workload", module, target, 1)
    (sample,) = search.observe([Observation(search.adopt(trace).identity, 1e-5)])
    assert sample.features.shape[1] > ITERATIONS


def test_another_target_has_other_tiles(tmp_path: Path) -> None:
    kernel = max(_kernels(tmp_path, CASES["conv"]), key=lambda k: k.flops)
    wide, narrow = (
        default_trace(kernel.module, f'{{"kind":"llvm","mcpu":"{cpu}","num-cores":2}}')
        for cpu in ("skylake-avx512", "x86-64")
    )
    assert wide != narrow


def test_padding_is_asked_for_where_it_is_seldom_read(tmp_path: Path) -> None:
    """A padded copy of a depthwise convolution's input costs as much as the convolution; of a dense one's, little."""
    for name, copied in {"conv": True, "depthwise": False, "first_layer": False}.items():
        kernel = max(_kernels(tmp_path / name, CASES[name]), key=lambda k: k.flops)
        script = str(default_schedule(kernel.module, host_target()).mod.script())
        assert ("pad_temp = T.sblock_alloc_buffer" in script) is copied, name
