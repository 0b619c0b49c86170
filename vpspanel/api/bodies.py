"""Bodies of requests: known fields of known types, or a refusal that names what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from django.db.models import Model, QuerySet
from rest_framework import serializers
from rest_framework.request import Request

from vpspanel.api.listing import LARGEST_ID

M = TypeVar("M", bound=Model)


class Body(serializers.Serializer):  # type: ignore[type-arg]
    """An object with these fields and no others.

    A field that is spelt wrong must not pass for one that is not set.
    """

    def to_internal_value(self, data: Any) -> Any:
        """The values. Raises for what is no object and for unknown fields."""
        if isinstance(data, Mapping):
            unknown = {
                str(name)[:80]: ["unknown field"] for name in data if name not in self.fields
            }
            if unknown:
                raise serializers.ValidationError(unknown)
        return super().to_internal_value(data)


class Nothing(Body):
    """No fields at all."""


class IdOrName(serializers.Field):  # type: ignore[type-arg]
    """A reference: a number is an id, a text a name, and a text of digits an id first."""

    def to_internal_value(self, data: Any) -> int | str:
        """The id or the name."""
        if isinstance(data, int) and not isinstance(data, bool) and 0 <= data <= LARGEST_ID:
            return data
        if isinstance(data, str) and 0 < len(data) <= 255 and data.isprintable():
            return data
        raise serializers.ValidationError("an id or a name")

    def to_representation(self, value: Any) -> Any:
        """Itself."""
        return value


class Strict(serializers.BooleanField):
    """True or false, not "yes", 1 or "off"."""

    def to_internal_value(self, data: Any) -> bool:
        """The value."""
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class Labels(serializers.JSONField):
    """Labels, which the service checks: its refusal says what is wrong with them."""


class Text(serializers.CharField):
    """Text as it is: nothing trimmed, and no number taken for one."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"trim_whitespace": False, **kwargs})

    def to_internal_value(self, data: Any) -> str:
        """The text."""
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


def body_of(request: Request, kind: type[Body]) -> dict[str, Any]:
    """The values that were sent, by field. Raises `ValidationError`."""
    body = kind(data=request.data or {} if request.data != [] else [])
    body.is_valid(raise_exception=True)
    values: dict[str, Any] = body.validated_data
    return values


def pick(rows: QuerySet[M], reference: int | str, column: str = "name") -> M | None:
    """The row that is meant: by id, else by name."""
    if isinstance(reference, int):
        return rows.filter(pk=reference).first()
    if reference.isascii() and reference.isdecimal() and int(reference[:17]) <= LARGEST_ID:
        found = rows.filter(pk=int(reference)).first()
        if found is not None:
            return found
    return rows.filter(**{column: reference}).first()


def pick_or_fail(rows: QuerySet[M], reference: int | str, field: str) -> M:
    """The row that is meant. Raises `ValidationError` if there is none, or none to be known of."""
    found = pick(rows, reference)
    if found is None:
        raise serializers.ValidationError({field: [f"{field} {reference} was not found"]})
    return found
