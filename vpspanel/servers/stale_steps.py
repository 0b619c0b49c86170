"""What is done to a stale copy on its host. Each step makes sure again that it is one."""

from __future__ import annotations

from dataclasses import dataclass

from hosts.virt.driver import Driver
from hosts.virt.registry import driver_for
from hosts.virt.spec import Power
from vpspanel.actions.command import Context, Outcome
from vpspanel.actions.errors import Fail
from vpspanel.events.services import record_event
from vpspanel.servers.models import StaleCopy
from vpspanel.servers.site import host_answers
from vpspanel.servers.stale import STOPPED, storage_in_use, why_not_stale


@dataclass(slots=True)
class _Place:
    """A stale copy as a step sees it."""

    context: Context
    copy: StaleCopy

    @property
    def driver(self) -> Driver:
        """The copy's host. Raises `Fenced` if this worker has lost the action meanwhile."""
        self.context.ensure_mine()
        return driver_for(self.copy.host.uri)


def _place_of(context: Context) -> _Place:
    copies = StaleCopy.objects.select_related("server", "host")
    copy = copies.filter(pk=context.action.resource_id).first()
    if copy is None:
        raise Fail("gone", "The copy is gone.")
    if sentence := why_not_stale(copy):
        raise Fail("not_stale", sentence)
    return _Place(context, copy)


def stop_copy(context: Context) -> Outcome:
    """The copy is off. One that runs and was not evacuated from there is nobody's to stop."""
    place = _place_of(context)
    copy = place.copy
    with host_answers():
        seen = place.driver.domain(copy.server.uuid)
        runs = seen is not None and seen.power not in STOPPED
        if runs and not copy.evacuated:
            raise Fail("copy_runs", "It runs, and was not evacuated from there.")
        if runs:
            place.driver.destroy(copy.server.uuid)

    def commit() -> None:
        StaleCopy.objects.filter(pk=copy.pk).update(power=Power.OFF.value)
        if runs:
            record_event(
                "host.copy_stopped",
                f"The stale copy of server {copy.server_id} was forced off",
                resource=("host", copy.host_id),
                action_id=context.action.pk,
                public=False,
                server=copy.server_id,
            )

    return Outcome(commit=commit)


def undefine_copy(context: Context) -> Outcome:
    """The host knows neither the guest nor its filter."""
    place = _place_of(context)
    with host_answers():
        place.driver.undefine(place.copy.server.uuid)
        place.driver.delete_filter(place.copy.server.filter_name)
    return Outcome()


def delete_local_disks(context: Context) -> Outcome:
    """Nothing of it is left in the host's own pools; shared storage is the live server's."""
    place = _place_of(context)
    copy = place.copy
    own = copy.host.pools.exclude(pk__in=storage_in_use(copy))
    prefix = f"vps-{copy.server.uuid}-"
    with host_answers():
        for pool in own:
            for volume in place.driver.volumes(pool.name):
                if volume.name.startswith(prefix):
                    place.driver.delete_volume(pool.name, volume.name)

    def commit() -> None:
        StaleCopy.objects.filter(pk=copy.pk).delete()

    return Outcome(commit=commit)
