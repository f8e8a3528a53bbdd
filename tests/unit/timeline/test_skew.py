import pytest
from msgspec.structs import replace

from services.timeline.skew import skew
from tests.unit.tlog.worked import message

STORED = "2026-03-01T10:00:00.000000000Z"


@pytest.mark.parametrize(
    ("told", "ahead"),
    [
        ("2026-03-01T09:59:50.000000Z", 0),
        ("2026-03-01T10:59:59.999999Z", 0),
        ("2026-03-01T11:00:00Z", 0),
        ("2026-03-01T12:00:00.5+02:00", 0),
        ("2026-03-01T11:00:00.000001Z", 3600.000001),
        ("2026-03-01T08:59:59Z", -3601),
        ("2026-03-02T10:00:00Z", 86_400),
        ("2026-02-28T10:00:00.000000Z", -86_400),
        ("2026-03-01T10:00:00-14:00", 50_400),
        ("2016-12-31T23:59:60Z", 0),
        ("9999-12-31T23:59:59Z", 251_629_941_599),
    ],
)
def test_a_time_that_is_over_an_hour_from_the_streams_is_told_with_its_sign(told: str, ahead: float) -> None:
    sent = message(1)

    assert skew(replace(sent, src=replace(sent.src, ts=STORED), event=replace(sent.event, time=told))) == ahead
