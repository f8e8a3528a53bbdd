import pytest

from libs.tlog.errors import TlogError
from libs.tlog.tally import Tally
from tests.unit.tlog.test_export import lines, tree
from tests.unit.tlog.worked import redacted, stored


@pytest.mark.parametrize("block", [1, 7, 1000, 1 << 20])
def test_a_file_is_read_to_its_last_whole_line_however_it_is_cut(block: int) -> None:
    store = redacted()
    text = b"".join(lines(store))
    for end in (len(text), len(text) - 1, len(text) // 2):
        tally = Tally()

        shown = list(tally.read(text[at : min(at + block, end)] for at in range(0, end, block)))

        place = tally.place
        assert place is not None
        assert place.bytes == text[:end].rfind(b"\n") + 1
        assert place.tree.size == len(shown)
        assert place.tree.root() == tree(store, len(shown)).root()
        assert (place.closing is not None) == (end == len(text))
        assert [one.leaf for one in shown] == [entry.leaf for entry in store.entries[: len(shown)]]


def test_what_was_changed_is_refused() -> None:
    rows = lines(stored())
    for at, old, new in (
        (0, b'"all"', b'"any"'),
        (3, b"usr_7f3a", b"usr_7f3b"),  # seen under the closing checkpoint
        (6, b'"payload":"eyJz', b'"payload":"eyJy'),
        (8, b'"payload":null,"salt":null', b'"payload":"e30=","salt":"e30="'),
        (8, b'{"index":"7"', b'{"index":"8"'),
        (-1, b'"end":"15"', b'"end":"14"'),
    ):
        changed = [*rows]
        changed[at] = rows[at].replace(old, new)
        assert changed != rows
        with pytest.raises(TlogError):
            Tally().finish(changed)
    with pytest.raises(TlogError):
        Tally().finish([*rows, rows[-1]])
    with pytest.raises(TlogError):
        Tally().finish([])
