"""Tokens of identity providers: each way in which one can be wrong is refused, whoever signed it."""

import base64
import hmac
import time
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from libs.common.errors import Unavailable
from libs.common.policy import Principal
from services.gateway.principals import issuers, keysets
from services.gateway.principals.bearers import Bearers
from services.gateway.principals.proof import Rejected
from tests.unit.gateway import provider
from tests.unit.gateway.provider import (
    AUDIENCE,
    EC,
    ED,
    FOREIGN,
    ISSUER,
    RSA,
    SHARED,
    KeyServer,
    claims,
    encoded,
    key_set,
    signed,
)


class In(NamedTuple):
    """A moment so many seconds from when the token is made."""

    seconds: int


def bearers(*settings: dict[str, Any]) -> Bearers:
    return Bearers(issuers.read(orjson.dumps(settings).decode()))


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "jwks.json"
    path.write_bytes(key_set())
    return path


@pytest.fixture
def trusted(keys: Path) -> Bearers:
    return bearers(provider.issuer(keys))


async def ada(trusted: Bearers, token: str) -> Principal:
    return (await trusted.principal(token))[0]


async def refused(trusted: Bearers, token: str) -> str:
    with pytest.raises(Rejected) as found:
        await trusted.principal(token)
    assert token not in str(vars(found.value))
    return found.value.reason


@pytest.mark.parametrize(("key", "algorithm"), [(RSA, "RS256"), (EC, "ES256"), (ED, "EdDSA")])
async def test_a_token_with_a_good_signature_speaks_for_its_subject(trusted: Bearers, key: Any, algorithm: str) -> None:
    principal, until = await trusted.principal(signed(claims(), key, algorithm))

    assert (principal.actor, principal.tenants, principal.roles) == (
        "ada",
        frozenset({"acme"}),
        frozenset({"operator"}),
    )
    assert (principal.method, principal.kind, principal.mfa) == ("jwt", "person", False)
    assert abs(until - (time.time() + 330)) < 5


@pytest.mark.parametrize(
    ("more", "reason"),
    [
        ({"exp": In(-60)}, "jwt_expired"),
        ({"exp": In(-31), "iat": In(-90)}, "jwt_expired"),
        ({"iat": In(120), "exp": In(300)}, "jwt_future"),
        ({"nbf": In(120)}, "jwt_future"),
        ({"exp": In(2 * 86400)}, "jwt_lifetime"),
        ({"aud": "another-product"}, "jwt_audience"),
        ({"aud": ["another", "third"]}, "jwt_audience"),
        ({"aud": []}, "jwt_audience"),
        ({"aud": {"runbook-ranger": 1}}, "jwt_audience"),
        ({"iss": "https://login.elsewhere"}, "jwt_issuer"),
        ({"iss": [ISSUER]}, "jwt_issuer"),
        *(({name: None}, "jwt_claims") for name in ("exp", "iat", "sub")),
        ({"iss": None}, "jwt_issuer"),
        ({"aud": None}, "jwt_audience"),
        *(({"exp": value}, "jwt_claims") for value in ("soon", True, -1, 1 << 60, [1])),
        *(({"sub": value}, "jwt_claims") for value in ("", 7, ["ada"], "a b", "x" * 129, "svc_executor", "sender:am")),
    ],
)
async def test_what_a_token_says_must_be_there_and_right(trusted: Bearers, more: dict[str, Any], reason: str) -> None:
    now = int(time.time())
    said = {name: now + value.seconds if isinstance(value, In) else value for name, value in more.items()}

    assert await refused(trusted, signed(claims(**said))) == reason


async def test_clocks_may_differ_by_as_much_as_the_settings_say(keys: Path) -> None:
    late = signed(claims(exp=int(time.time()) - 20, iat=int(time.time()) - 100))
    early = signed(claims(iat=int(time.time()) + 20))

    for token in (late, early):
        assert (await ada(bearers(provider.issuer(keys)), token)).actor == "ada"
        with pytest.raises(Rejected):
            await bearers(provider.issuer(keys, skew_seconds=1)).principal(token)


async def test_no_signature_is_no_signature(trusted: Bearers) -> None:
    for name in ("none", "None", "NONE", "nOnE", "", "HS256", "HS512"):
        token = f"{encoded({'alg': name, 'kid': 'rsa-1'})}.{encoded(claims())}."
        assert await refused(trusted, token) == "jwt_algorithm"
    assert await refused(trusted, f"{encoded({'kid': 'rsa-1'})}.{encoded(claims())}.") == "jwt_algorithm"
    whole = signed(claims())
    assert await refused(trusted, whole.rpartition(".")[0] + ".") == "jwt_signature"


