"""A real host over TLS: the site's certificates open it, anybody else's are refused."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from hosts.probing import Outcome, Plan, look_over
from hosts.virt.errors import HostUnreachable, WrongHost
from hosts.virt.libvirt import LibvirtDriver
from hosts.virt.registry import close_all
from tests.lab import Lab, LabHost

pytestmark = pytest.mark.lab

DAY = timedelta(days=1)


@dataclass
class Authority:
    """A certificate authority for one test."""

    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    @classmethod
    def new(cls) -> Authority:
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Test CA")])
        ca = x509.BasicConstraints(ca=True, path_length=None)
        built = _builder(name, name, key).add_extension(ca, critical=True)
        return cls(key, built.sign(key, hashes.SHA256()))

    def issue(self, directory: Path, name: str, whose: str, address: str = "") -> Path:
        """`name`cert.pem and `name`key.pem in `directory`, beside cacert.pem."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, whose)])
        builder = _builder(subject, self.certificate.subject, key)
        if address:
            place = x509.IPAddress(ipaddress.ip_address(address))
            builder = builder.add_extension(x509.SubjectAlternativeName([place]), critical=False)
        made = builder.sign(self.key, hashes.SHA256())
        directory.mkdir(exist_ok=True)
        (directory / "cacert.pem").write_bytes(_pem(self.certificate))
        (directory / f"{name}cert.pem").write_bytes(_pem(made))
        (directory / f"{name}key.pem").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return directory


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey
) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - DAY)
        .not_valid_after(now + DAY)
    )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


@dataclass
class TlsHost:
    """A lab host whose libvirtd listens for TLS as well."""

    host: LabHost
    authority: Authority

    def uri(self, certificates: Path) -> str:
        """Its address for who holds these."""
        return f"qemu+tls://{self.host.address}/system?pkipath={certificates}"


@pytest.fixture
def tls(lab: Lab, tmp_path: Path) -> Iterator[TlsHost]:
    host, authority = lab.hosts[1], Authority.new()
    directory = host.kvm.dir / "etc" / "tls"
    authority.issue(directory, "server", host.name, host.address)
    conf = host.kvm.dir / "etc" / "libvirtd.conf"
    before = conf.read_text()
    lines = (
        f'ca_file = "{directory}/cacert.pem"',
        f'cert_file = "{directory}/servercert.pem"',
        f'key_file = "{directory}/serverkey.pem"',
    )
    host.kvm.kill_libvirtd()
    conf.write_text(before + "\n".join(lines) + "\n")
    host.kvm.exec("libvirtd", "--listen", "-d", "-p", "/run/libvirt/libvirtd.pid")
    yield TlsHost(host, authority)
    close_all()
    host.kvm.kill_libvirtd()
    conf.write_text(before)
    host.kvm.restart_libvirtd()


@pytest.mark.django_db
def test_the_sites_certificates_open_the_host(tls: TlsHost, tmp_path: Path) -> None:
    mine = tls.authority.issue(tmp_path / "mine", "client", "panel")
    plan = Plan("new", tls.uri(mine), "vpspanel", bridge="br0")
    steps = {step.title: step for step in look_over(plan)}
    assert "Clock" in steps, steps
    assert Outcome.MISSING not in {step.outcome for step in steps.values()}
    assert steps["Clock"].found == "cannot be told over TLS"


def test_a_host_with_a_foreign_certificate_is_refused(tls: TlsHost, tmp_path: Path) -> None:
    """CHECKS 45"""
    elsewhere = Authority.new().issue(tmp_path / "elsewhere", "client", "panel")
    driver = LibvirtDriver(tls.uri(elsewhere))
    with pytest.raises(WrongHost):
        driver.probe()
    driver.close()


def test_a_certificate_of_another_host_is_refused(tls: TlsHost, tmp_path: Path) -> None:
    """CHECKS 45: the same authority, but another machine's address."""
    directory = tls.host.kvm.dir / "etc" / "tls"
    tls.authority.issue(directory, "server", "other", "192.0.2.1")
    tls.host.kvm.kill_libvirtd()
    tls.host.kvm.exec("libvirtd", "--listen", "-d", "-p", "/run/libvirt/libvirtd.pid")
    mine = tls.authority.issue(tmp_path / "mine", "client", "panel")
    driver = LibvirtDriver(tls.uri(mine))
    with pytest.raises(WrongHost):
        driver.probe()
    driver.close()


def test_who_has_no_certificate_of_the_site_is_not_let_in(tls: TlsHost, tmp_path: Path) -> None:
    stranger = Authority.new().issue(tmp_path / "stranger", "client", "stranger")
    (stranger / "cacert.pem").write_bytes(_pem(tls.authority.certificate))
    driver = LibvirtDriver(tls.uri(stranger))
    with pytest.raises(HostUnreachable):
        driver.probe()
    driver.close()
