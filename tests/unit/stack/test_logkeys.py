"""Keys of the log, made with the standard library alone, read by what signs with them."""

from pathlib import Path

from libs.tlog.note import Verifier
from libs.tlog.secretkey import parse_private, private_text
from runbook_ranger.stack import logkeys
from runbook_ranger.stack.layout import Layout
from runbook_ranger.stack.plan import standard
from services.timeline.settings import TimelineSettings


def test_a_key_that_is_made_is_one_that_signs() -> None:
    text = logkeys.new_key("ranger.test/timeline")

    signer = parse_private(text)

    assert private_text(signer) == text
    assert Verifier.parse(signer.vkey).name == "ranger.test/timeline"
    assert logkeys.new_key("ranger.test/timeline") != text


def test_the_usual_origin_is_the_timelines() -> None:
    assert TimelineSettings.model_fields["timeline_origin"].default == logkeys.ORIGIN


def test_a_stack_makes_its_keys_once_for_itself_and_gives_them_to_the_timeline_alone(layout: Layout) -> None:
    first = {one.name: one.env for one in standard(layout).services}
    before = layout.timeline_key.read_text(), layout.bundle_key.read_text()
    standard(layout)

    names = {name for name, env in first.items() if {"RR_TIMELINE_KEY_FILE", "RR_BUNDLE_KEY_FILE"} & env.keys()}
    assert names == {"timeline"}
    assert (layout.timeline_key.read_text(), layout.bundle_key.read_text()) == before
    assert [parse_private(text.strip()).name for text in before] == [logkeys.ORIGIN, f"{logkeys.ORIGIN}/bundles"]
    for name in ("RR_TIMELINE_KEY_FILE", "RR_BUNDLE_KEY_FILE"):
        assert Path(first["timeline"][name]).stat().st_mode & 0o777 == 0o600
