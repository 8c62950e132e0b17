"""Search and build engines over the real TVM: propose, build, run, learn, restart."""

import json
import platform
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tvm
from tvm import te, topi

from tunefarm_coordinator.engines import linker, trace_text
from tunefarm_coordinator.engines.build import build_candidate
from tunefarm_coordinator.engines.candidate import BuildError, BuiltCandidate, Neighbour, Proposal
from tunefarm_coordinator.engines.cost_model import ITERATIONS, CostModelTrainer, Sample, ScoreModel
from tunefarm_coordinator.engines.engine import Observation, TaskRecord, engine
from tunefarm_coordinator.engines.prior import VECTOR_EXTENT
from tunefarm_coordinator.engines.search import SearchOptions, TaskSearch
from tunefarm_coordinator.errors import InvalidInput
from tunefarm_coordinator.models.default_schedule import default_trace

TARGET = json.dumps({"kind": "llvm", "num-cores": 2})
ARM_TARGET = json.dumps(
    {"kind": "llvm", "mtriple": "aarch64-linux-gnu", "mcpu": "cortex-a72", "mattr": ["+neon"], "num-cores": 4}
)
SMALL = SearchOptions(least_drafts=6, drafts_per_candidate=2)


def _task(result: te.Tensor, arguments: list[te.Tensor], weights: list[int]) -> str:
    function = te.create_prim_func([*arguments, result]).with_attr("global_symbol", "main")
    if weights:
        function = function.with_attr("layout_free_buffers", weights)
    return str(tvm.ir.save_json(tvm.IRModule({"main": function})))


def _convolution(channels: int = 16, filters: int = 32) -> str:
    """NHWC convolution, bias, ReLU; the filter's layout is free."""
    image = te.placeholder((1, 14, 14, channels), name="image")
    weight = te.placeholder((3, 3, channels, filters), name="weight")
    bias = te.placeholder((1, 1, 1, filters), name="bias")
    convolved = topi.nn.conv(image, weight, 1, 1, 1, 1, "NHWC", "HWIO")
    return _task(topi.nn.relu(topi.add(convolved, bias)), [image, weight, bias], [1])


def _two_products() -> str:
    """Two products with free layouts of both weights, one fused kernel."""
    data = te.placeholder((8, 32), name="data")
    first = te.placeholder((32, 64), name="first")
    second = te.placeholder((64, 48), name="second")
    return _task(topi.nn.matmul(topi.nn.matmul(data, first), second), [data, first, second], [1, 2])


def _addition() -> str:
    """A kernel of very few schedules."""
    left, right = (te.placeholder((4, 4), name=name) for name in ("left", "right"))
    return _task(topi.add(left, right), [left, right], [])


def _open(task: str, seed: int = 1, **history: object) -> TaskSearch:
    return TaskSearch("workload", task, TARGET, seed, SMALL, **history)  # type: ignore[arg-type]


def _load(built: BuiltCandidate, folder: Path) -> tvm.runtime.Module:
    path = folder / "candidate.so"
    path.write_bytes(built.library)
    return tvm.runtime.load_module(str(path))


def _run(built: BuiltCandidate, inputs: list[np.ndarray], folder: Path) -> np.ndarray:
    """Runs the kernel as an agent does: weights laid out by the artifact itself, shapes its own."""
    module = _load(built, folder)
    tensors = [tvm.runtime.tensor(value) for value in inputs]
    for prepack in built.prepacks:
        argument = built.arguments[prepack.argument]
        packed = tvm.runtime.empty(argument.shape, argument.dtype)
        module[prepack.function](tensors[prepack.argument], packed)
        tensors[prepack.argument] = packed
    output = tvm.runtime.empty(built.arguments[-1].shape, built.arguments[-1].dtype)
    module["main"](*tensors, output)
    return np.asarray(output.numpy())


def _unscheduled(task: str, inputs: list[np.ndarray]) -> np.ndarray:
    module = tvm.ir.load_json(task)
    built = tvm.tirx.build(module, target=tvm.target.Target("llvm"))
    output = tvm.runtime.empty(tuple(int(extent) for extent in module["main"].params[-1].shape), "float32")
    built["main"](*[tvm.runtime.tensor(value) for value in inputs], output)
    return np.asarray(output.numpy())


def _inputs(task: str) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    parameters = tvm.ir.load_json(task)["main"].params[:-1]
    return [
        rng.standard_normal([int(extent) for extent in parameter.shape]).astype("float32") for parameter in parameters
    ]


@pytest.fixture(scope="module")
def convolution() -> str:
    return _convolution()


