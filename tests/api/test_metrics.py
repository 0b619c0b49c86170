"""A server's figures through the API."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import quote

import pytest
from django.utils import timezone

from hosts.figures import FIVE_MINUTES, MINUTE, beginning
from hosts.models_fleet import GuestSample
from tests.api.asking import Api
from tests.world import World

NOW = beginning(timezone.now(), FIVE_MINUTES)


@pytest.fixture
def path(world: World) -> str:
    """Of a server with ten minutes of figures, and older ones."""
    server = world.running("web")
    GuestSample.objects.bulk_create(
        GuestSample(
            owner=server.uuid,
            step=MINUTE,
            at=NOW - timedelta(minutes=minute),
            cpu_percent=10.0 * minute,
            disk_read_bytes=4096.0,
            net_rx_packets=None if minute == 3 else 1.5,
        )
        for minute in range(1, 11)
    )
    old = NOW - timedelta(days=4)
    GuestSample.objects.create(owner=server.uuid, step=FIVE_MINUTES, at=old, cpu_percent=1.0)
    return f"/servers/{server.pk}/metrics"


def asked(begins: timedelta, ends: timedelta = timedelta(), **more: str) -> str:
    """The parameters."""
    moments = {"start": (NOW - begins).isoformat(), "end": (NOW - ends).isoformat()}
    return "?" + "&".join(f"{name}={quote(value)}" for name, value in {**moments, **more}.items())


def test_series_have_the_names_that_clients_know(path: str, api: Api) -> None:
    metrics = api.get(path + asked(timedelta(minutes=10), type="cpu,disk,network"))["metrics"]
    series = metrics["time_series"]
    assert metrics["step"] == 60
    assert set(series) == {
        "cpu",
        *(f"disk.0.{what}.{way}" for what in ("iops", "bandwidth") for way in ("read", "write")),
        *(f"network.0.{what}.{way}" for what in ("pps", "bandwidth") for way in ("in", "out")),
    }
    cpu = series["cpu"]["values"]
    assert [value for _, value in cpu] == [str(10 * minute) for minute in range(10, 0, -1)]
    assert cpu[0][0] == (NOW - timedelta(minutes=10)).timestamp()
    assert series["disk.0.bandwidth.read"]["values"][0][1] == "4096"
    assert len(series["network.0.pps.in"]["values"]) == 9
    assert series["disk.0.iops.write"]["values"] == []


def test_the_step_reaches_back_and_is_not_finer_than_asked(path: str, api: Api) -> None:
    day = timedelta(days=1)
    assert api.get(path + asked(4 * day, 3 * day, type="cpu"))["metrics"]["step"] == 300
    assert api.get(path + asked(day / 24, type="cpu", step="100"))["metrics"]["step"] == 300
    assert api.get(path + asked(20 * day, type="cpu"))["metrics"]["step"] == 3600


@pytest.mark.parametrize(
    "more",
    [
        {"type": "load"},
        {"type": ""},
        {"type": "cpu", "start": "yesterday"},
        {"type": "cpu", "end": "2026-02-31T00:00:00Z"},
        {"type": "cpu", "end": "2020-01-01T00:00:00Z"},
        {"type": "cpu", "start": "2020-01-01T00:00:00Z"},
        {"type": "cpu", "step": "0"},
    ],
)
def test_what_is_wrong_is_refused(path: str, api: Api, more: dict[str, str]) -> None:
    asked_for = path + asked(timedelta(hours=1), timedelta(), **more)
    assert api.refused("GET", asked_for) == (422, "invalid_input")
