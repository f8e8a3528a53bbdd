"""Texts made to hurt: each is refused quickly, with a line that says what to do."""

import time
from dataclasses import dataclass

import pytest

from libs.runbook.loader import load
from libs.runbook.problems import RunbookInvalid
from libs.runbook.text import MAX_BYTES, MAX_DEPTH, MAX_NODES, read
from tests.unit.runbook.samples import text

LAUGHS = "a: &a [lol, lol]\n" + "".join(
    f"{chr(98 + level)}: &{chr(98 + level)} [{', '.join([f'*{chr(97 + level)}'] * 9)}]\n" for level in range(9)
)


@dataclass(frozen=True)
class Hostile:
    """One text, and words that the refusal must hold."""

    name: str
    text: str | bytes
    says: str


CORPUS = [
    Hostile("billion laughs", LAUGHS, "anchor &a is not accepted"),
    Hostile("an alias to nothing", "a: *nowhere", "alias *nowhere is not accepted"),
    Hostile("a cycle", "a: &a\n  b: *a", "anchor &a is not accepted"),
    Hostile("a merge key", "<<: {mode: auto}", "merge keys are not accepted"),
    Hostile("a python object", "a: !!python/object/apply:os.system ['id']", "tag tag:yaml.org,2002:python"),
    Hostile("a python name", "a: !!python/name:os.system", "tag tag:yaml.org,2002:python/name:os.system"),
    Hostile("a local tag", "a: !secret x", "tag !secret is not accepted"),
    Hostile("a standard tag", "a: !!str 1", "tag tag:yaml.org,2002:str is not accepted"),
    Hostile("a tag on a list", "a: !!set {x, y}", "tag tag:yaml.org,2002:set"),
    Hostile("deep flow lists", "a: " + "[" * 100_000, f"nested deeper than {MAX_DEPTH}"),
    Hostile("deep flow mappings", "{a: " * 50_000, f"nested deeper than {MAX_DEPTH}"),
    Hostile("deep blocks", "".join(f"{' ' * level}a:\n" for level in range(300)), f"nested deeper than {MAX_DEPTH}"),
    Hostile("a megabyte", "a: " + "x" * 1_000_000, f"at most {MAX_BYTES}"),
    Hostile("many values", "a: [" + "1," * 50_000 + "]", f"more than {MAX_NODES} values"),
    Hostile("a key twice", "mode: auto\nmode: approve", "mode: is written twice"),
    Hostile("a key twice, once quoted", "mode: auto\n'mode': approve", "mode: is written twice"),
    Hostile("a key twice inside", "steps:\n- {a: 1, a: 2}", "steps[0].a: is written twice"),
    Hostile("a key twice, once escaped", 'mode: auto\n"\\x6dode": approve', "mode: is written twice"),
    Hostile("two documents", "a: 1\n---\nb: 2", "several documents"),
    Hostile("a version directive", "%YAML 1.1\n---\na: 1", "directives are not accepted"),
    Hostile("a tag directive", "%TAG ! tag:evil,2000:\n---\na: 1", "directives are not accepted"),
    Hostile("a list as key", "? [a]\n: 1", "a key must be a string"),
    Hostile("a number as key", "1: a", "a key must be a string"),
    Hostile("a boolean as key", "true: a", "a key must be a string"),
    Hostile("null as key", "~: a", "has no value"),
    Hostile("NUL", "a: b\x00c", "U+0000"),
    Hostile("an escaped NUL", 'a: "b\\0c"', "U+0000"),
    Hostile("a lone surrogate", "a: \ud800", "U+D800"),
    Hostile("an escaped surrogate", 'a: "\\ud800"', "invalid Unicode character escape"),
    Hostile("bytes that are not UTF-8", b"a: \xff\xfe", "is not UTF-8"),
    Hostile("UTF-16", "a: b".encode("utf-16"), "is not UTF-8"),
    Hostile("a byte order mark", "\ufeffa: b", "U+FEFF"),
    Hostile("text that runs backwards", "a: safe\u202eelbasrever", "U+202E"),
    Hostile("text that runs backwards, escaped", 'a: "\\u202e"', "U+202E"),
    Hostile("a direction isolate", "a: \u2066x\u2069", "U+2066"),
    Hostile("an invisible space in a key", "mo\u200bde: auto", "U+200B"),
    Hostile("an invisible tag character", "a: x\U000e0041", "U+E0041"),
    Hostile("a line separator that editors do not show", "a: b\u2028mode: auto", "U+2028"),
    Hostile("a next-line control", "a: b\x85mode: auto", "U+0085"),
    Hostile("a lone carriage return", "a: b\rmode: auto", "U+000D"),
    Hostile("an escape sequence of a terminal", "a: \x1b[2J", "U+001B"),
    Hostile("a float", "a: 1.5", "not accepted as a number"),
    Hostile("an octal number", "a: 0o17", "not accepted as a number"),
    Hostile("an old octal number", "a: 017", "not accepted as a number"),
    Hostile("a hexadecimal number", "a: 0x1F", "not accepted as a number"),
    Hostile("a number with underscores", "a: 1_000", "not accepted as a number"),
    Hostile("minus zero", "a: -0", "not accepted as a number"),
    Hostile("infinity", "a: .inf", "not accepted as a number"),
    Hostile("not a number", "a: .NaN", "not accepted as a number"),
    Hostile("a large exponent", "a: 1e400", "not accepted as a number"),
    Hostile("an integer beyond 2^53", "a: 9007199254740993", "integers must lie within"),
    Hostile("a number of ten thousand digits", "a: " + "9" * 10_000, "integers must lie within"),
    Hostile("an empty value", "a:", "has no value"),
    Hostile("null", "a: null", "has no value"),
    Hostile("a boolean in capitals", "a: TRUE", "write true, or quote it"),
    Hostile("nothing", "", "a runbook is a mapping"),
    Hostile("only a comment", "# nothing", "a runbook is a mapping"),
    Hostile("a list", "[a]", "a runbook is a mapping"),
    Hostile("a tab as indentation", "a:\n\tb: c", "not YAML"),
    Hostile("an open bracket", "a: [", "not YAML"),
]


