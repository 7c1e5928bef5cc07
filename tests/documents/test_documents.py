"""Documents, hooks and checks agree, and what the documents show is what there is."""

import inspect
import re
import tomllib
from pathlib import Path

import attrs
import pytest

from privagams import hookspec
from privagams.config import check
from privagams.listing import HOMES
from privagams.plugins import ROLES, discover
from privagams.roles import Embedder, Generator, Mechanism, Metric, Reader
from privagams.scaffold import FILES
from privagams.testing import checks_for

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "plugins" / "example_attack"
GUIDE = (ROOT / "docs" / "plugin-guide.md").read_text(encoding="utf-8")
HOOKS = (ROOT / "docs" / "hooks.md").read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.M | re.S)


def hook_names() -> list[str]:
    return [name for name in vars(hookspec) if name.startswith("privagams_")]


def test_every_hook_has_a_heading_with_its_signature():
    assert re.findall(r"^## (.*)$", HOOKS, flags=re.M) == hook_names()
    for name in hook_names():
        returned = inspect.signature(getattr(hookspec, name)).return_annotation
        assert f"`{name}() -> {returned}`" in HOOKS


def test_every_hook_has_a_role_laws_and_a_place_in_the_guide():
    assert [f"privagams_{role}" for role in ROLES] == hook_names()
    assert set(HOMES) == set(ROLES)
    general = set(checks_for("attacks")) & set(checks_for("readers"))
    for role in ROLES:
        assert len(set(checks_for(role)) - general) >= 3, f"{role}: no laws of their own"
        assert f"privagams.testing.laws.{role}" in HOOKS
        assert role == "attacks" or f"Hook: `privagams_{role}`." in GUIDE


def test_every_installed_role_is_offered_by_somebody():
    offered = {offer.role for offer in discover().offers}
    assert offered == set(ROLES)


def test_the_component_shown_has_the_fields_there_are():
    from privagams.component import Component

    (shown,) = blocks(HOOKS, "python")
    assert re.findall(r"^    (\w+):", shown, flags=re.M) == [f.name for f in attrs.fields(Component)]


@pytest.mark.parametrize(
    "role", [Reader, Embedder, Metric, Generator, Mechanism], ids=lambda role: role.__name__
)
def test_the_guide_names_every_member_of_a_role(role):
    section = next(
        s
        for s in GUIDE.split("\n## ")
        if s.lower().startswith((f"a {role.__name__}".lower(), f"an {role.__name__}".lower()))
    )
    members = set(role.__annotations__) | {
        n for n, v in vars(role).items() if inspect.isfunction(v) and n[0] != "_"
    }
    missing = [name for name in sorted(members) if name not in section]
    assert not missing


@pytest.mark.parametrize("path", [path for path in FILES if path != "README.md"])
def test_the_guide_shows_the_example_word_for_word(path):
    text = (EXAMPLE / path).read_text(encoding="utf-8")
    assert text in blocks(GUIDE, "toml" if path.endswith("toml") else "python")


@pytest.mark.parametrize("path", FILES)
def test_the_template_is_the_example(path):
    template = ROOT / "core" / "src" / "privagams" / "template" / FILES[path]
    assert template.read_text(encoding="utf-8") == (EXAMPLE / path).read_text(encoding="utf-8")


def test_the_example_has_no_file_that_the_template_lacks():
    tracked = {
        str(path.relative_to(EXAMPLE)) for path in EXAMPLE.rglob("*")
        if path.is_file() and not {"__pycache__", "dist"} & set(path.parts) and path.suffix != ".pyc"
    }  # fmt: skip
    assert tracked == set(FILES)


def first_party():
    return [offer for offer in discover().offers if offer.distribution.startswith("privagams")]


def test_every_setting_of_every_shipped_component_says_what_it_means():
    silent = [
        f"{offer.component.name}.{field.name}"
        for offer in first_party() if offer.component.settings is not None
        for field in attrs.fields(offer.component.settings)
        if not field.metadata.get("doc") and "role" not in field.metadata
    ]  # fmt: skip
    assert silent == []


def test_every_shipped_summary_is_a_sentence():
    for offer in first_party():
        assert offer.component.summary.endswith("."), offer.component.name


def test_the_readme_shows_a_valid_pipeline():
    (shown,) = blocks((ROOT / "README.md").read_text(encoding="utf-8"), "toml")
    pipeline, _ = check(tomllib.loads(shown), ROOT)
    assert {release.name for release in pipeline.releases} == {"one-shot", "raw"}


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.toml")), ids=lambda path: path.name)
def test_every_example_pipeline_is_valid(path):
    check(tomllib.loads(path.read_text(encoding="utf-8")), path.parent)


def documents():
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_links_between_documents_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#:]+\.md)\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).is_file(), f"{path.name} links to {target}, which is not there"


@pytest.mark.parametrize("path", documents(), ids=lambda path: path.name)
def test_every_command_that_a_document_shows_exists(path):
    from privagams.cli import cli

    shown = set(
        re.findall(
            r"^privagams ([a-z]+)", "\n".join(blocks(path.read_text(encoding="utf-8"), "")), flags=re.M
        )
    )
    unknown = shown - set(cli.commands)
    assert not unknown, f"{path.name} shows privagams {', '.join(unknown)}"
