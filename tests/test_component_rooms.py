"""Rooms of components: one component per file with its options, found by its name only."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from tests.source_trees import FILES, OPTIONS, PARENTS, SOURCE, classes, descendants, dotted, ident, imports

from interlingua import registry

COMPONENTS = {folder.replace(".", "/"): kind for kind, folder in registry.FOLDERS.items()}
"""rooms of components only -> their kind; a file whose name begins with ``_`` is shared by its neighbours"""
KINDS = {
    "backbone": "Backbone", "text": "Component", "align": "Aligner", "ranker": "Ranker", "fuse": "Fusion",
    "data": "Source", "split": "Splitter", "protocol": "Protocol", "metric": "Metric",
}  # fmt: skip
"""kind -> the parent of its components"""


def is_component(kind: str, source: str) -> bool:
    """Whether a file defines a class of that kind."""
    return bool(classes(source).keys() & (descendants({KINDS[kind]}, PARENTS | classes(source)) - {KINDS[kind]}))


@pytest.mark.parametrize("room", sorted(COMPONENTS))
def test_a_room_of_components_holds_nothing_else(room: str) -> None:
    kind = COMPONENTS[room]
    files = list((SOURCE / room).glob("[!_]*.py"))
    assert files
    assert not [path.name for path in files if not is_component(kind, path.read_text(encoding="utf-8"))]
    assert {path.stem.replace("_", "-") for path in files} <= set(registry.names(kind))  # one each, of that name


WHOLE = {"test_whole_recipes.py": "a default where no backbone was given, and the partner in a fusion"}
"""files of the contract suite that may ask which backbone it is"""


def told_by_name(source: str, names: set[str]) -> list[str]:
    """Lines that compare with one of ``names``, or list some of them."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare | ast.Tuple | ast.List | ast.Set):
            strings = [each.value for each in ast.iter_child_nodes(node) if isinstance(each, ast.Constant)]
            found += [f"line {node.lineno}: {ast.unparse(node)}"] if names & {*map(str, strings)} else []
    return found


@pytest.mark.parametrize("path", sorted((SOURCE / "testing").glob("test_*.py")), ids=ident)
def test_the_contract_suite_tells_backbones_apart_by_what_they_declare(path: Path) -> None:
    """By a name it would be wrong about a plug-in that is like one of ours."""
    if path.name not in WHOLE:
        assert not told_by_name(path.read_text(encoding="utf-8"), set(registry.names("backbone")))
    assert told_by_name("some = ('mf', 'sgl') if backbone != 'mf' else ()", {"mf"})


@pytest.mark.parametrize(
    ("kind", "source", "good"),
    [
        ("backbone", "class Mf(Backbone):\n    pass", True),
        ("backbone", "class Sgl(LightGcn):\n    pass", True),
        ("backbone", "class Helper(nn.Module):\n    pass", False),
        ("backbone", "class MfConfig(Config):\n    pass", False),
        ("backbone", "class Ridge(Aligner):\n    pass", False),
        ("fuse", "def joined(scores): ...", False),
        ("metric", "class Hit(Metric):\n    pass", True),
        ("data", "kind = 'data'", False),
    ],
)
def test_a_stray_file_among_components_is_seen(kind: str, source: str, good: bool) -> None:
    assert is_component(kind, source) is good


@pytest.mark.parametrize("room", sorted(COMPONENTS))
def test_a_component_s_file_holds_its_options(room: str) -> None:
    """``Config = NAME`` of a class is defined in the same file, or is its parent's; no other room defines options."""
    for path in (SOURCE / room).glob("[!_]*.py"):
        source = path.read_text(encoding="utf-8")
        named = {
            node.value.id
            for node in ast.walk(ast.parse(source))
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Name) and dotted(node.targets[0]) == "Config"
        }
        assert named <= classes(source).keys(), f"{ident(path)} takes its options from elsewhere"


@pytest.mark.parametrize("room", ["injection", "lm", "nn", "training", "retrieval", "contracts"])
def test_a_room_below_holds_no_component_s_options(room: str) -> None:
    found = {name for path in (SOURCE / room).glob("*.py") for name in classes(path.read_text(encoding="utf-8"))}
    options = {name for name in found & descendants({"Config"}, PARENTS) if OPTIONS.fullmatch(name)}
    assert options <= {"AnnConfig"}  # of an index, which is no section of a recipe


def test_what_neighbours_share_is_named_by_its_idea_and_stays_among_them() -> None:
    for path in FILES:
        room = ident(path).rpartition("/")[0]
        for _, module in imports(ast.parse(path.read_text(encoding="utf-8"))):
            folder, _, name = module.removeprefix("interlingua.").replace(".", "/").rpartition("/")
            if folder in COMPONENTS and name.startswith("_"):
                assert room == folder, f"{ident(path)} reaches into {folder}/{name}.py"
    assert not [ident(path) for path in FILES if path.stem in ("_parts", "_utils", "_common", "_shared")]


def test_components_are_found_by_name() -> None:
    """Nobody outside a room of components imports one of them; what two rooms need lies below both."""
    found = set()
    for path in FILES:
        name = ident(path)
        for _, module in imports(ast.parse(path.read_text(encoding="utf-8"))):
            place = module.removeprefix("interlingua.").replace(".", "/")
            room = next((room for room in COMPONENTS if place.startswith(f"{room}/")), None)
            if room is None or name.startswith((f"{room}/", "testing/")) or not (SOURCE / f"{place}.py").is_file():
                continue
            found.add(place)
    assert not found


NAMES = {name for kind in ("backbone", "align", "ranker") for name in registry.names(kind)} - {"none", "pretrained"}
"""names of components, without the two that are values of options as well"""
COMPARING = {"runs/old_words.py": "translates recipes that were written before"}
"""who may compare a name of a component"""


def compared_names(source: str) -> list[str]:
    """Lines that ask whether something is called as one component is."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Compare) and any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops):
            sides = (node.left, *node.comparators)
            same = [side.value for side in sides if isinstance(side, ast.Constant) and side.value in NAMES]
            found += [f"line {node.lineno} compares with the component name {name!r}" for name in same]
    return found


def test_only_the_registry_compares_component_names() -> None:
    """``if name == "sasrec"`` outside the registry is how one component's quirk leaks into the others."""
    assert compared_names("if part.name == 'sasrec':\n    pass")
    assert compared_names("x = 'soft-prompt' != name")
    files = [path for path in FILES if not ident(path).startswith("testing/")]
    found = {ident(path): compared_names(path.read_text(encoding="utf-8")) for path in files}
    assert {name: lines for name, lines in found.items() if lines and name not in COMPARING} == {}
    assert all(found[name] for name in COMPARING), "an exception that nothing needs any more"
