"""The schema's version: migrate to the newest, and refuse to run on one that is not known."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.script.revision import ResolutionError
from alembic.util import CommandError
from sqlalchemy import Engine, inspect

from memsvc.errors import BadSetting, SchemaMismatch
from memsvc.store.database import translated

_SHIPPED = Path(__file__).parent / "migrations"
_SOURCE = Path(__file__).parents[2] / "migrations"


def migrate(engine: Engine, *, to: str = "head") -> None:
    """Bring the database to a revision, the newest by default, or down to one (`base` empties it)."""
    config = _config()
    with translated():
        found = current(engine)
    if found is not None and not _is_known(found):
        raise SchemaMismatch(_unknown(found))
    if to not in ("head", "base") and not _is_known(to):
        raise BadSetting(f"There is no revision {to!r}; the newest is {head()}.")
    with translated(), engine.connect() as connection:
        config.attributes["connection"] = connection
        if to == "base" or _is_below(to, found):
            command.downgrade(config, to)
        else:
            command.upgrade(config, to)


def require_current(engine: Engine) -> None:
    """Raises SchemaMismatch, with what to do, unless the schema is the one this version knows."""
    with translated():
        found, newest = current(engine), head()
    if found == newest:
        return
    if found is None:
        raise SchemaMismatch("The database has no memsvc schema yet. Run `memsvc migrate`.")
    if _is_known(found):
        raise SchemaMismatch(
            f"The database's schema is at revision {found}, this version of memsvc needs {newest}. "
            "Make a backup, then run `memsvc migrate`."
        )
    raise SchemaMismatch(_unknown(found))


def is_empty(engine: Engine) -> bool:
    """Whether the database holds no table at all."""
    with translated():
        return not inspect(engine).get_table_names()


def head() -> str:
    """The newest revision this version knows."""
    newest = ScriptDirectory.from_config(_config()).get_current_head()
    if newest is None:
        raise SchemaMismatch("The installation has no migrations; install memsvc again.")
    return newest


def current(engine: Engine) -> str | None:
    """The revision the database is at; None when it has none."""
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def _unknown(found: str) -> str:
    return (
        f"The database's schema is at revision {found}, which this version of memsvc does not know (it knows up to "
        f"{head()}). Run the newer memsvc that wrote it, or restore a backup."
    )


def _is_known(revision: str) -> bool:
    try:
        return ScriptDirectory.from_config(_config()).get_revision(revision) is not None
    except (CommandError, ResolutionError):
        return False


def _is_below(revision: str, current: str | None) -> bool:
    if revision == "head" or current is None or revision == current:
        return False
    script = ScriptDirectory.from_config(_config())
    return revision in {known.revision for known in script.iterate_revisions(current, "base")}


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(_SHIPPED if _SHIPPED.is_dir() else _SOURCE))
    return config
