"""The table of what is there says what the routes say."""

from __future__ import annotations

from django.conf import settings

from vpspanel.api.support import support


def test_the_table_is_up_to_date() -> None:
    kept = (settings.BASE_DIR / "docs" / "support.md").read_text()
    assert kept == support(), "write it anew: manage.py api_support > docs/support.md"


def test_it_says_what_is_there_and_what_is_not() -> None:
    offered, _, missing = support().partition("## Not offered")
    assert "`POST /servers`" in offered
    assert "`POST /servers/{id}/actions/rebuild`" in offered
    assert "| volumes | `GET /volumes` | an empty list |" in missing
    assert "`POST /servers/{id}/actions/enable_backup` | `unsupported_error`" in missing
