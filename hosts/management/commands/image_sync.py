"""`manage.py image_sync`: the catalogue as rows, and how each image stands."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from hosts.images.errors import ImageError
from hosts.library import sync_catalogue


class Command(BaseCommand):
    """Reads the catalogue file; fetches and builds nothing."""

    help = "Take over the image catalogue and list its images."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            images = sync_catalogue()
        except ImageError as error:
            raise CommandError(str(error)) from error
        for image in images:
            image.refresh_from_db()
            size = f"{image.size_bytes / 1024**2:,.0f} MiB" if image.size_bytes else ""
            why = image.error or image.progress_step
            line = f"{image.name:<20} {image.get_status_display():<12} {size:>10}  {why}"
            self.stdout.write(line.rstrip())
