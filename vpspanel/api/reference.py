"""The document as a page for people: every operation with its fields, examples and errors."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.template.loader import render_to_string
from django.views.decorators.http import require_safe

from vpspanel.api.examples import MOMENT, NUMBER
from vpspanel.api.schema import JSON, document

Schema = dict[str, Any]
_LIMITS = {
    "minLength": "at least {} characters",
    "maxLength": "at most {} characters",
    "minItems": "at least {}",
    "maxItems": "at most {}",
    "maxProperties": "at most {}",
    "default": "{} if not given",
}


@dataclass(frozen=True)
class Word:
    """A part of a type; `anchor` is where on the page it is explained."""

    text: str
    anchor: str = ""


@dataclass(frozen=True)
class Field:
    """One row of a table of fields."""

    name: str
    kind: list[Word]
    needed: bool
    notes: str
    values: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Answer:
    """A good answer."""

    status: int
    phrase: str
    fields: list[Field]
    example: str


@dataclass(frozen=True)
class Operation:
    """What can be asked for."""

    anchor: str
    method: str
    path: str
    summary: str
    parameters: list[Field]
    body: list[Field]
    answers: list[Answer]
    errors: list[tuple[int, str]]
    curl: str


@dataclass(frozen=True)
class Thing:
    """A type that answers refer to."""

    anchor: str
    name: str
    about: str
    fields: list[Field]


@require_safe
def page(request: HttpRequest) -> HttpResponse:
    """The page, for everybody."""
    return render(request, "api/reference.html", {"body": _body()})


@cache
def _body() -> str:
    """All that is the same for everybody. Routes do not change while a process lives."""
    described = document()
    groups: dict[str, list[Operation]] = {}
    for path, methods in described["paths"].items():
        for method, one in methods.items():
            operation = _operation(path, method.upper(), one, described["components"]["schemas"])
            groups.setdefault(one["tags"][0], []).append(operation)
    context = {"groups": sorted(groups.items()), "things": list(_things(described))}
    return render_to_string("api/reference_body.html", context)


def _operation(path: str, method: str, one: Schema, known: dict[str, Schema]) -> Operation:
    body = one.get("requestBody", {}).get("content", {}).get(JSON, {})
    answers = {int(status): answer for status, answer in one["responses"].items()}
    return Operation(
        anchor=one["operationId"],
        method=method,
        path=path,
        summary=_plain(one["summary"]),
        parameters=[
            _field(each["name"], each["schema"], needed=each.get("required", False), more=each)
            for each in one.get("parameters", ())
        ],
        body=_fields(_named(body.get("schema", {}), known)),
        answers=[_answer(status, answers[status]) for status in sorted(answers) if status < 400],
        errors=[(status, answers[status]["description"]) for status in answers if status >= 400],
        curl=_curl(path, method, one, body.get("example")),
    )


def _named(schema: Schema, known: dict[str, Schema]) -> Schema:
    """The schema that is referred to, or itself."""
    return known[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema


def _answer(status: int, answer: Schema) -> Answer:
    media = answer.get("content", {}).get(JSON, {})
    shown = _written(media["example"]) if "example" in media else ""
    return Answer(status, HTTPStatus(status).phrase, _fields(media.get("schema", {})), shown)


def _fields(schema: Schema) -> list[Field]:
    needed = schema.get("required", ())
    return [
        _field(name, inner, needed=name in needed)
        for name, inner in schema.get("properties", {}).items()
    ]


def _field(name: str, schema: Schema, *, needed: bool, more: Schema | None = None) -> Field:
    notes = [(more or schema).get("description", "")]
    notes += [words.format(schema[key]) for key, words in _LIMITS.items() if key in schema]
    values = schema.get("enum") or schema.get("items", {}).get("enum") or ()
    return Field(
        name,
        list(_kind(schema)),
        needed,
        " · ".join(_plain(note) for note in notes if note),
        [str(value) for value in values if value is not None],
    )


def _kind(schema: Schema) -> Iterator[Word]:
    """What a value is, in words."""
    if reference := schema.get("$ref"):
        name = reference.rpartition("/")[2]
        yield Word(name, f"object-{name}")
    elif choices := (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        for number, choice in enumerate(choices):
            yield from [Word(" or ")] if number else []
            yield from _kind(choice)
    elif schema.get("items"):
        yield Word("list of ")
        yield from _kind(schema["items"])
    elif isinstance(schema.get("additionalProperties"), dict):
        yield Word("object of ")
        yield from _kind(schema["additionalProperties"])
    else:
        kinds = schema.get("type", "anything")
        yield Word(kinds if isinstance(kinds, str) else " or ".join(kinds))


def _things(described: Schema) -> Iterator[Thing]:
    """The types of answers, and those of bodies that others refer to."""
    known = described["components"]["schemas"]
    within = json.dumps(known)
    for name, schema in sorted(known.items()):
        if not name.endswith("Request") or f'schemas/{name}"' in within:
            about = schema.get("description", "")
            yield Thing(f"object-{name}", name, about, _fields(schema))


def _curl(path: str, method: str, one: Schema, body: Any) -> str:
    """A command that asks for it."""
    words = ["curl"] if method == "GET" else ["curl", "-X", method]
    words += ["-H", '"Authorization: Bearer $TOKEN"']
    if body is not None:
        words += ["-H", "'Content-Type: application/json'"]
        words += ["-d", shlex.quote(json.dumps(body, ensure_ascii=False))]
    asked = {
        each["name"]: _asked(each["schema"])
        for each in one.get("parameters", ())
        if each["in"] == "query" and each.get("required")
    }
    for each in one.get("parameters", ()):
        if each["in"] == "path":
            path = path.replace("{" + each["name"] + "}", str(NUMBER))
    return " ".join([*words, f'"$PANEL{path}{"?" + urlencode(asked) if asked else ""}"'])


def _asked(schema: Schema) -> str:
    inner = schema.get("items", schema)
    if inner.get("format") == "date-time":
        return MOMENT.replace("+00:00", "Z")
    return str(inner["enum"][0] if "enum" in inner else NUMBER)


def _plain(text: str) -> str:
    """Without the marks of Markdown."""
    return text.replace("`", "")


def _written(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)
