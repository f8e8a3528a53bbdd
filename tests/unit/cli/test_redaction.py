"""`audit redact` says what was done, and a verification that meets a redaction reads anew."""

import dataclasses
from typing import Any

from libs.tlog.chain import Control
from tests.unit.cli.conftest import Run
from tests.unit.cli.gateway import FakeGateway
from tests.unit.cli.test_audit import serve
from tests.unit.tlog.worked import stored

DONE = {"index": 7, "event_id": "e-7", "type": "incident.created", "incident_id": None, "execution_id": None}


def listed(gateway: FakeGateway, length: int | None) -> None:
    gateway.answer("/timeline", {"entries": [{"index": 7, "payload": None, "payload_length": length}], "next": 7})


def test_it_says_whether_it_is_done_or_will_be(run: Run, gateway: FakeGateway) -> None:
    gateway.answer("/evidence/events/e-7/redact", DONE | {"new": True}, 202)
    gateway.answer("/evidence/events/7/redact", DONE | {"new": False}, 202)
    listed(gateway, None)
    listed(gateway, None)
    listed(gateway, 50)

    first, again, frozen = (run("audit", "redact", event, "-r", "asked for") for event in ("e-7", "7", "e-7"))

    assert first.out.startswith("redacted: leaf 7 (incident.created e-7)")
    assert again.out.startswith("redacted before: leaf 7")
    assert (frozen.code, frozen.out, "when the log goes on" in frozen.err) == (0, "", True)
    assert run("audit", "redact", "7").code == 2


def test_what_is_redacted_while_the_log_is_read_is_no_finding(run: Run, gateway: FakeGateway) -> None:
    store = stored()
    serve(gateway, store)
    once: dict[str, Any] = {"left": True}
    leaves = gateway.answers["/timeline/leaves"][0].content

    def redacted_meanwhile(query: dict[str, str]) -> Any:
        if once.pop("left", False):
            store.entries[0] = dataclasses.replace(store.entries[0], payload=None, salt=None)
            page = leaves(query)
            page["leaves"] = page["leaves"][:1]
            store.append(Control({"type": "redaction", "of": "0", "id": "x"}))
            return page
        return leaves(query)

    gateway.answers["/timeline/leaves"][0].content = redacted_meanwhile

    ran = run("audit", "verify")

    assert (ran.code, ran.err) == (0, "")
    assert "redacted payloads: 0" in ran.out


def test_a_payload_that_is_gone_without_a_word_is_one(run: Run, gateway: FakeGateway) -> None:
    store = stored()
    store.entries[0] = dataclasses.replace(store.entries[0], payload=None, salt=None)
    serve(gateway, store)

    ran = run("audit", "verify")

    assert (ran.code, "no redaction says so" in ran.err) == (1, True)
