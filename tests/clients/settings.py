"""The panel's settings, and a note of each answer that its clients got."""

from __future__ import annotations

from vpspanel.settings import *  # noqa: F403
from vpspanel.settings import MIDDLEWARE

MIDDLEWARE = ["tests.clients.noting.NoteAnswers", *MIDDLEWARE]
