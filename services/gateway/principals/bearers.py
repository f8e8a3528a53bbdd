"""JWTs of identity providers: whom one speaks for, once everything about it has been checked.

The provider is found by `iss`, its key by `kid` in its own key set: a key that a token brings along or points to
(`jwk`, `jku`, `x5u`, `x5c`) is never looked at. The algorithm must be one that the settings allow and that belongs to
the key. `iss`, `aud`, `exp`, `iat` and `sub` must be there and be right.
"""

import base64
import binascii
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

import orjson
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry

from libs.common.policy import SYSTEM_TENANTS, Principal
from services.gateway.principals.issuers import Issuer
from services.gateway.principals.keysets import KeySet, PublicKey
from services.gateway.principals.proof import Rejected
from services.gateway.tokens import ROLES, TENANT

MAX_TEXT: Final = 8192
MAX_NAMES: Final = 200
CLEARANCES: Final = {"public": 0, "internal": 1, "confidential": 2, "restricted": 3}
_ACTOR: Final = re.compile(r"[!-~]{1,128}")
_LABEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_TENANT: Final = re.compile(TENANT)
_MFA: Final = frozenset({"mfa", "otp", "hwk", "swk", "sms", "fpt", "face"})


class _Registry(JWSRegistry):
    """Only the algorithms that an issuer is allowed; those that the library warns of are the settings' own choice.

    Headers that nobody knows are passed over, as RFC 7515 wants it.
    """

    max_header_length = 4096

    def __init__(self, allowed: Iterable[str]) -> None:
        super().__init__(algorithms=sorted(allowed), strict_check_header=False)

    def get_alg(self, name: str) -> Any:
        """The algorithm of that name, if it is allowed."""
        if self.allowed is None or name not in self.allowed or name not in self.algorithms:
            raise Rejected("jwt_algorithm")
        return self.algorithms[name]


class Bearers:
    """Every provider of the settings; `parts` keep their keys fresh."""

    def __init__(self, issuers: Iterable[Issuer], clock: Callable[[], float] = time.time) -> None:
        self._issuers = {issuer.issuer: (issuer, KeySet(issuer), _Registry(issuer.algorithms)) for issuer in issuers}
        self._clock = clock

    @property
    def parts(self) -> list[KeySet]:
        """What runs as long as the process does."""
        return [keys for _, keys, _ in self._issuers.values()]

    async def principal(self, text: str) -> tuple[Principal, float]:
        """Whom a JWT speaks for, and until when (Unix seconds).

        Raises:
            Rejected: it proves nothing.
            Unavailable: the provider's keys cannot be had.
        """
        if len(text) > MAX_TEXT:
            raise Rejected("malformed")
        head, said = (_part(part) for part in text.split(".")[:2])
        named = said.get("iss")
        issuer, keys, registry = self._issuers.get(named if isinstance(named, str) else "", (None, None, None))
        if issuer is None or keys is None or registry is None:
            raise Rejected("jwt_issuer")
        registry.get_alg(str(head.get("alg")))
        if "crit" in head:  # it says what has to be understood besides RFC 7515, and nothing else is understood here
            raise Rejected("jwt_critical")
        key_id = head.get("kid")
        if key_id is not None and not isinstance(key_id, str):
            raise Rejected("malformed")
        key = await keys.find(key_id)
        if key is None:
            raise Rejected("jwt_key")
        claims = _verified(text, key, registry, head)
        until = _check(claims, issuer, self._clock())
        return principal_of(claims, issuer), until


def _part(part: str) -> dict[str, Any]:
    """A part of a token that nobody has checked yet: good for finding the key, and for nothing else."""
    try:
        found = orjson.loads(base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True))
    except (binascii.Error, ValueError):
        found = None
    if not isinstance(found, dict):
        raise Rejected("malformed")
    return found


def _verified(text: str, key: PublicKey, registry: _Registry, head: Mapping[str, Any]) -> dict[str, Any]:
    """The claims of a token that this key has signed."""
    meant = key.get("alg") if "alg" in key.dict_value else None
    if meant is not None and meant != head.get("alg"):
        raise Rejected("jwt_algorithm")
    try:
        return dict(jwt.decode(text, key, registry=registry).claims)
    except (JoseError, ValueError, TypeError):
        raise Rejected("jwt_signature") from None


