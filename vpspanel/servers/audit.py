"""The audit: whether records and hosts keep the promises, and the repair of what is safe.

What is found is looked at twice, because orders and actions go on meanwhile.
Repaired are only counters, what deleted servers still hold, and what is left
of deleted servers on a host that answers. Foreign things, guests that run,
disks of live servers and whatever no record explains are never touched.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog
from django.utils import timezone

from hosts.models import Host
from hosts.virt.errors import VirtError
from vpspanel.servers.audit_findings import Finding, Level, Report
from vpspanel.servers.audit_hosts import check_host, check_twice
from vpspanel.servers.audit_look import Look, host_subject, load_records, look_at
from vpspanel.servers.audit_records import check_records
from vpspanel.servers.models import Server

log = structlog.get_logger(__name__)

# Undo in the order of a deletion: a disk goes after its guest, and what was held goes back last.
ORDER = {"domain": 0, "filter": 1, "disk": 2, "upload": 2}
HELD = ("claim_without_owner", "address_without_owner")


@dataclass(frozen=True, slots=True)
class _Found:
    findings: list[Finding]
    hosts: list[str]


def audit(repair: bool = False) -> Report:
    """Look at everything; with `repair`, set right what is safe and look again."""
    found = _look_twice()
    if not repair:
        return Report(tuple(found.findings), (), tuple(found.hosts))
    repaired = _repair(found.findings)
    if repaired:
        found = _look_twice()
    return Report(tuple(found.findings), tuple(repaired), tuple(found.hosts))


def _look_twice() -> _Found:
    """Errors count only if a second look shows them as well."""
    first = _look(timezone.now())
    if not any(finding.level is Level.ERROR for finding in first.findings):
        return first
    second = _look(timezone.now())
    known = {finding.key for finding in first.findings}
    kept = [f for f in second.findings if f.level is not Level.ERROR or f.key in known]
    return _Found(kept, second.hosts)


def _look(now: datetime) -> _Found:
    answers = [look_at(host, now) for host in Host.objects.prefetch_related("pools")]
    looks = [answer for answer in answers if isinstance(answer, Look)]
    records = load_records(looks)
    findings = [answer for answer in answers if isinstance(answer, Finding)]
    for look in looks:
        findings += check_host(look, records)
    findings += check_twice(looks, records)
    findings += check_records(now)
    return _Found(findings, [look.host.name for look in looks])


# --- repair ----------------------------------------------------------------------


def _repair(findings: list[Finding]) -> list[Finding]:
    """What was changed. Counters come last: they are sums of what the others give back."""
    repaired: list[Finding] = []
    for finding in sorted((f for f in findings if f.repair), key=_order):
        if finding.code in HELD and _may_still_be_used(finding, findings, repaired):
            continue
        if _try(finding):
            repaired.append(finding)
    return repaired


def _order(finding: Finding) -> int:
    if finding.code.endswith("_counter"):
        return 9
    if finding.code in HELD:
        return 5
    return ORDER.get(finding.code.partition("_")[0], 3)


def _may_still_be_used(
    finding: Finding, findings: Iterable[Finding], repaired: list[Finding]
) -> bool:
    """Something of the owner is still on a host, or its host could not be looked at."""
    done = {other.key for other in repaired}
    on_hosts = {f.owner for f in findings if f.code not in HELD and f.key not in done}
    return finding.owner in on_hosts or (
        finding.owner is not None and _is_out_of_sight(finding.owner, findings)
    )


def _is_out_of_sight(owner: UUID, findings: Iterable[Finding]) -> bool:
    server = Server.objects.filter(uuid=owner).select_related("host").first()
    if server is None or server.host is None:
        return False
    unseen = {finding.subject for finding in findings if finding.level is Level.UNSEEN}
    return bool(unseen & {host_subject(server.host), host_subject(server.host, server.pool)})


def _try(finding: Finding) -> bool:
    """Repair one; whether it changed anything. A host that refuses leaves the finding as it is."""
    if finding.repair is None:
        return False
    try:
        done = finding.repair()
    except VirtError as error:
        log.warning("audit_repair_failed", subject=finding.subject, error=str(error))
        return False
    if done:
        log.info("audit_repaired", code=finding.code, subject=finding.subject)
    return done
