"""What every catalog store promises, as data for one suite that runs against memory and against Postgres."""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest

from libs.common.contracts.incident import IncidentCreated
from libs.common.errors import Denied
from libs.common.ids import new_id
from libs.common.policy import Principal
from libs.common.rpc import Caller
from services.catalog import usecases
from services.catalog.errors import DraftChanged, NoSuchDraft, NoSuchRunbook, RunbookRefused, SpecTooLarge
from services.catalog.model import match_id_of
from services.catalog.ports import Catalog
from services.catalog.usecases import Occasion

NOW = datetime(2026, 3, 1, 9, 59, 50, tzinfo=UTC)

TEXT = """\
apiVersion: ranger/v1
id: {id}
name: {name}
risk: low
mode: auto
{more}
steps:
  - id: probe
    type: action
    action: http.request
    effect: read
"""


def text(runbook_id: str = "sample", name: str = "Sample", more: str = "") -> str:
    return TEXT.format(id=runbook_id, name=name, more=more)


def triggered(runbook_id: str, trigger: str = "alert: cpu_high") -> str:
    return text(runbook_id, more=f"triggers: [{{{trigger}}}]")


def caller(tenant: str = "acme", actor: str = "ada", role: str = "operator", of: str = "") -> Caller:
    return Caller(Principal(actor, frozenset({of or tenant}), frozenset({role})), tenant, new_id())


def occasion(tenant: str = "acme", incident_id: str = "", **changes: object) -> Occasion:
    created = IncidentCreated(
        incident_id=incident_id or new_id(),
        title="CPU is high",
        severity="high",
        status="new",
        fingerprint="f1",
        alert_id=new_id(),
        alert_name="cpu_high",
        labels={"host": "h1"},
        annotations={},
        firing=True,
    )
    return Occasion(tenant, created.model_copy(update=changes))


async def the_first_publication_is_version_one(catalog: Catalog) -> None:
    done = await usecases.publish(catalog, caller(), text(), now=NOW)

    header = done.header
    assert done.created
    assert (header.tenant, header.runbook_id, header.version, header.name) == ("acme", "sample", 1, "Sample")
    assert (header.published_by, header.published_at) == ("ada", NOW)


async def other_content_is_the_next_version(catalog: Catalog) -> None:
    await usecases.publish(catalog, caller(), text(), now=NOW)

    done = await usecases.publish(catalog, caller(), text(name="Other"), now=NOW)

    assert (done.header.version, done.created) == (2, True)


async def the_same_content_is_the_same_version(catalog: Catalog) -> None:
    first = await usecases.publish(catalog, caller(), text(), now=NOW)

    again = await usecases.publish(catalog, caller(actor="bob"), "# laid out otherwise\n" + text(), now=NOW)

    assert (again.header, again.created) == (first.header, False)
    found = await usecases.find(catalog, caller(), "sample", None)
    assert found.source == text()


async def going_back_to_old_content_is_a_new_version(catalog: Catalog) -> None:
    for name in ("A", "B", "A"):
        await usecases.publish(catalog, caller(), text(name=name), now=NOW)

    first, latest = [await usecases.find(catalog, caller(), "sample", number) for number in (1, None)]

    assert latest.header.version == 3
    assert latest.header.spec_hash == first.header.spec_hash


async def each_version_can_be_read_as_it_was_published(catalog: Catalog) -> None:
    for name in ("A", "B"):
        await usecases.publish(catalog, caller(), text(name=name), now=NOW)

    found = await usecases.find(catalog, caller(), "sample", 1)

    assert (found.header.name, found.spec["name"], found.source) == ("A", "A", text(name="A"))


async def what_is_not_there_is_not_found(catalog: Catalog) -> None:
    await usecases.publish(catalog, caller(), text(), now=NOW)

    for asker, runbook_id, version in [(caller(), "other", None), (caller(), "sample", 2), (caller("b"), "sample", 1)]:
        with pytest.raises(NoSuchRunbook):
            await usecases.find(catalog, asker, runbook_id, version)


async def tenants_have_runbooks_of_their_own(catalog: Catalog) -> None:
    await usecases.publish(catalog, caller("a"), text(name="of a"), now=NOW)
    done = await usecases.publish(catalog, caller("b"), text(name="of b"), now=NOW)

    assert done.header.version == 1
    assert (await usecases.find(catalog, caller("a"), "sample", None)).header.name == "of a"


async def latest_versions_are_listed_by_id_in_pages(catalog: Catalog) -> None:
    for runbook_id in ("c", "a", "b"):
        await usecases.publish(catalog, caller(), text(runbook_id), now=NOW)
    await usecases.publish(catalog, caller(), text("a", "Newer"), now=NOW)
    await usecases.publish(catalog, caller("else"), text("z"), now=NOW)

    first = await usecases.page(catalog, caller(), after="", limit=2)
    second = await usecases.page(catalog, caller(), after="b", limit=2)

    assert [(item.runbook_id, item.published and item.published.version) for item in first] == [("a", 2), ("b", 1)]
    assert [item.runbook_id for item in second] == ["c"]


