"""The command that moves a server to another host, running or off."""

from __future__ import annotations

from vpspanel.actions.command import Command, Step, registry
from vpspanel.servers import moving_steps, power_steps

MIGRATE = registry.add(
    Command(
        "migrate",
        title="Move to another host",
        done="Moved to another host",
        failed="It could not be moved, and is where it was",
        deadline=6 * 3600,
        can_be_called_off=True,
        steps=(
            Step("check_hosts", "Looking at both hosts", moving_steps.check_hosts),
            Step(
                "stage_image",
                "Preparing the image",
                moving_steps.stage_there,
                when=moving_steps.copies,
            ),
            Step(
                "define_network_filter",
                "Guarding its addresses",
                moving_steps.guard_there,
                moving_steps.unguard_there,
            ),
            Step(
                "copy_seed",
                "Copying the first-boot data",
                moving_steps.copy_seed,
                moving_steps.drop_volumes_there,
                when=moving_steps.copies,
            ),
            Step(
                "define_domain",
                "Describing it to the other host",
                moving_steps.define_there,
                moving_steps.undefine_there,
            ),
            Step(
                "ask",
                "Asking the operating system",
                power_steps.ask_to_power_off,
                moving_steps.start_again,
                when=moving_steps.stops,
            ),
            Step(
                "wait",
                "Waiting for the operating system",
                power_steps.wait_until_off,
                when=moving_steps.stops,
            ),
            Step(
                "transfer",
                "Moving it",
                moving_steps.transfer,
                moving_steps.bring_back,
                settles=True,
            ),
            Step("start_domain", "Starting", moving_steps.start_there, when=moving_steps.stops),
            Step(
                "observe",
                "Looking whether it runs",
                moving_steps.observe_there,
                when=moving_steps.stops,
            ),
            Step("clear_source", "Clearing its old host", moving_steps.clear_source),
        ),
        on_error=moving_steps.let_go,
    )
)
