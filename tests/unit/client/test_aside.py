"""Ctrl-C at any moment leaves a channel that still works."""

from __future__ import annotations

import gc
import random
import signal
import sys
import threading
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import Any

import grpc
import pytest

from tunefarm.aside import aside, items_of, result_of


class Words(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Answers `/Echo` with what it is sent and `/Count` with a stream without end."""

    def __init__(self) -> None:
        self.left = threading.Event()

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        handlers = {
            "/words/Echo": grpc.unary_unary_rpc_method_handler(lambda request, _: request),
            "/words/Count": grpc.unary_stream_rpc_method_handler(self._count),
        }
        return handlers.get(details.method)

    def _count(self, _: bytes, context: grpc.ServicerContext) -> Iterator[bytes]:
        context.add_callback(self.left.set)
        number = 0
        while context.is_active():
            yield b"%d" % number
            number += 1


@pytest.fixture(name="words")
def fixture_words() -> Words:
    return Words()


@pytest.fixture(name="channel")
def fixture_channel(words: Words) -> Iterator[grpc.Channel]:
    server = grpc.server(ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((words,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel
    server.stop(None).wait(10)


def echo(channel: grpc.Channel, word: bytes) -> Any:
    return result_of(lambda: channel.unary_unary("/words/Echo").future(word, timeout=10))


def count(channel: grpc.Channel) -> Generator[Any]:
    return items_of(lambda: channel.unary_stream("/words/Count")(b""))


def test_answers_and_errors_are_the_calls_own(channel: grpc.Channel) -> None:
    assert echo(channel, b"word") == b"word"
    counted = count(channel)
    assert [next(counted) for _ in range(3)] == [b"0", b"1", b"2"]
    with pytest.raises(grpc.RpcError) as unary:
        result_of(lambda: channel.unary_unary("/words/None").future(b"", timeout=10))
    with pytest.raises(grpc.RpcError) as stream:
        next(items_of(lambda: channel.unary_stream("/words/None")(b"")))
    assert [raised.value.code() for raised in (unary, stream)] == [grpc.StatusCode.UNIMPLEMENTED] * 2
    with pytest.raises(ZeroDivisionError):
        aside(lambda: 1 / 0)


def test_a_stream_that_is_left_is_cancelled(channel: grpc.Channel, words: Words) -> None:
    counted = count(channel)
    next(counted)
    counted.close()
    assert words.left.wait(10)


def test_no_lock_of_grpc_is_taken_where_ctrl_c_may_come(channel: grpc.Channel) -> None:
    taken = []

    def watch(frame: FrameType, event: str, _: object) -> None:
        caller = frame.f_back
        if event == "call" and frame.f_code is threading.Condition.__enter__.__code__ and caller is not None:
            taken.append(f"{caller.f_code.co_filename}:{caller.f_lineno}")

    gc.collect()  # what earlier tests left is none of ours
    sys.setprofile(watch)  # of this thread alone
    gc.disable()
    try:
        echo(channel, b"word")
        counted = count(channel)
        next(counted)
        counted.close()
    finally:
        gc.enable()
        sys.setprofile(None)
    assert [name for name in taken if "grpc" in name] == []


def test_a_channel_outlives_interrupts(channel: grpc.Channel) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    chance = random.Random(1)
    try:
        for number in range(200):
            try:
                signal.setitimer(signal.ITIMER_REAL, chance.uniform(0.001, 0.01))
                for _ in count(channel):
                    pass
            except KeyboardInterrupt:
                pass
            finally:
                signal.setitimer(signal.ITIMER_REAL, 0)
            assert echo(channel, b"%d" % number) == b"%d" % number
    finally:
        signal.signal(signal.SIGALRM, before)