async def a_draft_is_written_over_and_belongs_to_who_wrote_it_last(catalog: Catalog) -> None:
    await usecases.save_draft(catalog, caller(), text(name="A"), now=NOW)
    await usecases.save_draft(catalog, caller(actor="bob"), text(name="B"), now=NOW)

    found = await usecases.find_draft(catalog, caller(), "sample")

    assert (found.header.name, found.header.author, found.source) == ("B", "bob", text(name="B"))
    with pytest.raises(NoSuchRunbook):
        await usecases.find(catalog, caller(), "sample", None)


async def publishing_a_draft_keeps_its_author_and_takes_the_draft_away(catalog: Catalog) -> None:
    draft = await usecases.save_draft(catalog, caller(), text(name="A"), now=NOW)

    done = await usecases.publish_draft(catalog, caller(actor="bob"), "sample", draft.spec_hash, now=NOW)

    header = done.header
    assert (header.version, header.name, header.author, header.published_by) == (1, "A", "ada", "bob")
    assert (await usecases.find(catalog, caller(), "sample", 1)).source == text(name="A")
    with pytest.raises(NoSuchDraft):
        await usecases.publish_draft(catalog, caller(), "sample", None, now=NOW)


async def a_draft_other_than_the_one_looked_at_is_not_published(catalog: Catalog) -> None:
    seen = await usecases.save_draft(catalog, caller(), text(name="A"), now=NOW)
    await usecases.save_draft(catalog, caller(actor="bob"), text(name="B"), now=NOW)

    with pytest.raises(DraftChanged) as refused:
        await usecases.publish_draft(catalog, caller(), "sample", seen.spec_hash, now=NOW)

    assert refused.value.status == 409
    assert (await usecases.find_draft(catalog, caller(), "sample")).header.name == "B"


async def a_text_published_at_once_leaves_the_draft(catalog: Catalog) -> None:
    await usecases.save_draft(catalog, caller(actor="bob"), text(name="Draft"), now=NOW)

    done = await usecases.publish(catalog, caller(), text(name="At once"), now=NOW)

    assert (done.header.author, done.header.published_by) == ("ada", "ada")
    assert (await usecases.find_draft(catalog, caller(), "sample")).header.name == "Draft"


async def drafts_are_listed_beside_versions_and_alone(catalog: Catalog) -> None:
    await usecases.publish(catalog, caller(), text("a"), now=NOW)
    await usecases.publish(catalog, caller(), text("c"), now=NOW)
    for runbook_id in ("b", "c"):
        await usecases.save_draft(catalog, caller(), text(runbook_id, "Draft"), now=NOW)
    await usecases.save_draft(catalog, caller("else"), text("z"), now=NOW)

    found = await usecases.page(catalog, caller(), after="", limit=10)

    listed = [(item.runbook_id, item.published is not None, item.draft is not None) for item in found]
    assert listed == [("a", True, False), ("b", False, True), ("c", True, True)]


async def a_faulty_draft_is_refused_and_the_earlier_one_stays(catalog: Catalog) -> None:
    await usecases.save_draft(catalog, caller(), text(), now=NOW)

    with pytest.raises(RunbookRefused):
        await usecases.save_draft(catalog, caller(), text(name="Worse") + "nonsense: 1\n", now=NOW)

    assert (await usecases.find_draft(catalog, caller(), "sample")).source == text()


async def drafts_match_nothing(catalog: Catalog) -> None:
    await usecases.save_draft(catalog, caller(), triggered("a"), now=NOW)

    assert await usecases.match(catalog, [occasion()]) == {}


async def tenants_have_drafts_of_their_own(catalog: Catalog) -> None:
    await usecases.save_draft(catalog, caller("a"), text(), now=NOW)

    with pytest.raises(NoSuchDraft):
        await usecases.find_draft(catalog, caller("b"), "sample")
    with pytest.raises(NoSuchDraft):
        await usecases.publish_draft(catalog, caller("b"), "sample", None, now=NOW)


async def who_may_not_publish_is_denied(catalog: Catalog) -> None:
    await usecases.save_draft(catalog, caller(), text(), now=NOW)

    for asker in (caller(role="viewer"), caller(of="elsewhere")):
        with pytest.raises(Denied):
            await usecases.publish(catalog, asker, "not: [even, yaml", now=NOW)
        with pytest.raises(Denied):
            await usecases.save_draft(catalog, asker, "not: [even, yaml", now=NOW)
        with pytest.raises(Denied):
            await usecases.publish_draft(catalog, asker, "sample", None, now=NOW)


async def who_may_not_look_is_denied(catalog: Catalog) -> None:
    with pytest.raises(Denied):
        await usecases.find(catalog, caller(of="elsewhere"), "sample", None)
    with pytest.raises(Denied):
        await usecases.page(catalog, caller(role="alerting"), after="", limit=10)


