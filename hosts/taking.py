"""Choosing the best host and taking room on it, as one statement of PostgreSQL.

Orders that come in the same instant do not wait for each other here: each takes
the best host with a pool that no other transaction holds. One statement instead of four saves
three round trips and nearly all of Django's query building.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from hosts.models import CapacityClaim, HostStatus, Image, Location
from hosts.placement import CPU_POINTS, DISK_POINTS, IMAGE_POINTS, MEMORY_POINTS, Need

# The same conditions, order and points as `room.best`; a test holds them together. Only the pool is
# locked while choosing: a lock on the pool of a host that is skipped would be kept for nothing. A
# pool that has changed meanwhile is looked at again once it is locked; the host's own conditions
# are repeated where its room is taken.
STATEMENT = """
WITH chosen AS (
    SELECT pool.id AS pool_id, host.id AS host_id
    FROM hosts_storagepool pool
    JOIN hosts_host host ON host.id = pool.host_id
    JOIN hosts_location location ON location.id = host.location_id
    LEFT JOIN hosts_stagedimage staged
        ON staged.pool_id = pool.id AND staged.sha256 = %(sha256)s
    WHERE pool.accepting AND host.accepting AND location.accepting
        AND host.status = %(reachable)s AND host.location_id = %(location)s
        AND host.vcpus_used <= host.vcpus_limit - %(vcpus)s
        AND host.memory_used_mib <= host.memory_limit_mib - %(memory_mib)s
        AND pool.used_gib <= pool.limit_gib - %(disk_gib)s
        AND {wanted}
    ORDER BY
        CASE WHEN staged.id IS NULL THEN 0 ELSE %(image_points)s::float8 END
        + %(memory_points)s::float8 * (host.memory_limit_mib - host.memory_used_mib)::float8
            / greatest(host.memory_limit_mib, 1)::float8
        + %(cpu_points)s::float8 * (host.vcpus_limit - host.vcpus_used)::float8
            / greatest(host.vcpus_limit, 1)::float8
        + %(disk_points)s::float8 * (pool.limit_gib - pool.used_gib)::float8
            / greatest(pool.limit_gib, 1)::float8 DESC,
        host.id
    LIMIT 1
    FOR NO KEY UPDATE OF pool SKIP LOCKED
), disk_taken AS (
    UPDATE hosts_storagepool pool SET used_gib = pool.used_gib + %(disk_gib)s
    FROM chosen WHERE pool.id = chosen.pool_id
), host_taken AS (
    UPDATE hosts_host host SET
        vcpus_used = host.vcpus_used + %(vcpus)s,
        memory_used_mib = host.memory_used_mib + %(memory_mib)s
    FROM chosen
    WHERE host.id = chosen.host_id AND host.accepting
        AND host.vcpus_used <= host.vcpus_limit - %(vcpus)s
        AND host.memory_used_mib <= host.memory_limit_mib - %(memory_mib)s
    RETURNING host.id
)
INSERT INTO hosts_capacityclaim
    (owner, host_id, pool_id, vcpus, memory_mib, disk_gib, spread, created)
SELECT %(owner)s::uuid, host_id, pool_id, %(vcpus)s, %(memory_mib)s, %(disk_gib)s,
    %(spread)s::uuid, now()
FROM chosen JOIN host_taken ON host_taken.id = chosen.host_id
RETURNING *
"""
NOT_OF_SPREAD = """NOT EXISTS (
    SELECT FROM hosts_capacityclaim other
    WHERE other.host_id = host.id AND other.spread = %(spread)s::uuid
)"""


def take_best(
    owner: UUID, need: Need, location: Location, image: Image | None, spread: UUID | None
) -> CapacityClaim | None:
    """The claim on the best host that nobody else is just taking room on.

    None if all that fit are busy, or if the host had no room after all. The
    disk may be taken then: run it in a savepoint, and roll that back. Raises
    `IntegrityError` if somebody of the same spread took that host meanwhile.
    """
    statement, values = claim_statement(owner, need, location, image, spread)
    return next(iter(CapacityClaim.objects.raw(statement, values)), None)


def claim_statement(
    owner: UUID, need: Need, location: Location, image: Image | None, spread: UUID | None
) -> tuple[str, dict[str, Any]]:
    """The statement for this order, and its values."""
    values: dict[str, Any] = {
        "owner": owner,
        "location": location.pk,
        "reachable": HostStatus.REACHABLE.value,
        "sha256": image.sha256 if image is not None and image.sha256 else None,
        "spread": spread,
        "vcpus": need.vcpus,
        "memory_mib": need.memory_mib,
        "disk_gib": need.disk_gib,
        "image_points": IMAGE_POINTS,
        "memory_points": MEMORY_POINTS,
        "cpu_points": CPU_POINTS,
        "disk_points": DISK_POINTS,
    }
    wanted = [] if need.tags else ["NOT host.tagged_only"]
    for number, tag in enumerate(sorted(need.tags)):
        values[f"tag{number}"] = f" {tag} "  # as `tag_column` writes them
        wanted.append(f"strpos(host.tags, %(tag{number})s) > 0")
    if spread is not None:
        wanted.append(NOT_OF_SPREAD)
    return STATEMENT.format(wanted=" AND ".join(wanted)), values