async def test_a_public_key_is_not_a_shared_secret(trusted: Bearers) -> None:
    """The classic: sign with HMAC, and the provider's public key as its secret."""
    for public in (RSA.as_pem(private=False), RSA.as_der(private=False)):
        body = f"{encoded({'alg': 'HS256', 'kid': 'rsa-1'})}.{encoded(claims())}"
        signature = base64.urlsafe_b64encode(hmac.digest(public, body.encode(), "sha256")).rstrip(b"=").decode()
        assert await refused(trusted, f"{body}.{signature}") == "jwt_algorithm"


async def test_a_key_is_used_for_its_own_algorithms_alone(trusted: Bearers) -> None:
    head, said, signature = signed(claims()).split(".")
    for algorithm, key_id in (("ES256", "rsa-1"), ("EdDSA", "rsa-1"), ("RS256", "ec-1"), ("RS256", "ed-1")):
        assert (
            await refused(trusted, f"{encoded({'alg': algorithm, 'kid': key_id})}.{said}.{signature}")
            == "jwt_signature"
        )
    assert head


async def test_an_algorithm_that_is_not_allowed_is_refused_though_the_signature_is_good(keys: Path) -> None:
    assert await refused(bearers(provider.issuer(keys)), signed(claims(), RSA, "RS512")) == "jwt_algorithm"
    only = bearers(provider.issuer(keys, algorithms=["ES256"]))
    assert await refused(only, signed(claims())) == "jwt_algorithm"
    assert (await ada(only, signed(claims(), EC, "ES256"))).actor == "ada"


async def test_a_key_that_says_its_algorithm_is_not_used_for_another(tmp_path: Path) -> None:
    path = tmp_path / "jwks.json"
    path.write_bytes(orjson.dumps({"keys": [RSA.as_dict(private=False) | {"alg": "RS512"}]}))
    found = bearers(provider.issuer(path, algorithms=["RS256", "RS512"]))

    assert await refused(found, signed(claims())) == "jwt_algorithm"
    assert (await ada(found, signed(claims(), RSA, "RS512"))).actor == "ada"


async def test_another_key_under_the_same_name_does_not_sign(trusted: Bearers) -> None:
    assert await refused(trusted, signed(claims(), FOREIGN)) == "jwt_signature"


async def test_a_key_that_a_token_brings_along_or_points_to_is_never_looked_at(trusted: Bearers) -> None:
    async with KeyServer(key_set(FOREIGN)).served() as elsewhere:
        for more in (
            {"jwk": FOREIGN.as_dict(private=False)},
            {"jku": elsewhere.url},
            {"x5u": elsewhere.url},
            {"jwk": FOREIGN.as_dict(private=False), "jku": elsewhere.url, "kid": None},
        ):
            reason = await refused(trusted, signed(claims(), FOREIGN, **more))
            assert reason in {"jwt_signature", "jwt_key"}
        assert elsewhere.asked == 0
    good = signed(claims(), RSA, jku="https://elsewhere.example/keys", jwk=FOREIGN.as_dict(private=False))
    assert (await ada(trusted, good)).actor == "ada"


async def test_an_extension_that_must_be_understood_and_is_not_is_refused(trusted: Bearers) -> None:
    for more in ({"exp": 1, "crit": ["exp"]}, {"b64": False, "crit": ["b64"]}, {"crit": []}, {"crit": "kid"}):
        body = f"{encoded({'alg': 'RS256', 'kid': 'rsa-1', **more})}.{encoded(claims())}"
        signature = RSA.private_key.sign(body.encode(), padding.PKCS1v15(), hashes.SHA256())
        token = f"{body}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
        assert await refused(trusted, token) == "jwt_critical"


async def test_a_changed_token_is_not_the_signed_one(trusted: Bearers) -> None:
    head, _, signature = signed(claims()).split(".")

    assert await refused(trusted, f"{head}.{encoded(claims(roles=['admin']))}.{signature}") == "jwt_signature"


@pytest.mark.parametrize("text", ["..", "a.b.c", "e30.e30.", "!.!.!", f"{encoded([])}.{encoded({})}.x", "." * 8190])
async def test_what_is_no_token_is_refused(trusted: Bearers, text: str) -> None:
    assert await refused(trusted, text) in {"malformed", "jwt_issuer"}


