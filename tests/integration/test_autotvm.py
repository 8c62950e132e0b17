"""The AutoTVM engine over real TVM: templates on kernels as models have them, and the search over their knobs."""

import io
import json
import random
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tvm
from numpy.typing import NDArray
from onnx import NodeProto, helper
from tvm.target import Target

from tests.tiny_models import save_tiny_cnn
from tests.unit.models import graphs
from tunefarm_coordinator.compute.messages import PrepareModel
from tunefarm_coordinator.compute.model_work import prepare_model
from tunefarm_coordinator.engines import prepack, trace_text
from tunefarm_coordinator.engines.autotvm import registry
from tunefarm_coordinator.engines.autotvm.knobs import decisions_of
from tunefarm_coordinator.engines.autotvm.space import TemplateSpace
from tunefarm_coordinator.engines.build import build_candidate, build_kernels
from tunefarm_coordinator.engines.candidate import BuiltCandidate, Proposal
from tunefarm_coordinator.engines.cost_model import ScoreModel
from tunefarm_coordinator.engines.engine import Observation, Search, TaskRecord, engine, template_name
from tunefarm_coordinator.engines.space import Draft
from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.models.default_schedule import default_trace
from tunefarm_coordinator.models.expected import expected_outputs
from tunefarm_coordinator.models.matching import match
from tunefarm_coordinator.models.prepare import prepare
from tunefarm_coordinator.models.target import host_target
from tunefarm_coordinator.models.task import TuningTask

ARM_TARGET = json.dumps(
    {"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a72", "mattr": ["+neon"], "num-cores": 4}
)
CUDA_TARGET = json.dumps({"kind": "cuda", "arch": "sm_90"})
OPENCL_TARGET = '{"kind": "opencl"}'

_IMAGE: graphs.Dims = [1, 24, 13, 14]


def _node(operator: str, *inputs: str, output: str, **attributes: Any) -> NodeProto:
    return helper.make_node(operator, inputs, [output], **attributes)


def _conv(data: str, weight: str, output: str, **attributes: Any) -> NodeProto:
    return _node("Conv", data, weight, output=output, **attributes)


Model = tuple[list[NodeProto], dict[str, graphs.Dims], dict[str, Any]]

