"""What follows from a sighting: each rule by example, then what no sighting may ever do."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hosts.virt.spec import Power
from vpspanel.servers.models import Lifecycle, PowerSeen, PowerWanted
from vpspanel.servers.reconcile import (
    LISTS,
    MISSING_AFTER,
    Cause,
    Correction,
    Row,
    Sighting,
    judge,
    reconcile,
)

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = NOW + MISSING_AFTER
GUEST = uuid4()


def row(
    seen: str = "running", wanted: str = "on", *, lifecycle: str = "active", busy: bool = False
) -> Row:
    earlier = NOW - timedelta(seconds=60)
    return Row(1, GUEST, 1, lifecycle, wanted, seen, seen_at=earlier, busy=busy)


def sight(power: str, cause: Cause = Cause.LIST, detail: str = "") -> Sighting:
    return Sighting(GUEST, Power(power), NOW, cause, detail=detail)


def corrected(row: Row, correction: Correction) -> Row:
    """The row after the correction was written."""
    return replace(
        row,
        power_seen=correction.power_seen or row.power_seen,
        power_wanted=correction.power_wanted or row.power_wanted,
        booted_at=correction.booted_at or row.booted_at,
        seen_at=correction.at,
    )


@pytest.mark.parametrize(
    ("known", "sighting", "expected"),
    [
        # the host wins
        (row("unknown"), sight("running"), ("running", None, False)),
        (row("running"), sight("paused", Cause.PAUSED), ("paused", None, True)),
        (row("paused"), sight("running", Cause.RESUMED), ("running", None, True)),
        (row("missing"), sight("running"), ("running", None, True)),
        # powered off from inside, or with virsh
        (row(), sight("off", Cause.STOPPED, "shutdown"), ("off", "off", True)),
        (row(), sight("off", Cause.STOPPED, "destroyed"), ("off", "off", True)),
        (row("paused"), sight("off", Cause.STOPPED, "destroyed"), ("off", "off", True)),
        (row(), sight("off"), ("off", "off", True)),
        # nobody asked for that
        (row(), sight("off", Cause.GAP), ("off", None, True)),
        (row(), sight("crashed", Cause.CRASHED), ("crashed", None, True)),
        (row(), sight("off", Cause.STOPPED, "failed"), ("crashed", None, True)),
        # started behind our back
        (row("off", "off"), sight("running", Cause.STARTED), ("running", "on", True)),
        (row("crashed", "on"), sight("running", Cause.STARTED), ("running", None, True)),
        (row("running", "off"), sight("running"), (None, "on", False)),
        # an action is at work: what is wanted is its business, and so is the news
        (row(busy=True), sight("off", Cause.STOPPED, "destroyed"), ("off", None, False)),
        (row("off", "off", busy=True), sight("running"), ("running", None, False)),
        # neither born nor gone
        (row("unknown", lifecycle="creating"), sight("running"), ("running", None, False)),
        (row(lifecycle="deleting"), sight("off", Cause.STOPPED), ("off", None, False)),
    ],
)
def test_what_follows(
    known: Row, sighting: Sighting, expected: tuple[str | None, str | None, bool]
) -> None:
    correction = judge(known, sighting)
    assert correction is not None
    assert (correction.power_seen, correction.power_wanted, correction.public) == expected
    assert correction.message


@pytest.mark.parametrize(
    ("known", "sighting"),
    [
        (row(), sight("running")),
        (row("off", "off"), sight("off")),
        (row("off", "off"), sight("off", Cause.STOPPED, "destroyed")),
        (row("off", "on"), sight("off")),
        (row("crashed"), sight("off")),
        (row("crashed"), sight("off", Cause.GAP)),
        (row(), sight("unknown")),
        (row(), replace(sight("off"), ours=False)),
        (row(), replace(sight("off"), at=NOW - timedelta(minutes=2))),
    ],
)
def test_nothing_follows(known: Row, sighting: Sighting) -> None:
    assert judge(known, sighting) is None


def test_a_crashed_guest_that_is_powered_off_by_somebody_is_off() -> None:
    correction = judge(row("crashed"), sight("off", Cause.STOPPED, "destroyed"))
    assert correction is not None
    assert (correction.power_seen, correction.power_wanted) == (PowerSeen.OFF, None)


def test_a_reboot_is_told_once_and_dated() -> None:
    correction = judge(row(), sight("running", Cause.REBOOTED))
    assert correction is not None
    assert (correction.kind, correction.booted_at) == ("server.rebooted", NOW)
    assert (correction.power_seen, correction.public) == (None, True)
    assert judge(corrected(row(), correction), sight("running", Cause.REBOOTED)) is None


def test_a_boot_that_is_older_than_the_last_look_is_dated_all_the_same() -> None:
    """A worker's own look may come before the event does."""
    known = replace(row(busy=True), seen_at=NOW + timedelta(seconds=1))
    correction = judge(known, sight("running", Cause.STARTED))
    assert correction is not None
    assert (correction.power_seen, correction.booted_at) == (None, NOW)
    assert not correction.public


