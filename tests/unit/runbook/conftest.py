"""Examples take as long as they take: how busy the machine is says nothing about the language."""

from hypothesis import HealthCheck, settings

settings.register_profile("runbook", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("runbook")
