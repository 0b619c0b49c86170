"""What of hcloud's API is there, as a table: from the routes, and from what is said not to be.

Which client has used what is a record that the tests of clients write and keep true.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

from django.conf import settings

from vpspanel.api.absent import COLLECTIONS
from vpspanel.api.schema import BASE, document
from vpspanel.api.server_actions import UNSUPPORTED
from vpspanel.api.urls import v1

HEAD = """# What of the API is there

Written by `manage.py api_support` from the routes; a test fails when it is out of date.
The reference page (`/api/docs/`) says what each operation takes and answers.

A ✓ says that the tests run this client, unmodified, and that it used the operation with success.
They write `docs/clients.json` and fail when it is not what the client did.
[Which clients](api.md#which-clients) these are, and in which versions.

"""
RECORD = settings.BASE_DIR / "docs" / "clients.json"
Shown = dict[str, dict[str, list[str]]]  # client, test, operations


def support() -> str:
    """The whole page, in Markdown."""
    return "\n".join(
        [HEAD + "## Offered", "", *_offered(), "", "## Not offered", "", *_missing(), ""]
    )


def offered() -> dict[str, tuple[str, str]]:
    """Each operation, such as `GET /servers/{id}`: what it is about, and what it does."""
    return {
        f"{method.upper()} {path.removeprefix(BASE.rstrip('/'))}": (
            operation["tags"][0],
            operation["summary"],
        )
        for path, methods in document()["paths"].items()
        for method, operation in methods.items()
    }


def shown_by_clients() -> Shown:
    """The operations that each client has used, test by test."""
    record: Shown = json.loads(RECORD.read_text())
    return record


def _offered() -> Iterator[str]:
    shown = {
        client: {operation for operations in tests.values() for operation in operations}
        for client, tests in shown_by_clients().items()
    }
    yield "| resource | operation | |" + "".join(f" {client} |" for client in shown)
    yield "|---|---|---|" + ":-:|" * len(shown)
    for asked, (about, summary) in offered().items():
        marks = "".join(" ✓ |" if asked in used else " |" for used in shown.values())
        yield f"| {about} | {summary} | `{asked}` |{marks}"


def _missing() -> Iterator[str]:
    """What clients of hcloud may ask for all the same, and what they are told."""
    yield "| what | | answer |"
    yield "|---|---|---|"
    routes = {pattern.name for pattern in v1}
    for name, words in COLLECTIONS.items():
        if name in routes:
            yield f"| {words} | `GET /{name}` | an empty list |"
            yield f"| {words} | `POST /{name}` | `unsupported_error` |"
    for verb, words in UNSUPPORTED.items():
        yield f"| {words} | `POST /servers/{{id}}/actions/{verb}` | `unsupported_error` |"
