"""What a request is given: the use cases, the caller, and the owner its path names."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import unquote_to_bytes

from fastapi import Depends, Header, Path, Request

from memsvc.api.schemas import check_id
from memsvc.domain import Caller, Owner, Scope
from memsvc.errors import Forbidden, Invalid
from memsvc.index.base import Index
from memsvc.memory.access import Gatekeeper, is_loopback
from memsvc.memory.answering import Answerer
from memsvc.memory.curating import Curator
from memsvc.memory.extracting import Extractor
from memsvc.memory.forgetting import Forgetter
from memsvc.memory.locales import Localizer
from memsvc.memory.metering import Meter
from memsvc.memory.profiling import Profiler
from memsvc.memory.reading import Reader
from memsvc.memory.recall import Recaller
from memsvc.memory.recording import Recorder
from memsvc.memory.timeline import Chronicler


@dataclass(frozen=True, slots=True)
class UseCases:
    """All that the door opens to."""

    recorder: Recorder
    reader: Reader
    recaller: Recaller
    forgetter: Forgetter
    localizer: Localizer
    chronicler: Chronicler
    gatekeeper: Gatekeeper
    extractor: Extractor
    curator: Curator
    profiler: Profiler
    answerer: Answerer
    meter: Meter
    index: Index


def use_cases(request: Request) -> UseCases:
    """The use cases this application was built with."""
    found: UseCases = request.app.state.use_cases
    return found


Cases = Annotated[UseCases, Depends(use_cases)]


def caller(
    request: Request,
    cases: Cases,
    authorization: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Caller:
    """Who asks; raises Unauthorized."""
    return cases.gatekeeper.caller(authorization, is_local=_is_local(request))


def _needs(scope: Scope) -> Callable[[Caller], Caller]:
    def check(found: Annotated[Caller, Depends(caller)]) -> Caller:
        if scope not in found.scopes and Scope.ADMIN not in found.scopes:
            raise Forbidden(scope)
        return found

    return check


ReadingCaller = Annotated[Caller, Depends(_needs(Scope.READ))]
WritingCaller = Annotated[Caller, Depends(_needs(Scope.WRITE))]
AdminCaller = Annotated[Caller, Depends(_needs(Scope.ADMIN))]

_ID = Path(min_length=1, max_length=255 * 12, description="1 to 255 printable characters, percent-encoded")


def user_id(user_id: Annotated[str, _ID]) -> str:
    """The user's id, decoded; raises Invalid."""
    return _decoded("user_id", user_id)


def session_id(session_id: Annotated[str, _ID]) -> str:
    """The session's id, decoded; raises Invalid."""
    return _decoded("session_id", session_id)


UserId = Annotated[str, Depends(user_id)]
SessionId = Annotated[str, Depends(session_id)]


def reading_owner(found: ReadingCaller, user: UserId) -> Owner:
    """Whose memory is read."""
    return Owner(found.workspace, user)


def writing_owner(found: WritingCaller, user: UserId) -> Owner:
    """Whose memory is written."""
    return Owner(found.workspace, user)


def admin_owner(found: AdminCaller, user: UserId) -> Owner:
    """Whose memory is administered."""
    return Owner(found.workspace, user)


ReadingOwner = Annotated[Owner, Depends(reading_owner)]
WritingOwner = Annotated[Owner, Depends(writing_owner)]
AdminOwner = Annotated[Owner, Depends(admin_owner)]


def _decoded(name: str, encoded: str) -> str:
    try:
        return check_id(unquote_to_bytes(encoded).decode())
    except UnicodeDecodeError as exc:
        raise Invalid(f"{name} is not UTF-8, percent-encoded.", ((name, "is not UTF-8"),)) from exc
    except ValueError as exc:
        raise Invalid(f"{name} {exc}.", ((name, str(exc)),)) from exc


def _is_local(request: Request) -> bool:
    """Whether the client is on this machine itself, and not a proxy that speaks for another, nor a web page's script
    that was led here by a name (DNS rebinding)."""
    if "x-forwarded-for" in request.headers or "forwarded" in request.headers:
        return False
    host = request.headers.get("host", "")
    name = host if host.endswith("]") else host.rsplit(":", 1)[0]
    return is_loopback(request.client.host if request.client else None) and is_loopback(name)