@pytest.fixture(scope="module")
def proposals(convolution: str) -> list[Proposal]:
    return _open(convolution).propose(4, None)


def _same(actual: np.ndarray, expected: np.ndarray) -> bool:
    return bool(np.all(np.abs(actual - expected) <= 1e-5 + 1e-4 * np.abs(expected).max()))


class TestBuild:
    def test_candidates_compute_what_the_unscheduled_kernel_computes(
        self, convolution: str, proposals: list[Proposal], tmp_path: Path
    ) -> None:
        inputs = _inputs(convolution)
        expected = _unscheduled(convolution, inputs)
        layouts = set()
        for proposal in proposals:
            built = build_candidate(convolution, proposal.trace, TARGET)
            folder = tmp_path / proposal.identity
            folder.mkdir()
            assert _same(_run(built, inputs, folder), expected)
            assert [prepack.argument for prepack in built.prepacks] == [1]
            layouts.add(built.arguments[1].shape)
        assert len(layouts) > 1, "candidates have layouts of their own, or the prepacking was not tested"

    def test_a_weight_that_was_not_laid_out_gives_wrong_numbers(
        self, convolution: str, proposals: list[Proposal], tmp_path: Path
    ) -> None:
        """The mutation: the check above fails when a prepacked weight is permuted."""
        built = build_candidate(convolution, proposals[0].trace, TARGET)
        inputs = _inputs(convolution)
        expected = _unscheduled(convolution, inputs)
        inputs[1] = inputs[1][::-1].copy()
        assert not _same(_run(built, inputs, tmp_path), expected)

    def test_each_rewritten_weight_has_its_own_prepack_function(self, tmp_path: Path) -> None:
        task = _two_products()
        proposal = next(each for each in _open(task).propose(8, None) if each.trace.count('"TransformLayout"') >= 2)
        built = build_candidate(task, proposal.trace, TARGET)
        assert [(each.argument, each.function) for each in built.prepacks] == [
            (1, "prepack_1"),
            (2, "prepack_2"),
        ]
        inputs = _inputs(task)
        assert _same(_run(built, inputs, tmp_path), _unscheduled(task, inputs))

    def test_an_empty_trace_builds_the_kernel_as_it_is(self, convolution: str, tmp_path: Path) -> None:
        built = build_candidate(convolution, "[[],[]]", TARGET)
        inputs = _inputs(convolution)
        assert built.prepacks == ()
        assert [each.shape for each in built.arguments] == [*(v.shape for v in inputs), (1, 14, 14, 32)]
        assert _same(_run(built, inputs, tmp_path), _unscheduled(convolution, inputs))

    def test_same_bytes_and_nothing_left_behind(
        self, convolution: str, proposals: list[Proposal], tmp_path: Path
    ) -> None:
        first, second = (build_candidate(convolution, proposals[0].trace, TARGET, workspace=tmp_path) for _ in range(2))
        assert first == second
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize(
        "trace",
        [
            "",
            "{}",
            "[1]",
            '[[["NoSuchInstruction",[],[],[]]],[]]',
            '[[["GetSBlock",[],["no_such_block","main"],["b0"]]],[]]',
        ],
    )
    def test_a_bogus_trace_is_a_build_error(self, convolution: str, trace: str) -> None:
        with pytest.raises(BuildError, match=r"\w+: \w+"):
            build_candidate(convolution, trace, TARGET)

    def test_a_trace_of_another_task_is_a_build_error(self, proposals: list[Proposal]) -> None:
        with pytest.raises(BuildError):
            build_candidate(_two_products(), proposals[0].trace, TARGET)

    def test_builds_for_another_architecture_or_says_what_is_missing(self, convolution: str) -> None:
        """With a linker for it, an AArch64 library; without, an error that names the package."""
        proposal = TaskSearch("workload", convolution, ARM_TARGET, 1, SMALL).propose(1, None)[0]
        try:
            linker.command_for("aarch64-linux-gnu")
        except linker.LinkError:
            with pytest.raises(BuildError, match="binutils-aarch64-linux-gnu"):
                build_candidate(convolution, proposal.trace, ARM_TARGET)
        else:
            library = build_candidate(convolution, proposal.trace, ARM_TARGET).library
            assert library[:4] == b"\x7fELF"
            assert int.from_bytes(library[18:20], "little") == 183, "e_machine is EM_AARCH64"


