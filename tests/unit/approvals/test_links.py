"""Links: signed here, for one tenant, plan and action, until a moment; whatever is changed in one makes it none."""

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.approvals.errors import LinkInvalid, LinksOff, LinkTooOld
from services.approvals.links import Link, Signer
from tests.unit.approvals.samples import ACTION, NOW, PLAN

UNTIL = int(NOW.timestamp()) + 60
LINK = Link(tenant="acme", approval_id="a-1", plan_hash=PLAN, action_hash=ACTION, until=UNTIL)
OLD, NEW = "the-old-secret-of-links", "the-new-secret-of-links"
SIGNER = Signer.of(NEW)
TEXT = SIGNER.sign(LINK)


def test_what_was_signed_is_read_again_and_is_fit_for_a_path() -> None:
    assert SIGNER.read(TEXT, now=NOW) == LINK
    assert set(TEXT) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.")
    assert len(TEXT) < 600


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, len(TEXT) - 1), character=st.characters(min_codepoint=33, max_codepoint=126))
def test_whatever_is_changed_makes_it_none(at: int, character: str) -> None:
    changed = TEXT[:at] + character + TEXT[at + 1 :]
    if changed != TEXT:
        with pytest.raises(LinkInvalid):
            SIGNER.read(changed, now=NOW)


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=300))
def test_any_other_text_is_none(text: str) -> None:
    with pytest.raises(LinkInvalid):
        SIGNER.read(text, now=NOW)


def test_its_time_ends() -> None:
    SIGNER.read(TEXT, now=datetime.fromtimestamp(UNTIL - 1, UTC))
    with pytest.raises(LinkTooOld):
        SIGNER.read(TEXT, now=datetime.fromtimestamp(UNTIL, UTC))


def test_two_secrets_are_live_and_the_first_signs() -> None:
    both, before = Signer.of(f"{NEW}, {OLD}"), Signer.of(OLD)

    assert both.read(before.sign(LINK), now=NOW) == both.read(TEXT, now=NOW) == LINK
    assert both.sign(LINK) == TEXT
    with pytest.raises(LinkInvalid):
        SIGNER.read(before.sign(LINK), now=NOW)


def test_without_a_secret_there_are_no_links() -> None:
    for use in (lambda: Signer.of("").sign(LINK), lambda: Signer.of("").read(TEXT, now=NOW)):
        with pytest.raises(LinksOff):
            use()


@pytest.mark.parametrize("wrong", ["short", f"{NEW},short", f"{NEW},{OLD},{NEW}"])
def test_a_setting_that_is_none_is_refused_without_being_shown(wrong: str) -> None:
    with pytest.raises(ValueError, match="secret") as refused:
        Signer.of(wrong)
    assert NEW not in str(refused.value)
