"""`privagams new` writes the example under another name, and refuses what could not work."""

import ast
import tomllib

import pytest

from privagams.cli import cli
from privagams.errors import ConfigError
from privagams.scaffold import FILES, make_plugin


def test_the_new_package_holds_the_name_everywhere(tmp_path):
    made = make_plugin("otherlab-edge", tmp_path)
    assert made == tmp_path / "otherlab-edge"
    written = {str(p.relative_to(made)) for p in made.rglob("*") if p.is_file()}
    assert written == {path.replace("mylab_nearest", "otherlab_edge") for path in FILES}
    for path in made.rglob("*"):
        if path.is_file():
            text = path.read_text()
            assert "mylab" not in text
            if path.suffix == ".py":
                ast.parse(text)
    project = tomllib.loads((made / "pyproject.toml").read_text())["project"]
    assert project["name"] == "otherlab-edge"
    assert project["entry-points"]["privagams"] == {"otherlab-edge": "otherlab_edge"}


@pytest.mark.parametrize(
    "name", ["Nearest", "nearest", "mylab_nearest", "../mylab-x", "mylab-", "9lab-x", ""]
)
def test_a_name_that_would_not_work_is_refused(name, tmp_path):
    with pytest.raises(ConfigError, match="lower-case words"):
        make_plugin(name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_projects_own_names_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="this project's own"):
        make_plugin("privagams-attacks", tmp_path)


def test_what_is_there_already_is_not_touched(tmp_path):
    (tmp_path / "mylab-x").mkdir()
    (tmp_path / "mylab-x" / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="exists already"):
        make_plugin("mylab-x", tmp_path)
    assert [p.name for p in (tmp_path / "mylab-x").iterdir()] == ["notes.txt"]


def test_the_command_says_what_to_do_next(tmp_path, capsys):
    assert cli.main(["new", "attack", "mylab-x", "--folder", str(tmp_path)]) == 0
    assert "privagams check mylab-x" in capsys.readouterr().out
    assert cli.main(["new", "attack", "mylab-x", "--folder", str(tmp_path)]) == 2
    assert "exists already" in capsys.readouterr().err