def _check(claims: Mapping[str, Any], issuer: Issuer, now: float) -> float:
    """Times, issuer and audience; returns the end of its time."""
    skew = issuer.skew_seconds
    audience = claims.get("aud")
    audiences = {audience} if isinstance(audience, str) else set(_names(audience))
    expires, issued, begins = _time(claims, "exp"), _time(claims, "iat"), _time(claims, "nbf", missing=0)
    if claims.get("iss") != issuer.issuer:
        raise Rejected("jwt_issuer")
    if not audiences & issuer.audience:
        raise Rejected("jwt_audience")
    if expires + skew <= now:
        raise Rejected("jwt_expired", "This token has expired.", fix="Sign in again.")
    if issued - skew > now or begins - skew > now:
        raise Rejected("jwt_future")
    if expires - issued > issuer.max_seconds:
        raise Rejected("jwt_lifetime", f"This token lives longer than {issuer.max_seconds} s.", fix="Ask for less.")
    return expires + skew


def _time(claims: Mapping[str, Any], name: str, missing: float | None = None) -> float:
    found = claims.get(name, missing)
    if isinstance(found, bool) or not isinstance(found, int | float) or not 0 <= found < 1 << 53:
        raise Rejected("jwt_claims")
    return float(found)


def principal_of(claims: Mapping[str, Any], issuer: Issuer) -> Principal:
    """Whom checked claims speak for. Roles that we do not give, and names that none of ours can be, are passed over.

    Raises:
        Rejected: it names nobody, or a service of ours.
    """
    where = issuer.claims
    subject, said = claims.get("sub"), _reach(claims, where.actor)
    if not isinstance(subject, str) or not subject or not isinstance(said, str):
        raise Rejected("jwt_claims")
    actor = f"{issuer.actor_prefix}{said}"
    if _ACTOR.fullmatch(actor) is None or actor.startswith(("svc_", "sender:")):
        raise Rejected("jwt_claims")
    return Principal(
        actor,
        _tenants(_names(_reach(claims, where.tenants)), issuer),
        frozenset(_names(_reach(claims, where.roles))) & ROLES,
        kind=issuer.kind,
        environments=_environments(_reach(claims, where.environments)),
        clearance=_clearance(_reach(claims, where.clearance)),
        groups=frozenset(filter(_LABEL.fullmatch, _names(_reach(claims, where.groups)))),
        method="jwt",
        scopes=frozenset(_names(_reach(claims, where.scopes))) if where.scopes else frozenset({"*"}),
        mfa=_mfa(_reach(claims, where.mfa)),
    )


def _reach(claims: Mapping[str, Any], name: str) -> Any:
    """The claim of this name, or the one at the path that it is."""
    if name in claims:
        return claims[name]
    found: Any = claims
    for part in name.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _names(found: Any) -> tuple[str, ...]:
    """A list of names, or names divided by spaces."""
    listed = found.split() if isinstance(found, str) else found if isinstance(found, list) else ()
    return tuple(name for name in listed[:MAX_NAMES] if isinstance(name, str))


def _tenants(named: tuple[str, ...], issuer: Issuer) -> frozenset[str]:
    """Tenants that the token names and that the provider may speak for; all of them only where that is written down."""
    most = issuer.tenants
    if "*" in named:
        return most if most is not None else frozenset()
    found = frozenset(filter(_TENANT.fullmatch, named))
    return found if most is None or most == SYSTEM_TENANTS else found & most


def _environments(found: Any) -> frozenset[str]:
    """All where a token does not speak of them; where it does, those that it names and no other."""
    named = _names(found)
    if found is None or named == ("*",):
        return frozenset({"*"})
    return frozenset(filter(_LABEL.fullmatch, named))


def _clearance(found: Any) -> int:
    if isinstance(found, str):
        return CLEARANCES.get(found.lower(), 0)
    return found if isinstance(found, int) and not isinstance(found, bool) and found in CLEARANCES.values() else 0


def _mfa(found: Any) -> bool:
    return found is True or bool(_MFA & set(_names(found)))
