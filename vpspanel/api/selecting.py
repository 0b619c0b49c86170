"""Label selectors as conditions of the database."""

from __future__ import annotations

from typing import Any

from django.db.models import CharField, F, Func, Q, QuerySet, Value
from rest_framework.request import Request

from vpspanel.labels import Condition, Test, parse_selector


class LabelValue(Func):
    """The value of one label, NULL if it is not there.

    Not Django's own lookup: that takes a key of digits for the index of a list,
    and a key with two underscores for two keys.
    """

    output_field = CharField()
    arity = 2

    def __init__(self, key: str):
        # A key that has passed the selector's grammar holds no quote and no backslash.
        super().__init__(F("labels"), Value(key))
        self._path = f'$."{key}"'

    def as_postgresql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        """`labels ->> key`."""
        return self.as_sql(
            compiler, connection, template="(%(expressions)s::text)", arg_joiner=" ->> "
        )

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        """`json_extract(labels, path)`."""
        extract = self.copy()
        extract.source_expressions = [self.source_expressions[0], Value(self._path)]
        return extract.as_sql(compiler, connection, function="JSON_EXTRACT")


def selected(request: Request, rows: QuerySet[Any]) -> QuerySet[Any]:
    """Those whose labels match the parameter `label_selector`. Raises `Refused`."""
    text = request.query_params.get("label_selector", "")
    for number, condition in enumerate(parse_selector(text).conditions):
        rows = rows.annotate(**{f"label{number}": LabelValue(condition.key)})
        rows = rows.filter(_holds(condition, f"label{number}"))
    return rows


def _holds(condition: Condition, column: str) -> Q:
    missing = Q(**{f"{column}__isnull": True})
    if condition.test is Test.EXISTS:
        return ~missing
    if condition.test is Test.MISSING:
        return missing
    among = Q(**{f"{column}__in": sorted(condition.values)})
    return among if condition.test is Test.IN else missing | ~among
