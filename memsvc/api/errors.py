"""Every error as the wire shows it: `{"error", "detail", "fields"?}` with the fitting status."""

import json
import logging
from collections.abc import Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response
from starlette.routing import Match

from memsvc import errors

log = logging.getLogger(__name__)

# The nearest class of an error in this table, from itself upwards, gives its status.
STATUS: dict[type[errors.MemsvcError], int] = {
    errors.MemsvcError: 500,
    errors.Invalid: 422,
    errors.TooLarge: 413,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.Unavailable: 503,
    errors.StorageFull: 507,
    errors.BudgetUsedUp: 429,
    errors.LlmAnswerInvalid: 502,
}
_NAMES = {400: "malformed_body", 404: "not_found", 405: "method_not_allowed"}
_SENTENCES = {
    400: "The request body cannot be read: send JSON in UTF-8, without endless nesting or endless numbers.",
    404: "There is nothing at this path; /docs lists what there is.",
    405: "This path does not answer that method; /docs lists what it answers.",
}


class SafeJSONResponse(JSONResponse):
    """JSON in ASCII: a refused request may hold characters that UTF-8 cannot carry."""

    def render(self, content: Any) -> bytes:
        """The body's bytes."""
        return json.dumps(content, ensure_ascii=True, separators=(",", ":")).encode()


def status_of(error: errors.MemsvcError) -> int:
    """The HTTP status of an error of ours."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def problem(error: errors.MemsvcError) -> Response:
    """The answer for an error of ours."""
    status = status_of(error)
    fields = error.fields if isinstance(error, errors.Invalid) else ()
    headers = {401: {"WWW-Authenticate": "Bearer"}, 503: {"Retry-After": "1"}}.get(status)
    return _response(status, error.name, str(error), fields, headers)


def told(error: errors.MemsvcError) -> dict[str, Any]:
    """An error of ours as an event of a stream tells it."""
    return {"error": error.name, "detail": str(error)}


def defect() -> Response:
    """The answer for a defect of ours: what went wrong stands in the log, not here."""
    return _response(500, "internal_error", "Something went wrong here; the log has it under this X-Request-ID.", ())


def install(app: FastAPI) -> None:
    """Answer every error in the one shape."""

    @app.exception_handler(errors.MemsvcError)
    def ours(_request: Request, error: errors.MemsvcError) -> Response:
        if status_of(error) >= 500:
            log.error("request refused", extra={"error": error.name, "detail": str(error)})
        return problem(error)

    @app.exception_handler(RequestValidationError)
    def malformed(_request: Request, error: RequestValidationError) -> Response:
        fields = [_field(found) for found in error.errors()]
        if any(found["type"] == "json_invalid" for found in error.errors()):
            return _response(422, "invalid_json", "The request body is not valid JSON.", fields)
        first = f"{fields[0][0]}: {fields[0][1]}" if fields else "it does not fit the schema"
        return _response(422, "invalid_request", f"The request is malformed: {first}.", fields)

    @app.exception_handler(HTTPException)
    def http(request: Request, error: HTTPException) -> Response:
        name = _NAMES.get(error.status_code, "http_error")
        headers = {"Allow": ", ".join(_methods(request))} if error.status_code == 405 else None
        return _response(error.status_code, name, _SENTENCES.get(error.status_code, str(error.detail)), (), headers)


def _response(
    status: int,
    name: str,
    detail: str,
    fields: Sequence[tuple[str, str]],
    headers: dict[str, str] | None = None,
) -> Response:
    body: dict[str, Any] = {"error": name, "detail": detail}
    if fields:
        body["fields"] = [{"field": field, "message": message} for field, message in fields]
    return SafeJSONResponse(body, status, headers)


def _field(found: dict[str, Any]) -> tuple[str, str]:
    part, *places = map(str, found["loc"])
    if found["type"] == "model_attributes_type" and not places:
        return part, "must be a JSON object, sent with Content-Type: application/json"
    return ".".join(places) or part, str(found["msg"]).removeprefix("Value error, ")


def _methods(request: Request) -> list[str]:
    """Every method that some route answers at this path."""
    return sorted(
        method
        for method in ("DELETE", "GET", "PATCH", "POST", "PUT")
        if any(route.matches({**request.scope, "method": method})[0] is Match.FULL for route in request.app.routes)
    )
