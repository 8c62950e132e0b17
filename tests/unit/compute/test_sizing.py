from hypothesis import given
from hypothesis import strategies as st

from tunefarm_coordinator.compute.sizing import OTHER_BYTES, WORKER_BYTES, PoolSizes, pool_sizes

GIB = 2**30


def test_two_cores_get_one_searcher_and_two_builders() -> None:
    assert pool_sizes(2, 24 * GIB) == PoolSizes(searchers=1, builders=2, models=1)


def test_one_core_still_gets_one_of_each() -> None:
    assert pool_sizes(1, 24 * GIB) == PoolSizes(searchers=1, builders=1, models=1)


def test_many_cores_are_used() -> None:
    sizes = pool_sizes(64, 256 * GIB)
    assert sizes.searchers + sizes.builders >= 64
    assert sizes.models == 16


def test_little_memory_makes_few_processes() -> None:
    sizes = pool_sizes(64, OTHER_BYTES + 10 * WORKER_BYTES)
    assert sizes.searchers + sizes.builders == 10


def test_what_is_given_is_taken() -> None:
    assert pool_sizes(2, 24 * GIB, searchers=3, builders=5) == PoolSizes(searchers=3, builders=5, models=1)


@given(cores=st.integers(1, 512), memory=st.integers(0, 2**42))
def test_sizes_are_never_empty_and_grow_with_cores(cores: int, memory: int) -> None:
    small, large = pool_sizes(cores, memory), pool_sizes(cores + 1, memory)
    assert min(small.searchers, small.builders, small.models) >= 1
    assert small.processes <= large.processes