# Models as small as they may be, each for the kernels that preparation makes of it.
MODELS: dict[str, Model] = {
    "1x1": (
        [_node("Conv", "x", "w", "b", output="c"), _node("Relu", "c", output="y")],
        {"x": _IMAGE},
        {"w": graphs.random_weights(48, 24, 1, 1), "b": graphs.random_weights(48)},
    ),
    "1x1_odd": ([_conv("x", "w", "y", strides=[2, 2])], {"x": _IMAGE}, {"w": graphs.random_weights(50, 24, 1, 1)}),
    "3x3_residual": (
        [
            _node("Conv", "x", "w", "b", output="c", pads=[1] * 4),
            _node("Add", "c", "x", output="s"),
            _node("HardSwish", "s", output="y"),
        ],
        {"x": _IMAGE},
        {"w": graphs.random_weights(24, 24, 3, 3), "b": graphs.random_weights(24)},
    ),
    "5x3_dilated": (
        [_conv("x", "w", "y", dilations=[2, 1], pads=[2, 1, 2, 1], strides=[2, 1])],
        {"x": _IMAGE},
        {"w": graphs.random_weights(16, 24, 5, 3)},
    ),
    "depthwise": (
        [_conv("x", "w", "c", group=24, pads=[2] * 4), _node("HardSwish", "c", output="y")],
        {"x": _IMAGE},
        {"w": graphs.random_weights(24, 1, 5, 5)},
    ),
    "grouped": (
        [_node("Conv", "x", "w", "b", output="c", group=4, pads=[1] * 4), _node("Relu", "c", output="y")],
        {"x": [1, 32, 10, 11]},
        {"w": graphs.random_weights(32, 8, 3, 3), "b": graphs.random_weights(32)},
    ),
    "grouped_odd": (
        [_conv("x", "w", "y", group=3)],
        {"x": _IMAGE},
        {"w": graphs.random_weights(57, 8, 1, 1)},
    ),
    # Most of its work is a transposed convolution of groups, so that everything stays in NCHW.
    "channels_first": (
        [
            _node("ConvTranspose", "x", "transposed", output="t", group=2, pads=[3] * 4),
            _conv("t", "grouped", "g", group=2, pads=[1] * 4),
            _conv("g", "pointwise", "p"),
            _conv("p", "window", "q", pads=[1] * 4),
            _conv("q", "general", "r", pads=[2] * 4),
            _conv("r", "deep", "y", group=8, pads=[1] * 4),
        ],
        {"x": _IMAGE},
        {
            "transposed": graphs.random_weights(24, 12, 7, 7),
            "grouped": graphs.random_weights(24, 12, 3, 3),
            "pointwise": graphs.random_weights(8, 24, 1, 1),
            "window": graphs.random_weights(8, 8, 3, 3),
            "general": graphs.random_weights(8, 8, 5, 5),
            "deep": graphs.random_weights(8, 1, 3, 3),
        },
    ),
    # Others become plain convolutions.
    "transposed": (
        [
            _node("ConvTranspose", "x", "w", "b", output="c", strides=[2, 2], pads=[1] * 4, dilations=[1, 2]),
            _node("Relu", "c", output="y"),
        ],
        {"x": [1, 12, 6, 7]},
        {"w": graphs.random_weights(12, 16, 4, 4), "b": graphs.random_weights(16)},
    ),
    "dense": (
        [_node("Gemm", "x", "w", "b", output="y", transB=1)],
        {"x": [3, 200]},
        {"w": graphs.random_weights(50, 200), "b": graphs.random_weights(50)},
    ),
    "dense_of_sequence": (
        [_node("MatMul", "x", "w", output="m"), _node("Sigmoid", "m", output="y")],
        {"x": [1, 9, 40]},
        {"w": graphs.random_weights(40, 32)},
    ),
    "batch_matmul": ([_node("MatMul", "x", "z", output="y")], {"x": [4, 9, 20], "z": [4, 20, 33]}, {}),
}

TEMPLATES = {
    "1x1": {"conv2d_1x1_nhwc"},
    "1x1_odd": {"conv2d_1x1_nhwc"},
    "3x3_residual": {"conv2d_3x3_nhwc"},
    "5x3_dilated": {"conv2d_nhwc"},
    "depthwise": {"depthwise_conv2d_nhwc"},
    "grouped": {"grouped_conv2d_nhwc"},
    "grouped_odd": {"grouped_conv2d_nhwc"},
    "channels_first": {
        "grouped_conv2d_nchw",
        "conv2d_1x1_nchw",
        "conv2d_3x3_nchw",
        "conv2d_nchw",
        "depthwise_conv2d_nchw",
        "conv2d_transpose_nchw",
    },
    "transposed": {"conv2d_transpose_nchw"},
    "dense": {"dense"},
    "dense_of_sequence": {"dense"},
    "batch_matmul": {"batch_matmul"},
}


Tasks = Callable[[str], list[TuningTask]]


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Tasks:
    """The tasks of a model of the list above, each prepared once."""
    made: dict[str, list[TuningTask]] = {}

    def of(name: str) -> list[TuningTask]:
        if name not in made:
            folder = tmp_path_factory.mktemp(name)
            nodes, inputs, weights = MODELS[name]
            path = graphs.save(folder / "m.onnx", nodes, inputs, ["y"], weights, opset=14)
            shapes = {key: tuple(int(size) for size in dims if size) for key, dims in inputs.items()}
            made[name] = list(prepare(path, shapes, host_target(), folder / "prepared").tasks)
        return made[name]

    return of


@pytest.fixture(scope="module")
def convolution(tasks: Tasks) -> TuningTask:
    return tasks("3x3_residual")[0]


