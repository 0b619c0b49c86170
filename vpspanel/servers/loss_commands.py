"""The commands of lost hosts: restarting a server elsewhere, and removing what comes back."""

from __future__ import annotations

from vpspanel.actions.command import Command, Step, registry
from vpspanel.servers import evacuation_steps, stale_steps

EVACUATE = registry.add(
    Command(
        "evacuate",
        title="Restart on another host",
        done="Restarted on another host",
        failed="It could not be restarted on another host",
        deadline=300,
        steps=(
            Step("find_disks", "Looking for its disk", evacuation_steps.find_disks),
            Step(
                "define_network_filter",
                "Guarding its addresses",
                evacuation_steps.define_filter_there,
                evacuation_steps.delete_filter_there,
            ),
            Step(
                "define_domain",
                "Describing it to the other host",
                evacuation_steps.define_there,
                evacuation_steps.undefine_there,
            ),
            Step(
                "start_domain",
                "Starting",
                evacuation_steps.start_there,
                evacuation_steps.stop_there,
            ),
            Step("settle", "Changing over", evacuation_steps.settle_there, settles=True),
        ),
        on_error=evacuation_steps.give_claim_back,
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
