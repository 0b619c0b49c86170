"""The database that tests copy is what all migrations make, and never that of other migrations."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from types import SimpleNamespace

import pytest
from django.apps import apps
from django.db.migrations.loader import MigrationLoader

from tests import migrated


def test_a_copy_has_every_migration(tmp_path: Path) -> None:
    migrated.copy_to(tmp_path / "var" / "db.sqlite3")
    with contextlib.closing(sqlite3.connect(tmp_path / "var" / "db.sqlite3")) as database:
        applied = set(database.execute("SELECT app, name FROM django_migrations"))
    assert applied == set(MigrationLoader(None).disk_migrations)


def test_migrations_run_once_for_one_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def migrate(url: str) -> None:
        made.append(url)
        sqlite3.connect(url.removeprefix("sqlite:///")).close()

    monkeypatch.setattr(migrated, "KEPT", tmp_path)
    monkeypatch.setattr(migrated, "_migrate", migrate)
    monkeypatch.setattr(migrated, "state", lambda: "before")
    for name in ("one", "two"):
        migrated.copy_to(tmp_path / "panels" / name)
    assert len(made) == 1
    monkeypatch.setattr(migrated, "state", lambda: "after")
    migrated.copy_to(tmp_path / "panels" / "three")
    assert len(made) == 2
    assert [kept.name for kept in tmp_path.glob("*.sqlite3")] == ["after.sqlite3"]


@pytest.mark.parametrize("name", ["migrations/0001_initial.py", "models.py", "models_more.py"])
def test_what_migrations_make_has_another_name_when_they_change(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = SimpleNamespace(label="shop", path=str(tmp_path))
    monkeypatch.setattr(apps, "get_app_configs", lambda: [app])
    states = [migrated.state()]
    (tmp_path / name).parent.mkdir(exist_ok=True)
    for text in ("", "x = 1"):
        (tmp_path / name).write_text(text)
        states.append(migrated.state())
    (tmp_path / "views.py").touch()
    assert len(set(states)) == 3
    assert migrated.state() == states[-1]
