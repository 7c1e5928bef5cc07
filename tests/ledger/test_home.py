import stat

import pytest

from privagams import home
from privagams.errors import ConfigError, LedgerError


def test_the_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("PRIVAGAMS_HOME", str(tmp_path))
    assert home.dataset_folder("breast-2026") == tmp_path / "breast-2026"
    assert not (tmp_path / "breast-2026").exists()


def test_without_the_environment_it_is_the_users_data_folder(monkeypatch):
    monkeypatch.delenv("PRIVAGAMS_HOME", raising=False)
    assert home.home().name == "privagams"


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "a\\b", "a b", ".hidden", "a\n", "x" * 65, "ä", "a."]
)
def test_a_data_set_name_that_could_leave_its_folder_is_refused(name):
    with pytest.raises(ConfigError, match=r"source\.dataset"):
        home.dataset_folder(name)


def test_secrets_are_made_once_and_for_the_owner_only(tmp_path):
    folder = tmp_path / "set"
    key, salt = home.key(folder), home.salt(folder)
    assert len(key) == len(salt) == 32
    assert key != salt
    assert (home.key(folder), home.salt(folder)) == (key, salt)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((folder / "key").stat().st_mode) == 0o600
    assert sorted(path.name for path in folder.iterdir()) == ["key", "salt"]


def test_a_shortened_secret_is_refused(tmp_path):
    home.key(tmp_path)
    (tmp_path / "key").write_bytes(b"short")
    with pytest.raises(LedgerError, match="32 bytes"):
        home.key(tmp_path)


@pytest.mark.parametrize("name", ["key", "salt"])
def test_a_lost_key_is_not_replaced_beside_a_ledger(tmp_path, name):
    (tmp_path / "ledger.jsonl").write_text("")
    with pytest.raises(LedgerError, match="backup"):
        getattr(home, name)(tmp_path)


def test_a_pseudonym_depends_on_key_kind_and_text():
    made = home.pseudonym(b"k", "patient", "Jane Doe")
    assert len(made) == 16
    assert made == home.pseudonym(b"k", "patient", "Jane Doe")
    others = [("l", "patient", "Jane Doe"), ("k", "slide", "Jane Doe"), ("k", "patient", "Jane D.")]
    assert made not in {home.pseudonym(key.encode(), kind, text) for key, kind, text in others}
