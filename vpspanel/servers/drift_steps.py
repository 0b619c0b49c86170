"""The steps that repair a difference."""

from __future__ import annotations

from django.utils import timezone

from vpspanel.actions.command import Command, Context, Outcome, Step, registry
from vpspanel.actions.errors import Fail
from vpspanel.servers.audit_findings import Finding
from vpspanel.servers.audit_hosts import check_host
from vpspanel.servers.audit_look import Look, load_records, look_at
from vpspanel.servers.audit_records import check_records
from vpspanel.servers.booting import define_wanted
from vpspanel.servers.drift import mark_repaired
from vpspanel.servers.models_drift import Difference
from vpspanel.servers.site import host_answers, site_of


def restore_filter(context: Context) -> Outcome:
    """The host has the server's filter as the records say."""
    site = site_of(context)
    with host_answers():
        site.driver.ensure_filter(site.blueprint().filter())
    return Outcome()


def restore_domain(context: Context) -> Outcome:
    """The host knows the guest as recorded; one that runs goes on as it is until it stops."""
    site = site_of(context)
    with host_answers():
        define_wanted(site)
    difference = int(site.action.args["difference"])
    return Outcome(commit=lambda: mark_repaired(difference))


def repair_as_found(context: Context) -> Outcome:
    """Look once more; if it is still so, do what the audit offers for it."""
    row = Difference.objects.select_related("host").get(pk=context.action.resource_id)
    with host_answers():
        finding = _find_again(row)
        if finding is None or finding.repair is None:
            raise Fail("gone", "It is not there any more, or cannot be repaired safely now.")
        context.ensure_mine()
        if not finding.repair():
            raise Fail("not_repaired", "It has changed meanwhile, so nothing was done.")
    return Outcome(commit=lambda: mark_repaired(row.pk))


def _find_again(row: Difference) -> Finding | None:
    now = timezone.now()
    if row.host is None:
        findings = list(check_records(now))
    else:
        look = look_at(row.host, now)
        if not isinstance(look, Look):
            raise Fail("host_silent", "Its host does not answer at the moment.")
        findings = list(check_host(look, load_records([look])))
    return next((found for found in findings if found.key == (row.code, row.subject)), None)


RESTORE = registry.add(
    Command(
        "restore_definition",
        title="Restore its definition",
        done="Its definition was restored",
        failed="Its definition could not be restored",
        deadline=120,
        steps=(
            Step("define_network_filter", "Guarding its addresses", restore_filter),
            Step("define_domain", "Describing it to its host", restore_domain),
        ),
    )
)

REPAIR = registry.add(
    Command(
        "repair_difference",
        title="Repair a difference",
        done="The difference was repaired",
        failed="The difference could not be repaired",
        deadline=180,
        steps=(Step("repair", "Repairing", repair_as_found),),
    )
)
