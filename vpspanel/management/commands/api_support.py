"""`manage.py api_support`: what of hcloud's API is there, as docs/support.md."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from vpspanel.api.support import support


class Command(BaseCommand):
    help = "Print which operations of the API are offered and which are not: docs/support.md."

    def handle(self, *args: Any, **options: Any) -> None:
        """Print it."""
        self.stdout.write(support(), ending="")
