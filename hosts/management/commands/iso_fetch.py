"""`manage.py iso_fetch NAME URL SHA256`: offer an ISO to all customers."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from hosts.images.errors import ImageError
from hosts.library import fetch_iso


class Command(BaseCommand):
    """Fetches one; goes on where an earlier run was cut."""

    help = "Fetch an ISO that customers may attach to their servers."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", metavar="NAME", help="small letters, digits and hyphens")
        parser.add_argument("url", metavar="URL")
        parser.add_argument("sha256", metavar="SHA256", help="as its maker publishes it")
        parser.add_argument("--description", default="", help="what customers read")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            image = fetch_iso(
                options["name"],
                options["url"],
                options["sha256"],
                description=options["description"],
                say=self.stdout.write,
            )
        except ImageError as error:
            raise CommandError(error.message) from error
        self.stdout.write(f"{image.name}: available, {image.size_bytes} bytes")
