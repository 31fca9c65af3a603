"""Clients of a scripted language model, and one small question to ask it."""

from typing import Any

import pytest

from memsvc.errors import LlmUnavailable
from memsvc.inference.llm import ChatLlm, LlmAccess, Message
from tests.llm import Body, PausedTime, ScriptedLlm

ASKED: list[Message] = [{"role": "user", "content": "I live in Bonn."}]
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"ok": {"type": "boolean"}}, "required": ["ok"]}
GOOD: Body = {"ok": True}
KEY = "sk-secret-key"


class Asking:
    """Makes clients of a scripted endpoint in paused time, and closes them."""

    def __init__(self, llm: ScriptedLlm, time: PausedTime) -> None:
        self._url = llm.url
        self._time = time
        self._made: list[ChatLlm] = []

    def chat(self, **access: Any) -> ChatLlm:
        known = {"url": self._url, "model": "a-model", "api_key": KEY, **access}
        chat = ChatLlm(LlmAccess(**known), monotonic=self._time.monotonic, sleep=self._time.sleep)
        self._made.append(chat)
        return chat

    def ask(self, **access: Any) -> Body:
        return asked(self.chat(**access))

    def close(self) -> None:
        for chat in self._made:
            chat.close()


def asked(chat: ChatLlm, task: str = "extract") -> Body:
    return chat.ask(ASKED, name=task, schema=SCHEMA).content


def refused(chat: ChatLlm) -> str:
    """What a client says that gets no answer."""
    with pytest.raises(LlmUnavailable) as raised:
        asked(chat)
    return str(raised.value)
