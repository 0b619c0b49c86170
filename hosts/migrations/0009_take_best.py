"""Choosing the best host and taking room on it, as a function of PostgreSQL; see hosts/taking.py."""

from typing import Any

from django.db import migrations

# The conditions, order and points of `room.best`; a test holds the two together. An index gives
# the pools of the best hosts, 24 that have the image and 24 of all, and only these are compared, not
# those of a thousand. LATERAL and OFFSET keep the planner from reading everything after all: it
# takes "has room" for rare, and it is not. One plan is kept for all orders (force_generic_plan):
# making one takes longer than carrying it out.
# Only the pool is locked while choosing: a lock on the pool of a host that is skipped would be kept
# for nothing. A pool that has changed meanwhile is looked at again once it is locked; the host's
# own conditions are repeated where its room is taken.
FUNCTION = """
CREATE OR REPLACE FUNCTION hosts_take_best(
    for_owner uuid, at_location bigint, want_vcpus int, want_memory_mib bigint,
    want_disk_gib bigint, want_tags text[], want_image text, of_spread uuid,
    image_points float8, disk_points float8
) RETURNS SETOF hosts_capacityclaim
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    RETURN QUERY
    WITH near AS (
        (SELECT suitable.id
        FROM hosts_host host, LATERAL (
            SELECT pool.id FROM hosts_storagepool pool
            JOIN hosts_stagedimage staged
                ON staged.pool_id = pool.id AND staged.sha256 = want_image
            WHERE pool.host_id = host.id AND pool.accepting
                AND pool.used_gib <= pool.limit_gib - want_disk_gib
            OFFSET 0
        ) suitable
        WHERE want_image IS NOT NULL
            AND host.location_id = at_location AND host.accepting AND host.status = 'reachable'
            AND host.vcpus_used <= host.vcpus_limit - want_vcpus
            AND host.memory_used_mib <= host.memory_limit_mib - want_memory_mib
            AND (NOT host.tagged_only OR cardinality(want_tags) > 0)
            AND NOT EXISTS (
                SELECT FROM unnest(want_tags) tag WHERE strpos(host.tags, tag) = 0
            )
        ORDER BY host.points DESC LIMIT 24)
        UNION
        (SELECT suitable.id
        FROM hosts_host host, LATERAL (
            SELECT pool.id FROM hosts_storagepool pool
            WHERE pool.host_id = host.id AND pool.accepting
                AND pool.used_gib <= pool.limit_gib - want_disk_gib
            OFFSET 0
        ) suitable
        WHERE host.location_id = at_location AND host.accepting AND host.status = 'reachable'
            AND host.vcpus_used <= host.vcpus_limit - want_vcpus
            AND host.memory_used_mib <= host.memory_limit_mib - want_memory_mib
            AND (NOT host.tagged_only OR cardinality(want_tags) > 0)
            AND NOT EXISTS (
                SELECT FROM unnest(want_tags) tag WHERE strpos(host.tags, tag) = 0
            )
        ORDER BY host.points DESC LIMIT 24)
    ), chosen AS (
        SELECT pool.id AS pool_id, host.id AS host_id
        FROM near
        JOIN hosts_storagepool pool ON pool.id = near.id
        JOIN hosts_host host ON host.id = pool.host_id
        JOIN hosts_location location ON location.id = host.location_id
        LEFT JOIN hosts_stagedimage staged
            ON staged.pool_id = pool.id AND staged.sha256 = want_image
        WHERE pool.accepting AND location.accepting
            AND pool.used_gib <= pool.limit_gib - want_disk_gib
            AND (of_spread IS NULL OR NOT EXISTS (
                SELECT FROM hosts_capacityclaim other
                WHERE other.host_id = host.id AND other.spread = of_spread
            ))
        ORDER BY
            CASE WHEN staged.id IS NULL THEN 0 ELSE image_points END + host.points
            + disk_points * (pool.limit_gib - pool.used_gib)::float8
                / greatest(pool.limit_gib, 1)::float8 DESC,
            host.id
        LIMIT 1
        FOR NO KEY UPDATE OF pool SKIP LOCKED
    ), disk_taken AS (
        UPDATE hosts_storagepool pool SET used_gib = pool.used_gib + want_disk_gib
        FROM chosen WHERE pool.id = chosen.pool_id
    ), host_taken AS (
        UPDATE hosts_host host SET
            vcpus_used = host.vcpus_used + want_vcpus,
            memory_used_mib = host.memory_used_mib + want_memory_mib
        FROM chosen
        WHERE host.id = chosen.host_id AND host.accepting
            AND host.vcpus_used <= host.vcpus_limit - want_vcpus
            AND host.memory_used_mib <= host.memory_limit_mib - want_memory_mib
        RETURNING host.id
    )
    INSERT INTO hosts_capacityclaim
        (owner, host_id, pool_id, vcpus, memory_mib, disk_gib, spread, created)
    SELECT for_owner, host_id, pool_id, want_vcpus, want_memory_mib, want_disk_gib, of_spread, now()
    FROM chosen JOIN host_taken ON host_taken.id = chosen.host_id
    RETURNING *;
END $$
"""


def create(apps: Any, schema_editor: Any) -> None:
    """Other databases choose in `room.best`, and take afterwards."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(FUNCTION)


def drop(apps: Any, schema_editor: Any) -> None:
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute("DROP FUNCTION hosts_take_best")


class Migration(migrations.Migration):
    dependencies = [("hosts", "0008_best_hosts_first")]
    operations = [migrations.RunPython(create, drop)]
