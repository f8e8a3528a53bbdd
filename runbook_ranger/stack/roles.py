"""Who connects to the database, and with which URL. Light on purpose: the supervisor needs nothing else of it."""

import hashlib
import hmac
from urllib.parse import quote, unquote, urlsplit

MAINTENANCE = "postgres"
DEFAULT = "ranger"


def role_of(service: str) -> str:
    """The role that a service connects with."""
    return f"rr_{service}"


def role_password(secret: str, role: str) -> str:
    """The password of a role, derived, so that one secret is all that an installation keeps."""
    return hmac.new(secret.encode(), role.encode(), hashlib.sha256).hexdigest()[:32]


def database_of(url: str) -> str:
    """The database that a URL names."""
    return unquote(urlsplit(url).path.lstrip("/")) or DEFAULT


def with_database(url: str, database: str) -> str:
    """The same server and user, another database."""
    return urlsplit(url)._replace(path=f"/{quote(database)}").geturl()


def service_url(admin_url: str, service: str, secret: str) -> str:
    """The URL of a service's own role on the server that an administrator's URL names."""
    parts = urlsplit(admin_url)
    role = role_of(service)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{role}:{role_password(secret, role)}@{host}").geturl()
