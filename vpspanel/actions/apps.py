from django.apps import AppConfig
from django.utils.module_loading import autodiscover_modules


class ActionsConfig(AppConfig):
    name = "vpspanel.actions"
    label = "actions"

    def ready(self) -> None:
        """Load every app's commands, as the admin loads every app's admin."""
        autodiscover_modules("commands")
