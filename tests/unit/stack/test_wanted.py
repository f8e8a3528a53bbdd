"""What JetStream must look like, and how differences are found."""

import pytest

from libs.common.contracts.choreography import EVENTS, STREAMS, consumers
from runbook_ranger.stack.provision.wanted import (
    DAY,
    SECOND,
    StreamSettings,
    durable,
    durable_differences,
    durables,
    stream_differences,
    streams,
)

SETTINGS = StreamSettings()


def test_the_record_of_facts_is_kept_whole() -> None:
    events = streams(SETTINGS)[EVENTS]

    assert events["discard"] == "new"
    assert (events["deny_delete"], events["deny_purge"], events["allow_atomic"]) == (True, True, True)
    assert (events["max_age"], events["duplicate_window"]) == (30 * DAY, 120 * SECOND)


def test_every_stream_and_consumer_of_the_choreography_is_wanted() -> None:
    assert set(streams(SETTINGS)) == set(STREAMS)
    assert set(durables(SETTINGS)) == set(consumers())


def test_consumers_never_give_up_and_never_take_without_bound() -> None:
    for config in durables(SETTINGS).values():
        assert config["max_deliver"] == -1
        assert 0 < int(str(config["max_ack_pending"])) <= 10_000
        assert config["ack_wait"] == 30 * SECOND


def test_an_equal_stream_has_no_difference_however_the_server_writes_its_defaults() -> None:
    wanted = streams(SETTINGS)[EVENTS]
    found = {**wanted, "compression": "none", "sealed": False, "metadata": {"_nats.ver": "2.15"}}

    assert stream_differences(wanted, found) == []


@pytest.mark.parametrize(
    ("field", "value"),
    [("max_age", 1), ("discard", "old"), ("deny_purge", False), ("subjects", ["x"]), ("mirror", {"name": "other"})],
)
def test_each_differing_field_of_a_stream_is_named(field: str, value: object) -> None:
    wanted = streams(SETTINGS)[EVENTS]

    (difference,) = stream_differences(wanted, {**wanted, field: value})

    assert (difference.what, difference.field, difference.found) == ("stream EVENTS", field, value)
    assert difference.remedy.endswith("`rangerctl provision --update EVENTS`")


def test_a_flag_that_is_set_but_not_wanted_is_a_difference() -> None:
    wanted = streams(SETTINGS)["DLQ"]

    assert [one.field for one in stream_differences(wanted, {**wanted, "deny_delete": True})] == ["deny_delete"]


def test_where_a_consumer_started_is_no_difference_but_a_push_consumer_is() -> None:
    wanted = durable("catalog", ("b", "a"), SETTINGS)
    moved = {**wanted, "deliver_policy": "by_start_sequence", "opt_start_seq": 7, "filter_subjects": ["b", "a"]}

    assert durable_differences("EVENTS", wanted, moved) == []
    assert [one.field for one in durable_differences("EVENTS", wanted, {**moved, "deliver_subject": "push"})] == [
        "deliver_subject"
    ]


def test_a_single_filter_is_read_from_either_field() -> None:
    wanted = durable("catalog", ("a",), SETTINGS)
    found = {key: value for key, value in wanted.items() if key != "filter_subjects"}

    assert durable_differences("EVENTS", wanted, {**found, "filter_subject": "a"}) == []
