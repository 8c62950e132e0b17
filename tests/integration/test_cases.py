"""Small models that are easily got wrong (`tests/cases`): right before their first trial, or refused with a reason."""

import re
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import onnxruntime  # noqa: F401 - children find it imported
import onnxslim  # noqa: F401
import psutil
import pytest

from tests.cases.collection import CASES, FILES
from tests.cases.judging import judge, sizes, write
from tests.conformance.supervision import judged
from tests.conformance.verdict import PASSED, REFUSED, Verdict
from tests.programs import agent, assert_nothing_left, coordinator, document, tunefarm
from tunefarm_coordinator.models.onnx_file import read_signature

pytestmark = pytest.mark.slow

# What can't be served, and what the user reads. The others match ONNX Runtime.
REFUSALS = {
    "batchnorm_training": "BatchNormalization at node bn",
    "conv_opset99": "ONNX Runtime.* can't load this model: .*Opset 99 .*--without-reference",
    "cumsum_axis_input": "CumSum at node cumsum0 takes its axis from input 'ax': fix it with --freeze ax=VALUE",
    "dense_bf16": "ONNX Runtime.* can't load this model: .*MatMul.*--without-reference",
    "dup_node_names": "two nodes with same node name .*--without-reference",
    "empty_file": "not an ONNX file",
    "external_missing": "gone.bin, which is missing",
    "huge_dims": "about 16.0 GiB of memory",
    "huge_dims_2": "GiB of memory",
    "invalid_cycle": r"Add at node \(output y\) reads 'z', which only \(output z\) gives, after it",
    "invalid_undefined_input": r"Add at node \(output y\) reads 'nope', which no input, weight or node gives",
    "invalid_wrong_shape": r"MatMul at node \(output y\) can't be imported: Incompatible dimensions",
    "nasty_unsupported": "Evil",
    "nonzero": r"NonZero at \(output y\)",
    "not_onnx": "not an ONNX file",
    "random_normal": r"RandomNormalLike at \(output r\)",
    "seq_input": "'s' is no tensor",
    "string_input": "'x' holds text",
    "truncated": "truncated or damaged",
    "unique": r"Unique at \(output y\)",
}
# Of those that once failed after their trials were spent, one of each kind.
TUNED = (
    "gru",
    "int_div_reduce",
    "no_inputs",
    "qdq_conv_net",
    "roialign_hp",
    "scalar_sr_input",
    "topk_after_conv",
    "transformer_static_ids",
    "unused_input",
)


@pytest.mark.timeout(900)
def test_every_case_is_right_or_refused_before_anything_is_spent() -> None:
    found = verdicts([name for name in (*CASES, *FILES) if name not in too_large_to_run()])
    wrong = {name: it for name, it in found.items() if name not in REFUSALS and it.outcome != PASSED}
    assert wrong == {}
    for name, pattern in REFUSALS.items():
        if name in too_large_to_run():
            continue
        assert found[name].outcome == REFUSED, (name, found[name])
        assert re.search(pattern, found[name].reason), (name, found[name].reason)


def too_large_to_run() -> set[str]:
    """Cases that a machine with much memory would run, for minutes."""
    return {"huge_dims"} if psutil.virtual_memory().total > 32 << 30 else set()


def verdicts(names: Sequence[str]) -> dict[str, Verdict]:
    """Each case in a process of its own, two at a time."""
    jobs = [partial(judge, name) for name in names]
    return {names[index]: verdict for index, verdict, _ in judged(jobs, at_once=2, limit_s=120)}


@pytest.mark.timeout(900)
def test_what_once_failed_after_its_trials_tunes(home: Path, tmp_path: Path) -> None:
    with coordinator(home) as (_, address), agent(home, address) as board:
        board.wait_for("attached")
        for name in TUNED:
            path = write(name, tmp_path)
            shapes = [
                word
                for tensor, shape in sizes(read_signature(path)).items()
                for word in ("--input", f"{tensor}={','.join(map(str, shape))}")
            ]
            common = [str(path), *shapes, "--connect", address, "--trials-per-kernel", "1", "--json"]
            done = tunefarm(home, "tune", *common, "--out", str(tmp_path / name))
            assert done.returncode == 0, (name, done.stderr)
            assert document(done)["state"] == "SUCCEEDED", name
    assert_nothing_left(home)
