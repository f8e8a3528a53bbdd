"""Every command of the pages for newcomers, operators, auditors, sceptics, run word for word on stacks of their own."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import scratch
from tests.support.pages import ROOT, blocks, commands

pytestmark = [pytest.mark.stack, pytest.mark.timeout(300)]
PROGRAM = Path(sys.prefix) / "bin" / "rangerctl"


class Reader:
    """Follows a page: runs each command as it stands there, in a folder of its own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        kept = {key: value for key, value in os.environ.items() if not key.startswith("RR_")}
        path = f"{PROGRAM.parent}{os.pathsep}{kept['PATH']}"
        self.env = {**kept, "PATH": path, "RR_DATA_DIR": str(home / "data"), "PYTHONPATH": str(ROOT)}

    def run(self, words: list[str]) -> None:
        done = subprocess.run(words, cwd=ROOT, env=self.env, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stdout}{done.stderr}"


@pytest.fixture
def reader() -> Iterator[Reader]:
    home = scratch.folder("rr-page-")
    home.chmod(0o711)
    found = Reader(home)
    try:
        yield found
    finally:
        subprocess.run([PROGRAM, "down"], env=found.env, capture_output=True, check=False, timeout=120)
        shutil.rmtree(home, ignore_errors=True)


def test_an_operator_can_follow_their_page_and_an_auditor_theirs(reader: Reader) -> None:
    written = list(commands("docs/operators.md"))
    assert ["rangerctl", "down"] in written
    until_down = written[: written.index(["rangerctl", "down"])]

    for words in until_down:
        reader.run(words)
    for words in commands("docs/auditors.md"):
        reader.run(words)
    for words in written[len(until_down) :]:
        reader.run(words)


def test_who_lets_people_in_can_follow_their_page(reader: Reader) -> None:
    reader.run(["rangerctl", "up", "--detach"])

    for words in commands("docs/identity.md"):
        reader.run(words)
    reader.run(["rangerctl", "audit", "verify"])

    kept = json.loads((reader.home / "data" / "client.json").read_text())["token"]
    holding = [
        path
        for path in (reader.home / "data").rglob("*")
        if path.is_file() and "servers" not in path.parts and kept.encode() in path.read_bytes()
    ]
    assert [path.name for path in holding] == ["client.json"]


def test_a_newcomer_can_follow_the_readme(reader: Reader) -> None:
    made = {target for words in commands("README.md") if words[0] == "make" for target in words[1:]}
    steps = [["rangerctl", *words[1:]] for words in commands("README.md") if words[0] == ".venv/bin/rangerctl"]
    assert steps

    reader.run(["rangerctl", "up", "--detach"])
    for words in steps:
        reader.run(words)

    makefile = (ROOT / "Makefile").read_text()
    assert all(f"\n{target}:" in makefile for target in made)


def test_a_sceptic_can_follow_the_page_on_reliability(reader: Reader) -> None:
    for words in commands("docs/reliability.md"):
        reader.run(words)

    assert (reader.home / "data" / "chaos" / "schedule.json").exists()


def test_the_action_of_the_plug_in_page_runs() -> None:
    (source,) = blocks("docs/plugins.md", "python")
    (entry,) = blocks("docs/plugins.md", "toml")
    room: dict[str, object] = {"__name__": "your_package.actions"}

    exec(compile(source, "docs/plugins.md", "exec"), room)  # noqa: S102 — the page's own example

    greet = room["greet"]
    assert getattr(greet, "name", None) == "demo.greet"
    assert '"demo.greet" = "your_package.actions:greet"' in entry


def test_an_author_can_follow_their_page(reader: Reader) -> None:
    reader.run(["rangerctl", "up", "--detach"])

    for words in commands("docs/authors.md"):
        reader.run(words)