class TestSearch:
    def test_no_candidate_comes_twice(self, convolution: str) -> None:
        search = _open(convolution)
        identities, traces = [], []
        for _ in range(4):
            round_ = search.propose(4, None)
            search.observe([Observation(each.identity, 1e-3 * (1 + n)) for n, each in enumerate(round_)])
            identities += [each.identity for each in round_]
            traces += [each.trace for each in round_]
        assert len(identities) == 16
        assert len(set(identities)) == len(set(traces)) == 16

    def test_proposals_are_parallel_and_vectorised(self, proposals: list[Proposal]) -> None:
        assert any('"Parallel"' in each.trace for each in proposals)
        assert any('"Vectorize"' in each.trace for each in proposals)

    def test_the_same_seed_proposes_the_same_in_any_process(
        self, convolution: str, proposals: list[Proposal], tmp_path: Path
    ) -> None:
        (tmp_path / "task.json").write_text(convolution)
        code = (
            "import json, sys, pathlib\n"
            "from tunefarm_coordinator.engines.search import SearchOptions, TaskSearch\n"
            "task = pathlib.Path(sys.argv[1]).read_text()\n"
            "options = SearchOptions(least_drafts=6, drafts_per_candidate=2)\n"
            "search = TaskSearch('workload', task, sys.argv[2], 1, options)\n"
            "print(json.dumps([p.identity for p in search.propose(4, None)]))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path / "task.json"), TARGET],
            capture_output=True,
            text=True,
            check=True,
            timeout=120,
        )
        assert json.loads(done.stdout) == [each.identity for each in proposals]

    def test_the_replayed_trace_has_the_identity_of_its_proposal(
        self, convolution: str, proposals: list[Proposal]
    ) -> None:
        search = _open(convolution, seed=9)
        assert [search.adopt(each.trace) for each in proposals] == proposals

    def test_a_rebuilt_search_goes_on_and_repeats_nothing(self, convolution: str) -> None:
        first = _open(convolution)
        past = [*first.propose(4, None), *first.propose(4, None)]
        seconds = [1e-3, 2e-3, None, 5e-4, 3e-3, 4e-3, None, 6e-3]
        samples = first.observe([Observation(each.identity, time) for each, time in zip(past, seconds, strict=True)])
        records = [TaskRecord(each.trace, time) for each, time in zip(past, seconds, strict=True)]
        rebuilt = _open(convolution, records=records)
        fresh = [*rebuilt.propose(4, None), *rebuilt.propose(4, None)]
        assert len({each.identity for each in [*past, *fresh]}) == 16
        for told, restored in zip(samples, rebuilt.samples(), strict=True):
            assert told.seconds == restored.seconds
            assert np.array_equal(told.features, restored.features)

    def test_forbidden_candidates_are_not_proposed(self, convolution: str, proposals: list[Proposal]) -> None:
        forbidden = {each.identity for each in proposals}
        again = _open(convolution, forbidden=forbidden).propose(4, None)
        assert len(again) == 4
        assert not forbidden & {each.identity for each in again}

    def test_records_that_no_longer_replay_are_left_out(self, convolution: str) -> None:
        stale = TaskRecord('[[["GetSBlock",[],["gone","main"],["b0"]]],[]]', 1e-3)
        search = _open(convolution, records=[stale])
        assert search.samples() == []
        assert len(search.propose(2, None)) == 2

    def test_a_small_space_ends(self) -> None:
        search = _open(_addition())
        found = [len(search.propose(8, None)) for _ in range(6)]
        assert 0 < sum(found) < 48
        assert found[-1] == 0
        assert search.exhausted

    def test_results_come_once_and_of_known_candidates(self, convolution: str) -> None:
        search = _open(convolution)
        [proposal] = search.propose(1, None)
        assert search.observe([Observation("unknown", 1.0)]) == []
        [sample] = search.observe([Observation(proposal.identity, 2e-3)])
        assert (sample.workload, sample.seconds) == ("workload", 2e-3)
        assert search.observe([Observation(proposal.identity, 3e-3)]) == []

    def test_adopts_a_schedule_made_elsewhere(self, convolution: str) -> None:
        search = _open(convolution)
        baseline = search.adopt("[[],[]]")
        [sample] = search.observe([Observation(baseline.identity, 1.0)])
        assert len(sample.features)
        assert len(search.propose(4, None)) == 4, "a parent without decisions ends nothing"
        with pytest.raises(InvalidInput, match="does not fit this task"):
            search.adopt('[[["GetSBlock",[],["gone","main"],["b0"]]],[]]')

    def test_later_rounds_follow_what_was_fast(self, convolution: str) -> None:
        """Unroll limits (four choices) that are reported as fast come back; reported as slow, they don't."""
        assert _share_of_largest_unroll(convolution, fast=True) >= 0.5
        assert _share_of_largest_unroll(convolution, fast=False) <= 0.25

    @pytest.mark.parametrize(
        ("task", "target", "said"),
        [
            ("{}", TARGET, "can't be read"),
            (None, '{"kind": "no_such_kind"}', "can't be read"),
            (None, '{"kind": "llvm"}', "num-cores"),
        ],
    )
    def test_bad_input_is_named(self, convolution: str, task: str | None, target: str, said: str) -> None:
        with pytest.raises(InvalidInput, match=said):
            engine("autoscheduler").open("workload", task or convolution, target, 1)


