"""What a sender's signature, password or token proves: that sender and its tenant, and nothing where a bit is off."""

import base64
import hashlib
import hmac
import time
from pathlib import Path

import orjson
import pytest

from services.gateway.principals.door import Doorkeeper, Headers
from services.gateway.principals.proof import Proof, Rejected
from services.gateway.principals.senders import SKEW_SECONDS, Claim, Senders
from services.gateway.tokens import Tokens

OLD = "canary-hmac-0123456789abcdef0123456789"
NEW = "canary-hmac-fedcba9876543210fedcba9876"
PASSWORD = "canary-password-00112233445566778899"
TOKEN = "canary-sendertoken-99887766554433221100"
BODY = b'{"name": "slow"}'
SENDERS = {
    "pager": {"tenant": "acme", "method": "hmac", "secrets": [OLD, NEW]},
    "am-acme": {"tenant": "acme", "method": "basic", "secrets": [PASSWORD]},
    "am-globex": {
        "tenant": "globex",
        "method": "bearer",
        "secrets": ["sha256:" + hashlib.sha256(TOKEN.encode()).hexdigest()],
    },
}


@pytest.fixture
def door(tmp_path: Path) -> Doorkeeper:
    path = tmp_path / "webhooks.json"
    path.write_bytes(orjson.dumps({"senders": SENDERS}))
    return Doorkeeper(Tokens([]), senders=Senders(str(path)))


def sign(secret: str, stamp: int | str, body: bytes = BODY) -> str:
    return "v1=" + hmac.digest(secret.encode(), f"v1:{stamp}:".encode() + body, "sha256").hex()


def signed(
    secret: str = OLD, *, at: int | str | None = None, sender: str = "pager", signature: str = ""
) -> list[tuple[bytes, bytes]]:
    stamp = int(time.time()) if at is None else at
    named = {"rr-sender": sender, "rr-timestamp": str(stamp), "rr-signature": signature or sign(secret, stamp)}
    return [(name.encode(), value.encode("latin-1")) for name, value in named.items()]


async def proven(door: Doorkeeper, headers: Headers, body: bytes = BODY, path: bytes = b"/webhooks/events") -> Proof:
    shown = await door.admit(headers, method="POST", path=path)
    return shown.prove(body)[0] if isinstance(shown, Claim) else shown


def basic(name: str, password: str) -> list[tuple[bytes, bytes]]:
    return [(b"authorization", b"Basic " + base64.b64encode(f"{name}:{password}".encode()))]


@pytest.mark.parametrize("secret", [OLD, NEW])
async def test_either_live_secret_signs_for_the_senders_tenant(door: Doorkeeper, secret: str) -> None:
    principal = (await proven(door, signed(secret))).principal

    assert (principal.actor, principal.tenants, principal.roles) == (
        "sender:pager",
        frozenset({"acme"}),
        frozenset({"alerting"}),
    )
    assert (principal.kind, principal.method, principal.scopes) == ("sender", "webhook", frozenset({"alert.post"}))


async def test_a_password_or_a_token_belongs_to_one_sender(door: Doorkeeper) -> None:
    by_password = await proven(door, basic("am-acme", PASSWORD))
    by_token = await proven(door, [(b"authorization", f"Bearer {TOKEN}".encode())], path=b"/webhooks/alertmanager")

    assert (by_password.principal.actor, by_password.principal.tenants) == ("sender:am-acme", frozenset({"acme"}))
    assert (by_token.principal.actor, by_token.principal.tenants) == ("sender:am-globex", frozenset({"globex"}))


async def test_everything_that_is_signed_counts(door: Doorkeeper) -> None:
    now = int(time.time())
    good = sign(OLD, now)
    wrong = [
        (signed(), BODY + b" "),
        (signed(), b""),
        (signed("another-secret-of-thirty-two-characters"), BODY),
        (signed(at=now, signature=sign(OLD, now + 1)), BODY),
        (signed(at=now, signature="v1=" + hmac.digest(OLD.encode(), BODY, "sha256").hex()), BODY),
        (signed(at=now, signature=good[:-1] + ("0" if good[-1] != "0" else "1")), BODY),
        (signed(sender="nobody"), BODY),
        (signed(sender="am-acme"), BODY),
        (signed(PASSWORD, sender="am-acme"), BODY),
        (signed("", sender="nobody"), BODY),
    ]
    said = set()

    for headers, body in wrong:
        with pytest.raises(Rejected) as refused:
            await proven(door, headers, body)
        said.add((refused.value.detail, refused.value.fix, refused.value.reason))

    assert len(said) == 1


@pytest.mark.parametrize("off", [-SKEW_SECONDS - 2, SKEW_SECONDS + 2, -86400, 86400])
async def test_a_signature_is_good_for_five_minutes(door: Doorkeeper, off: int) -> None:
    with pytest.raises(Rejected) as refused:
        await proven(door, signed(at=int(time.time()) + off))

    assert refused.value.reason == "stale"


@pytest.mark.parametrize("stamp", ["", "now", "-1", "0", "1e9", " 1", "1 ", "01", "9" * 13, "1.5", "\xb2"])
async def test_a_time_is_written_in_one_way(door: Doorkeeper, stamp: str) -> None:
    with pytest.raises(Rejected):
        await proven(door, signed(at=stamp, signature=sign(OLD, "1")))


