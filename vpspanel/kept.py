"""Reading queries that Django compiles once per process instead of at every call.

Building the SQL of a queryset with seven joins takes Django ten times as long
as PostgreSQL takes to answer it. What is asked thousands of times an hour in
the same words is therefore kept: the statement, where its values stand in it,
and how its rows become objects. Rows are never kept, so every answer is fresh.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Generic, ParamSpec, TypeVar, get_type_hints

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Model, QuerySet
from django.db.models.query import get_related_populators

P = ParamSpec("P")
M = TypeVar("M", bound=Model)

LARGEST = 2**63 - 1  # that databases hold; nothing has a larger number
# What stands for a value while a statement is compiled: nothing else in it may be equal.
_MARKS: dict[type, Callable[[int], Any]] = {
    int: lambda number: 2_000_000_000 + number,
    str: lambda number: f"kept value {number}",
    datetime: lambda number: datetime(1901, 1, 1, tzinfo=UTC) + timedelta(days=number),
}


@dataclass(frozen=True, slots=True)
class _Statement(Generic[M]):
    """A compiled statement; `holes` say which argument stands where, and as what."""

    sql: str
    params: Sequence[Any]
    holes: Sequence[tuple[int, str, Callable[[Any], Any]]]
    objects: Callable[[BaseDatabaseWrapper, Sequence[Sequence[Any]]], list[M]]


class Kept(Generic[P, M]):
    """A function that builds a queryset, with its statement kept: a call reads the objects.

    The function may only hand its arguments (by name; int, str or datetime, as
    annotated) to filters: it is called once, with marks in their place. `select_related`,
    slices, annotations and deferred columns work; prefetches do not.
    """

    def __init__(self, build: Callable[P, QuerySet[M]]) -> None:
        functools.update_wrapper(self, build)
        self._build = build
        self._kept: dict[str, _Statement[M]] = {}

    def __call__(self, *_: P.args, **kwargs: P.kwargs) -> list[M]:
        """The objects that are there now. A number that no database holds finds nothing."""
        if any(isinstance(value, int) and abs(value) > LARGEST for value in kwargs.values()):
            return []
        connection = connections[DEFAULT_DB_ALIAS]
        statement = self._kept.get(connection.vendor)
        if statement is None:
            statement = self._kept[connection.vendor] = self._compile(connection)
        params = list(statement.params)
        for place, name, as_stored in statement.holes:
            params[place] = as_stored(kwargs[name])
        with connection.cursor() as cursor:
            cursor.execute(statement.sql, params)
            rows = cursor.fetchall()
        return statement.objects(connection, rows)

    def _compile(self, connection: BaseDatabaseWrapper) -> _Statement[M]:
        hints = get_type_hints(self._build)
        hints.pop("return")
        marks = {name: _MARKS[kind](number) for number, (name, kind) in enumerate(hints.items())}
        queryset = self._build(**marks)  # type: ignore[call-arg]
        compiler = queryset.query.get_compiler(connection=connection)
        sql, params = compiler.as_sql()
        holes = list(_holes(params, marks, connection))
        if missing := set(marks) - {name for _, name, _ in holes}:
            raise TypeError(f"{self._build.__name__}: {', '.join(missing)} not in the statement")
        return _Statement(sql, tuple(params), holes, _maker(queryset.model, compiler))


kept = Kept


def _holes(
    params: Sequence[Any], marks: dict[str, Any], connection: BaseDatabaseWrapper
) -> list[tuple[int, str, Callable[[Any], Any]]]:
    """Where each mark ended up, and what its value has to become to stand there."""
    holes: list[tuple[int, str, Callable[[Any], Any]]] = []
    for place, param in enumerate(params):
        for name, mark in marks.items():
            if isinstance(mark, datetime):
                stored = connection.ops.adapt_datetimefield_value
                if param == stored(mark):
                    holes.append((place, name, stored))
            elif param == mark:
                holes.append((place, name, type(param)))
    return holes


def _maker(model: type[M], compiler: Any) -> Callable[..., list[M]]:
    """What makes objects of rows, as `QuerySet` would. The compiler has compiled already."""
    select, info = compiler.select, compiler.klass_info
    begin, end = info["select_fields"][0], info["select_fields"][-1] + 1
    names = [column[0].target.attname for column in select[begin:end]]
    related = get_related_populators(info, select, DEFAULT_DB_ALIAS)  # type: ignore[call-arg]
    annotations = list(compiler.annotation_col_map.items())
    found = compiler.get_converters([column[0] for column in select])
    converted = [(place, expression) for place, (_, expression) in found.items()]

    def objects(connection: BaseDatabaseWrapper, rows: Sequence[Sequence[Any]]) -> list[M]:
        # Asked anew: a backend's converters belong to one connection, which is not kept alive.
        converters = [
            (place, expression, _converters_of(expression, connection))
            for place, expression in converted
        ]
        made = []
        for raw in rows:
            row = list(raw)
            for place, expression, functions in converters:
                for function in functions:
                    row[place] = function(row[place], expression, connection)
            one = model.from_db(DEFAULT_DB_ALIAS, names, row[begin:end])
            for populator in related:
                populator.populate(row, one)
            for name, place in annotations:
                setattr(one, name, row[place])
            made.append(one)
        return made

    return objects


def _converters_of(expression: Any, connection: BaseDatabaseWrapper) -> list[Callable[..., Any]]:
    found: list[Callable[..., Any]] = connection.ops.get_db_converters(expression)
    return [*found, *expression.get_db_converters(connection)]
