"""The form of an API token, and what its scopes cover."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from libs.common.errors import Denied, InvalidInput
from libs.common.policy import ACTIONS
from services.gateway.principals.minted import Presented, mint
from services.gateway.principals.scopes import check_narrower, covered

NAMES = sorted(ACTIONS)
SCOPES = st.sampled_from(["*", *NAMES, *sorted({f"{name.partition('.')[0]}.*" for name in NAMES})])


def test_a_fresh_token_proves_itself_and_no_other() -> None:
    (one_id, one, one_digest), (_, other, other_digest) = mint(), mint()

    presented = Presented.read(one)
    assert presented is not None
    assert presented.token_id == one_id
    assert presented.proves(one_digest)
    assert not presented.proves(other_digest)
    assert one.rpartition("_")[2] not in repr(presented)
    assert one != other
    assert len(one.rpartition("_")[2]) * 4 == 256


@given(st.text(max_size=120))
def test_anything_else_is_no_token(text: str) -> None:
    assert Presented.read(text) is None


@given(st.lists(SCOPES, min_size=1), st.lists(SCOPES, min_size=1))
def test_what_passes_gives_no_action_that_was_not_had(wanted: list[str], held: list[str]) -> None:
    def actions(scopes: list[str]) -> set[str]:
        return {name for name in NAMES if covered(name, scopes)}

    try:
        check_narrower(wanted, held)
    except Denied:
        assert "*" in wanted or not actions(wanted) <= actions(held) or any(scope.endswith(".*") for scope in wanted)
    else:
        assert actions(wanted) <= actions(held)


@pytest.mark.parametrize("scope", ["", "*.*", "incident", "incident.nothing", "nothing.*", "INCIDENT.VIEW"])
def test_a_scope_names_something_that_there_is(scope: str) -> None:
    with pytest.raises(InvalidInput):
        check_narrower([scope], ["*"])
