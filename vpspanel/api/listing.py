"""Lists: pages, order and filters, in the words of the request's parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypedDict
from urllib.parse import urlencode

from django.db.models import QuerySet
from django.utils.dateparse import parse_datetime
from rest_framework.request import Request
from rest_framework.response import Response

from vpspanel.errors import Refused

PER_PAGE, MOST_PER_PAGE = 25, 50
LARGEST_ID = 2**53 - 1  # what a program in any language can hold


class Pagination(TypedDict):
    """Where a page lies in its list."""

    page: int
    per_page: int
    previous_page: int | None
    next_page: int | None
    last_page: int
    total_entries: int


class Meta(TypedDict):
    """What is said about a list."""

    pagination: Pagination


def page_of(
    request: Request,
    key: str,
    rows: QuerySet[Any],
    shape: Callable[[QuerySet[Any]], Sequence[Mapping[str, Any]]],
) -> Response:
    """The asked page of `rows`, under `key`, with `meta.pagination` and a `Link` header."""
    page, per_page = number(request, "page", 1), number(request, "per_page", PER_PAGE)
    per_page = min(per_page, MOST_PER_PAGE)
    total = rows.count()
    last = max(1, -(-total // per_page))
    start = (page - 1) * per_page
    shown = shape(rows[start : start + per_page]) if start < total else []
    pagination = Pagination(
        page=page,
        per_page=per_page,
        previous_page=min(page - 1, last) if page > 1 else None,
        next_page=page + 1 if page < last else None,
        last_page=last,
        total_entries=total,
    )
    body = {key: shown, "meta": {"pagination": pagination}}
    return Response(body, headers={"Link": _links(request, pagination)})


def whole(key: str, shown: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A list that is one page whatever is asked."""
    pagination = Pagination(
        page=1,
        per_page=MOST_PER_PAGE,
        previous_page=None,
        next_page=None,
        last_page=1,
        total_entries=len(shown),
    )
    return {key: shown, "meta": {"pagination": pagination}}


def _links(request: Request, pagination: Pagination) -> str:
    targets = {
        "prev": pagination["previous_page"],
        "next": pagination["next_page"],
        "last": pagination["last_page"],
    }
    links = []
    for relation, page in targets.items():
        if page is not None:
            query = request.query_params.copy()
            query["page"] = str(page)
            address = request.build_absolute_uri(f"{request.path}?{urlencode(list(_pairs(query)))}")
            links.append(f"<{address}>; rel={relation}")
    return ", ".join(links)


def _pairs(query: Any) -> Sequence[tuple[str, str]]:
    return [(name, value) for name, values in query.lists() for value in values]


def number(request: Request, name: str, otherwise: int) -> int:
    """A parameter that is a number from 1 on. Raises `Refused`."""
    text = request.query_params.get(name)
    if text is None:
        return otherwise
    if not (text.isascii() and text.isdecimal()) or not 1 <= int(text[:17]) <= LARGEST_ID:
        raise Refused("invalid_input", f"{name} is a number from 1 on.", field=name)
    return int(text)


def moment_of(request: Request, name: str) -> datetime:
    """A moment in RFC 3339, in UTC if it names no offset. A bare + arrives as a space.

    Raises `Refused`.
    """
    text = request.query_params.get(name, "").replace(" ", "+")
    try:
        found = parse_datetime(text)
    except ValueError:
        found = None
    if found is None or not 1970 < found.year < 9999:
        message = f"{name} is a moment such as 2026-01-31T12:00:00Z."
        raise Refused("invalid_input", message, field=name)
    return found.replace(tzinfo=found.tzinfo or UTC)


def ids(request: Request, name: str) -> list[int]:
    """A repeatable parameter of ids. Raises `Refused`."""
    found = []
    for text in request.query_params.getlist(name):
        if not (text.isascii() and text.isdecimal()) or int(text[:17]) > LARGEST_ID:
            raise Refused("invalid_input", f"{name} is a number.", field=name)
        found.append(int(text))
    return found


def flag(request: Request, name: str) -> bool:
    """A parameter that is true or false; false if it is not there. Raises `Refused`."""
    text = request.query_params.get(name, "false").lower()
    if text not in ("true", "1", "false", "0"):
        raise Refused("invalid_input", f"{name} is true or false.", field=name)
    return text in ("true", "1")


def choices(request: Request, name: str, known: Sequence[str]) -> list[str]:
    """A repeatable parameter of known words. Raises `Refused` for others."""
    found = request.query_params.getlist(name)
    for value in found:
        if value not in known:
            message = f"{name} is one of {', '.join(known)}."
            raise Refused("invalid_input", message, field=name)
    return found


def ordered(
    request: Request, rows: QuerySet[Any], columns: Mapping[str, str], first: str = "id"
) -> QuerySet[Any]:
    """In the order of the parameter `sort` (`name`, `name:desc`; repeatable), else by `first`."""
    order = []
    for text in request.query_params.getlist("sort") or [first]:
        name, _, direction = text.partition(":")
        if name not in columns or direction not in ("", "asc", "desc"):
            message = f"sort is one of {', '.join(columns)}, with :asc or :desc."
            raise Refused("invalid_input", message, field="sort")
        order.append(("-" if direction == "desc" else "") + columns[name])
    return rows.order_by(*order, "pk")


def named(request: Request, rows: QuerySet[Any], column: str = "name") -> QuerySet[Any]:
    """Those with the name that is asked for, if one is."""
    name = request.query_params.get("name", "")
    return rows.filter(**{column: name}) if name else rows
