"""The function that chooses a host and takes room on it undoes by itself what came to nothing.

It did so by a savepoint of the one who called it, which cost two round trips of every order.
"""

from typing import Any

from django.db import migrations

# As in migration 0009, whose remarks hold, within a block that is rolled back if the host had no
# room after all, or if somebody of the same spread took it meanwhile: disk and locks go back, and
# no row is the answer. What else goes wrong is raised as before. The pools of `near` are looked up
# as an array: of a join with them the planner thinks that reading all pools is cheaper.
FUNCTION = """
CREATE OR REPLACE FUNCTION hosts_take_best(
    for_owner uuid, at_location bigint, want_vcpus int, want_memory_mib bigint,
    want_disk_gib bigint, want_tags text[], want_image text, of_spread uuid,
    image_points float8, disk_points float8
) RETURNS SETOF hosts_capacityclaim
LANGUAGE plpgsql SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    taken hosts_capacityclaim;
    broken text;
BEGIN
    BEGIN
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
            FROM hosts_storagepool pool
            JOIN hosts_host host ON host.id = pool.host_id
            JOIN hosts_location location ON location.id = host.location_id
            LEFT JOIN hosts_stagedimage staged
                ON staged.pool_id = pool.id AND staged.sha256 = want_image
            WHERE pool.id = ANY (ARRAY(SELECT id FROM near))
                AND pool.accepting AND location.accepting
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
        RETURNING * INTO STRICT taken;
    EXCEPTION
        WHEN no_data_found THEN
            RETURN;
        WHEN unique_violation THEN
            GET STACKED DIAGNOSTICS broken = CONSTRAINT_NAME;
            IF broken = 'claim_spread' THEN
                RETURN;
            END IF;
            RAISE;
    END;
    RETURN NEXT taken;
END $$
"""


def create(apps: Any, schema_editor: Any) -> None:
    """Other databases choose in `room.best`, and take afterwards."""
    if schema_editor.connection.vendor == "postgresql":
        schema_editor.execute(FUNCTION)


class Migration(migrations.Migration):
    dependencies = [("hosts", "0010_isos")]
    # Backwards it may stay: who calls it in a savepoint is answered alike.
    operations = [migrations.RunPython(create, migrations.RunPython.noop)]
