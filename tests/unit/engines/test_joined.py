"""The space of both tuners."""

import json
import random
from collections import Counter
from collections.abc import Callable

import pytest
import tvm
from tvm import te, topi
from tvm.target import Target

from tunefarm_coordinator.engines.autotvm.space import TemplateSpace
from tunefarm_coordinator.engines.engine import Observation, engine
from tunefarm_coordinator.engines.joined import Joined
from tunefarm_coordinator.engines.spaces import sketches_and_templates
from tunefarm_coordinator.models.tasks import normalized

_TARGET = json.dumps({"kind": "llvm", "mcpu": "skylake-avx512", "num-cores": 2})


def product(rows: int = 64, terms: int = 48, lanes: int = 96) -> tvm.IRModule:
    a, b = te.placeholder((rows, terms), name="a"), te.placeholder((terms, lanes), name="b")
    return normalized(te.create_prim_func([a, b, topi.matmul(a, b)]).with_attr("layout_free_buffers", [1]))


def maximum() -> tvm.IRModule:
    a = te.placeholder((64, 512), name="a")
    return normalized(te.create_prim_func([a, topi.max(a, axis=1)]))


def made_by(space: Joined, templated: TemplateSpace) -> Counter[bool]:
    """Of sixty draws, how many the template would make of the draw's own decisions."""
    found: Counter[bool] = Counter()
    for _ in range(60):
        draft = space.sample()
        if draft is not None:
            again = templated.replay(draft.trace)
            found[again is not None and again.identity == draft.identity] += 1
    return found


def test_half_of_what_is_drawn_is_the_templates() -> None:
    module, target = product(), Target(_TARGET)
    space = sketches_and_templates(module, target, random.Random(0))
    assert isinstance(space, Joined)
    found = made_by(space, TemplateSpace(module, target, random.Random(1)))
    assert found[True] > 10
    assert found[False] > 10


def test_a_schedule_of_either_is_changed_by_either() -> None:
    space = sketches_and_templates(product(), Target(_TARGET), random.Random(0))
    drafts = [draft for _ in range(8) if (draft := space.sample()) is not None]
    for draft in drafts:
        changed = {made.identity for _ in range(12) if (made := space.mutate(draft.trace)) is not None}
        assert len(changed - {draft.identity}) > 1


def test_what_is_no_product_has_generated_schedules_alone() -> None:
    space = sketches_and_templates(maximum(), Target(_TARGET), random.Random(0))
    assert not isinstance(space, Joined)
    assert space.sample() is not None


@pytest.mark.parametrize("module", [product, maximum])
def test_the_search_goes_on_from_what_was_measured(module: Callable[[], tvm.IRModule]) -> None:
    task = tvm.ir.save_json(module())
    search = engine("both").open("w", task, _TARGET, 1)
    first = search.propose(4, None)
    search.observe([Observation(each.identity, 1e-3 + index) for index, each in enumerate(first)])
    later = search.propose(4, None)
    assert len({each.identity for each in (*first, *later)}) == len(first) + len(later) == 8
