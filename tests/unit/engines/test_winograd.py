"""Convolutions by minimal filtering: the algorithms, which kernels they are for, their programs, and their search."""

import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tvm
from numpy.typing import NDArray
from tvm import relax
from tvm.target import Target

from tunefarm_coordinator.engines import algorithms, prepack, programs, trace_text
from tunefarm_coordinator.engines.algorithms import offer_for
from tunefarm_coordinator.engines.build import build_candidate, build_kernels
from tunefarm_coordinator.engines.engine import Observation, engine
from tunefarm_coordinator.engines.mathematics.lowering import EXACT
from tunefarm_coordinator.engines.spaces import sketches, sketches_and_templates, templates
from tunefarm_coordinator.engines.winograd.minimal import ALGORITHMS
from tunefarm_coordinator.engines.winograd.settings import Settings, parsed
from tunefarm_coordinator.models.default_schedule import default_schedule, default_trace
from tunefarm_coordinator.models.target import host_target

_TARGET = host_target()
_ARM = '{"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mattr": ["+neon"], "num-cores": 4}'


def kernel(
    sizes: tuple[int, int, int, int] = (7, 13, 16, 24),
    *,
    images: int = 1,
    padding: Any = 1,
    strides: int = 1,
    dilation: int = 1,
    window: int = 3,
    groups: int = 1,
    dtype: str = "float32",
    after: Callable[[Any], Any] | None = None,
) -> Any:
    """A convolution (height, width, channels, filters) as preparation leaves it, with what comes `after`."""
    height, width, channels, filters = sizes
    data = relax.Var("data", relax.TensorType((images, height, width, channels), dtype))
    weight = relax.Var("weight", relax.TensorType((window, window, channels // groups, filters), dtype))
    builder = relax.BlockBuilder()
    with builder.function("main", [data, weight]):
        with builder.dataflow():
            value = relax.op.nn.conv2d(data, weight, strides, padding, dilation, groups, "NHWC", "HWIO")
            value = builder.emit(value if after is None else after(value))
            value = builder.emit_output(value)
        builder.emit_func_output(value)
    with Target(_TARGET):
        module = relax.transform.LegalizeOps()(builder.finalize())
        for each in (relax.transform.AnnotateTIROpPattern(), relax.transform.FuseOps(), relax.transform.FuseTIR()):
            module = each(module)
    (function,) = [f for f in module.functions.values() if isinstance(f, tvm.tirx.PrimFunc)]
    function = function.with_attr("layout_free_buffers", [1]).with_attr("global_symbol", "main")
    return tvm.IRModule({"main": function})


def silu(value: Any) -> Any:
    return relax.op.multiply(relax.op.sigmoid(value), value)


def results_of(schedule: Any, target: str = _TARGET) -> list[NDArray[np.float32]]:
    """What the kernel gives for values that are the same each time."""
    split = prepack.split(schedule.mod)
    built = build_kernels(split.module, Target(target))
    unscheduled = np.random.default_rng(0)
    shapes = [[int(size) for size in each.shape] for each in schedule.mod["main"].params]
    arguments = [tvm.runtime.tensor(unscheduled.standard_normal(shape).astype("float32")) for shape in shapes]
    for each in split.prepacks:
        packed = split.module["main"].params[each.argument]
        laid_out = tvm.runtime.empty([int(size) for size in packed.shape], "float32")
        built[each.function](arguments[each.argument], laid_out)
        arguments[each.argument] = laid_out
    built["main"](*arguments)
    return [arguments[-1].numpy()]


def direct(module: Any) -> list[NDArray[np.float32]]:
    return results_of(default_schedule(tvm.IRModule({"main": module["main"].with_attr(EXACT, 1)}), _TARGET))


def assert_alike(found: list[NDArray[np.float32]], expected: list[NDArray[np.float32]]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert np.isfinite(one).all()
        assert np.abs(one - other).max() < 2e-5 * np.abs(other).max()


@pytest.mark.parametrize("outputs", ALGORITHMS)
def test_an_algorithm_is_the_direct_sum(outputs: int) -> None:
    algorithm = ALGORITHMS[outputs]
    weights, inputs, results = (np.array(m) for m in (algorithm.weights, algorithm.inputs, algorithm.results))
    numbers = np.random.default_rng(0)
    g, d = numbers.standard_normal(3), numbers.standard_normal(algorithm.points)
    expected = [d[place : place + 3] @ g for place in range(outputs)]
    np.testing.assert_allclose(results @ ((weights @ g) * (inputs @ d)), expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("module", "settings"),
    [
        (lambda: kernel(), Settings(4, 8, 4, 1, 8, 1)),
        (lambda: kernel(after=silu), Settings(2, 12, 6, 3, 8, 1)),
        (lambda: kernel((8, 12, 8, 32), images=2, padding=0), Settings(4, 5, 5, 1, 16, 2)),
        (lambda: kernel((6, 9, 24, 16), padding=[0, 2, 1, 0], after=relax.op.nn.relu), Settings(4, 2, 1, 1, 8, 2)),
        (lambda: kernel((4, 4, 8, 8)), Settings(4, 1, 1, 1, 8, 1)),
        (lambda: kernel((9, 5, 40, 8), padding=2), Settings(2, 21, 7, 1, 8, 1)),
    ],
    ids=["edges", "activation", "no padding, two images", "uneven padding", "one tile", "beyond the window"],
)
def test_a_program_computes_what_the_kernel_does(module: Callable[[], Any], settings: Settings) -> None:
    made = module()
    assert_alike(results_of(programs.winograd(made, settings)), direct(made))


@pytest.mark.parametrize(
    "module",
    [
        lambda: kernel(strides=2),
        lambda: kernel(dilation=2, padding=2),
        lambda: kernel(window=5, padding=2),
        lambda: kernel((7, 13, 16, 16), groups=2),
        lambda: kernel((7, 13, 16, 16), groups=16),
        lambda: kernel(dtype="float16"),
    ],
    ids=["strides", "dilation", "window", "groups", "depthwise", "float16"],
)
def test_what_is_no_such_convolution_is_left_alone(module: Callable[[], Any]) -> None:
    assert programs.convolution_of(module()) is None


def test_channels_that_fill_no_vector_have_no_program() -> None:
    assert offer_for(kernel((32, 32, 3, 32)), Target(_TARGET)) is None
    assert offer_for(kernel((32, 32, 32, 17)), Target(_TARGET)) is None


def test_the_default_is_the_faster_algorithm() -> None:
    large, few_tiles = kernel((56, 56, 64, 64)), kernel((7, 7, 512, 512))
    one_thread = json.dumps({**json.loads(_TARGET), "num-cores": 1})
    assert programs.winograd_settings(default_schedule(large, _TARGET).trace) is not None
    assert programs.winograd_settings(default_schedule(few_tiles, one_thread).trace) is None


def test_exact_kernels_stay_direct_sums() -> None:
    marked = tvm.IRModule({"main": kernel((56, 56, 64, 64))["main"].with_attr(EXACT, 1)})
    assert offer_for(marked, Target(_TARGET)) is None
    assert programs.winograd_settings(default_schedule(marked, _TARGET).trace) is None


def test_a_trace_names_its_program() -> None:
    made, settings = kernel(), Settings(4, 8, 4, 1, 8, 1)
    text = trace_text.encode(programs.winograd(made, settings).trace)
    again = trace_text.replay(made, text, Target(_TARGET))
    assert trace_text.encode(again.trace) == text
    assert programs.winograd_settings(again.trace) == settings
    assert parsed(settings.text) == settings
    task = tvm.ir.save_json(made)
    assert build_candidate(task, text, _TARGET).library == build_candidate(task, text, _TARGET).library


@pytest.mark.parametrize(
    "text",
    [
        "winograd",
        "winograd 3 1 1 1 8 1",
        "winograd 4 0 1 1 8 1",
        "winograd 4 8 3 1 8 1",
        "winograd 4 8 4 1 16 1",
        "winograd 4 8 4 1 8 2",
        "winograd 4 800 4 1 8 1",
        "strassen 1",
    ],
)
def test_a_name_that_stands_for_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"program|settings"):
        programs.marked(kernel(), text)


def test_other_cpus_have_programs_of_their_own_width() -> None:
    made = kernel((24, 24, 32, 32))
    offer = offer_for(made, Target(_ARM))
    assert offer is not None
    assert {settings.lanes for settings in offer.options} == {4}
    schedule = programs.winograd(made, offer.options[0])
    assert "fmla" in build_kernels(prepack.split(schedule.mod).module, Target(_ARM)).inspect_source("asm")


@pytest.mark.parametrize("tuner", ["autoscheduler", "autotvm", "both"])
def test_a_search_proposes_schedules_of_both_algorithms(tuner: str) -> None:
    made = kernel((14, 15, 128, 64), after=relax.op.nn.relu)
    task = tvm.ir.save_json(made)
    search = engine(tuner).open("w", task, _TARGET, 1, seeds=[default_trace(made, _TARGET)])
    proposals = search.propose(8, None)
    search.observe([Observation(each.identity, 1e-3 + index) for index, each in enumerate(proposals)])
    proposals += search.propose(8, None)
    assert len({each.identity for each in proposals}) == 16
    kinds = [programs.named_in(json.loads(each.trace)[0]) is not None for each in proposals]
    assert any(kinds)
    assert not all(kinds)


@pytest.mark.parametrize("space", [sketches, templates, sketches_and_templates])
def test_a_program_is_changed_into_one_nearby(space: Callable[..., Any]) -> None:
    made = kernel((56, 56, 64, 64))
    drawn = space(made, Target(_TARGET), random.Random(0))
    assert isinstance(drawn, algorithms.Alternatives)
    default = default_schedule(made, _TARGET).trace
    changed = drawn.mutate(default)
    assert changed is not None
    one, other = programs.winograd_settings(default), programs.winograd_settings(changed.trace)
    assert other is not None
    assert one != other
    replayed = drawn.replay(changed.trace)
    assert replayed is not None
    assert replayed.identity == changed.identity
