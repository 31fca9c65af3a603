"""Users, failed tasks, and whether the service is well."""

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Response

from memsvc.api.answers import ReceiptOut, TaskOut, TasksOut, UserOut, UsersOut
from memsvc.api.deps import AdminCaller, AdminOwner, Cases, ReadingCaller
from memsvc.api.sessions import receipt_out
from memsvc.errors import MemsvcError, TaskNotFound

router = APIRouter()


@router.get("/v1/users", tags=["users"])
def users(
    cases: Cases,
    caller: ReadingCaller,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
    cursor: Annotated[str | None, Query(max_length=2000, pattern="^[^\\x00]*$")] = None,
) -> UsersOut:
    """The workspace's users, by id."""
    found = cases.reader.users(caller.workspace, after=cursor, limit=limit + 1)
    page = [UserOut(user_id=user_id, created_at=created_at) for user_id, created_at in found[:limit]]
    return UsersOut(users=page, next_cursor=page[-1].user_id if len(found) > limit else None)


@router.delete("/v1/users/{user_id}", tags=["users"])
def forget_user(cases: Cases, owner: AdminOwner) -> ReceiptOut:
    """Delete a user with every session; the receipt says what went."""
    return receipt_out(cases.forgetter.forget_user(owner))


@router.get("/v1/tasks", tags=["operations"])
def tasks(cases: Cases, caller: AdminCaller, limit: Annotated[int, Query(ge=1, le=200)] = 50) -> TasksOut:
    """The workspace's failed tasks with their errors, newest first."""
    found = cases.reader.failed_tasks(caller.workspace, limit=limit)
    return TasksOut(
        tasks=[
            TaskOut(
                task_id=str(task.task_id),
                kind=task.kind.value,
                user_id=task.user_id,
                session_id=task.session_id,
                attempts=task.attempts,
                error=task.error,
                failed_at=task.failed_at,
            )
            for task in found
        ]
    )


@router.post("/v1/tasks/{task_id}/retry", tags=["operations"], status_code=202)
def retry(cases: Cases, caller: AdminCaller, task_id: str) -> dict[str, str]:
    """Make a failed task due again."""
    try:
        identity = UUID(task_id)
    except ValueError as exc:
        raise TaskNotFound(task_id) from exc
    cases.reader.retry(caller.workspace, identity)
    return {"task_id": str(identity), "status": "due"}


@router.get("/healthz", tags=["operations"])
def healthz() -> dict[str, str]:
    """Whether the process answers."""
    return {"status": "ok"}


@router.get("/readyz", tags=["operations"], responses={503: {"description": "Something below does not answer"}})
def readyz(cases: Cases, response: Response) -> dict[str, Any]:
    """Whether database and index answer, and how much is owed."""
    checks: dict[str, Any] = {"database": "ok", "index": "ok"}
    try:
        backlog = cases.reader.backlog()
        checks["backlog"] = {
            "due": backlog.due,
            "failed": backlog.failed,
            "oldest_s": round(backlog.oldest_s, 1),
        }
    except MemsvcError as exc:
        checks["database"] = exc.name
    try:
        cases.index.count()
    except MemsvcError as exc:
        checks["index"] = exc.name
    is_ready = checks["database"] == checks["index"] == "ok"
    response.status_code = 200 if is_ready else 503
    return {"status": "ready" if is_ready else "not_ready", "checks": checks}