def _space(task: TuningTask, target: str | None = None, seed: int = 0) -> TemplateSpace:
    return TemplateSpace(tvm.ir.load_json(task.module), Target(target or host_target()), random.Random(seed))


def _drafts(space: TemplateSpace, count: int) -> list[Draft]:
    """The template's defaults, and `count` others: by turns drawn at random and changed."""
    assert space.first is not None
    found = {space.first.identity: space.first}
    for turn in range(20 * count):
        draft = space.sample() if turn % 2 else space.mutate(random.Random(turn).choice(list(found.values())).trace)
        if draft is not None:
            found.setdefault(draft.identity, draft)
        if len(found) > count:
            break
    return list(found.values())


def _run(built: BuiltCandidate, inputs: Sequence[NDArray[Any]], folder: Path) -> NDArray[Any]:
    path = folder / f"{len(list(folder.iterdir()))}.so"
    path.write_bytes(built.library)
    module = tvm.runtime.load_module(str(path))
    tensors = [tvm.runtime.tensor(value) for value in inputs]
    for each in built.prepacks:
        packed = tvm.runtime.empty(built.arguments[each.argument].shape, built.arguments[each.argument].dtype)
        module[each.function](tensors[each.argument], packed)
        tensors[each.argument] = packed
    output = tvm.runtime.empty(built.arguments[-1].shape, built.arguments[-1].dtype)
    module["main"](*tensors, output)
    return np.asarray(output.numpy())


def _reference(task: TuningTask) -> tuple[list[NDArray[Any]], NDArray[Any]]:
    with np.load(io.BytesIO(expected_outputs(task, 5))) as arrays:
        inputs = [arrays[f"arg{index}"] for index in range(len(arrays.files) - 1)]
        return inputs, arrays["out0"]


def _check(task: TuningTask, count: int, folder: Path) -> list[BuiltCandidate]:
    """Builds and runs the defaults and `count` others: all have to answer what the unscheduled kernel answers."""
    inputs, expected = _reference(task)
    assert np.ptp(expected) > 0
    space = _space(task)
    built = []
    for draft in _drafts(space, count):
        candidate = build_candidate(task.module, trace_text.encode(draft.trace), host_target())
        assert match(_run(candidate, inputs, folder), expected), (task.name, draft.schedule.mod.script())
        built.append(candidate)
    return built