def _share_of_largest_unroll(task: str, fast: bool) -> float:
    """Of the third and fourth round, when a higher limit was reported as faster (or slower) before."""
    search = _open(task)
    trainer = CostModelTrainer(warm_up=16)
    limits: list[int] = []
    for _ in range(4):
        model = trainer.model.model
        proposals = search.propose(8, None if model is None else ScoreModel.from_bytes(model))
        found = [_unroll(proposal.trace) for proposal in proposals]
        times = [1e-3 * 4.0 ** (-limit if fast else limit) for limit in found]
        trainer.update(search.observe([Observation(p.identity, t) for p, t in zip(proposals, times, strict=True)]))
        limits += found
    return limits[16:].count(3) / 16


def _unroll(trace: str) -> int:
    """Which of the four unroll limits a schedule of the convolution has, 3 for the largest."""
    instructions, decisions = json.loads(trace)
    choice = next(i for i, each in enumerate(instructions) if each[0] == "SampleCategorical")
    return int(next(value for index, value in decisions if index == choice))


class TestCostModelOnKernels:
    @pytest.mark.slow
    def test_ranks_measured_kernels_better_than_chance(self, tmp_path: Path) -> None:
        """Random schedules of three convolutions, fitted on two thirds of them, asked about the rest, three
        times. On one thread, least of many repeats: what else runs on the machine must not decide."""
        tvm.get_global_func("runtime.config_threadpool")(1, 1)
        shapes = ((16, 32), (32, 16), (24, 48))
        measured = [_measured(_convolution(*shape), 22, tmp_path) for shape in shapes]
        correlations = [correlation for third in range(3) for correlation in _held_out_correlations(measured, third)]
        # Chance: nine correlations of seven candidates each, so their mean has a standard deviation of 0.14.
        assert np.mean(correlations) > 0.3, correlations


def _held_out_correlations(measured: list[list[Sample]], third: int) -> list[float]:
    """Spearman correlation of score and speed within each task, of candidates that were not fitted on."""
    known = [sample for task in measured for i, sample in enumerate(task) if i % 3 != third]
    model = CostModelTrainer(seed=1).update(known).model
    assert model is not None
    correlations = []
    for task in measured:
        asked = task[third::3]
        scores = ScoreModel.from_bytes(model).score([sample.features for sample in asked])
        speeds = [1.0 / sample.seconds for sample in asked if sample.seconds]
        ranks = [np.argsort(np.argsort(values)) for values in (scores, speeds)]
        correlations.append(float(np.corrcoef(ranks[0], ranks[1])[0, 1]))
    return correlations


def _measured(task: str, count: int, folder: Path) -> list[Sample]:
    search = TaskSearch(str(hash(task)), task, TARGET, 1, SearchOptions(least_drafts=count, drafts_per_candidate=1))
    results = []
    for proposal in search.propose(count, None):
        built = build_candidate(task, proposal.trace, TARGET)
        path = folder / f"{proposal.identity}.so"
        path.write_bytes(built.library)
        module = tvm.runtime.load_module(str(path))
        tensors = [tvm.runtime.tensor(np.ones(each.shape, each.dtype)) for each in built.arguments]
        timer = module.time_evaluator("main", tvm.cpu(0), number=1, repeat=15, min_repeat_ms=1)
        results.append(Observation(proposal.identity, min(timer(*tensors).results)))
    return search.observe(results)


def test_trace_text_survives_a_round_trip(convolution: str, proposals: list[Proposal]) -> None:
    module, target = tvm.ir.load_json(convolution), tvm.target.Target(TARGET)
    for proposal in proposals:
        assert trace_text.encode(trace_text.replay(module, proposal.trace, target).trace) == proposal.trace


def test_host_library_is_of_this_machine(convolution: str) -> None:
    library = build_candidate(convolution, "[[],[]]", TARGET).library
    machine = {"x86_64": 62, "aarch64": 183}[platform.machine()]
    assert int.from_bytes(library[18:20], "little") == machine


# Seeds: schedules to start from.


def _seed_of(task: str) -> str:
    return default_trace(task, TARGET)


