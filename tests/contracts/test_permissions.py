"""What the bus's server is told to permit is what the choreography says, and the tables are what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from libs.common.contracts.choreography import (
    ASKS,
    EVENTS,
    EXPORTER,
    IDENTITIES,
    INTAKES,
    NOTES,
    ROWS,
    SERVICES,
    consumers,
)
from libs.common.contracts.permissions import inbox, permissions, render
from libs.common.outbox import POSITION_SUBJECT

ROOT = Path(__file__).resolve().parents[2]
COMMITTED = ROOT / "runbook_ranger" / "stack" / "servers" / "permissions.conf"
GRANTED = permissions()
EVERYBODY = pytest.mark.parametrize("identity", IDENTITIES)
REGISTERED = re.compile(r'\.(?:command|query)\(\s*"([a-z_]+)"')


def code(identity: str) -> str:
    """All that a process runs of its own."""
    folder = ROOT / "services" / ("executor/worker" if identity == "worker" else identity)
    files = [file for file in folder.rglob("*.py") if identity == "worker" or "worker" not in file.parts]
    return "\n".join(file.read_text() for file in files)


def test_the_committed_permissions_are_what_the_table_renders() -> None:
    command = "python -m libs.common.contracts.permissions > runbook_ranger/stack/servers/permissions.conf"

    assert COMMITTED.read_text() == render(), f"run `{command}`"


@EVERYBODY
def test_a_process_publishes_its_own_facts_and_no_other(identity: str) -> None:
    facts = {row.subject: row.publisher for row in ROWS}

    assert {subject for subject in GRANTED[identity].publish if subject in facts} == {
        subject for subject, publisher in facts.items() if publisher == identity
    }


def test_what_outsiders_post_comes_through_the_gateway_alone() -> None:
    for intake in INTAKES:
        assert [name for name in IDENTITIES if intake.subject in GRANTED[name].publish] == ["gateway"]


@EVERYBODY
def test_a_process_takes_from_its_own_consumers_alone(identity: str) -> None:
    own = {stream for stream, durable in consumers() if durable == identity}

    for verb in ("CONSUMER.MSG.NEXT", "CONSUMER.INFO"):
        asked = {subject for subject in GRANTED[identity].publish if subject.startswith(f"$JS.API.{verb}.")}
        assert asked == {f"$JS.API.{verb}.{stream}.{identity}" for stream in own}
    acknowledged = {subject for subject in GRANTED[identity].publish if subject.startswith("$JS.ACK.")}
    assert acknowledged == {f"$JS.ACK.{stream}.{identity}.>" for stream in own}


@EVERYBODY
def test_nobody_manages_streams_or_consumers_and_nobody_says_everything(identity: str) -> None:
    reading = re.compile(
        r"\$JS\.API\.(STREAM\.INFO|STREAM\.MSG\.GET|DIRECT\.GET|CONSUMER\.INFO|CONSUMER\.MSG\.NEXT)\.[A-Z]+(\.[a-z]+)?"
    )
    for subject in GRANTED[identity].publish:
        assert not subject.startswith("$JS.API.") or reading.fullmatch(subject)
        assert "*" not in subject or re.fullmatch(r"rpc\.[a-z]+\.\*", subject)
        assert ">" not in subject or subject.startswith(("$JS.ACK.", "_INBOX_"))
    assert not [subject for subject in GRANTED[identity].subscribe if subject in {">", "*.>", "_INBOX.>"}]


@EVERYBODY
def test_a_process_hears_its_own_answers_and_writes_to_those_who_may_ask_it(identity: str) -> None:
    heard = {subject for subject in GRANTED[identity].subscribe if subject.startswith("_INBOX")}
    written = {subject for subject in GRANTED[identity].publish if subject.startswith("_INBOX")}

    askers = {ask.asker for ask in ASKS if ask.asked == identity} | ({"admin"} if identity in SERVICES else set())
    assert heard == {f"{inbox(identity)}.>"}
    assert written == {f"{inbox(name)}.>" for name in {identity, *askers}}


def test_only_the_gateway_hears_the_stream_beside_the_durables() -> None:
    names = [name for name in IDENTITIES if "incident.*" in GRANTED[name].subscribe]

    assert names == ["gateway"]
    assert f"$JS.API.DIRECT.GET.{EVENTS}" in GRANTED["gateway"].publish


def test_who_asks_is_who_holds_a_client_and_every_row_says_why() -> None:
    asking = {identity for identity in IDENTITIES if "RpcClient(" in code(identity)}

    assert {ask.asker for ask in ASKS} == asking
    assert all(len(ask.why) > 10 for ask in ASKS)


@pytest.mark.parametrize("ask", ASKS, ids=lambda ask: f"{ask.asker}-{ask.asked}")
def test_what_may_be_asked_is_answered_there_and_asked_here(ask: object) -> None:
    row = next(found for found in ASKS if found == ask)
    asking = code(row.asker)

    assert re.search(rf'"{row.asked}"', asking)
    answered = set(REGISTERED.findall(code(row.asked)))
    for verb in set(row.verbs) - {"*"}:
        assert verb in answered
        assert f'"{verb}"' in asking


def test_how_far_the_log_is_is_said_by_it_and_heard_by_every_outbox() -> None:
    (note,) = (found for found in NOTES if found.subject == POSITION_SUBJECT)

    assert note.sender == "timeline"
    assert {*note.listeners, "timeline"} == {*SERVICES, EXPORTER}
