"""Enrolments that staff follow in the admin: pages write what is wanted, the monitor does it.

Each change of state is a conditional update, so that two clicks, or two
monitors, do a thing once.
"""

from __future__ import annotations

import threading
from datetime import timedelta

import structlog
from django.db import close_old_connections
from django.db.models import Q
from django.utils import timezone

from hosts.enrol import Share, enroll_host
from hosts.errors import EnrolError
from hosts.keys import confirm_key, needs_confirmation
from hosts.models_fleet import Enrolment, EnrolmentState
from hosts.probing import Outcome, Plan, Step, look_over
from hosts.virt.errors import VirtError
from hosts.virt.spec import NetworkSpec
from hosts.virt.ssh import HostKey, ask_host_key

log = structlog.get_logger(__name__)

BUSY = timedelta(minutes=2)  # longer than any step; whoever is silent for so long is dead
WORK = (EnrolmentState.LOOKING, EnrolmentState.ENROLLING)


# --- what staff do -------------------------------------------------------------------


def confirm(enrolment: Enrolment, *, by: str) -> bool:
    """Believe the host key that was shown. False if nothing waits for that any more."""
    if not _change(enrolment, EnrolmentState.CONFIRM, EnrolmentState.LOOKING):
        return False
    confirm_key(enrolment.uri, HostKey(enrolment.shown_key), by=by)
    return True


def look_again(enrolment: Enrolment) -> bool:
    """Look the machine over once more. False while something else is done with it."""
    for state in (EnrolmentState.FOUND, EnrolmentState.CONFIRM):
        if _change(enrolment, state, EnrolmentState.LOOKING):
            return True
    return False


def enrol(enrolment: Enrolment) -> bool:
    """Make it a host. False unless it was looked over and nothing is missing."""
    if not is_ready(enrolment):
        return False
    return _change(enrolment, EnrolmentState.FOUND, EnrolmentState.ENROLLING)


def is_ready(enrolment: Enrolment) -> bool:
    """Whether nothing stands in the way."""
    outcomes = [step["outcome"] for step in enrolment.steps]
    return enrolment.state == EnrolmentState.FOUND and Outcome.MISSING not in outcomes


def _change(enrolment: Enrolment, before: EnrolmentState, after: EnrolmentState) -> bool:
    rows = Enrolment.objects.filter(pk=enrolment.pk, state=before)
    return bool(rows.update(state=after, busy_until=None, error=""))


# --- what the monitor does ---------------------------------------------------------------


class Desk:
    """Takes up enrolments, each in a thread of its own: a machine that hangs holds up no other."""

    def turn(self) -> list[threading.Thread]:
        """Begin what is due and nobody is at; the threads that were begun."""
        now = timezone.now()
        due = Enrolment.objects.filter(Q(busy_until=None) | Q(busy_until__lt=now), state__in=WORK)
        begun = []
        for pk in due.values_list("pk", flat=True):
            if due.filter(pk=pk).update(busy_until=now + BUSY):
                thread = threading.Thread(
                    target=_in_thread, args=(pk,), name=f"enrolment-{pk}", daemon=True
                )
                thread.start()
                begun.append(thread)
        return begun


def _in_thread(pk: int) -> None:
    try:
        carry_on(Enrolment.objects.get(pk=pk))
    except Exception as error:
        log.exception("enrolment_failed", enrolment=pk)
        told = f"{type(error).__name__}: {error}"[:1000]
        Enrolment.objects.filter(pk=pk, state__in=WORK).update(
            state=EnrolmentState.FOUND, error=told, busy_until=None
        )
    finally:
        close_old_connections()


def carry_on(enrolment: Enrolment) -> None:
    """Do what the enrolment's state asks for."""
    if enrolment.state == EnrolmentState.LOOKING:
        _look(enrolment)
    elif enrolment.state == EnrolmentState.ENROLLING:
        _enrol(enrolment)


def _look(enrolment: Enrolment) -> None:
    rows = Enrolment.objects.filter(pk=enrolment.pk, state=EnrolmentState.LOOKING)
    steps: list[dict[str, str]] = []
    rows.update(steps=steps, error="")
    if (asked := _host_key(enrolment.uri)) is not None:
        key, step = asked
        state = EnrolmentState.CONFIRM if key else EnrolmentState.FOUND
        rows.update(state=state, shown_key=key, steps=[step.as_dict()], busy_until=None)
        return
    plan = Plan(
        enrolment.name, enrolment.uri, enrolment.pool_name, enrolment.network, enrolment.bridge
    )
    for step in look_over(plan):
        steps.append(step.as_dict())
        rows.update(steps=steps, busy_until=timezone.now() + BUSY)
    rows.update(state=EnrolmentState.FOUND, busy_until=None)


def _host_key(uri: str) -> tuple[str, Step] | None:
    """The key to be confirmed and how asking for it went; None if nothing has to be confirmed."""
    title = "Ask for its host key"
    try:
        if not needs_confirmation(uri):
            return None
        key = ask_host_key(uri)
    except (ValueError, VirtError) as error:
        cure = "apt-get install openssh-server"
        return "", Step(title, Outcome.MISSING, str(error), cure)
    return key.public_key, Step(title, Outcome.NOTE, f"it shows {key.fingerprint}")


def _enrol(enrolment: Enrolment) -> None:
    rows = Enrolment.objects.filter(pk=enrolment.pk, state=EnrolmentState.ENROLLING)
    try:
        host = enroll_host(
            name=enrolment.name,
            location=enrolment.location,
            uri=enrolment.uri,
            pool_name=enrolment.pool_name,
            pool_path=enrolment.pool_path,
            network=_network(enrolment),
            bridge=enrolment.bridge,
            share=Share(
                enrolment.vcpus_per_cpu, enrolment.memory_reserve_mib, enrolment.disk_reserve_gib
            ),
        )
    except EnrolError as error:
        rows.update(state=EnrolmentState.FOUND, error=str(error)[:1000], busy_until=None)
        return
    rows.update(state=EnrolmentState.ENROLLED, host=host, busy_until=None)


def _network(enrolment: Enrolment) -> NetworkSpec | None:
    if not enrolment.network:
        return None
    return NetworkSpec(
        enrolment.network,
        enrolment.network_bridge,
        enrolment.network_ipv4,
        enrolment.network_ipv6,
    )
