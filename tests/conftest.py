"""Fixtures that any test may ask for, and what properties may take: a busy machine is not a fault of the product."""

import gc

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ("tests.support.servers", "tests.support.forked", "tests.support.s3")

settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Thousands of tests are never garbage: nobody looks through them again and again while they run."""
    gc.collect()
    gc.freeze()
