"""The end of every test that touches hosts: the audit finds nothing.

In a test file: `from tests.audit import clean_audit` and
`pytestmark = pytest.mark.usefixtures("clean_audit")`, or an argument of that name.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from vpspanel.servers.audit import audit
from vpspanel.servers.audit_findings import Report

__all__ = ["assert_clean", "clean_audit"]


def assert_clean() -> Report:
    """Run the audit; fails with every finding unless it is clean. Returns the report."""
    report = audit()
    wrong = [*report.errors, *report.unseen]
    if wrong:
        lines = [f"{finding.code}: {finding.subject}: {finding.message}" for finding in wrong]
        pytest.fail("the audit found:\n" + "\n".join(lines), pytrace=False)
    return report


@pytest.fixture
def clean_audit(transactional_db: None) -> Iterator[None]:
    """After the test: every host answers, and no invariant is broken."""
    yield
    assert_clean()
