"""Where in a line's workspace its values lie: what is not needed at the same time may share a place."""

from collections.abc import Iterator

from tunefarm_coordinator.models.one_call import Choice, Copy, KernelCall, Line, LineCall, Memory, Step

# Bytes: where kernels expect tensors to begin.
_ALIGNMENT = 64


def place(line: Line) -> None:
    """Sets the line's `offsets` and `workspace`."""
    spans = _spans(line)
    for memory in sorted(spans, key=lambda memory: (-memory.size, spans[memory])):
        first, last = spans[memory]
        taken = sorted(
            (at, at + _padded(other.size))
            for other, at in line.offsets.items()
            if spans[other][0] <= last and first <= spans[other][1]
        )
        line.offsets[memory] = _gap(taken, _padded(memory.size))
    line.workspace = max((at + _padded(memory.size) for memory, at in line.offsets.items()), default=_ALIGNMENT)


def _gap(taken: list[tuple[int, int]], size: int) -> int:
    begin = 0
    for first, end in taken:
        if begin + size <= first:
            break
        begin = max(begin, end)
    return begin


def _padded(size: int) -> int:
    return -(-size // _ALIGNMENT) * _ALIGNMENT


def _spans(line: Line) -> dict[Memory, tuple[int, int]]:
    """(first, last step that touches it) of each value, steps inside others counted."""
    results, spans = set(line.made()), dict[Memory, tuple[int, int]]()
    for at, step in enumerate(_every(line.steps)):
        for memory in _touched(step):
            if memory.given is None and memory not in results:
                spans[memory] = spans.get(memory, (at, at))[0], at
    return spans


def _every(steps: list[Step]) -> Iterator[Step]:
    for step in steps:
        yield step
        if isinstance(step, Choice):
            for branch in step.branches:
                yield from _every(branch)


def _touched(step: Step) -> list[Memory]:
    if isinstance(step, KernelCall | LineCall):
        return [memory.found() for memory in step.operands]
    if isinstance(step, Copy):
        return [step.source.found(), step.target.found()]
    return [step.condition.found()]
