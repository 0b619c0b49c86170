"""`manage.py audit`: whether the hosts hold what the records promise, and nothing else."""

from __future__ import annotations

import json
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from vpspanel.servers.audit import audit
from vpspanel.servers.audit_findings import Finding, Report


class Command(BaseCommand):
    """A dry run unless told otherwise. Exit code 1 if something is wrong, or was not looked at."""

    help = "Compare the records with themselves and with the hosts; change nothing by default."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--repair",
            action="store_true",
            help="set right what is safe: counters, and what deleted servers have left",
        )
        parser.add_argument("--json", action="store_true", help="print one JSON object")

    def handle(self, *args: Any, **options: Any) -> None:
        report = audit(repair=options["repair"])
        if options["json"]:
            self.stdout.write(json.dumps(as_data(report), indent=2))
        else:
            for line in as_lines(report):
                self.stdout.write(line)
        if not report.is_clean:
            sys.exit(1)


def as_data(report: Report) -> dict[str, Any]:
    """The report for programs."""
    return {
        "clean": report.is_clean,
        "hosts": list(report.hosts),
        "findings": [_data(finding) for finding in report.findings],
        "repaired": [_data(finding) for finding in report.repaired],
    }


def _data(finding: Finding) -> dict[str, Any]:
    return {
        "level": finding.level.value,
        "code": finding.code,
        "subject": finding.subject,
        "message": finding.message,
        "remedy": finding.remedy,
    }


def as_lines(report: Report) -> list[str]:
    """The report for people: what was repaired, what is wrong, and what it adds up to."""
    lines = [f"repaired      {f.subject}: {f.message} ({f.remedy})" for f in report.repaired]
    for finding in sorted(report.findings, key=lambda f: (f.level != "error", f.level, f.subject)):
        line = f"{finding.level:<13} {finding.subject}: {finding.message} [{finding.code}]"
        if finding.remedy:
            line += f" - --repair would {finding.remedy}"
        lines.append(line)
    lines.append(
        f"{len(report.hosts)} hosts looked at, {len(report.unseen)} parts not; "
        f"{len(report.errors)} errors, {len(report.repaired)} repaired."
    )
    return lines
