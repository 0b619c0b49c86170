"""`manage.py images_clean_up HOST`: looks at a host, and has unused copies of images removed."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.template.defaultfilters import filesizeformat

from hosts.models import Host, StagedImage
from vpspanel.errors import Refused
from vpspanel.events.actor import Actor
from vpspanel.servers import copies
from vpspanel.servers.drift import look_at_host


class Command(BaseCommand):
    """What nothing has needed for an hour goes by itself; this need not wait for that."""

    help = "Remove the copies of images on a host that nothing needs. Workers do it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("host", help="the name of the host")
        parser.add_argument(
            "--dry-run", action="store_true", help="only show what would go, and why the rest stays"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        host = Host.objects.filter(name=options["host"]).first()
        if host is None:
            known = ", ".join(Host.objects.values_list("name", flat=True)) or "none"
            raise CommandError(f"There is no host {options['host']}. Known are: {known}.")
        if not look_at_host(host):
            raise CommandError(f"{host} does not answer, so nobody can tell what it needs.")
        lying = StagedImage.objects.filter(pool__host=host).select_related("pool__host")
        rows = copies.shown(list(lying.order_by("pool__name", "volume")))
        for one in rows:
            size = filesizeformat(one.copy.size_bytes)
            line = f"{one.copy.pool.name}/{one.copy.volume} ({size}, {one.image})"
            self.stdout.write(f"{line}: {self._fate(one, dry=options['dry_run'])}")
        free = filesizeformat(sum(one.copy.size_bytes for one in rows if not one.why))
        unused = sum(not one.why for one in rows)
        self.stdout.write(f"{unused} of {len(rows)} copies on {host} are unused: {free}.")

    def _fate(self, one: copies.Shown, *, dry: bool) -> str:
        if one.why:
            return f"stays. {one.why}"
        if dry:
            return "would go."
        try:
            action = copies.remove_copy(Actor(user=None, via="command"), one.copy)
        except Refused as refusal:
            return f"stays. {refusal.message}"
        return f"goes, action {action.pk}."
