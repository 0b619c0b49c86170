"""With `REDIS_URL` set, several machines share the cache."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid

import pytest
from django.conf import settings

pytestmark = pytest.mark.redis
URL = "redis://127.0.0.1:6379/15"
PLAIN = {"DJANGO_SETTINGS_MODULE": "vpspanel.settings"}  # those of tests want no Redis
SETUP = "import django; django.setup(); from django.core.cache import cache; "


def _python(code: str, *, redis: bool = True) -> str:
    done = subprocess.run(
        [sys.executable, "-c", SETUP + code],
        cwd=settings.BASE_DIR,
        env={**os.environ, **PLAIN, **({"REDIS_URL": URL} if redis else {})},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout.strip()


def test_another_process_sees_what_is_cached() -> None:
    key = f"test-{uuid.uuid4()}"
    _python(f"cache.set({key!r}, 'seen', 30)")
    assert _python(f"print(cache.get({key!r}))") == "seen"
    assert _python(f"cache.delete({key!r}); print(cache.get({key!r}))") == "None"


def test_without_redis_each_process_has_its_own() -> None:
    key = f"test-{uuid.uuid4()}"
    _python(f"cache.set({key!r}, 'seen', 30)", redis=False)
    assert _python(f"print(cache.get({key!r}))", redis=False) == "None"
