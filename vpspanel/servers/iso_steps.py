"""The steps that put an ISO into a server's CD-ROM, and take it out.

The definition says it, and takes effect when QEMU starts. Where the guest runs,
`iso_changed` makes the panel's restarts a stop and a start (`booting.py`).
"""

from __future__ import annotations

from hosts.models import Image
from vpspanel.actions.command import Command, Context, Outcome, Step, registry
from vpspanel.actions.errors import Fail
from vpspanel.servers.booting import define_wanted
from vpspanel.servers.models import PowerSeen
from vpspanel.servers.site import host_answers, site_of
from vpspanel.servers.steps import define_domain, need_staged, stage_on_pool


def stage_iso(context: Context) -> Outcome:
    """The ISO lies on the pool of the server."""
    stage_on_pool(site_of(context), _iso(context))
    return Outcome()


def define_with_iso(context: Context) -> Outcome:
    """The next start has the ISO in its CD-ROM."""
    return _define(context, _iso(context))


def define_without_iso(context: Context) -> Outcome:
    """The next start has no CD-ROM."""
    return _define(context, None)


def define_as_before(context: Context) -> None:
    """Undo of both: as the records say."""
    define_domain(context)


def _define(context: Context, iso: Image | None) -> Outcome:
    site = site_of(context)
    site.server.iso = iso
    with host_answers():
        define_wanted(site)
    if iso is not None:
        need_staged(site, iso)
    is_off = site.server.power_seen == PowerSeen.OFF
    return Outcome(commit=lambda: site.change(iso=iso, iso_changed=not is_off))


def _iso(context: Context) -> Image:
    iso = Image.objects.filter(pk=context.action.args["iso"]).first()
    if iso is None:
        raise Fail("iso_gone", "This ISO is no longer available.")
    return iso


registry.add(
    Command(
        "attach_iso",
        title="Attach ISO",
        done="The ISO is attached; the next start boots from it",
        failed="The ISO could not be attached",
        deadline=900,
        steps=(
            Step("stage_iso", "Preparing the ISO", stage_iso),
            Step("define_domain", "Describing it to the host", define_with_iso, define_as_before),
        ),
    )
)

registry.add(
    Command(
        "detach_iso",
        title="Detach ISO",
        done="The ISO is detached; the next start boots from its disk",
        failed="The ISO could not be detached",
        deadline=60,
        steps=(
            Step(
                "define_domain", "Describing it to the host", define_without_iso, define_as_before
            ),
        ),
    )
)
