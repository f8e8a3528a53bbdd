"""Whom a token speaks for, and which token maps are refused before anything is served."""

import hashlib
from pathlib import Path
from typing import Any

import orjson
import pytest

from libs.common.errors import Denied, InvalidInput, Unauthenticated
from services.gateway.identity import Identity, identify
from services.gateway.principals.door import Doorkeeper, Headers
from services.gateway.principals.proof import Proof
from services.gateway.tokens import ROLES, Tokens

TOKEN = "a-token-of-thirty-two-characters"
OTHER = "b-token-of-thirty-two-characters"
HOLDER: dict[str, Any] = {"actor": "olga", "tenants": ["acme"], "roles": ["operator"]}


def tokens(monkeypatch: pytest.MonkeyPatch, **entries: Any) -> Tokens:
    monkeypatch.delenv("RR_TOKENS_FILE", raising=False)
    monkeypatch.setenv("RR_TOKENS", orjson.dumps(entries).decode())
    return Tokens.read()


async def who(sent: Headers, known: Tokens, *, default_tenant: str) -> Identity:
    """Whom a request with these headers is from."""
    proof = await Doorkeeper(known).admit(sent, method="GET", path=b"/incidents")
    assert isinstance(proof, Proof)
    return identify(sent, proof, default_tenant=default_tenant)


def headers(**named: str) -> list[tuple[bytes, bytes]]:
    return [(name.replace("_", "-").lower().encode(), value.encode("latin-1")) for name, value in named.items()]


def test_a_known_token_names_its_holder_and_nothing_else_does(monkeypatch: pytest.MonkeyPatch) -> None:
    known = tokens(monkeypatch, **{TOKEN: HOLDER, OTHER: HOLDER | {"actor": "tim"}})

    found = known.principal(TOKEN)
    assert found is not None
    assert (found.actor, found.tenants, found.roles) == ("olga", frozenset({"acme"}), frozenset({"operator"}))
    for guess in ("", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), f" {TOKEN}", "\udcff"):
        assert known.principal(guess) is None


def test_no_token_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    known = tokens(monkeypatch, **{TOKEN: HOLDER})

    assert TOKEN not in repr(vars(known))


def test_a_token_may_be_named_by_its_hash_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()

    known = tokens(monkeypatch, **{f"sha256:{digest}": HOLDER})

    assert known.principal(TOKEN) is not None
    assert known.principal(f"sha256:{digest}") is None


def test_an_entry_says_as_much_of_its_holder_as_policy_asks_for(monkeypatch: pytest.MonkeyPatch) -> None:
    more = {"environments": ["prod"], "clearance": 2, "groups": ["storage"], "scopes": ["incident.*"]}

    found = tokens(monkeypatch, **{TOKEN: HOLDER | more}).principal(TOKEN)

    assert found is not None
    assert (found.environments, found.clearance, found.groups, found.scopes) == (
        frozenset({"prod"}),
        2,
        frozenset({"storage"}),
        frozenset({"incident.*"}),
    )


def test_a_file_adds_to_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    file.write_bytes(orjson.dumps({OTHER: HOLDER | {"actor": "tim"}}))
    monkeypatch.setenv("RR_TOKENS", orjson.dumps({TOKEN: HOLDER}).decode())
    monkeypatch.setenv("RR_TOKENS_FILE", str(file))

    known = Tokens.read()

    assert [known.principal(token) is not None for token in (TOKEN, OTHER)] == [True, True]


@pytest.mark.parametrize(
    ("token", "holder"),
    [
        ("short", HOLDER),
        ("a token with spaces in it", HOLDER),
        ("x" * 513, HOLDER),
        ("ein-schlüssel-mit-umlauten", HOLDER),
        (TOKEN, "olga"),
        (TOKEN, HOLDER | {"tenants": []}),
        (TOKEN, HOLDER | {"tenants": ["a b"]}),
        (TOKEN, HOLDER | {"tenants": ["*", "acme"]}),
        (TOKEN, HOLDER | {"roles": []}),
        (TOKEN, HOLDER | {"roles": ["system"]}),
        (TOKEN, HOLDER | {"roles": ["wizard"]}),
        (TOKEN, HOLDER | {"actor": "two\nlines"}),
        (TOKEN, HOLDER | {"roles": ["break_glass"]}),
        (TOKEN, HOLDER | {"user": "root"}),
        (TOKEN, HOLDER | {"clearance": 4}),
        (TOKEN, HOLDER | {"environments": ["*", "prod"]}),
        (TOKEN, HOLDER | {"scopes": ["everything please"]}),
        ("sha256:" + "z" * 64, HOLDER),
        ("sha256:abcdef0123456789", HOLDER),
    ],
)
def test_a_malformed_entry_ends_the_start_and_never_says_the_token(
    monkeypatch: pytest.MonkeyPatch, token: str, holder: Any
) -> None:
    with pytest.raises(SystemExit) as refused:
        tokens(monkeypatch, **{OTHER: HOLDER, token: holder})

    assert "token 2" in str(refused.value)
    assert token not in str(refused.value)


@pytest.mark.parametrize("content", [None, b"", b"[]", b"{"])
def test_a_token_file_that_cannot_be_used_ends_the_start(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    file = tmp_path / "tokens.json"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("RR_TOKENS_FILE", str(file))

    with pytest.raises(SystemExit, match="RR_TOKENS_FILE"):
        Tokens.read()


def test_no_token_is_a_service() -> None:
    assert "system" not in ROLES
    assert {"admin", "operator", "viewer", "alerting"} <= ROLES


async def test_a_token_of_one_tenant_needs_no_header(monkeypatch: pytest.MonkeyPatch) -> None:
    known = tokens(monkeypatch, **{TOKEN: HOLDER})

    found = await who(headers(Authorization=f"Bearer {TOKEN}"), known, default_tenant="default")

    assert (found.tenant, found.principal.actor) == ("acme", "olga")
    with pytest.raises(Denied):
        await who(headers(Authorization=f"Bearer {TOKEN}", Rr_Tenant="default"), known, default_tenant="default")


async def test_a_token_for_all_acts_in_the_default_tenant_or_in_the_one_it_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    known = tokens(monkeypatch, **{TOKEN: HOLDER | {"tenants": ["*"]}})

    async def tenant(**named: str) -> str:
        return (await who(headers(Authorization=f"Bearer {TOKEN}", **named), known, default_tenant="home")).tenant

    assert await tenant() == "home"
    assert await tenant(Rr_Tenant="acme") == "acme"
    for name in ("*", "", "a b", "-x", "x" * 65, "a,b"):
        with pytest.raises(Denied):
            await tenant(Rr_Tenant=name)


async def test_headers_that_come_twice_are_never_chosen_from(monkeypatch: pytest.MonkeyPatch) -> None:
    known = tokens(monkeypatch, **{TOKEN: HOLDER | {"tenants": ["acme", "globex"]}})
    once = headers(Authorization=f"Bearer {TOKEN}", Rr_Tenant="acme", Idempotency_Key="k")

    assert (await who(once, known, default_tenant="d")).request_key == "k"
    for name, value, refusal in (
        (b"authorization", f"Bearer {TOKEN}".encode(), Unauthenticated),
        (b"rr-tenant", b"acme", Denied),
        (b"idempotency-key", b"k", InvalidInput),
    ):
        with pytest.raises(refusal):
            await who([*once, (name, value)], known, default_tenant="d")
