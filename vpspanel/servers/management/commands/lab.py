"""`manage.py lab DIR`: a panel on the hosts of a lab that deploy/lab started."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from hosts.errors import MachineRoomError
from vpspanel.errors import Refused
from vpspanel.servers.lab import make_lab


class Command(BaseCommand):
    """Prints passwords once, when they are made."""

    help = "Enrol the hosts of a lab and make sample plans, addresses, an image and two accounts."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("directory", type=Path, help="where deploy/lab keeps it")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            demo = make_lab(options["directory"], say=self.stdout.write)
        except (MachineRoomError, Refused) as error:
            raise CommandError(str(error)) from error
        for who, person in (("Staff", demo.staff), ("Customer", demo.customer)):
            self.stdout.write(f"{who}: {person.email} {person.password or '(as it was)'}")
