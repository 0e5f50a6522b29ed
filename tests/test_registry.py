"""One file is one component: found by its name, listed, and missed with a helpful message."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from textwrap import dedent

import pytest

from interlingua import registry
from interlingua.contracts.backbone import Backbone
from interlingua.errors import ConfigError


@pytest.mark.parametrize("kind", sorted(registry.FOLDERS))
def test_every_component_is_found_by_its_listed_name_and_describes_its_options(kind: str) -> None:
    for name in registry.names(kind):
        component = registry.find(kind, name)
        assert component.kind == kind
        assert component.__doc__, f"{kind} {name} has no docstring"
        options = getattr(component, "Config", None)
        if kind in ("data", "metric", "protocol", "split"):  # sources take free options, the others none
            continue
        assert options is not None, f"{kind} {name} has no Config"
        missing = [key for key, field in options.model_fields.items() if not field.description]
        assert not missing, f"{kind} {name}: options without a docstring: {missing}"


@pytest.mark.parametrize("kind", sorted(registry.FOLDERS))
def test_an_unknown_name_says_where_it_stood_and_how_to_list_the_known_ones(kind: str) -> None:
    with pytest.raises(ConfigError) as caught:
        registry.find(kind, "nonesuch", "x.toml [part].name")
    assert f"unknown {kind} 'nonesuch' in x.toml [part].name" in str(caught.value)
    assert f"interlingua list {registry.LISTED[kind]}" in str(caught.value)


@pytest.mark.parametrize("kind", sorted(registry.FOLDERS))
def test_the_command_that_the_error_names_lists_the_components(kind: str) -> None:
    from typer.testing import CliRunner

    from interlingua.cli.main import app

    answer = CliRunner().invoke(app, ["list", registry.LISTED[kind], "--json"])
    assert answer.exit_code == 0, answer.output
    assert sorted(json.loads(answer.stdout)) == registry.names(kind)


def test_a_near_miss_names_the_near_one() -> None:
    name = registry.names("backbone")[0]
    with pytest.raises(ConfigError, match=f"did you mean '{name}'"):
        registry.find("backbone", name + "x")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder on the import path, as an outsider's package would be."""
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


SOURCE = """
from interlingua.contracts.backbone import Backbone
class Mine(Backbone):
    '''Mine.'''
"""


def test_an_outsiders_class_is_named_by_module_and_class(package: Path) -> None:
    (package / "outsider_one.py").write_text(SOURCE)
    found = registry.find("backbone", "outsider_one:Mine")
    assert issubclass(found, Backbone)
    assert found.__name__ == "Mine"


@pytest.mark.parametrize("name", ["no_such_module_at_all:Mine", "interlingua.contracts:Missing"])
def test_an_import_that_fails_is_a_configuration_error(name: str) -> None:
    with pytest.raises(ConfigError, match=r"cannot import .* named in x\.toml"):
        registry.find("backbone", name, "x.toml")


def test_an_entry_point_joins_the_list(package: Path) -> None:
    (package / "outsider_two.py").write_text(SOURCE)
    info = package / "outsider_two-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outsider-two\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[interlingua.backbone]\nplugged = outsider_two:Mine\n")
    importlib.invalidate_caches()
    assert "plugged" in registry.names("backbone")
    assert registry.find("backbone", "plugged").__name__ == "Mine"


def test_a_new_file_in_the_folder_is_a_new_component(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import interlingua.backbones as folder

    monkeypatch.setattr(folder, "__path__", [*folder.__path__, str(package)])
    (package / "brand_new.py").write_text(SOURCE)
    importlib.invalidate_caches()
    try:
        assert "brand-new" in registry.names("backbone")
        assert registry.find("backbone", "brand-new").__name__ == "Mine"
    finally:
        sys.modules.pop("interlingua.backbones.brand_new", None)


def test_two_components_in_one_file_are_refused(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import interlingua.backbones as folder

    monkeypatch.setattr(folder, "__path__", [*folder.__path__, str(package)])
    second = dedent("""
        class Other(Backbone):
            '''Other.'''
    """)
    (package / "twins.py").write_text(SOURCE + second)
    importlib.invalidate_caches()
    try:
        with pytest.raises(ConfigError, match="one file holds one"):
            registry.find("backbone", "twins")
    finally:
        sys.modules.pop("interlingua.backbones.twins", None)


def test_a_component_whose_own_import_fails_shows_that_error(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A missing library inside a component is not "unknown backbone"."""
    import interlingua.backbones as folder

    monkeypatch.setattr(folder, "__path__", [*folder.__path__, str(package)])
    (package / "needy.py").write_text("import a_library_that_is_not_there\n")
    importlib.invalidate_caches()
    with pytest.raises(ModuleNotFoundError, match="a_library_that_is_not_there"):
        registry.find("backbone", "needy")