async def test_a_token_without_a_key_id_is_good_where_there_is_one_key(tmp_path: Path, trusted: Bearers) -> None:
    path = tmp_path / "one.json"
    path.write_bytes(key_set(RSA))

    assert (await ada(bearers(provider.issuer(path)), signed(claims(), RSA, kid=None))).actor == "ada"
    assert await refused(trusted, signed(claims(), RSA, kid=None)) == "jwt_key"
    assert await refused(trusted, f"{encoded({'alg': 'RS256', 'kid': 7})}.{encoded(claims())}.x") == "malformed"


async def test_claims_are_found_where_the_settings_say_and_give_no_more_than_they_may(keys: Path) -> None:
    where = {"roles": "realm_access.roles", "tenants": "https://example.com/tenants", "actor": "email", "scopes": "scp"}
    found = bearers(provider.issuer(keys, claims=where, actor_prefix="corp:"))
    said = claims(
        roles=["viewer"],
        realm_access={"roles": ["admin", "system", "break_glass", "wizard", 7]},
        email="ada@example.com",
        scp="incident.* token.view",
        **{"https://example.com/tenants": "acme globex a/b"},
        environments=["prod", "!"],
        clearance="confidential",
        groups=["storage", 7],
        amr=["pwd", "otp"],
    )

    principal = await ada(found, signed(said))

    assert principal == Principal(
        "corp:ada@example.com",
        frozenset({"acme", "globex"}),
        frozenset({"admin"}),
        environments=frozenset({"prod"}),
        clearance=2,
        groups=frozenset({"storage"}),
        method="jwt",
        scopes=frozenset({"incident.*", "token.view"}),
        mfa=True,
    )


@pytest.mark.parametrize(
    ("environments", "given"),
    [
        (None, {"*"}),
        (["*"], {"*"}),
        ([], set()),
        (["*", "prod"], {"prod"}),
        (["!"], set()),
        ("prod", {"prod"}),
        (7, set()),
    ],
)
async def test_environments_that_cannot_be_read_are_none_and_not_all(
    trusted: Bearers, environments: Any, given: set[str]
) -> None:
    assert (await ada(trusted, signed(claims(environments=environments)))).environments == given


@pytest.mark.parametrize("clearance", [True, 4, -1, "cosmic", None, [3], 1.5])
async def test_a_clearance_that_cannot_be_read_is_the_lowest(trusted: Bearers, clearance: Any) -> None:
    assert (await ada(trusted, signed(claims(clearance=clearance)))).clearance == 0


async def test_all_tenants_are_given_only_where_that_is_written_down(keys: Path) -> None:
    token, several = signed(claims(tenants=["*"])), signed(claims(tenants=["acme", "globex"]))

    assert (await ada(bearers(provider.issuer(keys)), token)).tenants == frozenset()
    assert (await ada(bearers(provider.issuer(keys, tenants=["acme"])), token)).tenants == frozenset({"acme"})
    assert (await ada(bearers(provider.issuer(keys, tenants=["*"])), token)).tenants == frozenset({"*"})
    assert (await ada(bearers(provider.issuer(keys, tenants=["acme"])), several)).tenants == frozenset({"acme"})
    assert (await ada(bearers(provider.issuer(keys, tenants=["*"])), several)).tenants == frozenset({"acme", "globex"})


async def test_each_of_several_providers_vouches_for_its_own(tmp_path: Path, keys: Path) -> None:
    other = tmp_path / "other.json"
    other.write_bytes(key_set(FOREIGN))
    second = provider.issuer(other, issuer="https://second.example", actor_prefix="second:")
    both = bearers(provider.issuer(keys), second)

    assert (await ada(both, signed(claims()))).actor == "ada"
    assert (await ada(both, signed(claims(iss="https://second.example"), FOREIGN))).actor == "second:ada"
    assert await refused(both, signed(claims(iss="https://second.example"))) == "jwt_signature"
    assert await refused(both, signed(claims(), FOREIGN)) == "jwt_signature"


async def test_an_unknown_key_is_asked_for_at_most_once_in_half_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    at = 1000.0
    monkeypatch.setattr(keysets.KeySet.__init__, "__defaults__", (lambda: at,))
    async with KeyServer(key_set(RSA)).served() as served:
        found = bearers(provider.issuer(served.url))
        assert (await ada(found, signed(claims()))).actor == "ada"
        assert served.asked == 1

        for number in range(20):
            assert await refused(found, signed(claims(), EC, "ES256", kid=f"made-up-{number}")) == "jwt_key"
        assert served.asked == 1

        served.answer, at = key_set(RSA, EC), at + 31
        assert (await ada(found, signed(claims(), EC, "ES256"))).actor == "ada"
        assert served.asked == 2


