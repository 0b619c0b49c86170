"""The commands: which steps each verb takes, in order, and what its end changes in the records."""

from __future__ import annotations

from vpspanel.actions.command import Command, Step, registry
from vpspanel.actions.models import Action, ActionState
from vpspanel.servers import (
    address_steps,  # noqa: F401 - registers its own
    adopting_steps,  # noqa: F401 - registers its own
    copies_steps,  # noqa: F401 - registers its own
    drift_steps,  # noqa: F401 - registers its own
    iso_offer_steps,  # noqa: F401 - registers its own
    iso_steps,  # noqa: F401 - registers its own
    loss_commands,  # noqa: F401 - registers its own
    moving_commands,  # noqa: F401 - registers its own
    power_steps,
    rescue_steps,
    resize_steps,
    snapshot_steps,
    steps,
)
from vpspanel.servers.endings import bury
from vpspanel.servers.models import KEEPS_WISH, Lifecycle, PowerSeen, PowerWanted, Server


def _activate(action: Action) -> None:
    Server.objects.filter(pk=action.resource_id, lifecycle=Lifecycle.CREATING).update(
        lifecycle=Lifecycle.ACTIVE
    )


def _never_built(action: Action) -> None:
    reason = action.error_message or "It was cancelled."
    bury(action.resource_id, failed_reason=reason, keep=action.args.get("own_addresses"))


def _gone(action: Action) -> None:
    bury(action.resource_id)


def _kept(action: Action) -> None:
    """A deletion that was cancelled before it began."""
    Server.objects.filter(pk=action.resource_id, lifecycle=Lifecycle.DELETING).update(
        lifecycle=Lifecycle.ACTIVE
    )


def _want_what_is(action: Action) -> None:
    """The verb failed: what was wanted is again what is, unless it is tried again by itself."""
    if action.args.get(KEEPS_WISH) and action.state != ActionState.CANCELLED:
        return
    servers = Server.objects.filter(pk=action.resource_id)
    servers.filter(power_seen=PowerSeen.RUNNING).update(power_wanted=PowerWanted.ON)
    servers.filter(power_seen__in=(PowerSeen.OFF, PowerSeen.CRASHED)).update(
        power_wanted=PowerWanted.OFF
    )


def _forget_password(action: Action) -> None:
    """The password that was made for it never came into use; the one before still is."""
    Server.objects.filter(pk=action.resource_id).update(
        next_password_sealed=b"",
        next_password_hash="",
    )


def _not_rebuilt(action: Action) -> None:
    _want_what_is(action)
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

SUSPEND = registry.add(
    Command(
        "suspend",
        title="Stop for its suspension",
        done="Stopped: it is suspended",
        failed="It is suspended, and could not be stopped yet",
        deadline=180,
        steps=(
            Step("ask", "Asking the operating system", power_steps.ask_to_stop),
            Step("stop", "Waiting for the operating system", power_steps.stop_in_time),
        ),
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
        deadline=120,
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
            Step(START.name, START.label, power_steps.start_rebuilt, power_steps.stop),
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

CHANGE_TYPE = registry.add(
    Command(
        "change_type",
        title="Change plan",
        done="The plan was changed",
        failed="The plan could not be changed and is as it was",
        deadline=120,
        steps=(
            Step(
                DEFINE.name,
                "Changing vCPUs and memory",
                resize_steps.define_resized,
                resize_steps.restore_size,
            ),
            Step("grow_disk", "Growing the disk", resize_steps.grow_disk, no_return=True),
        ),
        on_error=resize_steps.give_room_back,
    )
)

CREATE_IMAGE = registry.add(
    Command(
        "create_image",
        title="Create snapshot",
        done="The snapshot was created",
        failed="The snapshot could not be created",
        deadline=7200,
        steps=(
            Step(
                "copy_disk",
                "Copying the disk",
                snapshot_steps.copy_disk,
                snapshot_steps.drop_copy,
            ),
            Step(
                "fetch_copy",
                "Keeping the copy",
                snapshot_steps.fetch_copy,
                snapshot_steps.drop_file,
                settles=True,
            ),
            Step("delete_copy", "Cleaning up", snapshot_steps.delete_copy),
        ),
        on_error=snapshot_steps.forget_image,
    )
)

ENABLE_RESCUE = registry.add(
    Command(
        "enable_rescue",
        title="Enable rescue system",
        done="The rescue system is ready for the next start",
        failed="The rescue system could not be enabled",
        deadline=900,
        steps=(
            Step("stage_image", "Preparing the rescue system", rescue_steps.stage_rescue_image),
            Step(
                "create_disk",
                "Creating its disk",
                rescue_steps.create_rescue_disk,
                rescue_steps.delete_rescue,
            ),
            Step(
                "create_seed",
                "Writing who may log in",
                rescue_steps.create_rescue_seed,
                rescue_steps.delete_rescue,
            ),
        ),
        on_error=rescue_steps.forget_rescue_password,
    )
)

DISABLE_RESCUE = registry.add(
    Command(
        "disable_rescue",
        title="Disable rescue system",
        done="The next start boots its own system",
        failed="The rescue system could not be disabled",
        deadline=60,
        steps=(Step("remove_rescue", "Removing the rescue system", rescue_steps.remove_rescue),),
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

SCRUB_RESCUE_SEED = registry.add(
    Command(
        "scrub_rescue_seed",
        title="Remove the rescue system's password",
        done="The rescue system's password was removed",
        failed="The rescue system's password could not be removed",
        deadline=60,
        steps=(Step("scrub_rescue_seed", "Removing its password", rescue_steps.scrub_rescue_seed),),
        quiet=True,
    )
)
