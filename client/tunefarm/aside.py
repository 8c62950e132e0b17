"""gRPC out of the way of Ctrl-C: it is entered from threads of ours alone, whose caller waits on a queue.

KeyboardInterrupt may come between any two steps of the main thread. Where that is in gRPC, right behind
`Condition.__enter__` and before the `with` that would let go, the lock stays taken for good: the channel's own thread
waits for it, and no call of the channel ends any more, whatever its deadline. (Measured with grpcio 1.85: after some
thousand interrupts.) `SimpleQueue.get` is one step of the interpreter, and holds nothing when it is interrupted.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from queue import SimpleQueue
from typing import Any, TypeVar

import grpc

T = TypeVar("T")


def result_of(begin: Callable[[], grpc.Future]) -> Any:
    """The answer of the call that `begin` begins. The call is cancelled if the caller does not stay for it."""
    call = _Call(begin)

    def work() -> Any:
        try:
            return call.begin().result()
        finally:
            call.end()

    try:
        return aside(work)
    except BaseException:
        call.leave()
        raise


def items_of(begin: Callable[[], Any]) -> Generator[Any]:
    """The answers of the stream that `begin` begins, each read when it is asked for. Leaving it cancels the call."""
    call = _Call(begin)
    asked: SimpleQueue[bool] = SimpleQueue()
    answers: SimpleQueue[_Answer] = SimpleQueue()

    def read() -> None:
        stream = _Answer(call.begin)
        while asked.get():
            answers.put(_Answer(lambda: next(stream.value())))
        call.end()

    try:
        _thread(read)
        while True:
            asked.put(True)
            answer = answers.get()
            if isinstance(answer.error, StopIteration):
                return
            yield answer.value()
    finally:
        asked.put(False)
        call.leave()


def aside(work: Callable[[], T]) -> T:
    """What `work` returns or raises, from a thread of its own."""
    answers: SimpleQueue[_Answer] = SimpleQueue()
    _thread(lambda: answers.put(_Answer(work)))
    value: T = answers.get().value()
    return value


class _Answer:
    """What a piece of work returned or raised."""

    def __init__(self, work: Callable[[], Any]) -> None:
        self.error: Exception | None = None
        try:
            self._value = work()
        except Exception as error:  # noqa: BLE001 - the caller raises it
            self.error = error

    def value(self) -> Any:
        if self.error is not None:
            raise self.error
        return self._value


class _Call:
    """A call that one thread begins and ends, and another may leave before or after that.

    It is let go of in those threads too: gRPC takes its lock once more where the last reference to a call goes.
    """

    def __init__(self, begin: Callable[[], Any]) -> None:
        self._begin = begin
        self._call: Any = None
        self._left = False

    def begin(self) -> Any:
        call = self._call = self._begin()
        if self._left:
            call.cancel()
        return call

    def leave(self) -> None:
        self._left = True
        _thread(self.end)

    def end(self) -> None:
        """Cancels the call (no effect on one that has ended)."""
        call, self._call = self._call, None
        if call is not None:
            call.cancel()


def _thread(work: Callable[[], object]) -> None:
    threading.Thread(target=work, name="gRPC call", daemon=True).start()