def test_a_search_begins_with_changes_of_its_seed(convolution: str) -> None:
    seed = _seed_of(convolution)
    search = _open(convolution, seeds=[seed])
    first, *others = search.propose(4, None)
    # Laid out as the seed itself is, which is measured without a trial.
    for trace in (seed, first.trace):
        assert [prepack.argument for prepack in build_candidate(convolution, trace, TARGET).prepacks] == [1]
    named = _open(convolution).adopt(seed).identity
    assert len({named, first.identity, *(other.identity for other in others)}) == 5


def test_a_seed_itself_is_never_proposed() -> None:
    addition = _addition()
    seed = _seed_of(addition)
    named = _open(addition).adopt(seed).identity
    assert named not in {proposal.identity for proposal in _open(addition, seeds=[seed]).propose(8, None)}


def test_no_proposal_does_a_row_again_for_each_of_its_elements() -> None:
    """Half of what is drawn for a softmax would: of 20,000 columns such a candidate ran into the time limit."""
    rows, columns = 4, 900
    x = te.placeholder((rows, columns), name="x")
    search = _open(_task(topi.nn.softmax(x, 1), [x], []))
    proposals = search.propose(24, None)
    samples = search.observe([Observation(proposal.identity, 1e-3) for proposal in proposals])
    steps = [float((np.exp2(sample.features[:, ITERATIONS]) - 1).sum()) for sample in samples]
    assert len(steps) == len(proposals) >= 12
    assert max(steps) < 16 * 4 * rows * columns


def test_no_proposal_writes_vectors_out_that_llvm_takes_apart() -> None:
    """48 lanes in 512 steps: half a minute of LLVM's, in which nothing could be measured."""
    target = json.dumps({"kind": "llvm", "mcpu": "skylake-avx512", "num-cores": 2})
    search = TaskSearch("workload", _convolution(256, 48), target, 1, SearchOptions(least_drafts=48))
    proposals = search.propose(40, None)
    samples = search.observe([Observation(proposal.identity, 1e-3) for proposal in proposals])
    for proposal, sample in zip(proposals, samples, strict=True):
        busiest = sample.features[np.argmax(sample.features[:, ITERATIONS])]
        width = round(float(np.exp2(busiest[VECTOR_EXTENT])) - 1)
        steps = re.findall(r'"Annotate",\["\w+",(\d+)\],\["pragma_auto_unroll_max_step"\]', proposal.trace)
        assert width <= 16 or width in (32, 64) or max(map(int, steps), default=0) < 64


def test_a_seed_that_does_not_fit_is_left_out(convolution: str) -> None:
    stale = _seed_of(convolution).replace("conv2d_nhwc", "conv2d_of_yesterday")
    assert len(_open(convolution, seeds=[stale, "no trace"]).propose(2, None)) == 2


def test_seeds_wait_where_results_are_known(convolution: str, proposals: list[Proposal]) -> None:
    records = [TaskRecord(proposals[0].trace, 1e-3)]
    began = _open(convolution, seeds=[_seed_of(convolution)]).propose(1, None)
    assert began[0].identity not in {
        proposal.identity
        for proposal in _open(convolution, records=records, seeds=[_seed_of(convolution)]).propose(1, None)
    }


# Neighbours: schedules of kernels alike, fitted.


def test_a_neighbour_s_schedule_is_fitted_and_right(
    convolution: str, proposals: list[Proposal], tmp_path: Path
) -> None:
    """12 channels to 24 begins with the schedules of 16 to 32."""
    other = _convolution(12, 24)
    neighbours = [Neighbour(convolution, proposal.trace) for proposal in proposals[:3]]
    begun = _open(other, neighbours=neighbours).propose(2, None)
    assert {each.identity for each in begun}.isdisjoint(each.identity for each in _open(other).propose(2, None))
    random = np.random.default_rng(0)
    plain = build_candidate(other, "[[],[]]", TARGET)
    inputs = [random.standard_normal(each.shape).astype(each.dtype) for each in plain.arguments[:-1]]
    wanted = _run(plain, inputs, tmp_path)
    for proposal in begun:
        folder = tmp_path / proposal.identity
        folder.mkdir()
        np.testing.assert_allclose(
            _run(build_candidate(other, proposal.trace, TARGET), inputs, folder), wanted, 1e-4, 1e-4
        )


def test_a_neighbour_that_does_not_fit_is_left_out(convolution: str) -> None:
    products = _two_products()
    trace = _open(products).propose(1, None)[0].trace
    neighbours = [Neighbour(products, trace), Neighbour("no module", trace), Neighbour(convolution, "no trace")]
    first = [each.identity for each in _open(convolution).propose(2, None)]
    assert [each.identity for each in _open(convolution, neighbours=neighbours).propose(2, None)] == first
