"""The steps that start, stop and look at a guest; as safe to run twice as those in `steps.py`."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta

from django.db.models import Q
from django.utils import timezone

from hosts.virt.errors import NotFound
from hosts.virt.spec import DomainSeen, Power
from vpspanel.actions.command import Context, Outcome
from vpspanel.actions.errors import Fail, Retry, Wait
from vpspanel.servers.booting import (
    changes_system,
    define_wanted,
    runs_wanted_system,
    start_own,
    start_wanted,
)
from vpspanel.servers.models import PowerSeen
from vpspanel.servers.site import Site, host_answers, planned_site_of, site_of

SHUTDOWN_SECONDS = 90.0  # how long a guest has to follow an ACPI request
ASK_AGAIN = 10.0  # seconds between two ACPI requests to the same guest
HEARD = timedelta(seconds=30)  # the monitor writes down every five that a host answers


def start_domain(context: Context) -> Outcome:
    """The guest runs the system that was wanted for this start."""
    site = site_of(context)
    with host_answers():
        return start_wanted(site)


def start_rebuilt(context: Context) -> Outcome:
    """The guest runs its own system, on its new disk."""
    site = site_of(context)
    with host_answers():
        return start_own(site)


def start_created(context: Context) -> Outcome:
    """The new guest runs, unless it was ordered to stay off."""
    return start_domain(context) if context.action.args.get("start", True) else Outcome()


def observe_created(context: Context) -> Outcome:
    """The host says that the new guest is as it was ordered."""
    wanted = Power.RUNNING if context.action.args.get("start", True) else Power.OFF
    return _must_be(site_of(context), wanted)


def start_again(context: Context) -> None:
    """Undo of the stop before a rebuild: it runs again if it did before."""
    site = site_of(context)
    if context.action.args.get("was_running"):
        with host_answers():
            site.driver.start(site.server.uuid)


def stop_domain(context: Context) -> Outcome:
    """The guest is off, whatever it was doing."""
    stop(context)
    return Outcome()


def stop(context: Context) -> None:
    """Undo of `start_domain`."""
    site = site_of(context)
    with host_answers(), suppress(NotFound):
        site.driver.destroy(site.server.uuid)


def ask_to_power_off(context: Context) -> Outcome:
    """The guest has been asked."""
    site, asked_at = site_of(context), timezone.now()
    with host_answers():
        site.driver.shutdown(site.server.uuid)
    return Outcome(memory={"asked_at": asked_at.isoformat()})


def wait_until_off(context: Context) -> Outcome:
    """The guest is off; asked again now and then, because one that boots hears nothing."""
    site = site_of(context)
    with host_answers():
        at, seen = _look(site)
        if seen.power in (Power.OFF, Power.CRASHED):
            return _observed(site, at, seen)
        _still_time(
            context,
            "guest_ignored_shutdown",
            f"Its operating system did not shut down within {SHUTDOWN_SECONDS:.0f} seconds. "
            "You can power it off instead.",
        )
        if _asked_for(context) >= ASK_AGAIN:
            site.driver.shutdown(site.server.uuid)
    raise Wait(ASK_AGAIN, "Waiting for the operating system")


def ask_to_stop(context: Context) -> Outcome:
    """A guest that can hear it has been asked to power off."""
    site, asked_at = site_of(context), timezone.now()
    with host_answers():
        _, seen = _look(site)
        if seen.power is Power.RUNNING:
            site.driver.shutdown(site.server.uuid)
    return Outcome(memory={"asked_at": asked_at.isoformat()})


def stop_in_time(context: Context) -> Outcome:
    """The guest is off: by itself, or in the end because the plug was pulled.

    One that was taken out of its suspension meanwhile keeps its plug.
    """
    site = site_of(context)
    with host_answers():
        at, seen = _look(site)
        if seen.power in (Power.OFF, Power.CRASHED):
            return _observed(site, at, seen)
        if seen.power is Power.RUNNING and _asked_for(context) <= SHUTDOWN_SECONDS:
            if _asked_for(context) >= ASK_AGAIN:
                site.driver.shutdown(site.server.uuid)
            raise Wait(ASK_AGAIN, "Waiting for the operating system")
        if site.server.is_suspended:
            site.driver.destroy(site.server.uuid)
        return _observed(site, *_look(site))


def ask_to_reboot(context: Context) -> Outcome:
    """The guest has been asked. The time is taken first: it may reboot before the call returns.

    Where another system is to boot, it is asked to power off.
    """
    site, asked_at = site_of(context), timezone.now()
    with host_answers():
        _ask_to_restart(site)
    return Outcome(memory={"asked_at": asked_at.isoformat()})


def _ask_to_restart(site: Site) -> None:
    if changes_system(site):
        site.driver.shutdown(site.server.uuid)
    else:
        site.driver.reboot(site.server.uuid)


def wait_until_rebooted(context: Context) -> Outcome:
    """The host has told of a reboot since the guest was asked, or the other system was started.

    It is asked again now and then, but only while somebody hears what the host
    tells: otherwise it would reboot again and again.
    """
    site = site_of(context)
    if changes_system(site):
        with host_answers():
            _, seen = _look(site)
            if seen.power in (Power.OFF, Power.CRASHED) or runs_wanted_system(site, seen):
                started = _switch_system(site)
                return _both(started, _observed(site, *_look(site)))
    booted = site.server.booted_at
    if booted is not None and booted >= _asked_at(context):
        with host_answers():
            return _observed(site, *_look(site))
    is_heard = _is_heard(site)
    if not is_heard:
        _still_time(
            context,
            "reboot_not_seen",
            "It was asked to reboot. Whether it did could not be seen: its host is not watched.",
        )
    _still_time(
        context,
        "guest_ignored_reboot",
        f"Its operating system did not reboot within {SHUTDOWN_SECONDS:.0f} seconds. "
        "You can reset it instead.",
    )
    if _asked_for(context) >= ASK_AGAIN and is_heard:
        with host_answers():
            _ask_to_restart(site)
    raise Wait(ASK_AGAIN, "Waiting for the operating system")


def _is_heard(site: Site) -> bool:
    """Whether the monitor watches the host at the moment."""
    seen = site.host.seen_at
    return seen is not None and timezone.now() - seen < HEARD


def press_reset(context: Context) -> Outcome:
    """The reset button was pressed; where another system is to boot, the plug was pulled."""
    site = site_of(context)
    with host_answers():
        if changes_system(site):
            return _switch_system(site)
        site.driver.reset(site.server.uuid)
    return Outcome()


def _switch_system(site: Site) -> Outcome:
    """The guest runs the other system, in a QEMU of its own; not started twice if it does."""
    seen = site.driver.domain(site.server.uuid)
    if seen is None or not runs_wanted_system(site, seen):
        site.driver.destroy(site.server.uuid)
        define_wanted(site)
    return start_wanted(site)


def observe_running(context: Context) -> Outcome:
    """The host says that the guest runs."""
    return _must_be(site_of(context), Power.RUNNING)


def observe_off(context: Context) -> Outcome:
    """The host says that the guest is off."""
    return _must_be(site_of(context), Power.OFF)


def switch_to_new_disk(context: Context) -> Outcome:
    """The guest runs on the new disk: from here on the records say so too."""
    site = planned_site_of(context)
    outcome = _must_be(site, Power.RUNNING)
    server = site.server

    def commit() -> None:
        if outcome.commit is not None:
            outcome.commit()
        site.change(
            disk_generation=server.disk_generation,
            restored_instance=None,
            image_id=server.image_id,
            authorized_keys=server.authorized_keys,
        )
        site.change(  # both empty with keys
            root_password_sealed=server.next_password_sealed,
            root_password_hash=server.next_password_hash,
            next_password_sealed=b"",
            next_password_hash="",
        )

    return Outcome(commit=commit)


def _look(site: Site) -> tuple[datetime, DomainSeen]:
    """The guest, and when it was looked at."""
    at = timezone.now()
    seen = site.driver.domain(site.server.uuid)
    if seen is None:
        raise Fail("guest_missing", "It is missing on its host. Our staff has to look at it.")
    return at, seen


def _must_be(site: Site, power: Power) -> Outcome:
    with host_answers():
        at, seen = _look(site)
    if seen.power is not power:
        raise Retry("unexpected_power", f"Its host says that it is {seen.power}.")
    return _observed(site, at, seen)


def _observed(site: Site, at: datetime, seen: DomainSeen) -> Outcome:
    """Record what was seen together with the step, unless something newer is known by then."""
    power = PowerSeen(seen.power.value)

    def commit() -> None:
        site.rows().filter(Q(seen_at__isnull=True) | Q(seen_at__lte=at)).update(
            power_seen=power, seen_at=at
        )

    return Outcome(commit=commit)


def _both(first: Outcome, second: Outcome) -> Outcome:
    """What two parts of a step leave behind, recorded together."""

    def commit() -> None:
        for outcome in (first, second):
            if outcome.commit is not None:
                outcome.commit()

    return Outcome(commit=commit)


def _asked_at(context: Context) -> datetime:
    return datetime.fromisoformat(context.action.memory["asked_at"])


def _asked_for(context: Context) -> float:
    """Seconds since the guest was first asked."""
    return (timezone.now() - _asked_at(context)).total_seconds()


def _still_time(context: Context, code: str, message: str) -> None:
    if _asked_for(context) > SHUTDOWN_SECONDS:
        raise Fail(code, message)
