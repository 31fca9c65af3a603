"""A language model that says what a test tells it to, behind a real socket, as OpenAI-compatible endpoints do.

with scripted_llm() as llm:
    llm.then(status(429, retry_after=2), said({"facts": []}))   # one after the other
    llm.answers = lambda body: said({"facts": []})              # and for all that come after them
    ... llm.url, llm.requests ...
"""

import asyncio
import json
import socket
import struct
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import Receive, Scope, Send

from tests.doubles import listening

Body = dict[str, Any]


class ScriptedLlm:
    """`requests` keeps the bodies, `headers` the headers. What `then` was given comes first; then `answers` is asked.

    `answers` runs in a thread of its own and may wait there. What it raises is raised where the endpoint is closed.
    With `refuses_schema` and `refuses_json_mode` those forms are answered 400, before anything of the script.
    """

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[Body] = []
        self.headers: list[dict[str, str]] = []
        self.answers: Callable[[Body], Response] = lambda _body: said({})
        self.refuses_schema = False
        self.refuses_json_mode = False
        self.failures: list[Exception] = []
        self._script: deque[Response] = deque()

    def then(self, *replies: Response) -> None:
        """Answer the next requests with these, in this order."""
        self._script.extend(replies)

    @property
    def forms(self) -> list[str]:
        """The type of response_format that each request asked for; "plain" for none."""
        return [_form(body) for body in self.requests]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        reply = await self._reply(Request(scope, receive))
        await reply(scope, receive, send)

    async def _reply(self, request: Request) -> Response:
        if (request.method, request.url.path) != ("POST", "/v1/chat/completions"):
            return status(404, "404 page not found")
        body = await request.json()
        self.requests.append(body)
        self.headers.append(dict(request.headers))
        if (self.refuses_schema and _form(body) == "json_schema") or (
            self.refuses_json_mode and _form(body) == "json_object"
        ):
            return status(400, f"response_format {_form(body)} is not supported")
        if self._script:
            return self._script.popleft()
        try:
            return await asyncio.to_thread(self.answers, body)
        except Exception as exc:  # noqa: BLE001 (whatever it is, the test shall see it)
            self.failures.append(exc)
            return status(400, "the script failed")


@contextmanager
def scripted_llm() -> Iterator[ScriptedLlm]:
    """A scripted endpoint on a free port."""
    llm = ScriptedLlm()
    with listening(llm) as address:
        llm.url = f"{address}/v1"
        yield llm
    if llm.failures:
        raise llm.failures[0]


def said(
    content: str | Body | list[Any] | None,
    *,
    usage: tuple[int, int] | None = (100, 10),
    finish_reason: str = "stop",
    refusal: str | None = None,
) -> Response:
    """A completion; `usage` counts the tokens of prompt and completion, None leaves them out."""
    return JSONResponse(completion(content, usage=usage, finish_reason=finish_reason, refusal=refusal))


def completion(
    content: str | Body | list[Any] | None,
    *,
    usage: tuple[int, int] | None = (100, 10),
    finish_reason: str = "stop",
    refusal: str | None = None,
) -> Body:
    """The body of a completion."""
    text = content if content is None or isinstance(content, str) else json.dumps(content)
    message = {"role": "assistant", "content": text, "refusal": refusal}
    body: Body = {
        "object": "chat.completion",
        "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
    }
    if usage is not None:
        prompt, completed = usage
        counts = {"prompt_tokens": prompt, "completion_tokens": completed, "total_tokens": prompt + completed}
        body["usage"] = counts
    return body


def cut_off(text: str) -> Response:
    """A completion that ended at the limit of tokens."""
    return said(text, finish_reason="length")


def empty() -> Response:
    """A completion with nothing in it."""
    return said("")


def status(code: int, message: str = "scripted", *, retry_after: str | float | None = None) -> Response:
    """An error, as OpenAI words it."""
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return JSONResponse({"error": {"message": message, "type": "scripted", "param": None}}, code, headers)


def raw(text: str, code: int = 200) -> Response:
    """An answer that is no JSON."""
    return PlainTextResponse(text, code)


def hang(seconds: float = 60.0) -> Response:
    """Nothing for so long, or until the caller goes; then an empty object."""
    return _Hang(seconds)


def trickle() -> Response:
    """The beginning of an answer and then one space after another, until the caller goes."""
    return _Trickle()


def reset() -> Response:
    """The connection is reset without an answer."""
    return _Reset()


class _Hang(Response):
    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await asyncio.wait_for(_gone(receive), self._seconds)
        except TimeoutError:
            await said({})(scope, receive, send)


class _Trickle(Response):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.ensure_future(_gone(receive))
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        while not gone.done():
            await send({"type": "http.response.body", "body": b" ", "more_body": True})
            await asyncio.wait([gone], timeout=0.01)


class _Reset(Response):
    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # The server hands out a method of the object that knows its transport; there is no other way to it.
        transport = send.__self__.transport  # type: ignore[attr-defined]
        linger = struct.pack("ii", 1, 0)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        transport.abort()
        await _gone(receive)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _form(body: Body) -> str:
    return str(body.get("response_format", {}).get("type", "plain"))


class PausedTime:
    """Time that passes in pauses alone: a monotonic clock and a sleep for `ChatLlm`; `pauses` keeps the sleeps."""

    def __init__(self) -> None:
        self.pauses: list[float] = []
        self._now = 1000.0

    def monotonic(self) -> float:
        return self._now

    def sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.pass_time(seconds)

    def pass_time(self, seconds: float) -> None:
        self._now += seconds
