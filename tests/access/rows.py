"""Rows that must not change when somebody is refused, read again after every single request."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.db import connection
from django.db.models import QuerySet


class Rows:
    """What some queries find.

    After a request it is enough to see whether the rows are the same. Django takes many times
    longer for the SQL of a query and for its values than SQLite for the answer, so `read` makes
    the SQL once and takes the answer as it comes.
    """

    def __init__(self, queries: dict[str, QuerySet[Any, Any]]):
        self._queries = queries

    def read(self) -> dict[str, list[tuple[Any, ...]]]:
        """As the database has them: to be compared."""
        found = {}
        with connection.cursor() as cursor:
            for name, (sql, parameters) in self._sql.items():
                cursor.execute(sql, parameters)
                found[name] = cursor.fetchall()
        return found

    def values(self) -> dict[str, list[Any]]:
        """As Django has them: to be put back."""
        return {name: list(query.all()) for name, query in self._queries.items()}

    @cached_property
    def _sql(self) -> dict[str, tuple[str, tuple[Any, ...]]]:
        return {name: query.query.sql_with_params() for name, query in self._queries.items()}
