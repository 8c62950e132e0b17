"""Errors cross gRPC here, and nowhere else: one table, one interceptor, the outermost of all."""

import logging
import uuid
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
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
    PermissionDenied,
    StoreError,
    TunefarmError,
    Unauthenticated,
    Unavailable,
)
from tunefarm_coordinator.service.interception import AroundInterceptor

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
    Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    Unavailable: grpc.StatusCode.UNAVAILABLE,
    StoreError: grpc.StatusCode.UNAVAILABLE,
    DiskFull: grpc.StatusCode.RESOURCE_EXHAUSTED,
    TunefarmError: grpc.StatusCode.INTERNAL,
}


def status_of(error: TunefarmError) -> grpc.StatusCode:
    """The status code that this error crosses gRPC as."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


class ErrorInterceptor(AroundInterceptor):
    """Aborts the call with the status and message of whatever a servicer raised.

    What is not a TunefarmError is a defect: it is logged with a trace id (the caller's, from the metadata
    `tunefarm-trace-id`, or a new one), and the caller learns that id and nothing else.
    """

    def around(self, context: Any, method: str) -> AbstractAsyncContextManager[None]:
        return _errors_mapped(context, method)


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
