"""Figures of a server over time, in the names that hcloud has for them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TypedDict

from hosts.models_fleet import GuestSample
from vpspanel.api.shapes.plain import moment


class SeriesShape(TypedDict):
    """Moments (Unix seconds) and figures, which hcloud writes as text."""

    values: list[tuple[float, str]]


class MetricsShape(TypedDict):
    """What was asked for, in steps of so many seconds."""

    start: str
    end: str
    step: float
    time_series: dict[str, SeriesShape]


# kind -> hcloud's name -> our column. CPU in per cent of one CPU, the others per second.
SERIES: dict[str, dict[str, str]] = {
    "cpu": {"cpu": "cpu_percent"},
    "disk": {
        "disk.0.iops.read": "disk_read_requests",
        "disk.0.iops.write": "disk_write_requests",
        "disk.0.bandwidth.read": "disk_read_bytes",
        "disk.0.bandwidth.write": "disk_write_bytes",
    },
    "network": {
        "network.0.pps.in": "net_rx_packets",
        "network.0.pps.out": "net_tx_packets",
        "network.0.bandwidth.in": "net_rx_bytes",
        "network.0.bandwidth.out": "net_tx_bytes",
    },
}


def metrics_shape(
    kinds: Iterable[str],
    samples: Iterable[GuestSample],
    *,
    start: datetime,
    end: datetime,
    step: int,
) -> MetricsShape:
    """One series for each name; what was not measured at a moment is not in it."""
    names = {name: column for kind in kinds for name, column in SERIES[kind].items()}
    series = {name: SeriesShape(values=[]) for name in names}
    for sample in samples:
        for name, column in names.items():
            value: float | None = getattr(sample, column)
            if value is not None:
                series[name]["values"].append((sample.at.timestamp(), f"{value:.6g}"))
    return MetricsShape(start=moment(start), end=moment(end), step=float(step), time_series=series)
