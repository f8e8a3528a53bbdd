"""Where the object store is: by URL or by folder, its keys from files, and what is wrong said without them."""

import os
from pathlib import Path

import pytest

from libs.common.objectsettings import ObjectSettings

SECRET = "canary-of-the-store"


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(("RR_", "AWS_"))]:
        monkeypatch.delenv(name)


def test_a_folder_counts_where_no_url_is_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RR_OBJECTS_DIR", str(tmp_path / "a b"))

    assert repr(ObjectSettings.read().store()) == f"ObjectStore('{tmp_path}/a b')"

    monkeypatch.setenv("RR_OBJECTS_URL", (tmp_path / "c").as_uri())
    assert repr(ObjectSettings.read().store()) == f"ObjectStore('{tmp_path}/c')"


def test_the_keys_of_a_bucket_stand_in_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, text in (("ACCESS_KEY", "AKEXAMPLE"), ("SECRET", SECRET)):
        (tmp_path / name).write_text(f"{text}\n")
        monkeypatch.setenv(f"RR_OBJECTS_{name}_FILE", str(tmp_path / name))
    monkeypatch.setenv("RR_OBJECTS_URL", "s3://evidence/kept?region=us-east-1")

    settings = ObjectSettings.read()

    assert settings.objects_secret.get_secret_value() == SECRET
    assert SECRET not in f"{settings!r}{settings.store()!r}"


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"RR_OBJECTS_URL": "evidence"}, "an object store is file:///folder or s3://bucket/prefix"),
        ({"RR_OBJECTS_URL": "s3://evidence?secret=canary-of-the-store"}, "takes endpoint, region, virtual_host"),
        ({"RR_OBJECTS_SECRET": SECRET}, "RR_OBJECTS_ACCESS_KEY and RR_OBJECTS_SECRET go together"),
        ({"RR_OBJECTS_SECRET_FILE": "/nowhere/at/all"}, "RR_OBJECTS_SECRET_FILE: /nowhere/at/all cannot be read"),
        ({"RR_OBJECTS_TIMEOUT_SECONDS": "0"}, "greater than 0"),
    ],
)
def test_what_is_wrong_is_said_and_no_secret_with_it(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], said: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    with pytest.raises(SystemExit, match=said) as ended:
        ObjectSettings.read()

    assert "RR_OBJECTS_" in str(ended.value)
    assert SECRET not in str(ended.value)
