"""memsvc as a client sees it: a haystack recorded under opaque ids, and recalls by unit."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Self
from uuid import UUID, uuid5

import httpx

from evals.cases import Haystack, HaystackSession, HaystackTurn, Place
from evals.errors import EvaluationFailed

_NAMESPACE = UUID("7d0f4f55-3f8e-4f0e-9d0f-3c2f5a9b1c44")
_ATTEMPTS = 4
_WAIT_S = 60
_PATIENCE_S = 600.0
_LOOK_S = 0.05
_FACTS_A_PAGE = 200
# What extraction asks a language model for.
_OPERATIONS = frozenset({"extract", "reconcile"})
_SPENT = ("calls", "cached_calls", "prompt_tokens", "completion_tokens", "estimated_calls")


@dataclass(frozen=True, slots=True)
class Names:
    """The opaque ids under which one haystack is sent: they tell where a turn stands, and nothing of the data set."""

    salt: str

    @property
    def user(self) -> str:
        """The user's id."""
        return self._name("user")

    def session(self, number: int) -> str:
        """The id of a session."""
        return self._name(f"session {number}")

    def turn(self, place: Place) -> str:
        """The id of a turn."""
        return self._name(f"turn {place[0]} {place[1]}")

    def places(self, haystack: Haystack) -> dict[tuple[str, str], Place]:
        """From the ids of every session and turn back to its place."""
        return {
            (self.session(number), self.turn((number, index))): (number, index)
            for number, session in enumerate(haystack.sessions)
            for index in range(len(session.turns))
        }

    def _name(self, what: str) -> str:
        return uuid5(_NAMESPACE, f"{self.salt} {what}").hex


