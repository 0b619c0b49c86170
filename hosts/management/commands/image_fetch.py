"""`manage.py image_fetch NAME…`: download images from their makers."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from hosts.images.errors import ImageError
from hosts.library import fetch_image


class Command(BaseCommand):
    """Fetches one after the other; goes on where an earlier run was cut."""

    help = "Fetch images of the catalogue, or newer versions of them."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("names", nargs="+", metavar="NAME", help="see manage.py image_sync")

    def handle(self, *args: Any, **options: Any) -> None:
        failed = []
        for name in options["names"]:
            try:
                image = fetch_image(name, say=self.stdout.write)
            except ImageError as error:
                failed.append(name)
                self.stderr.write(f"{name}: {error.message}")
            else:
                self.stdout.write(f"{name}: available, SHA-256 {image.sha256}")
        if failed:
            raise CommandError(f"Not fetched: {', '.join(failed)}")
