"""Which programs may be started, and with which variables."""

import shutil

import pytest

from libs.actions.errors import CommandRefused
from libs.actions.shell_policy import BASE_ENVIRONMENT, SAFE_PATH, ShellPolicy

ECHO = str(shutil.which("echo", path=SAFE_PATH))


def test_nothing_may_run_until_the_setting_says_so() -> None:
    with pytest.raises(CommandRefused, match="RR_SHELL_ALLOW") as refusal:
        ShellPolicy.of("").resolve("echo")

    assert refusal.value.code == "shell_not_allowed"


@pytest.mark.parametrize(
    ("allowed", "asked"), [("echo", "echo"), ("echo", ECHO), (ECHO, "echo"), (f"cat, {ECHO}", ECHO)]
)
def test_a_permitted_program_resolves_to_its_absolute_path(allowed: str, asked: str) -> None:
    assert ShellPolicy.of(allowed).resolve(asked) == ECHO


@pytest.mark.parametrize(
    "asked", ["cat", "/srv/echo", "/bin/../srv/echo", f"{ECHO}x", "echo ", "../echo", "echo;id", "./echo"]
)
def test_any_other_program_is_refused(asked: str) -> None:
    with pytest.raises(CommandRefused):
        ShellPolicy.of("echo").resolve(asked)


def test_a_command_sees_path_lang_and_what_it_is_given() -> None:
    policy = ShellPolicy.of("echo", "TZ,HOME")
    worker = {"TZ": "UTC", "SECRET": "x", "RR_TOKENS": "y"}

    assert policy.environ({"SHARD": "a=b"}, ("TZ", "HOME"), worker) == BASE_ENVIRONMENT | {"SHARD": "a=b", "TZ": "UTC"}


@pytest.mark.parametrize(
    "name",
    ["RR_TOKENS", "RR_POSTGRES_URL", "LD_PRELOAD", "LD_LIBRARY_PATH", "PATH", "PYTHONPATH", "PYTHONSTARTUP",
     "BASH_ENV", "ENV", "IFS", "PERL5OPT", "RUBYOPT", "NODE_OPTIONS", "GIT_SSH_COMMAND", "IDEMPOTENCY_KEY", "FENCE",
     "A B", "A=B", "", "1A", "A\n"],
)  # fmt: skip
def test_a_step_cannot_set_what_changes_the_program_or_is_ours(name: str) -> None:
    with pytest.raises(CommandRefused):
        ShellPolicy.of("echo").environ({name: "x"}, (), {})


def test_a_variable_is_lent_only_when_the_setting_lists_it() -> None:
    with pytest.raises(CommandRefused, match="RR_SHELL_ENV"):
        ShellPolicy.of("echo", "TZ").environ({}, ("HOME",), {"HOME": "/root"})


def test_not_even_the_setting_lends_our_own_variables() -> None:
    with pytest.raises(CommandRefused):
        ShellPolicy.of("echo", "RR_TOKENS").environ({}, ("RR_TOKENS",), {"RR_TOKENS": "x"})
