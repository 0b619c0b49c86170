"""`manage.py token_create PROJECT`: an API token for scripts."""

from __future__ import annotations

from argparse import ArgumentTypeError
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone

from vpspanel.accounts.finding import project_named
from vpspanel.accounts.scopes import Scope
from vpspanel.errors import Refused
from vpspanel.events.actor import Actor
from vpspanel.servers.limited_tokens import create_limited_token


class Command(BaseCommand):
    """Prints the secret on a line of its own and nothing else, so that a script can keep it."""

    help = "Make an API token of a project and print its secret, once."

    def add_arguments(self, parser: CommandParser) -> None:
        add = parser.add_argument
        add("project", help="its number, or the mail address of somebody who owns one")
        add("--name", default="script", help="what will use it (default: script)")
        add("--write", action="store_true", help="it may change everything")
        scopes = ", ".join(Scope)
        help_ = f"it may change this, and only what is named so; may be repeated: {scopes}"
        add("--scope", dest="scopes", action="append", default=[], metavar="SCOPE", help=help_)
        help_ = "name or number of the only server that is there for it; may be repeated"
        add("--server", dest="servers", action="append", default=[], metavar="SERVER", help=help_)
        until = parser.add_mutually_exclusive_group().add_argument
        until("--days", type=int, help="how long it is valid (default: until it is revoked)")
        until("--expires", type=_moment, metavar="TIME", help="until when, as 2030-01-31T12:00Z")
        help_ = "the network that it may be used from, as 192.0.2.0/24; may be repeated"
        add("--cidr", "--from", dest="networks", action="append", default=[], help=help_)

    def handle(self, *args: Any, **options: Any) -> None:
        days = options["days"]
        try:
            made = create_limited_token(
                Actor(user=None, via="command"),
                project=project_named(options["project"]),
                name=options["name"],
                may_write=options["write"],
                expires=timezone.now() + timedelta(days=days) if days else options["expires"],
                networks=options["networks"],
                scopes=options["scopes"],
                servers=options["servers"],
            )
        except Refused as refusal:
            raise CommandError(refusal.message) from refusal
        self.stdout.write(made.secret)


def _moment(text: str) -> datetime:
    """The time; the site's time zone is meant if it names none."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise ArgumentTypeError(f"{text} is not a time such as 2030-01-31T12:00Z") from None
    return found if timezone.is_aware(found) else timezone.make_aware(found)
