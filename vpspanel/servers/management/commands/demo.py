"""`manage.py demo`: everything that is needed to order a first server."""

from __future__ import annotations

import json
import os
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from hosts.errors import MachineRoomError
from vpspanel.errors import Refused
from vpspanel.servers.demo import Demo, Person, make_demo


class Command(BaseCommand):
    """Makes what is missing; prints passwords once, when they are made."""

    help = "Enrol this machine and make sample plans, addresses, an image and two accounts."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--uri", default="", help=f"default: {settings.LOCAL_HOST_URI}")
        parser.add_argument("--pool-path", default="", help=f"default: {settings.LOCAL_POOL_PATH}")
        parser.add_argument(
            "--reset-passwords", action="store_true", help="fresh passwords for both accounts"
        )
        parser.add_argument(
            "--json",
            action="store_true",
            help="print address, accounts and fresh passwords for scripts",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        as_json = options["json"]
        out = self.stderr if as_json else self.stdout
        try:
            demo = make_demo(
                say=lambda text: out.write(text, ending="\n"),
                uri=options["uri"],
                pool_path=options["pool_path"],
                reset_passwords=as_json or options["reset_passwords"],
            )
        except (MachineRoomError, Refused) as error:
            raise CommandError(str(error)) from error
        if as_json:
            self.stdout.write(json.dumps(as_dict(demo), indent=2))
        else:
            self.stdout.write(_for_people(demo))


def address() -> str:
    """Where `manage.py serve` answers, by the same two variables."""
    bind = os.environ.get("BIND") or "127.0.0.1"
    if bind in ("0.0.0.0", "::"):  # noqa: S104 a name, not a bind
        bind = "127.0.0.1"
    host = f"[{bind}]" if ":" in bind else bind
    return f"http://{host}:{os.environ.get('PORT') or 8000}/"


def as_dict(demo: Demo) -> dict[str, Any]:
    """The whole demo, for scripts."""
    return {
        "address": address(),
        "driver": settings.VPSPANEL_DRIVER,
        "host": {
            "name": demo.host.name,
            "uri": demo.host.uri,
            "virt_type": demo.host.virt_type,
            "reason": demo.host.virt_reason,
        },
        "location": demo.location.name,
        "staff": {"email": demo.staff.email, "password": demo.staff.password},
        "customer": {
            "email": demo.customer.email,
            "password": demo.customer.password,
            "project": demo.project.pk,
        },
        "images": [{"name": image.name, "status": image.status} for image in demo.images],
    }


def _for_people(demo: Demo) -> str:
    lines = ["", f"  The panel:  {address()}"]
    lines += [_line("Staff", demo.staff), _line("Customer", demo.customer)]
    if demo.staff.password or demo.customer.password:
        lines += ["", "  These passwords are shown only now."]
    if settings.VPSPANEL_DRIVER == "fake":
        lines += ["", "  Hosts are simulated: no guest really runs."]
    return "\n".join([*lines, ""])


def _line(who: str, person: Person) -> str:
    password = person.password or "(as it was; new ones: manage.py demo --reset-passwords)"
    return f"  {who + ':':<11} {person.email}   {password}"
