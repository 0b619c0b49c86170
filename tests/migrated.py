"""A database as the migrations leave it: made once for each state of them, copied ever after.

Running all migrations takes seconds of processor time, and a run of all tests has a dozen
processes that want a database each, besides the panels that tests start. Django still looks
for migrations that a copy lacks. With `--create-db` every process runs them itself.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import django
from django.apps import apps
from django.conf import settings
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from django.utils import timezone

ROOT: Path = settings.BASE_DIR
KEPT = ROOT / "var" / "migrated"
# What PostgreSQL keeps has this name and the state; while it is being made, UNFINISHED after that.
PREFIX, UNFINISHED = "vpspanel_migrated_", "_unfinished"
LOCK = 7_233_041  # any number that nobody else takes


def state() -> str:
    """Another one whenever the migrations could make something else."""
    matters = (django.VERSION, settings.INSTALLED_APPS, settings.AUTH_USER_MODEL)
    digest = hashlib.sha256(repr(matters).encode())
    for app in apps.get_app_configs():
        # The models, too: content types and permissions are made of them.
        for files in ("migrations/*.py", "models*.py"):
            for file in sorted(Path(app.path).glob(files)):
                digest.update(f"\n{app.label} {file.name}\n".encode() + file.read_bytes())
    return digest.hexdigest()[:16]


def copy_to(path: Path) -> None:
    """Put a migrated SQLite database there."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    KEPT.mkdir(parents=True, exist_ok=True)
    kept = KEPT / f"{state()}.sqlite3"
    with (KEPT / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            for old in KEPT.glob("*.sqlite3"):
                old.unlink()
            _make_file(kept)
        shutil.copyfile(kept, path)


def _make_file(kept: Path) -> None:
    with tempfile.TemporaryDirectory(dir=KEPT) as directory:
        made = Path(directory) / "db.sqlite3"
        _migrate(f"sqlite:///{made}")
        # What is still in its log comes into the file itself.
        with contextlib.closing(sqlite3.connect(made)) as database:
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        made.replace(kept)


def template(connection: BaseDatabaseWrapper) -> str:
    """The name of a migrated database in that PostgreSQL server, which others can be made from.

    It stays there, some 10 MB; those that nobody has used for a day go when another one is made.
    """
    name = PREFIX + state()
    with _alone(connection) as cursor:
        cursor.execute("SELECT FROM pg_database WHERE datname = %s", [name])
        if cursor.fetchone() is None:
            _drop_unused(cursor)
            cursor.execute(f"CREATE DATABASE {name}{UNFINISHED}")
            address = urlsplit(os.environ["DATABASE_URL"])
            _migrate(address._replace(path=f"/{name}{UNFINISHED}").geturl())
            cursor.execute(f"ALTER DATABASE {name}{UNFINISHED} RENAME TO {name}")
        used = timezone.now().isoformat()
        cursor.execute(f"COMMENT ON DATABASE {name} IS %s", [used])
    return name


@contextlib.contextmanager
def _alone(connection: BaseDatabaseWrapper) -> Iterator[CursorWrapper]:
    """A cursor beside the panel's database, while nobody else makes or drops a template."""
    with connection._nodb_cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [LOCK])
        yield cursor  # the end of its connection lets go of the lock


def _drop_unused(cursor: CursorWrapper) -> None:
    cursor.execute(
        "SELECT datname FROM pg_database WHERE starts_with(datname, %s) AND (datname LIKE %s OR"
        " (shobj_description(oid, 'pg_database')::timestamptz > now() - interval '1 day')"
        " IS NOT TRUE)",
        [PREFIX, f"%{UNFINISHED}"],
    )
    for (name,) in cursor.fetchall():
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _migrate(url: str) -> None:
    """As an operator does it: the settings of the tests have no part in it."""
    with tempfile.TemporaryDirectory() as var:
        subprocess.run(
            [sys.executable, "manage.py", "migrate", "-v0"],
            cwd=ROOT,
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "vpspanel.settings",
                "VPSPANEL_VAR": var,
                "DATABASE_URL": url,
            },
            check=True,
        )
