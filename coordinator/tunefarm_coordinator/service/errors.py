"""Errors cross gRPC here, and nowhere else: one table, one interceptor.

Authentication and roles get an interceptor of their own, before this one in the server's list: it reads the peer's
certificate or token, answers UNAUTHENTICATED or PERMISSION_DENIED by itself, and leaves who is calling in a
`contextvars.ContextVar` for the servicers. No servicer checks a role by hand.
"""

import inspect
import logging
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any

import grpc
import grpc.aio

from tunefarm_coordinator.artifacts import DiskFull, TooLarge
from tunefarm_coordinator.control.attachment import SessionReplaced
from tunefarm_coordinator.errors import (
    Conflict,
    InvalidInput,
    NoDevice,
    NotFound,
    NotReady,
    StoreError,
    TunefarmError,
    Unavailable,
)

log = logging.getLogger(__name__)

TRACE_KEY = "tunefarm-trace-id"


# The nearest class in an error's own line of ancestors counts.
STATUS: dict[type[TunefarmError], grpc.StatusCode] = {
    InvalidInput: grpc.StatusCode.INVALID_ARGUMENT,
    TooLarge: grpc.StatusCode.RESOURCE_EXHAUSTED,
    NotFound: grpc.StatusCode.NOT_FOUND,
    Conflict: grpc.StatusCode.ALREADY_EXISTS,
    NotReady: grpc.StatusCode.FAILED_PRECONDITION,
    SessionReplaced: grpc.StatusCode.ABORTED,
    NoDevice: grpc.StatusCode.FAILED_PRECONDITION,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
    StoreError: grpc.StatusCode.UNAVAILABLE,
    DiskFull: grpc.StatusCode.RESOURCE_EXHAUSTED,
    TunefarmError: grpc.StatusCode.INTERNAL,
}


def status_of(error: TunefarmError) -> grpc.StatusCode:
    """The status code that this error crosses gRPC as."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


class ErrorInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
    """Aborts the call with the status and message of whatever a servicer raised.

    What is not a TunefarmError is a defect: it is logged with a trace id (the caller's, from the metadata
    `tunefarm-trace-id`, or a new one), and the caller learns that id and nothing else.
    """

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        handler = await continuation(details)
        if handler is None:
            return None
        wrap = _wrap_stream if handler.response_streaming else _wrap_unary
        kind = (
            ("stream" if handler.request_streaming else "unary")
            + "_"
            + ("stream" if handler.response_streaming else "unary")
        )
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        return make(
            wrap(getattr(handler, kind), details.method),
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


def _wrap_unary(inner: Callable[[Any, Any], Awaitable[Any]], method: str) -> Callable[[Any, Any], Awaitable[Any]]:
    async def call(request: Any, context: Any) -> Any:
        async with _errors_mapped(context, method):
            return await inner(request, context)

    return call


def _wrap_stream(inner: Callable[[Any, Any], Any], method: str) -> Callable[[Any, Any], Any]:
    if not inspect.isasyncgenfunction(inner):
        # A handler that writes by itself, as gRPC's own health service does.
        return _wrap_unary(inner, method)

    async def call(request: Any, context: Any) -> AsyncIterator[Any]:
        async with _errors_mapped(context, method), aclosing(inner(request, context)) as responses:
            async for response in responses:
                yield response

    return call


@asynccontextmanager
async def _errors_mapped(context: Any, method: str) -> AsyncIterator[None]:
    """Ends the call as an error inside says: raises grpc's AbortError in its place."""
    try:
        yield
    except TunefarmError as error:
        await context.abort(status_of(error), str(error))
    except (grpc.RpcError, grpc.aio.AbortError):
        raise  # aborted already
    except Exception:
        trace = dict(context.invocation_metadata() or ()).get(TRACE_KEY) or uuid.uuid4().hex
        log.exception("a call failed unexpectedly", extra={"method": method, "trace_id": trace})
        name = method.rpartition("/")[2]
        message = f"internal error in {name}; the coordinator's log has it under trace id {trace}"
        await context.abort(grpc.StatusCode.INTERNAL, message)
