"""One user on the wire: how they tell time."""

from dataclasses import replace

from fastapi import APIRouter

from memsvc.api.answers import LocaleOut
from memsvc.api.deps import Cases, ReadingOwner, WritingOwner
from memsvc.api.schemas import WEEK_STARTS, LocaleIn
from memsvc.intervals import Locale

router = APIRouter(prefix="/v1/users/{user_id}", tags=["users"])


@router.get("")
def user(cases: Cases, owner: ReadingOwner) -> LocaleOut:
    """How a user tells time: the zone, the first day of the week, the language."""
    _, locale = cases.localizer.locale(owner)
    return LocaleOut.of(owner.user_id, locale)


@router.patch("")
def change_user(cases: Cases, owner: WritingOwner, body: LocaleIn) -> LocaleOut:
    """Change how a user tells time. What was said before is dated anew, in the background."""

    def change(before: Locale) -> Locale:
        given = body.model_dump(exclude_unset=True)
        if "week_start" in given:
            given["week_start"] = WEEK_STARTS[given["week_start"]]
        return replace(before, **given)

    return LocaleOut.of(owner.user_id, cases.localizer.change(owner, change))
