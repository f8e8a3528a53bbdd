"""`rangerctl audit bundle` through a real gateway and a real timeline: what an outsider is handed, and who is not."""

import asyncio
import json
import stat
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Final

import httpx
import orjson
import pytest

from libs.common.artefacts import ROOT
from libs.tlog.archive import pack, unpack
from libs.tlog.bundle import statement
from libs.tlog.dsse import seal
from libs.tlog.note import Signer
from libs.tlog.secretkey import private_text
from tests.integration.gateway.conftest import (
    EVERYWHERE,
    EVIDENCE_SECRET,
    OPERATOR,
    ROLE_TOKENS,
    STRANGER,
    TOKENS,
    bearer,
)
from tests.integration.gateway.process import GatewayProcess
from tests.integration.gateway.test_rangerctl import rangerctl
from tests.support.eventually import eventually
from tests.support.servers import StackEnv

pytestmark = pytest.mark.stack
ORIGIN: Final = "ranger.local/timeline/main"
LOG, SEALER, STRANGE = Signer(ORIGIN, bytes([1]) * 32), Signer(f"{ORIGIN}/bundles", bytes([2]) * 32), bytes([3]) * 32
Files = dict[str, bytes]


class Evidence:
    """A gateway, the incident service and a timeline with keys, on one store."""

    def __init__(self, env: StackEnv, folder: Path) -> None:
        self.env = env
        self.folder = folder
        self.objects = folder / "objects"
        self.trust = ("--vkey", LOG.vkey, "--vkey", SEALER.vkey)
        self.running: dict[str, GatewayProcess] = {}
        for name, signer in {"log.key": LOG, "bundle.key": SEALER}.items():
            (folder / name).write_text(private_text(signer))

    async def start(self, name: str, **more: str) -> None:
        usual = {
            "RR_OBJECTS_DIR": str(self.objects),
            "RR_TIMELINE_KEY_FILE": str(self.folder / "log.key"),
            "RR_BUNDLE_KEY_FILE": str(self.folder / "bundle.key"),
            "RR_EVIDENCE_SECRET": EVIDENCE_SECRET,
            "RR_TOKENS": orjson.dumps(TOKENS).decode(),
        }
        env = self.env.service(name, **usual, **more)
        self.running[name] = await GatewayProcess.start(env, self.folder, f"services.{name}")
        await self.running[name].until_ready()

    async def again(self, name: str) -> None:
        """Killed, and started anew."""
        await self.running[name].end()
        await self.start(name)

    @property
    def gateway(self) -> GatewayProcess:
        return self.running["gateway"]

    async def ctl(self, *words: str, token: str = OPERATOR) -> tuple[int, str, str]:
        return await rangerctl(self.gateway, token)(*words)

    async def incident(self, token: str) -> str:
        """A new incident that the log knows, and the outputs that belong to it."""
        headers = bearer(token)
        async with httpx.AsyncClient(base_url=self.gateway.url, headers=headers, timeout=10) as http:
            made = await http.post("/incidents", json={"title": f"of {token}", "severity": "high"})
            incident: str = made.json()["incident_id"]

            async def logged() -> bool:
                return bool((await http.get("/timeline", params={"incident_id": incident})).json()["entries"])

            await eventually(logged, timeout=30)
        return incident

    async def bundled(self, incident: str, name: str, *words: str) -> tuple[Path, str]:
        """The file that the command wrote, and what it said."""
        out = self.folder / name
        code, said, err = await self.ctl("audit", "bundle", incident, "-o", str(out), *words)
        assert code == 0, err
        return out, said


@pytest.fixture
async def evidence(stack_env: StackEnv, tmp_path: Path) -> AsyncIterator[Evidence]:
    found = Evidence(stack_env, tmp_path)
    try:
        await asyncio.gather(*(found.start(name) for name in ("gateway", "incident", "timeline")))
        yield found
    finally:
        await asyncio.gather(*(process.end() for process in found.running.values()))