@pytest.mark.parametrize(
    "signature",
    [
        "x",
        "v1=",
        *(f"{mark}={digit * 64}" for mark, digit in (("v2", "0"), ("V1", "0"), ("v1", "G"))),
        f"v1={'0' * 63}",
    ],
)
async def test_a_signature_is_written_in_one_way(door: Doorkeeper, signature: str) -> None:
    with pytest.raises(Rejected):
        await proven(door, signed(signature=signature))


async def test_headers_are_all_there_and_once(door: Doorkeeper) -> None:
    whole = signed()
    for headers in (*(whole[:n] + whole[n + 1 :] for n in range(3)), *([*whole, whole[n]] for n in range(3))):
        with pytest.raises(Rejected):
            await proven(door, headers)


async def test_two_credentials_are_none(door: Doorkeeper) -> None:
    for other in (basic("am-acme", PASSWORD), [(b"authorization", f"Bearer {TOKEN}".encode())]):
        with pytest.raises(Rejected):
            await proven(door, [*signed(), *other])


@pytest.mark.parametrize(
    "path",
    [b"/webhooks/events/", b"/webhooks/events.json", b"//webhooks/events", b"/webhooks/senders", b"/tokens", b"/"],
)
async def test_senders_are_let_in_at_the_paths_for_alerts_alone(door: Doorkeeper, path: bytes) -> None:
    for headers in (signed(), basic("am-acme", PASSWORD), [(b"authorization", f"Bearer {TOKEN}".encode())]):
        with pytest.raises(Rejected):
            await proven(door, headers, path=path)
        with pytest.raises(Rejected):
            await door.admit(headers, method="GET", path=b"/webhooks/events")


@pytest.mark.parametrize(
    ("name", "password"),
    [("am-acme", PASSWORD[:-1]), ("am-acme", ""), ("nobody", PASSWORD), ("pager", OLD), ("am-globex", TOKEN), ("", "")],
)
async def test_a_wrong_name_or_password_is_told_apart_by_nobody(door: Doorkeeper, name: str, password: str) -> None:
    with pytest.raises(Rejected) as refused:
        await proven(door, basic(name, password))

    assert (refused.value.reason, refused.value.detail) == ("password", "Nobody knows this credential.")


@pytest.mark.parametrize("text", [b"!", b"", base64.b64encode(b"no colon"), base64.b64encode(b"\xff:x"), b"YW06eA"])
async def test_basic_that_cannot_be_read_is_refused(door: Doorkeeper, text: bytes) -> None:
    with pytest.raises(Rejected):
        await proven(door, [(b"authorization", b"Basic " + text)])


@pytest.mark.parametrize(
    "sender",
    [
        {"tenant": "acme", "method": "hmac", "secrets": []},
        {"tenant": "acme", "method": "hmac", "secrets": [OLD, NEW, PASSWORD]},
        {"tenant": "acme", "method": "hmac", "secrets": ["canary-too-short"]},
        {"tenant": "acme", "method": "hmac", "secrets": ["sha256:" + "0" * 64]},
        {"tenant": "acme", "method": "none", "secrets": [OLD]},
        {"tenant": "*", "method": "hmac", "secrets": [OLD]},
        {"tenant": "", "method": "hmac", "secrets": [OLD]},
        {"tenant": ["acme"], "method": "hmac", "secrets": [OLD]},
        {"tenant": "acme", "method": "basic", "secrets": [f"{PASSWORD} with spaces"]},
        {"tenant": "acme", "method": "basic", "secrets": [PASSWORD], "role": "admin"},
        {"method": "hmac", "secrets": [OLD]},
    ],
)
def test_a_sender_that_cannot_be_meant_ends_the_start_and_no_secret_is_said(tmp_path: Path, sender: object) -> None:
    path = tmp_path / "webhooks.json"
    path.write_bytes(orjson.dumps({"senders": {"bad": sender}}))

    with pytest.raises(SystemExit, match="RR_WEBHOOKS_FILE") as refused:
        Senders(str(path))

    assert "canary" not in str(refused.value)


@pytest.mark.parametrize("text", ["secrets: *canary-alias", "x: 'canary", "x: 0canary", "a: 1_canary", "x: &canary a"])
def test_a_file_that_cannot_be_read_is_not_quoted(tmp_path: Path, text: str) -> None:
    path = tmp_path / "webhooks.yaml"
    path.write_text(text)

    with pytest.raises(SystemExit) as refused:
        Senders(str(path))

    assert "canary" not in str(refused.value)


async def test_a_secret_is_changed_without_a_gap(tmp_path: Path) -> None:
    path = tmp_path / "webhooks.json"
    senders = []
    for secrets in ([OLD], [OLD, NEW], [NEW]):
        path.write_bytes(orjson.dumps({"senders": {"pager": SENDERS["pager"] | {"secrets": secrets}}}))
        if not senders:
            senders.append(Senders(str(path)))
        senders[0].watched.look()
        door = Doorkeeper(Tokens([]), senders=senders[0])
        for secret in (OLD, NEW):
            if secret in secrets:
                assert (await proven(door, signed(secret))).key == "pager"
            else:
                with pytest.raises(Rejected):
                    await proven(door, signed(secret))


def test_no_secret_shows(door: Doorkeeper) -> None:
    assert "canary" not in repr(door.senders.known)
    assert "canary" not in repr(vars(door.senders))