async def test_a_provider_that_is_away_is_believed_for_an_hour_and_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    at = 1000.0
    monkeypatch.setattr(keysets.KeySet.__init__, "__defaults__", (lambda: at,))
    async with KeyServer(key_set(RSA)).served() as served:
        found = bearers(provider.issuer(served.url))
        assert (await ada(found, signed(claims()))).actor == "ada"
        served.status, at = "500 Broken", at + 3599
        assert (await ada(found, signed(claims()))).actor == "ada"
        at += 2
        with pytest.raises(Unavailable):
            await ada(found, signed(claims()))
        served.status, at = "200 OK", at + 31
        assert (await ada(found, signed(claims()))).actor == "ada"


@pytest.mark.parametrize("how", ["huge", "redirect", "error", "no json", "private only", "empty"])
async def test_a_key_set_that_is_not_one_gives_no_keys(how: str) -> None:
    async with KeyServer(key_set(RSA)).served() as good, KeyServer(key_set(RSA)).served() as served:
        match how:
            case "huge":
                served.answer = b" " * (keysets.MAX_BYTES + 1) + served.answer
            case "redirect":
                served.status, served.location = "302 Found", good.url
            case "error":
                served.status = "404 Not Found"
            case "no json":
                served.answer = b"<html>"
            case "private only":
                served.answer = orjson.dumps({"keys": [SHARED.as_dict(private=True)]})
            case _:
                served.answer = b'{"keys": []}'

        with pytest.raises(Unavailable):
            await ada(bearers(provider.issuer(served.url)), signed(claims()))
        assert good.asked == 0


async def test_a_provider_that_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keysets, "FETCH_SECONDS", 0.2)
    async with KeyServer(b"").served() as served:
        served.silent = True
        with pytest.raises(Unavailable):
            await ada(bearers(provider.issuer(served.url)), signed(claims()))


def test_only_public_keys_for_signatures_are_taken_from_a_set() -> None:
    small = rsa.generate_private_key(65537, 1024)  # noqa: S505 -- too small on purpose
    numbers = small.public_key().public_numbers()
    modulus = base64.urlsafe_b64encode(numbers.n.to_bytes(128)).rstrip(b"=").decode()
    listed = [
        SHARED.as_dict(private=True),
        RSA.as_dict(private=True) | {"kid": "leaked"},
        EC.as_dict(private=False) | {"use": "enc"},
        {"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"},
        {"kid": "no kind"},
        {"kty": "RSA", "kid": "small", "n": modulus, "e": "AQAB"},
        "nonsense",
        ED.as_dict(private=False),
    ]

    found = keysets.parsed(orjson.dumps({"keys": listed}))

    assert set(found) == {"leaked", "ed-1"}
    assert not found["leaked"].is_private


@pytest.mark.parametrize(
    "more",
    [
        {"algorithms": ["none"]},
        {"algorithms": ["HS256"]},
        {"algorithms": []},
        {"audience": []},
        {"jwks_url": "http://login.example/keys"},
        {"jwks_url": "file:///etc/passwd"},
        {"jwks_url": "https://"},
        {"jwks_url": ""},
        {"jwks_file": "/also/this"},
        {"skew_seconds": 3600},
        {"max_seconds": 10**9},
        {"unknown": 1},
    ],
)
def test_settings_that_cannot_be_meant_end_the_start(more: dict[str, Any]) -> None:
    with pytest.raises(SystemExit, match="RR_JWT_ISSUERS"):
        bearers({"issuer": ISSUER, "audience": [AUDIENCE], "jwks_url": "https://login.example/keys", **more})


@pytest.mark.parametrize("text", ["{", "{}", '"x"', "[1]"])
def test_settings_that_are_no_list_of_providers_end_the_start(text: str) -> None:
    with pytest.raises(SystemExit, match="RR_JWT_ISSUERS"):
        issuers.read(text)


def test_a_provider_is_named_once() -> None:
    one = {"issuer": ISSUER, "audience": [AUDIENCE], "jwks_url": "https://login.example/keys"}
    with pytest.raises(SystemExit, match="twice"):
        bearers(one, one)
