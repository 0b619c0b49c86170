"""The engine by itself: toy commands instead of those of servers."""

from __future__ import annotations

import pytest

from tests.actions.toy import Toys


@pytest.fixture
def toys(transactional_db: None, monkeypatch: pytest.MonkeyPatch) -> Toys:
    """Toy commands that can be submitted. Real transactions: the engine's own are under test."""
    toys = Toys()
    monkeypatch.setattr("vpspanel.actions.services.registry", toys.registry)
    return toys
