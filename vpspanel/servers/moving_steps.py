"""The steps of a move to another host.

Until the move is settled the records name the old host, and everything on the
new one can be taken away again. Before any of that is done, both hosts are
asked where the guest is: what is on the new host is never touched once the
guest lives there, and the old disk never before.
"""

from __future__ import annotations

import io
from contextlib import suppress
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from hosts.moving import move_address
from hosts.services import release_capacity
from hosts.staging import create_overlay
from hosts.virt.carrying import carry
from hosts.virt.errors import ForeignObject, StillMoving
from hosts.virt.spec import MoveProgress, Power
from vpspanel.actions.command import Context, Outcome
from vpspanel.actions.errors import Fail, Park, Retry
from vpspanel.actions.models import Action
from vpspanel.servers.booting import define_wanted, start_own
from vpspanel.servers.models import PowerSeen
from vpspanel.servers.moving_facts import LIVE, OFFLINE, Place
from vpspanel.servers.moving_site import (
    UNFINISHED,
    Move,
    clear,
    delete_volumes,
    found_of_it,
    move_of,
    settle,
)
from vpspanel.servers.power_steps import observe_running
from vpspanel.servers.site import host_answers, need_off
from vpspanel.servers.steps import stage_on_pool

MIB = 1024**2
MARK_BYTES = 512
SETTLES_WITHIN = 60.0  # seconds in which two hosts notice that nobody drives a move any more
DISK = "vda"  # what is copied: the seed is the same on both hosts


def is_live(action: Action) -> bool:
    """It goes on running."""
    return bool(action.args["how"] == LIVE)


def is_offline(action: Action) -> bool:
    """It is off while its disk is carried."""
    return bool(action.args["how"] == OFFLINE)


def stops(action: Action) -> bool:
    """It runs, and is shut down to be moved."""
    return is_offline(action) and bool(action.args["was_running"])


def copies(action: Action) -> bool:
    """Its files are copied: the hosts do not see the same storage."""
    return not action.args.get("shared", False)


# --- before anything moves --------------------------------------------------------


def check_hosts(context: Context) -> Outcome:
    """The guest is on the old host as it should be, and nothing of it on the new one.

    From here on, whatever of it lies on the new host was put there by this move.
    """
    move = move_of(context)
    with host_answers():
        here = move.seen(move.source)
        found = found_of_it(move.target, files=copies(context.action))
        free = move.target.driver.pool(move.target.server.pool).available_bytes
        needed = move.disk_here().allocation_bytes
    if here is None or here.power not in _may_be(context.action):
        raise Fail(
            "unexpected_power",
            f"Its host says that it is {here.power if here else 'missing'}. Look again and retry.",
        )
    if found:
        raise Fail(
            "already_there",
            "Something of it lies on the other host already.",
            detail=f"On {move.target.host} lie {', '.join(found)}. If both hosts see the "
            "same storage, say so in their pools (shared id); remove only what is surely a copy.",
        )
    if not copies(context.action):
        _need_same_storage(move)
    elif needed > free:
        raise Fail(
            "disk_full",
            "The other host has too little disk space left.",
            detail=f"{move.target.host}: {needed} bytes are needed, {free} are free",
        )
    return Outcome()


def _need_same_storage(move: Move) -> None:
    """What one host writes, the other one sees. Raises `Fail`: staff may have been mistaken.

    A guest that goes on on another file than its own destroys it.
    """
    mark = f"{UNFINISHED}vps-{move.uuid}-shared"
    with host_answers():
        move.source.driver.write_volume(
            move.source.server.pool, mark, str(move.uuid).encode(), capacity_bytes=MARK_BYTES
        )
        try:
            seen = {one.name for one in move.target.driver.volumes(move.target.server.pool)}
        finally:
            move.source.driver.delete_volume(move.source.server.pool, mark)
    if not {mark, move.disk, move.source.server.seed_volume} <= seen:
        raise Fail(
            "disk_not_shared",
            "Its disk is not to be seen from the other host.",
            detail=f"{move.target.host} does not see what {move.source.host} writes in its pool "
            f"{move.source.server.pool}, though both are said to be the same storage (shared id)",
        )


