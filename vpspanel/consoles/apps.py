from django.apps import AppConfig


class ConsolesConfig(AppConfig):
    name = "vpspanel.consoles"
    label = "consoles"
