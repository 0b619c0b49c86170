"""The panel's settings for tests: a directory of its own, quick passwords, nothing sent."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

# Set before the import below: processes that tests start inherit it, and no
# test ever sees the database or the keys of a panel that runs here. Each worker
# of a parallel run has a directory within that of the process that started it.
if "VPSPANEL_TEST_VAR" not in os.environ:
    os.environ["VPSPANEL_TEST_VAR"] = tempfile.mkdtemp(prefix="vpspanel-test-")
    _made_by = os.getpid()
else:
    _made_by = 0
os.environ["VPSPANEL_VAR"] = str(
    Path(os.environ["VPSPANEL_TEST_VAR"]) / os.environ.get("PYTEST_XDIST_WORKER", "")
)
os.environ["VPSPANEL_ENV"] = "test"
os.environ.setdefault("VPSPANEL_DRIVER", "fake")
os.environ["EMAIL_URL"] = "memorymail://"
for _name in ("DEBUG", "SECRET_KEY", "SEAL_KEYS", "REDIS_URL"):
    os.environ.pop(_name, None)

from vpspanel.settings import *  # noqa: E402, F403
from vpspanel.settings import DATABASES  # noqa: E402

if "NAME" not in DATABASES["default"].get("TEST", {}):
    DATABASES["default"]["TEST"] = {"NAME": f"test_vpspanel_{os.getpid()}"}  # many may run at once

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
ACCOUNT_RATE_LIMITS = False


def remove_var() -> None:
    """Remove the directory, in the process that made it only."""
    if _made_by == os.getpid():
        shutil.rmtree(os.environ["VPSPANEL_TEST_VAR"], ignore_errors=True)
