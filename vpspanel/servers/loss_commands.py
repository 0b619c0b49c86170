"""The commands of lost hosts: restarting a server elsewhere, and removing what comes back."""

from __future__ import annotations

from vpspanel.actions.command import Command, Step, registry
from vpspanel.servers import evacuation_steps, restoring_steps, stale_steps

FILTER = Step(
    "define_network_filter",
    "Guarding its addresses",
    evacuation_steps.define_filter_there,
    evacuation_steps.delete_filter_there,
)
DEFINE = Step(
    "define_domain",
    "Describing it to the other host",
    evacuation_steps.define_there,
    evacuation_steps.undefine_there,
)
START = Step(
    "start_domain",
    "Starting",
    evacuation_steps.start_there,
    evacuation_steps.stop_there,
)

EVACUATE = registry.add(
    Command(
        "evacuate",
        title="Restart on another host",
        done="Restarted on another host",
        failed="It could not be restarted on another host",
        deadline=300,
        steps=(
            Step("find_disks", "Looking for its disk", evacuation_steps.find_disks),
            FILTER,
            DEFINE,
            START,
            Step("settle", "Changing over", evacuation_steps.settle_there, settles=True),
        ),
        on_error=evacuation_steps.give_claim_back,
    )
)

RESTORE = registry.add(
    Command(
        "restore",
        title="Restart from a snapshot on another host",
        done="Restarted from a snapshot on another host",
        failed="It could not be restarted from a snapshot",
        deadline=3600,
        steps=(
            Step("check_host", "Looking at the other host", restoring_steps.check_there),
            Step("stage_image", "Copying the snapshot to it", restoring_steps.stage_there),
            Step(
                "create_disk",
                "Creating the disk",
                restoring_steps.create_disk_there,
                restoring_steps.delete_volumes_there,
            ),
            Step(
                "create_seed",
                "Writing the first-boot data",
                restoring_steps.create_seed_there,
                restoring_steps.delete_volumes_there,
            ),
            FILTER,
            DEFINE,
            START,
            Step("settle", "Changing over", restoring_steps.settle_restored, settles=True),
        ),
        on_error=restoring_steps.let_go,
    )
)

STOP_STALE_COPY = registry.add(
    Command(
        "stop_stale_copy",
        title="Force a stale copy off",
        done="The stale copy was forced off",
        failed="The stale copy could not be forced off",
        deadline=120,
        steps=(Step("stop_copy", "Forcing it off", stale_steps.stop_copy),),
        quiet=True,
    )
)

CLEAN_UP_STALE_COPY = registry.add(
    Command(
        "clean_up_stale_copy",
        title="Remove a stale copy",
        done="The stale copy was removed",
        failed="The stale copy could not be removed",
        deadline=300,
        steps=(
            Step("stop_copy", "Forcing it off", stale_steps.stop_copy),
            Step("undefine_copy", "Removing it from its host", stale_steps.undefine_copy),
            Step("delete_disks", "Deleting the host's own disks", stale_steps.delete_local_disks),
        ),
    )
)
