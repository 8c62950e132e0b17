"""A package's run.py: which set the inputs' shapes choose, what is padded, and what is cut off again."""

import os
from typing import Any

import numpy as np
import pytest

from tunefarm_coordinator.models.packaged_run import CannotRun, chosen, output_shapes, padded, use_cores


def described(inputs: dict[str, tuple[int, ...]], *outputs: tuple[int, ...]) -> dict[str, Any]:
    return {
        "inputs": [{"name": name, "dtype": "float32", "shape": list(shape)} for name, shape in inputs.items()],
        "outputs": [{"name": f"y{at}", "dtype": "float32", "shape": list(shape)} for at, shape in enumerate(outputs)],
    }


def encoder(batch: int, length: int) -> dict[str, Any]:
    """Ids and mask in; a vector for each id, for each pair of them, for three of every two, and one for all."""
    sizes = (batch, length, 8), (batch, length, length), (batch, length * 3 // 2), (batch, 8)
    return described({"ids": (batch, length), "mask": (batch, length)}, *sizes)


SETS = [encoder(1, 64), encoder(1, 16), encoder(1, 32)]
BOTH = {"ids": 0.0, "mask": 0.0}


def shapes(length: int, batch: int = 1) -> dict[str, tuple[int, ...]]:
    return {"ids": (batch, length), "mask": (batch, length)}


@pytest.mark.parametrize(("length", "at"), [(64, 0), (16, 1), (32, 2), (17, 2), (1, 1), (33, 0)])
def test_the_smallest_set_that_is_large_enough(length: int, at: int) -> None:
    assert chosen(SETS, BOTH, shapes(length)) == at


@pytest.mark.parametrize(
    ("padding", "given", "said"),
    [
        ({}, shapes(17), "ids=1,64 mask=1,64 or ids=1,16 mask=1,16 or ids=1,32 mask=1,32, not for ids=1,17 mask=1,17"),
        ({"ids": 0.0}, shapes(17), r"\(ids may be smaller\), not for"),
        (BOTH, shapes(65), "not for ids=1,65"),
        (BOTH, shapes(16, batch=2), "not for ids=2,16"),
        (BOTH, {"ids": (16,), "mask": (1, 16)}, "not for ids=16 mask=1,16"),
        (BOTH, {"ids": (1, 0), "mask": (1, 0)}, "not for ids=1,0"),
        (BOTH, {"ids": (1, 16)}, "the inputs are ids, mask, not ids"),
        (BOTH, {}, "the inputs are ids, mask, not none"),
    ],
)
def test_what_fits_none_is_told(padding: dict[str, float], given: dict[str, tuple[int, ...]], said: str) -> None:
    with pytest.raises(CannotRun, match=said):
        chosen(SETS, padding, given)


def test_inputs_may_be_padded_apart() -> None:
    """The image is, its size in pixels is not."""
    sets = [described({"image": (1, 8), "size": (2,)}), described({"image": (1, 16), "size": (2,)})]
    assert chosen(sets, {"image": 0.0}, {"image": (1, 9), "size": (2,)}) == 1


def test_padding_is_at_the_end() -> None:
    value = np.ones((1, 2), np.int64)
    assert padded(value, (2, 4), 7).tolist() == [[1, 1, 7, 7], [7, 7, 7, 7]]
    assert padded(value, (2, 4), 7).dtype == np.int64
    assert padded(value, (1, 2), 7) is value


def test_outputs_are_cut_where_they_are_a_multiple() -> None:
    assert output_shapes(SETS, 2, shapes(20)) == [(1, 20, 8), (1, 20, 20), (1, 30), (1, 8)]
    assert output_shapes(SETS, 2, shapes(32)) == [(1, 32, 8), (1, 32, 32), (1, 48), (1, 8)]


def test_an_axis_that_is_named_as_a_padded_one_is_cut_like_it() -> None:
    """Also where no other set tells, and where the sets grow alike in both axes."""
    of_batch, of_length = {"output": "y0", "axis": 0, "along": 0}, {"output": "y0", "axis": 1, "along": 1}
    equal = [{**pair, "input": name} for pair in (of_batch, of_length) for name in ("ids", "mask")]
    alone = [encoder(4, 64)]
    assert output_shapes(alone, 0, shapes(20, batch=3), equal)[0] == (3, 20, 8)
    assert output_shapes(alone, 0, shapes(20, batch=3))[0] == (4, 64, 8)
    both = [encoder(1, 16), encoder(4, 64)]
    assert output_shapes(both, 1, shapes(64, batch=3), equal)[0] == (3, 64, 8)
    assert output_shapes(both, 1, shapes(64, batch=3))[0] == (4, 64, 8)
    # Inputs of the name disagree; or the name means nothing, as another set shows.
    assert output_shapes(alone, 0, {"ids": (4, 20), "mask": (4, 30)}, equal)[0] == (4, 64, 8)
    wrong = [{"output": "y3", "axis": 1, "input": "ids", "along": 1}]
    assert output_shapes(both, 1, shapes(20, batch=4), wrong)[3] == (4, 8)


def test_outputs_stay_where_it_is_not_known() -> None:
    # 21 x 3/2 is no size.
    assert output_shapes(SETS, 2, shapes(21))[2] == (1, 48)
    # Both inputs grow alike, but are padded by different sizes.
    assert output_shapes(SETS, 2, {"ids": (1, 20), "mask": (1, 32)})[0] == (1, 32, 8)
    # No multiple: a convolution without padding.
    valid = [described({"x": (1, size)}, (1, size - 2)) for size in (16, 32)]
    assert output_shapes(valid, 1, {"x": (1, 20)}) == [(1, 30)]
    # An axis of none is a multiple of nothing.
    assert output_shapes([described({"x": (0,)}, (0,)), described({"x": (4,)}, (4,))], 0, {"x": (0,)}) == [(0,)]
    # The same in all sets, so nothing says what it comes of.
    assert output_shapes([described({"x": (4, 16)}, (4, 16))], 0, {"x": (3, 16)}) == [(4, 16)]
    # A number of axes that depends on the sets.
    ranks = [described({"x": (1, 16)}, (16,)), described({"x": (1, 32)}, (1, 32))]
    assert output_shapes(ranks, 1, {"x": (1, 20)}) == [(1, 32)]


@pytest.mark.parametrize(
    ("there", "tuned_for", "threads", "bound"),
    [({0, 1, 2, 3}, 4, "4", "1"), ({0, 1, 2, 3}, 2, "2", "1"), ({2, 3}, 4, "2", "0")],
)
def test_a_package_takes_as_many_threads_as_it_was_tuned_for_and_pins_none_to_others_cores(
    there: set[int], tuned_for: int, threads: str, bound: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    environment: dict[str, str] = {}
    monkeypatch.setattr(os, "environ", environment)
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: there)
    use_cores({"kind": "llvm", "num-cores": tuned_for})
    assert environment == {"TVM_NUM_THREADS": threads, "TVM_BIND_THREADS": bound}


def test_what_the_environment_says_of_threads_goes_before(monkeypatch: pytest.MonkeyPatch) -> None:
    for said in ({"TVM_NUM_THREADS": "1", "TVM_BIND_THREADS": "0"}, {"OMP_NUM_THREADS": "1"}):
        environment = dict(said)
        monkeypatch.setattr(os, "environ", environment)
        use_cores({"kind": "llvm", "num-cores": 2})
        assert environment == said
