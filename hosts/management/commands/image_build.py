"""`manage.py image_build NAME…`: make images on this machine, without the internet."""

from __future__ import annotations

import os
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from hosts.images.build import BUILDERS
from hosts.images.errors import ImageError
from hosts.library import build_image, unbuilt

NICE = 10  # so that a build in the background takes no time from guests and pages


class Command(BaseCommand):
    """Builds one after the other; the progress is on the image's row for all to see."""

    help = "Build images from Debian packages on this machine."

    def add_arguments(self, parser: CommandParser) -> None:
        names = ", ".join(sorted(BUILDERS))
        parser.add_argument("names", nargs="*", metavar="NAME", help=names)
        parser.add_argument(
            "--missing", action="store_true", help="all that can be built and is not there"
        )
        parser.add_argument("--background", action="store_true", help="give way to everybody else")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["background"]:
            os.nice(NICE)
        names = options["names"] + (unbuilt() if options["missing"] else [])
        if not names and not options["missing"]:
            raise CommandError("Say which: NAME…, or --missing for all that is not there.")
        failed = []
        for name in names:
            try:
                image = build_image(name, say=self.stdout.write)
            except ImageError as error:
                failed.append(name)
                self.stderr.write(f"{name}: {error.message}")
            else:
                self.stdout.write(f"{name}: available, SHA-256 {image.sha256}")
        if failed:
            raise CommandError(f"Not built: {', '.join(failed)}")
