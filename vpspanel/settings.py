"""Settings, from the environment, with defaults that are safe on a laptop.

`VPSPANEL_ENV` is `development` (default), `test` or `production`; the last
refuses to start with anything unsafe. docs/settings.md lists every variable.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import environ
from csp.constants import NONCE, NONE, SELF
from django.core.exceptions import ImproperlyConfigured

from vpspanel import environment, logs

env = environ.Env()

BASE_DIR = Path(__file__).resolve().parent.parent
VAR_DIR = Path(env.str("VPSPANEL_VAR", str(BASE_DIR / "var"))).resolve()
VAR_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)

# --- the mode and its keys ----------------------------------------------------
try:
    MODE = environment.Mode(env.str("VPSPANEL_ENV", "development"))
except ValueError as error:
    raise ImproperlyConfigured("VPSPANEL_ENV must be development, test or production.") from error
PRODUCTION = MODE is environment.Mode.PRODUCTION
DEBUG = env.bool("DEBUG", False)
ALLOWED_HOSTS: list[str] = env.list("ALLOWED_HOSTS", default=[])
try:
    SECRET_KEY = environment.signing_key(VAR_DIR, MODE)
    SEAL_KEYS = environment.sealing_keys(VAR_DIR, MODE)
    if PRODUCTION:
        environment.refuse_unsafe_production(
            debug=DEBUG, hosts=ALLOWED_HOSTS, key=SECRET_KEY, mail=env.str("EMAIL_URL", "")
        )
except environment.Misconfigured as error:
    raise ImproperlyConfigured(str(error)) from error
SECRET_KEY_FALLBACKS: list[str] = env.list("SECRET_KEY_FALLBACKS", default=[])
if not PRODUCTION:
    ALLOWED_HOSTS += environment.machine_hosts()
CSRF_TRUSTED_ORIGINS: list[str] = env.list("CSRF_TRUSTED_ORIGINS", default=[])

# --- the panel's own ----------------------------------------------------------
# `libvirt` talks to real hosts; `fake` simulates them and every page says so.
VPSPANEL_DRIVER = env.str("VPSPANEL_DRIVER", "libvirt")
if VPSPANEL_DRIVER not in {"libvirt", "fake"}:
    raise ImproperlyConfigured("VPSPANEL_DRIVER must be libvirt or fake.")
SITE_NAME = env.str("SITE_NAME", "vpspanel")
# The path under which a proxy shows the panel, such as `/panel`; at the root of the site: None.
FORCE_SCRIPT_NAME = "/" + env.str("SITE_PATH", "").strip("/") if env.str("SITE_PATH", "") else None
CURRENCY = env.str("CURRENCY", "EUR")  # ISO 4217; what prices are in
IMAGE_DIR = Path(env.str("VPSPANEL_IMAGES", str(VAR_DIR / "images")))
# The key pair and the known host keys for hosts over SSH; the certificates for hosts over TLS
# (cacert.pem, clientcert.pem, clientkey.pem).
SSH_DIR = Path(env.str("VPSPANEL_SSH", str(VAR_DIR / "ssh")))
TLS_DIR = Path(env.str("VPSPANEL_TLS", str(VAR_DIR / "tls")))
# How long a guest has to read its first-boot data before the secrets are taken out of it.
SEED_SECRET_SECONDS = env.int("SEED_SECRET_SECONDS", 900)
RESCUE_IMAGE = env.str("RESCUE_IMAGE", "tiny")
# What `manage.py demo` enrols as the first host, and where its disks go: a
# directory that QEMU's own user can reach.
_simulated = (
    f"fake:///simulated?cpus=8&memory_mib=16384&disk_gib=200&dir={quote(f'{VAR_DIR}/fake')}"
)
LOCAL_HOST_URI = env.str(
    "VPSPANEL_HOST", "qemu:///system" if VPSPANEL_DRIVER == "libvirt" else _simulated
)
LOCAL_POOL_PATH = env.str("VPSPANEL_POOL", "/var/lib/libvirt/images/vpspanel")

# --- consoles -----------------------------------------------------------------
# Where browsers find the sockets of consoles; "" stands for `ws/console/` of this site.
CONSOLE_URL = env.str("CONSOLE_URL", "")
# Where `manage.py consoleproxy` is, such as `/ws/vnc/`; "": screens come like serial consoles.
CONSOLE_PROXY_URL = env.str("CONSOLE_PROXY_URL", "")
CONSOLE_PROXY_VIEWERS = env.int("CONSOLE_PROXY_VIEWERS", 500)  # processes at the same time
CONSOLES_PER_USER = env.int("CONSOLES_PER_USER", 20)  # in each process
CONSOLES_PER_SERVER = env.int("CONSOLES_PER_SERVER", 8)  # of each kind, in each process
# Pages that may show an embedded console in a frame, such as https://shop.example.com.
CONSOLE_FRAME_ANCESTORS = env.list("CONSOLE_FRAME_ANCESTORS", default=[])
CONSOLE_EMBED_NAME = env.str("CONSOLE_EMBED_NAME", "Console")  # what stands over such a console
CONSOLE_IDLE_SECONDS = env.int("CONSOLE_IDLE_SECONDS", 0)  # 0: an idle console stays open

# --- hosts --------------------------------------------------------------------
# After the boot of a host: how many of its servers are being started at the same time.
RESTARTS_PER_HOST = env.int("RESTARTS_PER_HOST", 3)

# --- parts --------------------------------------------------------------------
INSTALLED_APPS = [
    "vpspanel",
    "hosts",
    "vpspanel.events",
    "vpspanel.accounts",
    "vpspanel.webhooks",
    "vpspanel.actions",
    "vpspanel.servers",
    "vpspanel.consoles",
    "vpspanel.pages",
    "allauth",
    "allauth.account",
    "csp",
    "django_htmx",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "rest_framework",
]
MIDDLEWARE = [
    "vpspanel.logs.RequestIdMiddleware",
    "vpspanel.api.edge.JsonErrorsMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "vpspanel.static_files.StaticFilesMiddleware",
    "csp.middleware.CSPMiddleware",
    "vpspanel.private_pages.PrivatePagesMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "allauth.account.middleware.AccountMiddleware",
    "vpspanel.one_thread.OneThreadMiddleware",
]
ROOT_URLCONF = "vpspanel.urls"
ASGI_APPLICATION = "vpspanel.asgi.application"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
TEMPLATES: list[dict[str, Any]] = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]

# --- database -----------------------------------------------------------------
# SQLite by default. IMMEDIATE makes a writer wait its turn at BEGIN, up to
# `timeout` seconds, instead of failing at its first write.
SQLITE_OPTIONS = {
    "transaction_mode": "IMMEDIATE",
    "timeout": 20,
    "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL;",
}
DATABASES: dict[str, dict[str, Any]] = {
    "default": env.db_url("DATABASE_URL", default=f"sqlite:///{VAR_DIR / 'db.sqlite3'}")
}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["OPTIONS"] = SQLITE_OPTIONS
    DATABASES["default"]["TEST"] = {"NAME": str(VAR_DIR / "test.sqlite3")}
else:
    # Under ASGI a persistent connection per thread is never given back; the
    # pool is, and it checks a connection before handing it out.
    DATABASES["default"]["CONN_MAX_AGE"] = 0
    DATABASES["default"]["CONN_HEALTH_CHECKS"] = True
    DATABASES["default"].setdefault("OPTIONS", {})["pool"] = {
        "min_size": 1,
        "max_size": env.int("DATABASE_POOL", 8),
        "timeout": 10,
    }

# Redis is optional: it shares the cache, and with it the limits on signing in, between machines.
REDIS_URL = env.str("REDIS_URL", "")
CACHES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
}
if REDIS_URL:
    CACHES["default"] = {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_URL,
    }

# --- people -------------------------------------------------------------------
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "allauth.account.auth_backends.AuthenticationBackend",
]
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]
LOGIN_URL = "account_login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "account_login"
ACCOUNT_USER_MODEL_USERNAME_FIELD = None
ACCOUNT_LOGIN_METHODS = {"email"}
ACCOUNT_SIGNUP_FIELDS = ["email*", "password1*", "password2*"]
# Without a mail server nobody could confirm an address, so only production insists.
ACCOUNT_EMAIL_VERIFICATION = env.str(
    "EMAIL_VERIFICATION", "mandatory" if PRODUCTION else "optional"
)
ACCOUNT_EMAIL_SUBJECT_PREFIX = f"[{SITE_NAME}] "
ACCOUNT_LOGOUT_ON_GET = False
ACCOUNT_ADAPTER = "vpspanel.accounts.adapter.AccountAdapter"
ACCOUNT_SESSION_REMEMBER = None
# How many proxies stand in front and may be believed about the visitor's address.
ALLAUTH_TRUSTED_PROXY_COUNT = env.int("TRUSTED_PROXIES", 0)

# --- mail ---------------------------------------------------------------------
_mail = env.email_url("EMAIL_URL", default="consolemail://")
EMAIL_BACKEND = _mail["EMAIL_BACKEND"]
EMAIL_HOST = _mail["EMAIL_HOST"] or "localhost"
EMAIL_PORT = _mail["EMAIL_PORT"] or 25
EMAIL_HOST_USER = _mail["EMAIL_HOST_USER"] or ""
EMAIL_HOST_PASSWORD = _mail["EMAIL_HOST_PASSWORD"] or ""
EMAIL_USE_TLS = bool(_mail.get("EMAIL_USE_TLS"))
EMAIL_USE_SSL = bool(_mail.get("EMAIL_USE_SSL"))
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = env.str("DEFAULT_FROM_EMAIL", f"{SITE_NAME} <noreply@localhost>")
SERVER_EMAIL = DEFAULT_FROM_EMAIL

# --- words, time, files ---------------------------------------------------------
LANGUAGE_CODE = "en"
USE_I18N = True
USE_TZ = True
TIME_ZONE = env.str("TIME_ZONE", "UTC")
STATIC_URL = f"{FORCE_SCRIPT_NAME or ''}/static/"
STATIC_ROOT = VAR_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
# Production serves hashed and compressed copies out of STATIC_ROOT; elsewhere
# the files are read where they lie, so that an edit shows at once. Both kinds
# of URL change with the file, so a browser may keep what it has.
STORAGES: dict[str, dict[str, Any]] = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "vpspanel.static_files.VersionedStorage"},
}
if PRODUCTION:
    STORAGES["staticfiles"]["BACKEND"] = "whitenoise.storage.CompressedManifestStaticFilesStorage"
WHITENOISE_USE_FINDERS = not PRODUCTION
WHITENOISE_AUTOREFRESH = not PRODUCTION
WHITENOISE_MAX_AGE = 3600
WHITENOISE_ALLOW_ALL_ORIGINS = False

# --- what a browser may do with the pages -----------------------------------------
CONTENT_SECURITY_POLICY: dict[str, Any] = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        # The nonce is sent only by a page that asks for it: xterm.js makes its
        # own <style> elements.
        "style-src": [SELF, NONCE],
        "img-src": [SELF, "data:"],  # Tabler's CSS carries small drawings in it
        "font-src": [SELF],
        "connect-src": [SELF, *environment.origins_of(CONSOLE_URL, CONSOLE_PROXY_URL)],
        "form-action": [SELF],
        "frame-ancestors": [NONE],
        "base-uri": [NONE],
        "manifest-src": [SELF],
    }
}
X_FRAME_OPTIONS = "DENY"
SECURE_REFERRER_POLICY = "same-origin"
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_AGE = 14 * 24 * 3600
CSRF_COOKIE_SAMESITE = "Lax"
if PRODUCTION:
    SECURE_SSL_REDIRECT = True
    SECURE_REDIRECT_EXEMPT = [r"^healthz$"]  # a load balancer asks without TLS
    SECURE_HSTS_SECONDS = env.int("HSTS_SECONDS", 365 * 24 * 3600)
    SECURE_HSTS_INCLUDE_SUBDOMAINS = env.bool("HSTS_SUBDOMAINS", True)
    SECURE_HSTS_PRELOAD = env.bool("HSTS_PRELOAD", True)
    SESSION_COOKIE_SECURE = True
    SESSION_COOKIE_NAME = "__Host-session"
    CSRF_COOKIE_SECURE = True
    CSRF_COOKIE_NAME = "__Host-csrf"
    if ALLAUTH_TRUSTED_PROXY_COUNT:
        SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# --- the API --------------------------------------------------------------------------
# What a token may ask in an hour. It is refilled evenly, so that a burst costs only waiting.
API_REQUESTS_PER_HOUR = env.int("API_REQUESTS_PER_HOUR", 3600)
# Networks of our own that webhooks may reach all the same, and without TLS: for a billing system.
WEBHOOK_ALLOWED_NETWORKS = env.list("WEBHOOK_ALLOWED_NETWORKS", default=[])
# So many servers of each plan in a location are held back from what the API says is left.
STOCK_MARGIN = env.int("STOCK_MARGIN", 0)
REST_FRAMEWORK: dict[str, Any] = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["vpspanel.api.auth.BearerToken"],
    "DEFAULT_PERMISSION_CLASSES": ["vpspanel.api.auth.TokenMay"],
    "DEFAULT_PARSER_CLASSES": ["vpspanel.api.edge.Json"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "vpspanel.api.edge.AlwaysJson",
    "DEFAULT_METADATA_CLASS": None,
    "EXCEPTION_HANDLER": "vpspanel.api.errors.answer_to",
    "UNAUTHENTICATED_USER": None,
    "COMPACT_JSON": True,
    "DEFAULT_SCHEMA_CLASS": "vpspanel.api.schema.Operation",
}
SPECTACULAR_SETTINGS: dict[str, Any] = {
    "TITLE": "vpspanel",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "SCHEMA_PATH_PREFIX": "/api/v1/",
    "COMPONENT_SPLIT_REQUEST": True,
    "POSTPROCESSING_HOOKS": [],
    "ENUM_GENERATE_CHOICE_DESCRIPTION": False,
}

# --- logs -------------------------------------------------------------------------
LOGGING = logs.logging_config(
    level=env.str("LOG_LEVEL", "INFO"),
    as_json=env.str("LOG_FORMAT", "human") == "json",
    colour=sys.stderr.isatty(),
)
logs.configure_structlog()
