"""The commands: which steps each verb takes, in order, and what its end changes in the records."""

from __future__ import annotations

from vpspanel.actions.command import Command, Step, registry
from vpspanel.actions.models import Action
from vpspanel.servers import power_steps, steps
from vpspanel.servers.endings import bury
from vpspanel.servers.models import Lifecycle, PowerSeen, PowerWanted, Server


def _activate(action: Action) -> None:
    Server.objects.filter(pk=action.resource_id, lifecycle=Lifecycle.CREATING).update(
        lifecycle=Lifecycle.ACTIVE
    )


def _never_built(action: Action) -> None:
    bury(action.resource_id, failed_reason=action.error_message or "It was cancelled.")


def _gone(action: Action) -> None:
    bury(action.resource_id)


def _kept(action: Action) -> None:
    """A deletion that was cancelled before it began."""
    Server.objects.filter(pk=action.resource_id, lifecycle=Lifecycle.DELETING).update(
        lifecycle=Lifecycle.ACTIVE
    )


def _want_what_is(action: Action) -> None:
    """The verb failed: what was wanted is again what is."""
    servers = Server.objects.filter(pk=action.resource_id)
    servers.filter(power_seen=PowerSeen.RUNNING).update(power_wanted=PowerWanted.ON)
    servers.filter(power_seen__in=(PowerSeen.OFF, PowerSeen.CRASHED)).update(
        power_wanted=PowerWanted.OFF
    )


def _forget_password(action: Action) -> None:
    """The password that was made for it never came into use."""
    Server.objects.filter(pk=action.resource_id).update(
        root_password_sealed=b"",
        root_password_hash="",
    )


def _not_rebuilt(action: Action) -> None:
    _want_what_is(action)
    if not action.args["authorized_keys"]:
        _forget_password(action)


FILTER = Step("define_network_filter", "Guarding its addresses", steps.define_network_filter)
DEFINE = Step("define_domain", "Describing it to the host", steps.define_domain)
START = Step("start_domain", "Starting", power_steps.start_domain)
OBSERVE = Step("observe", "Looking whether it runs", power_steps.observe_running)

CREATE = registry.add(
    Command(
        "create",
        title="Create server",
        done="The server was created",
        failed="The server could not be created",
        deadline=900,
        steps=(
            Step("stage_image", "Preparing the image", steps.stage_image),
            Step("create_disk", "Creating the disk", steps.create_disk, steps.delete_disk),
            Step(
                "create_seed", "Writing the first-boot data", steps.create_seed, steps.delete_seed
            ),
            Step(FILTER.name, FILTER.label, FILTER.do, steps.delete_network_filter),
            Step(DEFINE.name, DEFINE.label, DEFINE.do, steps.undefine_domain),
            Step(START.name, START.label, power_steps.start_created, power_steps.stop),
            Step(OBSERVE.name, OBSERVE.label, power_steps.observe_created),
        ),
        on_success=_activate,
        on_error=_never_built,
    )
)

POWER_ON = registry.add(
    Command(
        "power_on",
        title="Start",
        done="Started",
        failed="It could not be started",
        deadline=120,
        steps=(FILTER, DEFINE, START, OBSERVE),
        on_error=_want_what_is,
    )
)

SHUTDOWN = registry.add(
    Command(
        "shutdown",
        title="Shut down",
        done="Shut down",
        failed="It did not shut down",
        deadline=150,
        steps=(
            Step("ask", "Asking the operating system", power_steps.ask_to_power_off),
            Step("wait", "Waiting for the operating system", power_steps.wait_until_off),
        ),
        on_error=_want_what_is,
    )
)

POWER_OFF = registry.add(
    Command(
        "power_off",
        title="Power off",
        done="Powered off",
        failed="It could not be powered off",
        deadline=60,
        steps=(
            Step("stop_domain", "Pulling the plug", power_steps.stop_domain),
            Step("observe", "Looking whether it is off", power_steps.observe_off),
        ),
        on_error=_want_what_is,
    )
)

REBOOT = registry.add(
    Command(
        "reboot",
        title="Reboot",
        done="Rebooted",
        failed="It did not reboot",
        deadline=150,
        steps=(
            Step("ask", "Asking the operating system", power_steps.ask_to_reboot),
            Step("wait", "Waiting for the operating system", power_steps.wait_until_rebooted),
        ),
        on_error=_want_what_is,
    )
)

RESET = registry.add(
    Command(
        "reset",
        title="Reset",
        done="Reset",
        failed="It could not be reset",
        deadline=60,
        steps=(Step("press_reset", "Pressing the reset button", power_steps.press_reset), OBSERVE),
        on_error=_want_what_is,
    )
)

REBUILD = registry.add(
    Command(
        "rebuild",
        title="Rebuild",
        done="The server was rebuilt",
        failed="The server could not be rebuilt and is as it was",
        deadline=900,
        steps=(
            Step("stage_image", "Preparing the image", steps.stage_new_image),
            Step(
                "create_disk", "Creating a new disk", steps.create_new_disk, steps.delete_new_disk
            ),
            Step("stop_domain", "Stopping", power_steps.stop_domain, power_steps.start_again),
            Step(
                "create_seed",
                "Writing the first-boot data",
                steps.create_new_seed,
                steps.restore_seed,
            ),
            FILTER,
            Step(DEFINE.name, DEFINE.label, steps.define_new_domain, steps.restore_domain),
            Step(START.name, START.label, START.do, power_steps.stop),
            Step(
                "switch_disk",
                "Changing over to the new disk",
                power_steps.switch_to_new_disk,
                settles=True,
            ),
            Step("delete_old_disk", "Deleting the old disk", steps.delete_old_disks),
        ),
        on_error=_not_rebuilt,
    )
)

RESET_PASSWORD = registry.add(
    Command(
        "reset_password",
        title="Reset root password",
        done="The root password was reset",
        failed="The root password could not be reset",
        deadline=60,
        steps=(
            Step(
                "set_password",
                "Setting the password",
                steps.set_root_password,
                steps.forget_boot_password,
            ),
        ),
        on_error=_forget_password,
    )
)

DELETE = registry.add(
    Command(
        "delete",
        title="Delete server",
        done="The server was deleted",
        failed="The server could not be deleted",
        deadline=300,
        steps=(
            Step("stop_domain", "Stopping", power_steps.stop_domain, no_return=True),
            Step("undefine_domain", "Removing it from the host", steps.remove_domain),
            Step("delete_network_filter", "Removing its filter", steps.remove_network_filter),
            Step("delete_disks", "Deleting its disks", steps.delete_all_disks),
        ),
        on_success=_gone,
        on_error=_kept,
    )
)

SCRUB_SEED = registry.add(
    Command(
        "scrub_seed",
        title="Remove first-boot secrets",
        done="First-boot secrets removed",
        failed="First-boot secrets could not be removed",
        deadline=60,
        steps=(Step("scrub_seed", "Removing first-boot secrets", steps.scrub_seed),),
        quiet=True,
    )
)