def _may_be(action: Action) -> tuple[Power, ...]:
    return (Power.RUNNING,) if action.args["was_running"] else (Power.OFF, Power.CRASHED)


def stage_there(context: Context) -> Outcome:
    """The image that its disk stands on lies on the new host."""
    move = move_of(context)
    stage_on_pool(move.target, move.target.image())
    return Outcome()


def guard_there(context: Context) -> Outcome:
    """The new host guards its addresses, before it knows the guest."""
    move = move_of(context)
    with host_answers():
        move.target.driver.ensure_filter(move.target.blueprint().filter())
    return Outcome()


def unguard_there(context: Context) -> None:
    """Undo of `guard_there`."""
    move = move_of(context)
    if not move.settled:
        with host_answers():
            move.target.driver.delete_filter(move.target.server.filter_name)


def copy_seed(context: Context) -> Outcome:
    """The first-boot data lies on the new host, byte for byte."""
    move = move_of(context)
    name, data = move.source.server.seed_volume, io.BytesIO()
    with host_answers():
        move.source.driver.download_volume(move.source.server.pool, name, data)
        content = data.getvalue()
        move.target.driver.write_volume(
            move.target.server.pool, name, content, capacity_bytes=len(content)
        )
    return Outcome()


def drop_volumes_there(context: Context) -> None:
    """Undo of `copy_seed`, and of the disk that may be there by now."""
    move = move_of(context)
    if not move.settled and copies(context.action):
        with host_answers():
            delete_volumes(move.target)


def define_there(context: Context) -> Outcome:
    """The new host knows the guest, which is off there."""
    move = move_of(context)
    with host_answers():
        define_wanted(move.target)
    return Outcome()


def undefine_there(context: Context) -> None:
    """Undo of `define_there`."""
    move = move_of(context)
    if not move.settled:
        with host_answers(), suppress(ForeignObject):
            move.target.driver.undefine(move.uuid)


# --- the move itself --------------------------------------------------------------


def transfer(context: Context) -> Outcome:
    """The guest lives on the new host: from here on the records say so, too."""
    move = move_of(context)
    place = _send(move) if is_live(context.action) else _carry(move)
    if place is Place.TARGET:
        at = timezone.now()
        with host_answers():
            seen = move.seen(move.target)
        power = PowerSeen.MISSING if seen is None else PowerSeen(seen.power.value)
        return Outcome(commit=lambda: settle(move, power, at=at))
    if place in (Place.SOURCE, Place.UNDECIDED):
        raise Retry("not_arrived", f"It has not arrived: {place.value}.", patience=SETTLES_WITHIN)
    if place is Place.STOPPED:
        raise Fail("server_stopped", "It stopped during the move, and stays where it was.")
    raise Park("whereabouts", "Our staff has to look where it is.", detail=place.value)


def _send(move: Move) -> Place:
    """Live: the guest goes on on the new host. Where it is is looked up before and after."""
    with host_answers():
        place = move.look()
        if place is Place.STRANDED:
            move.source.driver.stay(move.uuid)
            place = move.look()
        if place is Place.SOURCE:
            place = _set_off(move)
    return place


def _set_off(move: Move) -> Place:
    """Where it is after it was sent."""
    copied = copies(move.context.action)
    if copied:
        _lay_disk(move)
    try:
        move.source.driver.move(
            move.target.driver,
            move.target.blueprint().domain(),
            address=move_address(move.target.host),
            copied=(DISK,) if copied else (),
            bandwidth_mib=move.context.action.args["bandwidth_mib"],
            progress=lambda at: _tell(move.context, at),
            timeout=move.left(),
        )
    except StillMoving:
        return Place.UNDECIDED
    return move.look()


