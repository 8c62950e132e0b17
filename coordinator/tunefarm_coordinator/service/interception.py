"""An interceptor that puts one context manager around every call, of whichever kind it is."""

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, aclosing
from typing import Any

import grpc
import grpc.aio


class AroundInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]  # grpc has no types
    """Runs each call inside `around`, which sees the call's context and its method ("/package.Service/Method")."""

    def around(self, context: Any, method: str) -> AbstractAsyncContextManager[None]:
        """What a call runs in; what it raises ends the call."""
        raise NotImplementedError

    async def intercept_service(self, continuation: Callable[[Any], Awaitable[Any]], details: Any) -> Any:
        handler = await continuation(details)
        if handler is None:
            return None
        wrap = self._wrap_stream if handler.response_streaming else self._wrap_unary
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

    def _wrap_unary(
        self, inner: Callable[[Any, Any], Awaitable[Any]], method: str
    ) -> Callable[[Any, Any], Awaitable[Any]]:
        async def call(request: Any, context: Any) -> Any:
            async with self.around(context, method):
                return await inner(request, context)

        return call

    def _wrap_stream(self, inner: Callable[[Any, Any], Any], method: str) -> Callable[[Any, Any], Any]:
        if not inspect.isasyncgenfunction(inner):
            # A handler that writes by itself, as gRPC's own health service does.
            return self._wrap_unary(inner, method)

        async def call(request: Any, context: Any) -> AsyncIterator[Any]:
            async with self.around(context, method), aclosing(inner(request, context)) as responses:
                async for response in responses:
                    yield response

        return call
