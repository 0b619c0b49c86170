from django.apps import AppConfig


class PagesConfig(AppConfig):
    name = "vpspanel.pages"
    label = "pages"
