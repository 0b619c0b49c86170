"""What of hcloud's API is there, as a table: from the routes, and from what is said not to be."""

from __future__ import annotations

from collections.abc import Iterator

from vpspanel.api.absent import COLLECTIONS
from vpspanel.api.schema import BASE, document
from vpspanel.api.server_actions import UNSUPPORTED
from vpspanel.api.urls import v1

HEAD = """# What of the API is there

Written by `manage.py api_support` from the routes; a test fails when it is out of date.
The reference page (`/api/docs/`) says what each operation takes and answers.

"""


def support() -> str:
    """The whole page, in Markdown."""
    return "\n".join(
        [HEAD + "## Offered", "", *_offered(), "", "## Not offered", "", *_missing(), ""]
    )


def _offered() -> Iterator[str]:
    yield "| resource | operation | |"
    yield "|---|---|---|"
    for path, methods in document()["paths"].items():
        for method, operation in methods.items():
            asked = f"{method.upper()} {path.removeprefix(BASE.rstrip('/'))}"
            yield f"| {operation['tags'][0]} | {operation['summary']} | `{asked}` |"


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
