"""What the document says of parameters and headers. A name means the same wherever it stands."""

from __future__ import annotations

from typing import Any

from vpspanel.api.budget import HEADERS as BUDGET_HEADERS
from vpspanel.api.edge import CORRELATION
from vpspanel.api.listing import LARGEST_ID, MOST_PER_PAGE, PER_PAGE
from vpspanel.api.once import HEADER as KEY_HEADER
from vpspanel.api.once import KEY_LENGTH, REPLAYED
from vpspanel.labels import MAX_SELECTOR, SELECTOR_PATTERN

Schema = dict[str, Any]

ID: Schema = {"type": "integer", "minimum": 0, "maximum": LARGEST_ID}
_NUMBER: Schema = {"type": "integer", "minimum": 1, "maximum": LARGEST_ID}
_TEXT: Schema = {"type": "string"}
_MOMENT: Schema = {"type": "string", "format": "date-time"}
_SELECTOR: Schema = {"type": "string", "maxLength": MAX_SELECTOR, "pattern": SELECTOR_PATTERN}


def each(schema: Schema) -> Schema:
    """A parameter that may be said several times."""
    return {"type": "array", "items": schema}


# name -> what it takes, and what is to be known of it. Others take any text.
QUERY: dict[str, tuple[Schema, str]] = {
    "account": (each(ID), "Only what is of these accounts."),
    "after": (ID, "The number of an event: those that came after it, oldest first."),
    "before": (ID, "The number of an event: those before it, newest first. Not with `after`."),
    "bound_to": (_TEXT, "The server of a backup."),
    "end": (_MOMENT, "The end of the time that is asked for."),
    "from": (_MOMENT, "The beginning of the time that is asked for."),
    "fingerprint": (_TEXT, "The MD5 fingerprint of a key."),
    "id": (each(ID), "Only those with these ids."),
    "include_deprecated": ({"type": "boolean"}, "Whether what is no longer offered is shown."),
    "ip": (_TEXT, "The address itself."),
    "kind": (each(_TEXT), "The kind of event, such as `server.renamed` or `server.*`."),
    "label_selector": (_SELECTOR, "Conditions on labels, such as `env in (prod,test),!old`."),
    "name": (_TEXT, "Only what is called so."),
    "page": ({**_NUMBER, "default": 1}, "Which page."),
    "per_page": (
        {**_NUMBER, "default": PER_PAGE},
        f"How many on a page; more than {MOST_PER_PAGE} are taken for {MOST_PER_PAGE}.",
    ),
    "project": (each(ID), "Only what is of these projects."),
    "resource_id": (each(ID), "The number of what an event is about."),
    "resource_type": (each(_TEXT), "What an event is about, such as `server`."),
    "start": (_MOMENT, "The beginning of the time that is asked for."),
    "step": (_NUMBER, "Seconds between two figures, at least."),
    "to": (_MOMENT, "The end of the time that is asked for."),
    "wait": (ID, "Seconds to wait for the end; more than 60 are taken for 60."),
}

HEADERS: dict[str, Schema] = {
    CORRELATION: {"description": "What support asks for.", "schema": _TEXT},
    **{name: {"description": about, "schema": ID} for name, about in BUDGET_HEADERS.items()},
    "Retry-After": {"description": "Seconds until the next request.", "schema": _NUMBER},
    REPLAYED: {
        "description": "The first answer to this idempotency key, once more.",
        "schema": {"type": "string", "enum": ["true"]},
    },
}


def query(name: str, words: tuple[str, ...] = (), *, required: bool = False) -> Schema:
    """A parameter of the query; with words it takes only those, and may be said several times."""
    schema, about = QUERY.get(name, (_TEXT, ""))
    if words:
        schema = each({"type": "string", "enum": list(words)})
    found: Schema = {"name": name, "in": "query", "schema": schema}
    if required:
        found["required"] = True
    return {**found, "description": about} if about else found


def idempotency_key() -> Schema:
    """The header that makes a POST safe to be sent again."""
    return {
        "name": KEY_HEADER,
        "in": "header",
        "schema": {"type": "string", "maxLength": KEY_LENGTH},
        "description": "The same request with the same key happens once, and is answered alike.",
    }


def headers_of(status: int, *, may_replay: bool = False) -> Schema:
    """The headers of an answer with this status."""
    names = [CORRELATION]
    if status < 400:
        names += BUDGET_HEADERS
    if status < 400 and may_replay:
        names.append(REPLAYED)
    if status == 429:
        names.append("Retry-After")
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