class Refused(EvaluationFailed):
    """The service answered with an error status."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Unreachable(EvaluationFailed):
    """The service does not answer."""


@dataclass(frozen=True, slots=True)
class Recalled:
    """The answer to one recall; `client_ms` is what the client waited, `service_ms` what the service says it took."""

    evidence: Sequence[Mapping[str, Any]]
    context: str
    context_tokens: int
    client_ms: float
    service_ms: float


class Memory:
    """One user's memory behind the wire. Every refusal is an EvaluationFailed with the service's own words."""

    def __init__(self, url: str, names: Names, *, api_key: str | None = None, patience_s: float = _PATIENCE_S) -> None:
        headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        try:
            self._client = httpx.Client(base_url=url, headers=headers, timeout=2 * _WAIT_S)
        except httpx.InvalidURL as exc:
            raise EvaluationFailed(f"{url!r} is no URL: {exc}") from exc
        self._user = f"/v1/users/{names.user}"
        self._names = names
        self._patience_s = patience_s

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self._client.close()

    def record(
        self, sessions: Sequence[HaystackSession], *, advance: Callable[[int], None], one_by_one: bool = False
    ) -> int:
        """Record the sessions in order and wait until each is indexed and its facts can be found.

        `advance` is told of turns that are. One by one, each is waited for before the next is sent, so that what is
        drawn from it is known whenever the next is compared with it. How many sessions could not be extracted.
        """
        bodies = [_body(session, number, self._names) for number, session in enumerate(sessions)]
        undrawn = 0
        for number, body in enumerate(bodies):
            self._ask("PUT", self._path(number), json=body)
            if one_by_one:
                undrawn += not self._wait(number, body)
                advance(len(body["turns"]))
        for number, body in enumerate(bodies if not one_by_one else ()):
            undrawn += not self._wait(number, body)
            advance(len(body["turns"]))
        return undrawn

    def facts(self) -> dict[str, int]:
        """How many facts were drawn, also those that no longer hold, by who drew them."""
        counts = {"llm": 0, "rules": 0}
        params: dict[str, str | int] = {"include": "superseded", "limit": _FACTS_A_PAGE}
        while True:
            page = self._ask("GET", f"{self._user}/facts", params=params)
            for fact in page["facts"]:
                counts[fact["source"]] = counts.get(fact["source"], 0) + 1
            if page["next_cursor"] is None:
                return counts
            params = {**params, "cursor": page["next_cursor"]}

    def spent(self) -> dict[str, int]:
        """What the workspace's extraction and comparisons took of language models."""
        used = [entry for entry in self._ask("GET", "/v1/usage")["usage"] if entry["operation"] in _OPERATIONS]
        return {name: sum(entry[name] for entry in used) for name in _SPENT}

    def recall(self, query: str, *, asked_at: datetime, unit: str, limit: int, token_budget: int) -> Recalled:
        """Ask a question."""
        body = {
            "query": query,
            "asked_at": asked_at.isoformat(),
            "unit": unit,
            "limit": limit,
            "token_budget": token_budget,
        }
        begun = time.perf_counter()
        found = self._ask("POST", f"{self._user}/recall", json=body)
        waited = (time.perf_counter() - begun) * 1000
        try:
            return Recalled(
                found["evidence"], found["context"], found["context_tokens"], waited, found["took_ms"]["total"]
            )
        except (KeyError, TypeError) as exc:
            raise EvaluationFailed(f"The service's answer to a recall has no {exc}.") from exc

    def forget(self, haystack: Haystack) -> None:
        """Delete the user, or at least every session where the key may do no more."""
        try:
            self._ask("DELETE", self._user)
        except Refused as exc:
            if exc.status != 403:
                raise
            for number in range(len(haystack.sessions)):
                self._ask("DELETE", self._path(number))

    def _wait(self, number: int, body: dict[str, Any]) -> bool:
        """Send a session again, which changes nothing, until all that is made of it can be found.

        Whether it was extracted: a session that could not be is there all the same.
        """
        until, state = time.monotonic() + self._patience_s, "extracted"
        wait_s = min(float(_WAIT_S), self._patience_s)
        while (begun := time.monotonic()) < until:
            params = {"wait": state, "wait_s": f"{wait_s:g}"}
            status = self._ask("PUT", self._path(number), json=body, params=params)["status"]
            has_failed = status["extracted"] == "failed"
            if status["error"] and not has_failed:
                raise EvaluationFailed(f"A session could not be indexed: {status['error']}")
            # Without a language model the status never says that facts are drawn: an answer before the time does.
            is_early = time.monotonic() - begun < wait_s
            is_drawn = status["extracted"] == "done" or (status["extracted"] == "off" and is_early)
            if status["indexed"] and (has_failed or (state == "extracted" and is_drawn)):
                return not has_failed
            state = "extracted" if status["indexed"] else "indexed"
            if is_early:
                time.sleep(_LOOK_S)
        if state == "extracted":
            raise EvaluationFailed(
                f"A session was not extracted within {self._patience_s:g} s. Does the language model answer?"
            )
        raise EvaluationFailed(f"A session was not indexed within {self._patience_s:g} s. Does a worker run?")

    def _path(self, number: int) -> str:
        return f"{self._user}/sessions/{self._names.session(number)}"

    def _ask(self, method: str, path: str, **request: Any) -> Any:
        """A request, repeated while the service is unreachable or overloaded: all of them may be said twice."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                answer = self._client.request(method, path, **request)
            except httpx.TransportError as exc:
                if attempt == _ATTEMPTS:
                    raise Unreachable(f"The service at {self._client.base_url} does not answer: {exc}") from exc
            else:
                if answer.status_code < 400:
                    return answer.json()
                if answer.status_code not in {429, 502, 503, 504} or attempt == _ATTEMPTS:
                    raise Refused(answer.status_code, _refusal(answer))
            time.sleep(0.2 * 2**attempt)
        raise AssertionError("the last attempt returns or raises")


def _body(session: HaystackSession, number: int, names: Names) -> dict[str, Any]:
    turns = [_turn(turn, names.turn((number, index))) for index, turn in enumerate(session.turns)]
    return {"started_at": session.started_at.isoformat(), "turns": turns}


def _turn(turn: HaystackTurn, turn_id: str) -> dict[str, Any]:
    said: dict[str, Any] = {"turn_id": turn_id, "role": turn.role, "text": turn.text}
    if turn.speaker is not None:
        said["speaker"] = turn.speaker
    if turn.captions:
        said["images"] = [{"caption": caption} for caption in turn.captions]
    return said


def _refusal(answer: httpx.Response) -> str:
    try:
        detail = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        detail = answer.reason_phrase
    hint = " Give a key with --api-key." if answer.status_code == 401 else ""
    return f"The service refuses ({answer.status_code}): {detail}{hint}"
