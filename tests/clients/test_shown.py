"""The record of what clients have used: of operations that there are, by tests that there are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from django.conf import settings

from tests.clients import shown
from tests.clients.shown import Asked, operations
from vpspanel.api.support import offered, shown_by_clients


def test_the_record_names_operations_and_tests_that_are_there() -> None:
    for tests in shown_by_clients().values():
        for test, used in tests.items():
            file, _, name = test.partition("::")
            words = f"def {name.partition('[')[0]}("
            assert words in (settings.BASE_DIR / file).read_text(), shown.HOW_TO_RENEW
            assert set(used) <= offered().keys(), shown.HOW_TO_RENEW
            assert used == sorted(used)


def test_only_what_is_offered_and_succeeds_is_an_operation() -> None:
    notes = [
        "200 GET /api/v1/servers",
        "404 GET /api/v1/servers/7",
        "201 POST /api/v1/servers/12/actions/reboot",
        "200 GET /api/v1/servers/actions/9",
        "200 GET /api/v1/volumes",
        "422 POST /api/v1/servers",
        "204 DELETE /api/v1/ssh_keys/3",
        "200 GET /api/v1/servers/12/metrics/more",
        "200 GET /healthz",
    ]
    assert operations(notes) == {
        "GET /servers",
        "POST /servers/{id}/actions/reboot",
        "GET /servers/actions/{action_id}",
        "DELETE /ssh_keys/{id}",
    }


def test_what_is_missing_from_the_record_or_too_much_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record, notes = tmp_path / "clients.json", tmp_path / "notes"
    record.write_text("{}")
    monkeypatch.setattr("vpspanel.api.support.RECORD", record)
    monkeypatch.setattr(shown, "RECORD", record)
    earlier = "200 GET /api/v1/isos\n"
    notes.write_text(f"{earlier}200 GET /api/v1/servers\n")
    asked = Asked("test_it", notes, len(earlier))
    with pytest.raises(AssertionError, match="not in the record: GET /servers"):
        asked.expect("a client")
    monkeypatch.setenv(shown.RENEW, "1")
    asked.expect("a client")
    assert json.loads(record.read_text()) == {"a client": {"test_it": ["GET /servers"]}}
    monkeypatch.delenv(shown.RENEW)
    asked.expect("a client")
    notes.write_text(earlier)
    with pytest.raises(
        AssertionError, match=r"not used any more: GET /servers[\s\S]*CLIENTS_RENEW"
    ):
        asked.expect("a client")
