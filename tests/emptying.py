"""PostgreSQL's tables emptied after a test that commits."""

from __future__ import annotations

from collections.abc import Sequence

from django.core.management.color import Style
from django.db.backends.base.base import BaseDatabaseWrapper

TOO_LARGE = 2**20  # bytes: also rows that were deleted take room, until a table is truncated


def empty_quickly(connection: BaseDatabaseWrapper) -> None:
    """Let Django delete rows where it would truncate.

    TRUNCATE gives every table and every index a new file, hundreds for each test, where most
    tests leave a few rows in a few tables. Whoever still writes is waited for, as TRUNCATE does.
    """
    truncate = connection.ops.sql_flush

    def sql_flush(
        style: Style,
        tables: Sequence[str],
        *,
        reset_sequences: bool = False,
        allow_cascade: bool = False,
    ) -> list[str]:
        plain: list[str] = truncate(
            style, tables, reset_sequences=reset_sequences, allow_cascade=allow_cascade
        )
        if reset_sequences or not tables:
            return plain
        names = [connection.ops.quote_name(table) for table in tables]
        sizes = ", ".join(f"pg_relation_size('{name}')" for name in names)
        deletes = " ".join(map("DELETE FROM {};".format, names))
        emptied = f"IF greatest({sizes}) > {TOO_LARGE} THEN {' '.join(plain)} ELSE {deletes} END IF"
        locked = f"LOCK TABLE {', '.join(names)} IN ACCESS EXCLUSIVE MODE"
        return [f"DO $$ BEGIN {locked}; {emptied}; END $$"]

    setattr(connection.ops, "sql_flush", sql_flush)  # noqa: B010 - one connection's, no class's
