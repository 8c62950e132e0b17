import asyncio
import pickle
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tunefarm_coordinator.compute import framing
from tunefarm_coordinator.compute.messages import TaskKey
from tunefarm_coordinator.compute.settings import Answer
from tunefarm_coordinator.errors import InvalidInput


async def received(*pieces: bytes) -> list[object]:
    """What a reader makes of these pieces, followed by the end of the stream."""
    reader = asyncio.StreamReader()
    for piece in pieces:
        reader.feed_data(piece)
    reader.feed_eof()
    messages = []
    while (message := await framing.read(reader)) is not None:
        messages.append(message)
    return messages


async def test_messages_arrive_in_order() -> None:
    frames = framing.encode(TaskKey("a", "w")) + framing.encode(Answer(7, b"x" * 100_000))
    assert await received(frames) == [TaskKey("a", "w"), Answer(7, b"x" * 100_000)]


async def test_an_error_crosses_with_class_and_message() -> None:
    (answer,) = await received(framing.encode(Answer(1, error=InvalidInput("no such input: x"))))
    assert isinstance(answer, Answer)
    assert isinstance(answer.error, InvalidInput)
    assert str(answer.error) == "no such input: x"


@given(cut=st.integers(1, 20))
def test_a_frame_cut_short_is_broken(cut: int) -> None:
    with pytest.raises(framing.BrokenFrame):
        asyncio.run(received(framing.encode("some message of a few bytes")[:-cut]))


async def test_an_absurd_length_is_refused_before_it_is_read() -> None:
    with pytest.raises(framing.BrokenFrame, match="was announced"):
        await received(struct.pack(">Q", 2**60) + pickle.dumps("x"))
