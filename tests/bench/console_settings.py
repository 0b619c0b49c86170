"""The settings of tests, with room for many consoles and a page that waits for the database."""

from __future__ import annotations

from tests.settings import *  # noqa: F403

ROOT_URLCONF = "tests.bench.console_urls"
CONSOLES_PER_USER = CONSOLES_PER_SERVER = 2000
