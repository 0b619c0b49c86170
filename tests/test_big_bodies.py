"""Bodies that are too big are refused before anything of them is kept."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from django.conf import settings

from vpspanel.asgi import application

LIMIT: int = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
PIECE = b"x" * 65536


class Visitor:
    """Somebody who sends a body of `size` bytes and keeps what is answered."""

    def __init__(self, size: int, *headers: tuple[bytes, bytes], path: str = "/accounts/login/"):
        self.left = size
        self.taken = 0
        self.answer: list[dict[str, Any]] = []
        self.scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"localhost"), *headers],
            "client": ("127.0.0.1", 4711),
            "server": ("127.0.0.1", 8000),
        }

    def visit(self) -> int:
        """The status of the answer."""
        asyncio.run(application(self.scope, self._receive, self._send))
        status: int = self.answer[0]["status"]
        return status

    async def _receive(self) -> dict[str, Any]:
        if not self.left:
            await asyncio.Event().wait()  # stays connected until it has its answer
        piece = PIECE[: self.left]
        self.left -= len(piece)
        self.taken += len(piece)
        return {"type": "http.request", "body": piece, "more_body": self.left > 0}

    async def _send(self, message: dict[str, Any]) -> None:
        self.answer.append(message)


def test_a_body_without_a_length_is_cut_off_at_the_limit() -> None:
    visitor = Visitor(8 * LIMIT)
    assert visitor.visit() == 413
    assert LIMIT < visitor.taken <= LIMIT + len(PIECE)
    assert (b"connection", b"close") in visitor.answer[0]["headers"]


@pytest.mark.parametrize("length", [str(LIMIT + 1), "9" * 5000, "12345678x"])
def test_a_body_that_says_it_is_too_big_is_not_read_at_all(length: str) -> None:
    visitor = Visitor(8 * LIMIT, (b"content-length", length.encode()))
    assert visitor.visit() == 413
    assert visitor.taken == 0


def test_a_body_of_just_the_limit_reaches_the_page() -> None:
    length = (b"content-length", str(LIMIT).encode())
    visitor = Visitor(LIMIT, length, path="/static/css/panel.css")
    assert visitor.visit() == 200
    assert visitor.taken == LIMIT


def test_a_program_is_told_in_json_and_gets_a_name_for_support() -> None:
    visitor = Visitor(1, (b"content-length", str(LIMIT + 1).encode()), path="/api/v1/servers")
    assert visitor.visit() == 413
    headers = dict(visitor.answer[0]["headers"])
    assert headers[b"content-type"] == b"application/json"
    assert len(headers[b"x-correlation-id"]) == 32
    assert b'"payload_too_large"' in visitor.answer[1]["body"]