async def test_an_outsider_checks_an_incident_with_one_file_and_two_keys(evidence: Evidence) -> None:
    incident = await evidence.incident(OPERATOR)

    file, said = await evidence.bundled(incident, "one.zip", *evidence.trust)
    code, checked, _ = await evidence.ctl("audit", "verify", str(file), *evidence.trust)

    assert (code, checked) == (0, said[: len(checked)])
    assert said.startswith("verified to event ")
    assert f"bundle of incident {incident}" in said
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert not [path for path in evidence.folder.iterdir() if path.name.startswith(".one")]
    code, _, err = await evidence.ctl("audit", "bundle", incident, "-o", str(file))
    assert (code, "is there already" in err) == (2, True)

    # What was handed out is evidence itself: listed with the incident, kept and deleted as its kind is, held with it.
    async def listed() -> list[Any]:
        found = json.loads((await evidence.ctl("timeline", "show", "--incident", incident, "-o", "json"))[1])
        return [one for one in found["entries"] if one["type"] == "access.evidence_opened"]

    (told,) = await eventually(listed, timeout=20)
    assert (told["payload"]["kind"], told["actor"]) == ("bundle", "olga")
    _, out, _ = await evidence.ctl("audit", "evidence", "--incident", incident)
    assert told["payload"]["sha256"] in out
    assert [path.name for path in (evidence.objects / ROOT / "bundle" / "default").iterdir()] == [
        told["payload"]["sha256"]
    ]

    # The second one goes further, after a restart of everything; the first one still holds.
    for name in ("timeline", "gateway"):
        await evidence.again(name)
    second, said = await evidence.bundled(incident, "two.zip")
    assert second.read_bytes() != file.read_bytes()
    assert "a bundle of its own, which bundles do not repeat" in said
    for path in (file, second):
        assert (await evidence.ctl("audit", "verify", str(path), *evidence.trust))[0] == 0
    await _tampered(evidence, file)


async def _tampered(evidence: Evidence, file: Path) -> None:
    """What somebody may do to a file, with their own key or the bundle key, and what the command line says to that."""
    whole = await asyncio.to_thread(file.read_bytes)
    files = unpack(whole)
    leaf = next(name for name in files if name.startswith("leaves/"))
    payload = next(name for name in files if name.startswith("payloads/"))
    changes: dict[str, Callable[[], bytes]] = {
        f"{payload} is not the file that was sealed": lambda: pack({**files, payload: b"{}"}),
        f"{payload} was sealed and is missing": lambda: pack({k: v for k, v in files.items() if k != payload}),
        f"{payload} does not match its commitment": lambda: pack(_sealed({**files, payload: b"{}"}, SEALER)),
        "no redaction leaf of the bundle says so": lambda: pack(
            _sealed({k: v for k, v in files.items() if k != payload} | {"salts.json": b"{}"}, SEALER)
        ),
        f"proofs/{leaf.partition('/')[2]}.tlog-proof": lambda: pack(
            _sealed({**files, leaf: files[leaf].replace(b"olga", b"vera")}, SEALER)
        ),
        "no signature of a known key": lambda: pack(_sealed(files, Signer(SEALER.name, STRANGE))),
        "zip": lambda: whole[:-1],
    }
    for finding, change in changes.items():
        bent = evidence.folder / "bent.zip"
        bent.write_bytes(change())

        code, out, err = await evidence.ctl("audit", "verify", str(bent), *evidence.trust)

        assert (code, out) == (1, ""), finding
        assert "NOT VERIFIED" in err
        assert finding in err, err


def _sealed(files: Files, signer: Signer) -> Files:
    """The files, sealed anew."""
    others = {name: raw for name, raw in files.items() if name != "bundle.dsse.json"}
    return {**others, "bundle.dsse.json": seal(statement(others, orjson.loads(files["manifest.json"])), signer)}


async def test_what_was_redacted_is_in_no_bundle_and_everything_still_verifies(evidence: Evidence) -> None:
    incident = await evidence.incident(OPERATOR)
    (entry,) = json.loads((await evidence.ctl("timeline", "show", "--incident", incident, "-o", "json"))[1])["entries"]
    index, event = str(entry["index"]), entry["event_id"]
    early, _ = await evidence.bundled(incident, "early.zip", *evidence.trust)

    code, _, err = await evidence.ctl("audit", "redact", index, "-r", "asked for", token=ROLE_TOKENS["auditor"])
    assert (code, "policy.role" in err) == (4, True)
    code, said, _ = await evidence.ctl("audit", "redact", event, "-r", "asked for by the person it is about")
    assert (code, said.startswith(f"redacted: leaf {index} ")) == (0, True)
    assert (await evidence.ctl("audit", "redact", index, "-r", "again"))[1].startswith(
        f"redacted before: leaf {index} "
    )

    kept = evidence.objects / ROOT / "bundle" / "default"
    assert list(kept.iterdir()) == []
    await evidence.again("timeline")
    late, said = await evidence.bundled(incident, "late.zip", *evidence.trust)
    assert f"redacted: the payloads of leaves {index}" in said
    assert OPERATOR.encode() not in b"".join(unpack(late.read_bytes()).values())
    assert (await evidence.ctl("audit", "verify", str(early), *evidence.trust))[0] == 0
    code, out, err = await evidence.ctl("audit", "verify", "--vkey", LOG.vkey, token=EVERYWHERE)
    assert (code, f"redacted payloads: {index}" in out) == (0, True), err
    _, out, _ = await evidence.ctl("timeline", "show", "--incident", incident)
    assert "(redacted)" in out

    async def told() -> list[Any]:
        page = json.loads((await evidence.ctl("timeline", "show", "--type", "access.event_redacted", "-o", "json"))[1])
        return [entry["payload"]["rationale"] for entry in page["entries"]]

    assert await eventually(told, timeout=20) == ["asked for by the person it is about"]


