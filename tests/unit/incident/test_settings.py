"""How long each severity may last is a setting; what it leaves out is as by default."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from services.incident.settings import IncidentSettings
from services.incident.sla import MINUTES

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture(autouse=True)
def _servers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RR_NATS_URL", "nats://127.0.0.1:1")
    monkeypatch.setenv("RR_POSTGRES_URL", "postgresql://nobody@/none")
    monkeypatch.delenv("RR_SLA_MINUTES", raising=False)


def test_by_default_a_critical_incident_has_an_hour() -> None:
    assert IncidentSettings.read().sla.deadline("critical", NOW) == NOW + timedelta(hours=1)


def test_a_part_of_the_map_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RR_SLA_MINUTES", '{"critical": 15}')

    assert IncidentSettings.read().sla_minutes == {**MINUTES, "critical": 15}


def test_it_may_stand_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "sla"
    file.write_text('{"low": 5}\n')
    monkeypatch.setenv("RR_SLA_MINUTES_FILE", str(file))

    assert IncidentSettings.read().sla_minutes["low"] == 5


@pytest.mark.parametrize("value", ["60", "{", '{"critical": 0}', '{"terrible": 5}', '{"low": "soon"}', "[]"])
def test_nonsense_ends_the_process_and_names_the_variable(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("RR_SLA_MINUTES", value)

    with pytest.raises(SystemExit, match="RR_SLA_MINUTES"):
        IncidentSettings.read()
