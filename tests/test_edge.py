"""What every answer carries, whatever page it is."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.templatetags.static import static
from django.test import Client

from vpspanel import static_files

pytestmark = pytest.mark.django_db


def test_healthz_answers_anybody(client: Client) -> None:
    answer = client.get("/healthz")
    assert (answer.status_code, answer.content) == (200, b"ok\n")


def test_pages_may_run_no_inline_code_and_be_framed_by_nobody(client: Client) -> None:
    policy = client.get("/accounts/login/")["Content-Security-Policy"]
    parts = dict(part.strip().split(" ", 1) for part in policy.split(";"))
    assert parts["default-src"] == "'none'"
    assert parts["script-src"] == "'self'"
    assert parts["style-src"] == "'self'"
    assert parts["frame-ancestors"] == "'none'"
    assert "unsafe" not in policy


def test_every_answer_names_its_request(client: Client) -> None:
    first, second = client.get("/healthz"), client.get("/healthz")
    assert first["X-Request-ID"] != second["X-Request-ID"]
    assert (
        client.get("/healthz", headers={"X-Request-ID": "a1b2-c3d4"})["X-Request-ID"] == "a1b2-c3d4"
    )


@pytest.mark.parametrize(
    "forged", ["short", "x" * 65, "a b c d e f g h", "12345678\r\nSet-Cookie: a"]
)
def test_a_forged_request_id_is_not_passed_on(client: Client, forged: str) -> None:
    assert client.get("/healthz", headers={"X-Request-ID": forged})["X-Request-ID"] != forged


def test_static_files_come_whole_with_their_type(client: Client) -> None:
    answer = client.get("/static/vendor/xterm.css")
    assert answer.status_code == 200
    assert answer["Content-Type"].startswith("text/css")
    assert b".xterm" in answer.content
    again = client.get("/static/vendor/xterm.css", headers={"If-None-Match": answer["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_the_url_of_a_static_file_changes_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = static("vendor/icons.svg")
    assert first.startswith("/static/vendor/icons.svg?v=")
    copy = tmp_path / "icons.svg"
    copy.write_text("<svg/>")
    monkeypatch.setattr(static_files, "_source", lambda _name: copy)
    assert static("vendor/icons.svg") != first
    monkeypatch.setattr(static_files, "_source", lambda _name: None)
    assert static("no/such.css") == "/static/no/such.css"


def test_a_browser_may_keep_static_files(client: Client) -> None:
    assert client.get(static("vendor/icons.svg"))["Cache-Control"] == "max-age=3600, public"


def test_a_foreign_host_name_is_refused(client: Client) -> None:
    assert client.get("/accounts/login/", headers={"Host": "evil.example"}).status_code == 400