def test_missing_needs_two_lists_ten_seconds_apart() -> None:
    first = reconcile([row()], [], NOW, complete=True)
    assert (first.corrections, dict(first.missed)) == ((), {GUEST: NOW})
    soon = NOW + MISSING_AFTER - timedelta(seconds=1)
    again = reconcile([row()], [], soon, complete=True, missed=first.missed)
    assert again.corrections == ()
    (correction,) = reconcile([row()], [], LATER, complete=True, missed=again.missed).corrections
    assert (correction.power_seen, correction.power_wanted) == (PowerSeen.MISSING, None)
    assert correction.public


def test_who_returns_between_two_lists_is_not_missing() -> None:
    first = reconcile([row()], [], NOW, complete=True)
    between = reconcile([row()], [sight("running")], LATER, complete=True, missed=first.missed)
    assert between.missed == {}
    assert not reconcile([row()], [], LATER, complete=True, missed=between.missed).corrections


def test_who_is_being_built_is_never_missing() -> None:
    building = replace(row("unknown"), busy=True, building=True)
    verdict = reconcile([building], [], LATER, complete=True, missed={GUEST: NOW})
    assert (verdict.corrections, verdict.missed) == ((), {})


# --- for all -----------------------------------------------------------------

MOMENTS = st.integers(-120, 120).map(lambda seconds: NOW + timedelta(seconds=seconds))
UUIDS = [UUID(int=number) for number in range(1, 6)]
ROWS = st.lists(
    st.builds(
        Row,
        id=st.integers(1, 99),
        uuid=st.sampled_from(UUIDS),
        project_id=st.just(1),
        lifecycle=st.sampled_from([value for value in Lifecycle if value != Lifecycle.DELETED]),
        power_wanted=st.sampled_from(list(PowerWanted)),
        power_seen=st.sampled_from(list(PowerSeen)),
        seen_at=st.none() | MOMENTS,
        booted_at=st.none() | MOMENTS,
        busy=st.booleans(),
        building=st.booleans(),
    ).map(lambda row: replace(row, busy=row.busy or row.building)),
    unique_by=lambda row: row.uuid,
)
POWERS = st.sampled_from([power for power in Power if power is not Power.MISSING])
SIGHTINGS = st.lists(
    st.builds(
        Sighting,
        uuid=st.sampled_from(UUIDS),
        power=POWERS,
        at=MOMENTS,
        cause=st.sampled_from(list(Cause)),
        ours=st.booleans(),
        detail=st.sampled_from(["", "shutdown", "destroyed", "failed", "crashed", "io_error"]),
    ),
    unique_by=lambda sighting: sighting.uuid,
)
MISSED = st.dictionaries(st.sampled_from(UUIDS), MOMENTS)


@given(ROWS, SIGHTINGS, MISSED, st.booleans())
def test_what_no_sighting_may_do(
    rows: list[Row], seen: list[Sighting], missed: dict[UUID, datetime], complete: bool
) -> None:
    by_uuid = {sighting.uuid: sighting for sighting in seen}
    verdict = reconcile(rows, seen, NOW, complete=complete, missed=missed)
    assert len({correction.row.id for correction in verdict.corrections}) <= len(rows)
    for correction in verdict.corrections:
        known, sighting = correction.row, by_uuid.get(correction.row.uuid)
        assert correction.power_seen != PowerSeen.UNKNOWN
        if known.busy or known.lifecycle != Lifecycle.ACTIVE:
            assert correction.power_wanted is None
        if sighting is None:
            assert complete
            assert not known.building
            assert correction.power_seen == PowerSeen.MISSING
            assert NOW - missed[known.uuid] >= MISSING_AFTER
            assert correction.power_wanted is None
            continue
        assert sighting.ours
        assert sighting.power is not Power.UNKNOWN
        if known.seen_at is not None and sighting.at < known.seen_at:
            assert (correction.power_seen, correction.power_wanted) == (None, None)
        if correction.power_wanted == PowerWanted.OFF:
            assert correction.power_seen == PowerSeen.OFF
            assert sighting.cause is not Cause.GAP
        if correction.power_wanted == PowerWanted.ON:
            assert sighting.power is Power.RUNNING


@given(ROWS, SIGHTINGS, MISSED)
def test_the_same_list_twice_corrects_once(
    rows: list[Row], seen: list[Sighting], missed: dict[UUID, datetime]
) -> None:
    seen = [s if s.cause in LISTS else replace(s, cause=Cause.LIST) for s in seen]
    verdict = reconcile(rows, seen, NOW, complete=True, missed=missed)
    written = {correction.row.uuid: correction for correction in verdict.corrections}
    after = [corrected(r, written[r.uuid]) if r.uuid in written else r for r in rows]
    assert reconcile(after, seen, NOW, complete=True, missed=verdict.missed).corrections == ()


@given(ROWS, st.permutations(UUIDS))
def test_without_a_list_nothing_is_missed(rows: list[Row], order: list[UUID]) -> None:
    verdict = reconcile(rows, [], NOW, complete=False, missed=dict.fromkeys(order, NOW))
    assert (verdict.corrections, verdict.unchanged, verdict.missed) == ((), (), {})


@given(ROWS, SIGHTINGS)
def test_order_does_not_matter(rows: list[Row], seen: list[Sighting]) -> None:
    forward = reconcile(rows, seen, NOW, complete=True)
    backward = reconcile(rows[::-1], seen[::-1], NOW, complete=True)
    assert set(forward.corrections) == set(backward.corrections)
    assert set(forward.unchanged) == set(backward.unchanged)