async def a_faulty_text_is_refused_with_its_problems(catalog: Catalog) -> None:
    with pytest.raises(RunbookRefused) as refused:
        await usecases.publish(catalog, caller(), text().replace("effect: read", "effect: magic"), now=NOW)

    (problem,) = refused.value.data["problems"]
    assert (problem["path"], problem["line"]) == ("steps[0].effect", 11)
    assert refused.value.status == 422


async def a_spec_that_would_not_fit_into_an_answer_is_refused(catalog: Catalog) -> None:
    pairs = ", ".join(f"k{number}: '{chr(34) * 40}'" for number in range(4_500))
    source = text() + f"    with: {{{pairs}}}\n"

    with pytest.raises(SpecTooLarge):
        await usecases.publish(catalog, caller(), source, now=NOW)


async def an_incident_is_matched_with_the_most_specific_runbook(catalog: Catalog) -> None:
    for source in (
        triggered("a-general"),
        triggered("b-exact", "alert: cpu_high, labels: {host: h1}"),
        triggered("c-other", "alert: disk_full"),
        text("d-none"),
    ):
        await usecases.publish(catalog, caller(), source, now=NOW)
    wanted = occasion()

    found = await usecases.match(catalog, [wanted])

    match = found[wanted.created.incident_id]
    assert (match.runbook_id, match.version, match.conditions, match.exact) == ("b-exact", 1, 2, 2)
    assert match.match_id == match_id_of(wanted.created.incident_id, "b-exact")


async def among_equals_the_id_decides(catalog: Catalog) -> None:
    for runbook_id in ("b", "a", "c"):
        await usecases.publish(catalog, caller(), triggered(runbook_id), now=NOW)

    (match,) = (await usecases.match(catalog, [occasion()])).values()

    assert match.runbook_id == "a"


async def an_incident_is_matched_once_whatever_is_published_later(catalog: Catalog) -> None:
    await usecases.publish(catalog, caller(), triggered("b"), now=NOW)
    wanted = occasion()
    await usecases.match(catalog, [wanted])
    await usecases.publish(catalog, caller(), triggered("a"), now=NOW)

    assert await usecases.match(catalog, [wanted, wanted]) == {}


async def only_the_latest_version_and_the_own_tenants_runbooks_match(catalog: Catalog) -> None:
    await usecases.publish(catalog, caller(), triggered("changed"), now=NOW)
    await usecases.publish(catalog, caller(), triggered("changed", "alert: disk_full"), now=NOW)
    await usecases.publish(catalog, caller("else"), triggered("theirs"), now=NOW)

    own, theirs = occasion(), occasion("else")

    found = await usecases.match(catalog, [own, theirs])

    assert {key: match.runbook_id for key, match in found.items()} == {theirs.created.incident_id: "theirs"}


async def an_alert_that_does_not_fire_is_not_matched(catalog: Catalog) -> None:
    await usecases.publish(catalog, caller(), triggered("a"), now=NOW)

    assert await usecases.match(catalog, [occasion(firing=False)]) == {}


async def a_runbook_whose_triggers_went_does_not_match(catalog: Catalog) -> None:
    await usecases.publish(catalog, caller(), triggered("a"), now=NOW)
    await usecases.publish(catalog, caller(), text("a"), now=NOW)

    assert await usecases.match(catalog, [occasion()]) == {}


async def what_a_person_opened_is_not_matched(catalog: Catalog) -> None:
    await usecases.publish(catalog, caller(), triggered("a", "severity: high"), now=NOW)
    opened = occasion(alert_id="", alert_name="", fingerprint="", labels={}, firing=False)

    assert await usecases.match(catalog, [opened]) == {}


PROMISES: list[Callable[[Catalog], Awaitable[None]]] = [
    a_draft_is_written_over_and_belongs_to_who_wrote_it_last,
    publishing_a_draft_keeps_its_author_and_takes_the_draft_away,
    a_draft_other_than_the_one_looked_at_is_not_published,
    a_text_published_at_once_leaves_the_draft,
    drafts_are_listed_beside_versions_and_alone,
    a_faulty_draft_is_refused_and_the_earlier_one_stays,
    drafts_match_nothing,
    tenants_have_drafts_of_their_own,
    what_a_person_opened_is_not_matched,
    the_first_publication_is_version_one,
    other_content_is_the_next_version,
    the_same_content_is_the_same_version,
    going_back_to_old_content_is_a_new_version,
    each_version_can_be_read_as_it_was_published,
    what_is_not_there_is_not_found,
    tenants_have_runbooks_of_their_own,
    latest_versions_are_listed_by_id_in_pages,
    who_may_not_publish_is_denied,
    who_may_not_look_is_denied,
    a_faulty_text_is_refused_with_its_problems,
    a_spec_that_would_not_fit_into_an_answer_is_refused,
    an_incident_is_matched_with_the_most_specific_runbook,
    among_equals_the_id_decides,
    an_incident_is_matched_once_whatever_is_published_later,
    only_the_latest_version_and_the_own_tenants_runbooks_match,
    an_alert_that_does_not_fire_is_not_matched,
    a_runbook_whose_triggers_went_does_not_match,
]
