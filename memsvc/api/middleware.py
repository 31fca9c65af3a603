"""Around every request: its id, its log line, the size of its body, and paths whose ids may hold any character."""

import logging
import re
from contextvars import ContextVar
from time import perf_counter
from uuid import uuid4

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from memsvc.api.errors import defect, problem
from memsvc.errors import BodyTooLarge

log = logging.getLogger(__name__)

request_id: ContextVar[str | None] = ContextVar("request_id", default=None)
_PLAIN_ID = re.compile(r"[\x21-\x7e]{1,128}")


class RequestContext:
    """Gives each request an id (the caller's own, if it sent a plain one) and logs how it ended."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        # Routes match on the path as it was sent, so that an encoded slash stays inside its id.
        scope["path"] = scope.get("raw_path", scope["path"].encode()).decode("latin-1")
        identity = _sent_id(scope) or uuid4().hex
        token, begun, status, has_begun = request_id.set(identity), perf_counter(), 500, False

        async def send_with_id(message: Message) -> None:
            nonlocal status, has_begun
            if message["type"] == "http.response.start":
                has_begun, status = True, message["status"]
                message["headers"] = [*message["headers"], (b"x-request-id", identity.encode())]
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            log.exception("request failed")
            if has_begun:
                raise
            await defect()(scope, receive, send_with_id)
        finally:
            route = getattr(scope.get("route"), "path", None)
            ms = round((perf_counter() - begun) * 1000, 1)
            log.info("request", extra={"method": scope["method"], "route": route, "status": status, "ms": ms})
            request_id.reset(token)


class BodyLimit:
    """Refuses a body over a number of bytes, declared or streamed, before it is read whole."""

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body = await self._read(scope, receive)
        if body is None:
            await problem(BodyTooLarge(self._max_bytes))(scope, receive, send)
            return
        sent = False

        async def replay() -> Message:
            nonlocal sent
            if sent:
                return await receive()
            sent = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        """The whole body; None when it is too large."""
        declared = dict(scope["headers"]).get(b"content-length", b"0")
        if declared.isdigit() and int(declared) > self._max_bytes:
            return None
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] != "http.request":
                return b"".join(parts)
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            if size > self._max_bytes:
                return None
            if not message.get("more_body", False):
                return b"".join(parts)


def _sent_id(scope: Scope) -> str | None:
    sent = dict(scope["headers"]).get(b"x-request-id", b"").decode("latin-1")
    return sent if _PLAIN_ID.fullmatch(sent) else None