@pytest.mark.parametrize("hostile", CORPUS, ids=lambda hostile: hostile.name)
def test_hostile_text_is_refused_with_a_reason(hostile: Hostile) -> None:
    begin = time.process_time()

    with pytest.raises(RunbookInvalid) as refused:
        load(hostile.text)

    assert hostile.says in str(refused.value)
    assert time.process_time() - begin < 1


def test_a_refusal_names_the_place() -> None:
    with pytest.raises(RunbookInvalid) as refused:
        read("a: 1\nb:\n  c: &x 2")

    (problem,) = refused.value.problems
    assert (problem.line, problem.column, problem.path) == (3, 6, "b.c")


def test_letters_that_look_alike_are_no_id() -> None:
    with pytest.raises(RunbookInvalid, match="id: must be lower-case letters"):
        load(text().replace("id: sample", "id: s\u0430mple"))


def test_words_that_other_tools_convert_stay_text() -> None:
    data = read("a: [yes, no, on, off, 2024-01-01, 12:30:00, 1.2.3, -, n, 'true', \"1\"]").data

    assert data == {"a": ["yes", "no", "on", "off", "2024-01-01", "12:30:00", "1.2.3", "-", "n", "true", "1"]}


def test_plain_integers_and_booleans_are_read() -> None:
    assert read("a: [0, -7, 9007199254740991, true, false]").data == {"a": [0, -7, 2**53 - 1, True, False]}


def test_windows_line_ends_and_emoji_are_text_like_any_other() -> None:
    assert read("a: b\r\nc: \U0001f468\u200d\U0001f692\r\n").data == {"a": "b", "c": "\U0001f468\u200d\U0001f692"}