class TestTemplates:
    @pytest.mark.parametrize("name", TEMPLATES)
    def test_found_by_operator_and_target_kind(self, tasks: Tasks, name: str) -> None:
        for target, kind in ((host_target(), _host_kind()), (ARM_TARGET, "arm_cpu")):
            found = [template_name(task.module, target) for task in tasks(name)]
            assert {str(each) for each in found} == {f"{operator}.{kind}" for operator in TEMPLATES[name]}

    @pytest.mark.parametrize("name", MODELS)
    def test_candidates_answer_what_the_unscheduled_kernel_answers(
        self, tasks: Tasks, name: str, tmp_path: Path
    ) -> None:
        for task in tasks(name):
            _check(task, 3, tmp_path)

    @pytest.mark.slow
    @pytest.mark.parametrize("name", MODELS)
    def test_many_candidates_answer_right(self, tasks: Tasks, name: str, tmp_path: Path) -> None:
        for task in tasks(name):
            assert len(_check(task, 24, tmp_path)) > 16

    @pytest.mark.parametrize("name", MODELS)
    def test_every_choice_of_a_knob_gives_schedules(self, tasks: Tasks, name: str) -> None:
        """A choice that never fits would be a knob in name only."""
        for task in tasks(name):
            space = _space(task)
            drafts = [draft for _ in range(50) if (draft := space.sample()) is not None]
            taken: dict[tuple[int, int], list[int]] = {}
            for draft in drafts:
                choices = [each for each in draft.trace.insts if each.kind.name == "SampleCategorical"]
                for position, each in enumerate(choices):
                    taken.setdefault((position, len(each.attrs[0])), []).append(int(draft.trace.decisions[each]))
            assert len(drafts) >= 45, task.name
            # An order of loops can be chosen only where the tiles drawn have several, which may be seldom.
            never = {key: picks for key, picks in taken.items() if len(picks) >= 30 and len(set(picks)) < key[1]}
            assert never == {}, task.name

    def test_a_wrong_weight_is_noticed(self, convolution: TuningTask, tmp_path: Path) -> None:
        """The mutation: the comparison above can fail."""
        inputs, expected = _reference(convolution)
        inputs[1] = inputs[1][::-1].copy()
        trace = trace_text.encode(_drafts(_space(convolution), 0)[0].trace)
        built = build_candidate(convolution.module, trace, host_target())
        assert not match(_run(built, inputs, tmp_path), expected)

    def test_weights_are_laid_out_as_the_candidate_reads_them(self, tasks: Tasks, tmp_path: Path) -> None:
        [task] = tasks("1x1")
        built = _check(task, 5, tmp_path)
        assert all(1 in [each.argument for each in candidate.prepacks] for candidate in built)
        assert len({candidate.arguments[1].shape for candidate in built}) > 1

    @pytest.mark.parametrize("name", MODELS)
    def test_arm_kernels_use_its_vectors(self, tasks: Tasks, name: str) -> None:
        """Compiled for AArch64, not linked: that takes a linker."""
        for task in tasks(name):
            space = _space(task, ARM_TARGET)
            [draft] = _drafts(space, 0)
            target = Target(ARM_TARGET)
            replayed = trace_text.replay(space.module, trace_text.encode(draft.trace), target)
            built = build_kernels(prepack.split(replayed.mod).module, target)
            assembly = str(built.inspect_source("asm"))
            # Registers of four, or of two where the sizes divide by no more.
            assert re.search(r"\bfm(la|ul)\s+v\d+\.[24]s", assembly), task.name

    def test_kernels_and_targets_without_one(self, convolution: TuningTask, tmp_path: Path) -> None:
        prepared = prepare(
            graphs.save(tmp_path / "m.onnx", [_node("Softmax", "x", output="y", axis=-1)], {"x": [64, 400]}, ["y"]),
            {"x": (64, 400)},
            host_target(),
            tmp_path / "prepared",
        )
        [softmax] = prepared.tasks
        assert template_name(softmax.module, host_target()) is None
        assert template_name(convolution.module, CUDA_TARGET) == "conv2d_3x3_nhwc.cuda"
        assert template_name(convolution.module, OPENCL_TARGET) is None
        with pytest.raises(InvalidInput, match="no template"):
            engine("autotvm").open("workload", softmax.module, host_target(), 1)

    def test_one_that_refuses_is_none(self, convolution: TuningTask, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuses(job: registry.Job) -> None:
            job.schedule.get_sblock("no such block")

        assert template_name(convolution.module, host_target()) is not None
        monkeypatch.setattr(registry, "find", lambda *_: refuses)
        assert template_name(convolution.module, host_target()) is None

    def test_preparation_says_which_tasks_have_one(self, tmp_path: Path) -> None:
        path = tmp_path / "tiny.onnx"
        save_tiny_cnn(path)
        asked = PrepareModel(path, {"image": (1, 3, 16, 16)}, host_target(), tmp_path / "prepared")
        assert not prepare_model(asked).templates, "nobody asked for them"
        summary = prepare_model(replace(asked, templates=True))
        named = {task.name: summary.templates.get(task.workload) for task in summary.tasks}
        convolutions = {name: template for name, template in named.items() if name.startswith("conv2d")}
        assert set(convolutions.values()) == {f"conv2d_{size}_nhwc.{_host_kind()}" for size in ("1x1", "3x3")}
        assert set(summary.templates) <= {task.workload for task in summary.tasks}


def _host_kind() -> str:
    return "arm_cpu" if "aarch64" in str(tvm.target.codegen.llvm_get_system_triple()) else "x86"


def _open(task: TuningTask, **history: Any) -> Search:
    return engine("autotvm").open(task.workload, task.module, host_target(), 1, **history)


def _observed(search: Search, proposals: Sequence[Proposal], seconds: Sequence[float | None]) -> None:
    search.observe([Observation(each.identity, time) for each, time in zip(proposals, seconds, strict=True)])


class _NeverAsked(ScoreModel):
    """A model that nobody may ask."""

    def __init__(self) -> None:
        self.samples = 100

    def score(self, candidates: Sequence[NDArray[np.float32]]) -> NDArray[np.float64]:
        raise AssertionError(f"asked about {len(candidates)} candidates")


class TestSearch:
    def test_begins_with_the_defaults(self, convolution: TuningTask) -> None:
        first = _space(convolution).first
        assert first is not None
        # Its trace asks less of the kernel than the first: answers are remembered.
        (proposal,) = _open(convolution).propose(1, None)
        replayed = trace_text.replay(_space(convolution).module, proposal.trace, Target(host_target()))
        assert proposal.identity == first.identity
        assert decisions_of(replayed.trace) == decisions_of(first.trace)

    def test_no_candidate_comes_twice(self, convolution: TuningTask) -> None:
        search = _open(convolution)
        identities = []
        for _ in range(4):
            proposals = search.propose(8, None)
            _observed(search, proposals, [1e-3 * (1 + n) for n in range(len(proposals))])
            identities += [each.identity for each in proposals]
        assert len(identities) == len(set(identities)) == 32

    def test_the_replayed_trace_has_the_identity_of_its_proposal(self, convolution: TuningTask) -> None:
        proposals = _open(convolution).propose(4, None)
        search = _open(convolution)
        assert [search.adopt(each.trace) for each in proposals] == proposals

    def test_the_same_seed_proposes_the_same_in_any_process(self, convolution: TuningTask, tmp_path: Path) -> None:
        """And a candidate is built there on its trace alone."""
        (tmp_path / "task.json").write_text(convolution.module)
        code = (
            "import json, sys, pathlib\n"
            "from tunefarm_coordinator.engines.build import build_candidate\n"
            "task = pathlib.Path(sys.argv[1]).read_text()\n"
            "assert build_candidate(task, sys.argv[4], sys.argv[3]).library\n"
            "assert not any('autotvm' in name for name in sys.modules)\n"
            "from tunefarm_coordinator.engines.engine import engine\n"
            "search = engine('autotvm').open(sys.argv[2], task, sys.argv[3], 1)\n"
            "print(json.dumps([p.identity for p in search.propose(6, None)]))"
        )
        proposals = _open(convolution).propose(6, None)
        arguments = [str(tmp_path / "task.json"), convolution.workload, host_target(), proposals[-1].trace]
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
        assert json.loads(done.stdout) == [each.identity for each in proposals]

    def test_a_rebuilt_search_goes_on_and_repeats_nothing(self, convolution: TuningTask) -> None:
        first = _open(convolution)
        past = [*first.propose(4, None), *first.propose(4, None)]
        seconds = [1e-3, 2e-3, None, 5e-4, 3e-3, 4e-3, None, 6e-3]
        _observed(first, past, seconds)
        records = [TaskRecord(each.trace, time) for each, time in zip(past, seconds, strict=True)]
        rebuilt = _open(convolution, records=records)
        fresh = [*rebuilt.propose(4, None), *rebuilt.propose(4, None)]
        assert len({each.identity for each in [*past, *fresh]}) == 16
        for told, restored in zip(first.samples(), rebuilt.samples(), strict=True):
            assert told.seconds == restored.seconds
            assert np.array_equal(told.features, restored.features)

    def test_forbidden_candidates_are_not_proposed(self, convolution: TuningTask) -> None:
        forbidden = {each.identity for each in _open(convolution).propose(6, None)}
        again = _open(convolution, forbidden=forbidden).propose(6, None)
        assert len(again) == 6
        assert not forbidden & {each.identity for each in again}

    def test_changes_what_was_fast(self, convolution: TuningTask) -> None:
        """Candidates that unroll most are reported as fast: they come back."""
        search = _open(convolution)
        limits: list[int] = []
        for _ in range(5):
            proposals = search.propose(8, None)
            found = [_unroll(each.trace) for each in proposals]
            _observed(search, proposals, [1e-3 * 2.0**-limit for limit in found])
            limits += found
        assert np.mean(np.array(limits[-16:]) == 512) > np.mean(np.array(limits[:16]) == 512)

    @pytest.mark.parametrize("other", ["autoscheduler", "autotvm"])
    def test_both_engines_read_each_others_records(self, convolution: TuningTask, other: str) -> None:
        mine = "autoscheduler" if other == "autotvm" else "autotvm"
        default = default_trace(convolution.module, host_target())
        theirs = [each.trace for each in _engine_open(other, convolution).propose(2, None)]
        records = [TaskRecord(trace, 1e-3) for trace in [default, *theirs]]
        search = _engine_open(mine, convolution, records=records)
        assert len(search.samples()) == 3
        proposals = search.propose(4, None)
        assert len(proposals) == 4
        assert not {each.trace for each in proposals} & {default, *theirs}

    def test_adopts_the_default_schedule(self, convolution: TuningTask) -> None:
        search = _open(convolution)
        adopted = search.adopt(default_trace(convolution.module, host_target()))
        [sample] = search.observe([Observation(adopted.identity, 1e-3)])
        assert sample.seconds == 1e-3
        assert adopted.identity not in {each.identity for each in search.propose(8, None)}

    def test_random_trials_are_drawn_without_a_look_at_their_score(self, convolution: TuningTask) -> None:
        search = _open(convolution, random_trials=6)
        drawn = [*search.propose(4, _NeverAsked()), *search.propose(2, _NeverAsked())]
        assert len({each.identity for each in drawn}) == 6
        _observed(search, drawn, [1e-3] * 6)
        with pytest.raises(AssertionError, match="asked about"):
            search.propose(4, _NeverAsked())

    def test_a_round_may_be_random_in_part(self, convolution: TuningTask) -> None:
        first = _space(convolution).first
        assert first is not None
        identities = [each.identity for each in _open(convolution, random_trials=2).propose(4, None)]
        assert identities.index(first.identity) == 2
        assert len(set(identities)) == 4

    def test_a_small_space_is_exhausted(self, tmp_path: Path) -> None:
        nodes = [_node("MatMul", "x", "w", output="y")]
        path = graphs.save(tmp_path / "m.onnx", nodes, {"x": [1, 1499]}, ["y"], {"w": graphs.random_weights(1499, 7)})
        [task] = prepare(path, {"x": (1, 1499)}, host_target(), tmp_path / "prepared").tasks
        search = _open(task)
        proposals: list[Proposal] = []
        for _ in range(20):
            proposals += search.propose(64, None)
            if search.exhausted:
                break
        assert search.exhausted
        assert len({each.identity for each in proposals}) == len(proposals)

    @pytest.mark.parametrize(
        ("module", "target", "said"),
        [("{}", None, "can't be read"), (None, '{"kind": "no_such_kind"}', "can't be read")],
    )
    def test_bad_input_is_named(
        self, convolution: TuningTask, module: str | None, target: str | None, said: str
    ) -> None:
        with pytest.raises(InvalidInput, match=said):
            engine("autotvm").open("workload", module or convolution.module, target or host_target(), 1)


def _engine_open(name: str, task: TuningTask, **history: Any) -> Search:
    return engine(name).open(task.workload, task.module, host_target(), 1, **history)


def _unroll(trace: str) -> int:
    """Most steps that a schedule unrolls by itself; 0 where it has no such mark."""
    instructions, _ = json.loads(trace)
    marks = [each for each in instructions if each[0] == "Annotate" and "pragma_auto_unroll_max_step" in str(each[2])]
    return max((int(each[1][1]) for each in marks), default=0)
