"""The OpenAPI document: routes from Django, bodies from their classes, answers from their types."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from http import HTTPStatus
from typing import Any, TypedDict

from django.http import HttpRequest, HttpResponse
from django.utils.cache import get_conditional_response
from django.views.decorators.http import require_safe
from drf_spectacular.extensions import OpenApiSerializerFieldExtension
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.openapi import AutoSchema

from vpspanel.api.auth import PROJECT_HEADER, Whose
from vpspanel.api.bodies import IdOrName, Labels
from vpspanel.api.describing import Described, description_of
from vpspanel.api.errors import STATUS_OF
from vpspanel.api.examples import Examples
from vpspanel.api.hints import Schema, Shapes
from vpspanel.api.listing import LARGEST_ID
from vpspanel.api.parameters import HEADERS, ID, headers_of, idempotency_key, query
from vpspanel.api.view import ApiView, PostView
from vpspanel.labels import KEY_PATTERN, MAX_LABELS, VALUE_PATTERN

BASE = "/api/v1/"
JSON = "application/json"
MAX_AGE = 300  # seconds
ONLY_BODIES = {
    "json_error",
    "payload_too_large",
    "unsupported_media_type",
}
ONLY_CHANGES = {
    "conflict",
    "idempotency_key_reused",
    "locked",
    "placement_error",
    "protected",
    "resource_limit_exceeded",
    "resource_unavailable",
    "server_not_running",
    "server_not_stopped",
    "token_readonly",
    "uniqueness_error",
    "unsupported_error",
}
# Nothing that is described answers with these.
NOWHERE = {"deprecated_api_endpoint", "method_not_allowed"}


class ErrorFacts(TypedDict):
    """What went wrong: decide on `code`; `details` names fields or limits."""

    code: str
    message: str
    details: dict[str, Any]


class Error(TypedDict):
    """The body of every error."""

    error: ErrorFacts


class IdOrNameField(OpenApiSerializerFieldExtension):
    """A reference, for the document."""

    target_class = IdOrName

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> Schema:
        """A number or a text."""
        return {"oneOf": [ID, {"type": "string", "minLength": 1, "maxLength": 255}]}


class LabelsField(OpenApiSerializerFieldExtension):
    """Labels, for the document."""

    target_class = Labels

    def map_serializer_field(self, auto_schema: Any, direction: Any) -> Schema:
        """Keys and values."""
        return {
            "type": "object",
            "maxProperties": MAX_LABELS,
            "propertyNames": {"pattern": KEY_PATTERN},
            "additionalProperties": {"type": "string", "pattern": VALUE_PATTERN},
        }


def operation_of(view: ApiView, method: str) -> Described | None:
    """What was said of the operation that a view answers a method with."""
    verb = getattr(view, "described_verb", None)
    if verb is not None:
        return description_of(verb)
    makes = method == "POST" and isinstance(view, PostView)
    return description_of(getattr(view, "create" if makes else method.lower(), None))


class Operation(AutoSchema):
    """One operation of the document."""

    view: ApiView  # type: ignore[override]

    def get_operation(
        self, path: str, path_regex: str, path_prefix: str, method: str, registry: Any
    ) -> Schema | None:
        """It, or None if nothing was said of it."""
        described = operation_of(self.view, method)
        if described is None:
            return None
        self.described = described
        operation: Schema | None = super().get_operation(
            path, path_regex, path_prefix, method, registry
        )
        return operation

    def get_operation_id(self) -> str:
        """The method and the address: both stay as they are."""
        words = self.path.removeprefix(BASE).replace("{", "").replace("}", "").split("/")
        return "_".join([self.method.lower(), *words])

    def get_summary(self) -> str:
        """What it does."""
        return self.described.summary

    def get_description(self) -> str:  # type: ignore[override]
        """Nothing more."""
        return ""

    def get_tags(self) -> list[str]:
        """The resource that it is about."""
        return [self.path.removeprefix(BASE).split("/")[0]]

    def get_auth(self) -> list[Schema]:
        """A token, always."""
        return [{"token": []}]

    def _resolve_path_parameters(self, variables: list[str]) -> list[Schema]:
        return [{"name": name, "in": "path", "required": True, "schema": ID} for name in variables]

    def _get_parameters(self) -> list[Schema]:
        """Those of the address, those of the query, and the header of a POST."""
        described = self.described
        found: list[Schema] = super()._get_parameters()
        if described.paged:
            found += [query("page"), query("per_page")]
        if described.sort:
            ways = ("", ":asc", ":desc")
            found.append(
                query("sort", tuple(f"{name}{way}" for name in described.sort for way in ways))
            )
        for name, words in described.filters.items():
            found.append(query(name, words, required=name in described.needed))
        if self.method == "POST" and isinstance(self.view, PostView):
            found.append(idempotency_key())
        if self.view.whose is not Whose.RESELLER:
            found.append(_IN_PROJECT)
        return found

    def _postprocess_serializer_schema(self, schema: Schema, *_: Any) -> Schema:
        """A body with its fields and no others."""
        return {**schema, "additionalProperties": False}

    def get_request_serializer(self) -> Any:
        """The class that checks the body."""
        return self.described.body

    def get_response_serializers(self) -> None:
        """None: answers have types, not serializers."""

    def _is_list_view(self, serializer: Any = None) -> bool:
        return False  # pages are described, not guessed

    def _get_response_bodies(self, direction: Any = "response") -> Schema:
        """The answer, and the errors."""
        described = self.described
        status = described.status if described.answer else 204
        good = {**described.also, status: described.answer}
        replays = self.method == "POST" and isinstance(self.view, PostView)
        answers = {
            str(code): _answer(code, fields, may_replay=replays) for code, fields in good.items()
        }
        return {**answers, **_errors(self.method, described)}


def _answer(status: int, fields: Mapping[str, Any], *, may_replay: bool) -> Schema:
    """A good answer, with the types of its keys if it has any."""
    answer: Schema = {
        "description": HTTPStatus(status).phrase,
        "headers": headers_of(status, may_replay=may_replay),
    }
    if fields:
        # Filled in when all operations are known: the types are this document's own.
        answer["content"] = {JSON: {"schema": {"x-answer": dict(fields)}}}
    return answer


_IN_PROJECT: Schema = {
    "name": PROJECT_HEADER,
    "in": "header",
    "schema": {"type": "integer", "minimum": 1, "maximum": LARGEST_ID},
    "description": "For the token of a reseller: the project in which it acts.",
}


def _errors(method: str, described: Described) -> Schema:
    """The errors that an operation may answer with, by status, with their codes."""
    left_out = set(NOWHERE)
    if method == "GET":
        left_out |= ONLY_CHANGES
    if described.body is None:
        left_out |= ONLY_BODIES
    by_status: dict[int, list[str]] = {}
    for code, status in STATUS_OF.items():
        if code not in left_out:
            by_status.setdefault(status, []).append(code)
    content = {JSON: {"schema": {"$ref": "#/components/schemas/Error"}}}
    return {
        str(status): {
            "description": ", ".join(codes),
            "headers": headers_of(status),
            "content": content,
        }
        for status, codes in sorted(by_status.items())
    }


class Routes(SchemaGenerator):
    """The routes of version 1, with one operation for each verb of a table of verbs."""

    def __init__(self) -> None:
        super().__init__(api_version="1")  # type: ignore[no-untyped-call]

    def routes(self) -> list[tuple[str, str, str, ApiView]]:
        """(address, its pattern, method, view) of each, described or not."""
        self._initialise_endpoints()  # type: ignore[no-untyped-call]
        return self._get_paths_and_endpoints()

    def _get_paths_and_endpoints(self) -> list[tuple[str, str, str, ApiView]]:
        found = []
        for path, regex, method, view in super()._get_paths_and_endpoints():  # type: ignore[no-untyped-call]
            if not path.startswith(BASE) or not isinstance(view, ApiView):
                continue
            verbs = getattr(view, "verbs", None)
            if verbs is None:
                found.append((path, regex, method, view))
                continue
            for verb, function in verbs.items():
                one = copy.copy(view)
                one.described_verb = function  # type: ignore[attr-defined]
                found.append((path.replace("{verb}", verb), regex, method, one))
        return found


def document() -> Schema:
    """The OpenAPI document of this panel."""
    result: Schema = Routes().get_schema(public=True)  # type: ignore[no-untyped-call]
    shapes = Shapes()
    shapes.schema(Error)
    for methods in result["paths"].values():
        for operation in methods.values():
            for response in operation["responses"].values():
                for media in response.get("content", {}).values():
                    if (answer := media["schema"].get("x-answer")) is not None:
                        media["schema"] = shapes.keys(answer)
    bodies = result.setdefault("components", {}).setdefault("schemas", {})
    taken = bodies.keys() & shapes.components.keys()
    if taken:
        raise TypeError(f"bodies and answers are both called {', '.join(sorted(taken))}")
    bodies.update(sorted(shapes.components.items()))
    _give_examples(result)
    result["components"]["headers"] = HEADERS
    result["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    return result


def _give_examples(result: Schema) -> None:
    """One for each body and each good answer."""
    examples = Examples(result["components"]["schemas"])
    for methods in result["paths"].values():
        for operation in methods.values():
            for media in operation.get("requestBody", {}).get("content", {}).values():
                media["example"] = examples.body(media["schema"])
            for status, response in operation["responses"].items():
                if status < "400":
                    for media in response.get("content", {}).values():
                        media["example"] = examples.answer(media["schema"])


@cache
def _written() -> tuple[bytes, str]:
    """The document as it is sent, and its ETag. Routes do not change while a process lives."""
    text = json.dumps(document(), ensure_ascii=False, separators=(",", ":")).encode()
    return text, f'"{sha256(text).hexdigest()[:32]}"'


@require_safe
def openapi(request: HttpRequest) -> HttpResponse:
    """The document, for everybody; 304 for who has it already."""
    text, etag = _written()
    headers = {"ETag": etag, "Cache-Control": f"public, max-age={MAX_AGE}"}
    response = HttpResponse(text, content_type=JSON, headers=headers)
    answer = get_conditional_response(request, etag=etag, response=response)
    if not isinstance(answer, HttpResponse):
        raise TypeError("a conditional answer is a response")
    return answer
