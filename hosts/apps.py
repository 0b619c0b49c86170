from pathlib import Path

from django.apps import AppConfig
from django.conf import settings

from hosts.virt import ssh, uri


class HostsConfig(AppConfig):
    name = "hosts"

    def ready(self) -> None:
        """Tell how this panel comes to hosts over SSH and TLS."""
        ssh.use(Path(settings.SSH_DIR))
        uri.use_certificates(Path(settings.TLS_DIR))