async def test_why_an_event_was_redacted_survives_a_gateway_that_dies_before_it_says_so(evidence: Evidence) -> None:
    incident = await evidence.incident(OPERATOR)
    (entry,) = json.loads((await evidence.ctl("timeline", "show", "--incident", incident, "-o", "json"))[1])["entries"]
    await evidence.running["gateway"].end()
    await evidence.start("gateway", RR_CRASH_AT="gateway_redaction_untold")

    code, _, _ = await evidence.ctl("audit", "redact", str(entry["index"]), "-r", "asked for by Ada")
    assert (code != 0, await evidence.gateway.process.wait()) == (True, 137)
    await evidence.start("gateway", RR_REDACTION_RECOVERY_SECONDS="0.2")

    async def told() -> list[Any]:
        page = json.loads((await evidence.ctl("timeline", "show", "--type", "access.event_redacted", "-o", "json"))[1])
        return [(one["payload"]["rationale"], one["payload"]["event_id"]) for one in page["entries"]]

    assert await eventually(told, timeout=20) == [("asked for by Ada", entry["event_id"])]
    code, out, err = await evidence.ctl("audit", "verify", "--vkey", LOG.vkey, token=EVERYWHERE)
    assert (code, f"redacted payloads: {entry['index']}" in out) == (0, True), err


async def test_nobody_gets_anything_of_another_tenants(evidence: Evidence) -> None:
    ours, theirs = await evidence.incident(OPERATOR), await evidence.incident(STRANGER)
    for token, incident in ((STRANGER, ours), (OPERATOR, theirs)):
        out = evidence.folder / "leaked.zip"

        code, said, err = await evidence.ctl("audit", "bundle", incident, "-o", str(out), token=token)

        assert (code, said) == (1, "")
        assert "not_found" in err
        assert not out.exists()
    assert not (evidence.objects / ROOT).exists()

    file, _ = await evidence.bundled(ours, "ours.zip")
    whole = b"".join(unpack(file.read_bytes()).values())
    assert OPERATOR.encode() in whole  # the incident's title
    for leak in (STRANGER.encode(), theirs.encode(), b"elsewhere"):
        assert leak not in whole


async def test_a_timeline_that_dies_between_store_and_log_makes_it_once_when_asked_again(evidence: Evidence) -> None:
    incident = await evidence.incident(OPERATOR)
    await evidence.running["timeline"].end()
    await evidence.start("timeline", RR_CRASH_AT="timeline_bundle_kept")
    key = {"Idempotency-Key": "the-same-one", **bearer(OPERATOR)}
    async with httpx.AsyncClient(base_url=evidence.gateway.url, headers=key, timeout=30) as http:
        path = f"/evidence/incidents/{incident}/bundle"
        asked = asyncio.create_task(http.post(path, json={}))
        assert await asyncio.wait_for(evidence.running["timeline"].process.wait(), 20) == 137
        asked.cancel()
        kept = evidence.objects / ROOT / "bundle" / "default"
        assert len(list(kept.iterdir())) == 1

        await evidence.start("timeline")
        first = (await http.post(path, json={})).json()
        again = (await http.post(path, json={})).json()

    assert (first["sha256"], first["envelope"]) == (again["sha256"], again["envelope"])

    async def sealed() -> list[str]:
        page = json.loads((await evidence.ctl("timeline", "show", "--incident", incident, "-o", "json"))[1])
        return [one["payload"]["sha256"] for one in page["entries"] if one["type"] == "access.evidence_opened"]

    assert set(await eventually(sealed, timeout=20)) == {first["sha256"]}
