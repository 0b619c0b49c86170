"""`manage.py token_create PROJECT`: an API token for scripts."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from vpspanel.accounts.models import Project
from vpspanel.accounts.token_services import create_token
from vpspanel.errors import Refused
from vpspanel.events.actor import Actor


class Command(BaseCommand):
    """Prints the secret on a line of its own and nothing else, so that a script can keep it."""

    help = "Make an API token of a project and print its secret, once."

    def add_arguments(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add("project", help="its number, or the mail address of somebody who owns one")
        add("--name", default="script", help="what will use it (default: script)")
        add("--write", action="store_true", help="it may change things")
        add("--days", type=int, help="how long it is valid (default: until it is revoked)")
        add("--from", dest="networks", action="append", default=[], help="network; may be repeated")

    def handle(self, *args: Any, **options: Any) -> None:
        days = options["days"]
        try:
            made = create_token(
                Actor(user=None, via="command"),
                project=_project(options["project"]),
                name=options["name"],
                may_write=options["write"],
                expires=timezone.now() + timedelta(days=days) if days else None,
                networks=options["networks"],
            )
        except Refused as refusal:
            raise CommandError(refusal.message) from refusal
        self.stdout.write(made.secret)


def _project(named: str) -> Project:
    projects = Project.objects.order_by("pk")
    if "@" in named:
        projects = projects.filter(members__user__email=named, members__role="owner")
    elif named.isdecimal():
        projects = projects.filter(pk=int(named))
    else:
        projects = projects.none()
    project = projects.first()
    if project is None:
        raise CommandError(f"There is no project {named}.")
    return project