def _lay_disk(move: Move) -> None:
    """An empty disk on the image: what an earlier try has written there must not shine through."""
    pool, driver = move.target.pool(), move.target.driver
    driver.delete_volume(pool.name, move.disk)
    capacity = move.disk_here().capacity_bytes
    create_overlay(driver, pool, move.target.image(), move.disk, capacity_bytes=capacity)


def _carry(move: Move) -> Place:
    """Offline: the disk is the same on both hosts, and the guest was off all the time."""

    def tell(sent: int) -> None:
        move.context.check_not_called_off()
        said = f"Disk: {sent // MIB} of {size // MIB} MiB"
        move.context.progress(sent * 100 // max(1, size), said)

    with host_answers():
        need_off(move.source)
        if not copies(move.context.action):
            return Place.TARGET
        size = move.disk_here().file_bytes
        carry(
            move.source.driver,
            move.target.driver,
            move.disk,
            from_pool=move.source.server.pool,
            to_pool=move.target.server.pool,
            bandwidth_mib=move.context.action.args["bandwidth_mib"],
            progress=tell,
            timeout=move.left(),
        )
        need_off(move.source)
    return Place.TARGET


def _tell(context: Context, at: MoveProgress) -> None:
    context.check_not_called_off()
    said = f"Memory: {at.memory_done_bytes // MIB} of {at.memory_bytes // MIB} MiB"
    if at.disk_bytes:
        said = f"Disk: {at.disk_done_bytes // MIB} of {at.disk_bytes // MIB} MiB. {said}"
    done, total = at.memory_done_bytes + at.disk_done_bytes, at.memory_bytes + at.disk_bytes
    context.progress(done * 100 // max(1, total), said)


def bring_back(context: Context) -> None:
    """Undo of `transfer`: the guest is where the records say, whichever host that is.

    A move that was carried out in the moment in which it failed is no longer
    undone: then the records follow the guest, and the old host is cleared.
    """
    move = move_of(context)
    if move.settled:
        clear(move)
        return
    if not is_live(context.action):
        return
    with host_answers():
        place = move.look()
        if place is Place.UNDECIDED:
            move.source.driver.call_off_move(move.uuid)
        if place is Place.STRANDED:
            move.source.driver.stay(move.uuid)
            place = move.look()
        seen = move.seen(move.target) if place is Place.TARGET else None
    if place is Place.TARGET and seen is not None:
        with transaction.atomic():
            context.ensure_mine()
            settle(move, PowerSeen(seen.power.value), at=timezone.now())
        clear(move)
    elif place not in (Place.SOURCE, Place.STOPPED):
        raise Retry("whereabouts", "Our staff has to look where it is.", detail=place.value)


# --- afterwards --------------------------------------------------------------------


def start_again(context: Context) -> None:
    """Undo of the stop: it runs on the host where it is, unless it was suspended meanwhile."""
    move = move_of(context)
    site = move.target if move.settled else move.source
    if not site.server.should_run:
        return
    with host_answers():
        site.driver.start(move.uuid)


def start_there(context: Context) -> Outcome:
    """It runs on the new host, as it did on the old one, unless it was suspended meanwhile."""
    site = move_of(context).target
    if not site.server.should_run:
        return Outcome(memory={"stays_off": True})
    with host_answers():
        return start_own(site)


def observe_there(context: Context) -> Outcome:
    """The new host says that it runs, if it was started."""
    return observe_running(context) if "stays_off" not in context.action.memory else Outcome()


def clear_source(context: Context) -> Outcome:
    """Nothing of it is left on the old host. Parks if it should run there, too."""
    clear(move_of(context))
    return Outcome()


def let_go(action: Action) -> None:
    """The end of a move that did not happen: the room on the other host is free again."""
    release_capacity(UUID(action.args["held_by"]))
