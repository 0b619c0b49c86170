from django.apps import AppConfig


class PanelConfig(AppConfig):
    name = "vpspanel"
    label = "vpspanel"
