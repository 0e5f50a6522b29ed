"""The layers of the design, and the rules that need no execution to check, read from the syntax trees."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from interlingua import registry

SOURCE = Path(__file__).parents[1] / "src" / "interlingua"
FILES = sorted(SOURCE.rglob("*.py"))
MAX_LINES = 350

FLOORS = (
    "__main__", "testing", "cli", "serve", "report", "recommender", "runs", "profiles",
    "backbones text align rankers fuse",
    "explain", "evaluate", "retrieval", "injection", "training", "clients", "lm", "vectors", "nn", "contracts", "data",
    "config", "runtime", "storage", "registry", "progress", "errors",
)  # fmt: skip
"""rooms from the front doors to the ground: a room imports from those below it; rooms of one floor do not meet"""
FLOOR = {room: number for number, floor in enumerate(FLOORS) for room in floor.split()}
TOP_LEVEL = {"__init__", "__main__", "config", "errors", "progress", "recommender", "registry"}
COMPONENTS = {folder.replace(".", "/"): kind for kind, folder in registry.FOLDERS.items()}
"""rooms of components only -> their kind; a file whose name begins with ``_`` is shared by its neighbours"""


def ident(path: Path) -> str:
    """The file's path below the package."""
    return str(path.relative_to(SOURCE))


def dotted(node: ast.AST) -> str:
    """``a.b.c`` of a name or attribute, ``""`` for anything else."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """(line, module) of every import, of those under ``if TYPE_CHECKING`` too: a ranker follows them as well."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: relative import; write the whole module name"
            yield node.lineno, node.module or ""
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def violations(name: str, source: str) -> list[str]:
    """What is wrong with the imports of the module ``name`` (path below the package, e.g. ``align/none.py``)."""
    own = name.removesuffix(".py").split("/")[0]
    if own == "__init__":  # the package's public names, lazy
        return []
    if own not in FLOOR:
        return [f"{name}: the room {own!r} has no floor; give it one in tests/test_layering.py"]
    found = []
    for line, module in imports(ast.parse(source)):
        parts = module.split(".")
        if parts[0] != "interlingua" or len(parts) < 2 or parts[1] not in FLOOR or parts[1] == own:
            continue
        if FLOOR[parts[1]] < FLOOR[own]:
            found.append(f"{name}:{line} imports {module}, which is above it")
        elif FLOOR[parts[1]] == FLOOR[own]:
            found.append(f"{name}:{line} imports {module}, a room of its own floor")
    return found


def test_the_top_level_holds_what_everybody_names() -> None:
    assert {path.stem for path in SOURCE.glob("*.py")} == TOP_LEVEL


def classes(source: str) -> dict[str, set[str]]:
    """Class -> names of its parents, as they are written."""
    found = (node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.ClassDef))
    return {node.name: {dotted(base).rpartition(".")[2] for base in node.bases} for node in found}


def descendants(of: set[str], parents: dict[str, set[str]]) -> set[str]:
    """``of`` and all classes below."""
    found = set(of)
    while more := {name for name, above in parents.items() if above & found} - found:
        found |= more
    return found


KINDS = {
    "backbone": "Backbone", "text": "Component", "align": "Aligner", "ranker": "Ranker", "fuse": "Fusion",
    "data": "Source", "protocol": "Protocol", "metric": "Metric",
}  # fmt: skip
"""kind -> the parent of its components"""
PARENTS: dict[str, set[str]] = {}
for each in FILES:
    PARENTS |= classes(each.read_text(encoding="utf-8"))


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


OPTIONS = re.compile(r"\w*Config")


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


def test_every_room_says_what_lives_there_and_what_does_not() -> None:
    for folder in {path.parent for path in FILES} - {SOURCE}:
        said = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
        assert len(said.splitlines()[0]) > 20, folder
        assert "Not here: " in said, folder


def test_no_circle_of_imports() -> None:
    """Modules in an order in which each comes after all that it imports, also where only types are imported."""
    known = {ident(path).removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in FILES}
    graph: dict[str, set[str]] = {}
    for name, path in known.items():
        asked = {m.removeprefix("interlingua.") for _, m in imports(ast.parse(path.read_text(encoding="utf-8")))}
        graph[name] = (asked & known.keys()) - {name} if name != "__init__" else set()
    list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("path", FILES, ids=ident)
def test_imports_point_downward(path: Path) -> None:
    assert not violations(ident(path), path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("name", "source", "bad"),
    [
        ("contracts/x.py", "from interlingua.runs.stages import run", True),
        ("align/x.py", "from interlingua import backbones", True),
        ("align/x.py", "def f():\n    import interlingua.backbones.mf", True),
        ("backbones/x.py", "from interlingua.runs.stages import run", True),
        ("backbones/x.py", "from interlingua.align import ridge", True),
        ("data/x.py", "if TYPE_CHECKING:\n    from interlingua.contracts.batch import Batch", True),
        ("backbones/x.py", "from interlingua.nn.losses import bpr", False),
        ("training/x.py", "from interlingua.contracts import Batch", False),
        ("evaluate/x.py", "from interlingua.cli.main import main", True),
        ("stray.py", "import numpy", True),
        ("nn/x.py", "from interlingua.backbones.mf import Mf", True),
        ("contracts/x.py", "from interlingua import fuse", True),
        ("retrieval/x.py", "import interlingua.fuse.sum", True),
        ("evaluate/x.py", "from interlingua.rankers import chat", True),
        ("training/x.py", "if TYPE_CHECKING:\n    from interlingua.align.ridge import Ridge", True),
        ("fuse/x.py", "from interlingua.rankers.chat import Chat", True),
        ("fuse/x.py", "from interlingua.contracts.fusion import Fusion", False),
    ],
)
def test_the_check_itself_tells_good_from_bad(name: str, source: str, bad: bool) -> None:
    assert bool(violations(name, source)) is bad


def forbidden(name: str, source: str) -> list[str]:
    """Calls and imports that the project does without."""
    tree, found = ast.parse(source), []
    prints = name.startswith("cli/") or name == "progress.py"
    for line, module in imports(tree):
        if module.split(".")[0] in ("pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"):
            found.append(f"{name}:{line} imports {module}: files are safetensors, parquet, npz or JSON")
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = dotted(node.func)
        wheres = f"{name}:{node.lineno}"
        if called in ("torch.load", "torch.save", "pd.read_pickle", "pandas.read_pickle"):
            found.append(f"{wheres} calls {called}, which pickles")
        if any(
            k.arg == "allow_pickle" and not (isinstance(k.value, ast.Constant) and k.value.value is False)
            for k in node.keywords
        ):
            found.append(f"{wheres} allows pickles")
        if isinstance(node.func, ast.Attribute) and node.func.attr == "cuda":
            found.append(f"{wheres} calls .cuda(): tensors follow parameters and buffers")
        if called == "print" and not prints:
            found.append(f"{wheres} prints: stdout is for results, progress.say for people")
        if called in ("eval", "exec", "os.system"):
            found.append(f"{wheres} calls {called}")
    return found


@pytest.mark.parametrize("path", FILES, ids=ident)
def test_nothing_forbidden_is_called(path: Path) -> None:
    assert not forbidden(ident(path), path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "def f():\n    from joblib import load",
        "torch.load(p)",
        "np.load(p, allow_pickle=True)",
        "np.load(p, allow_pickle=flag)",
        "x.cuda()",
        "self.model.encoder.cuda(0)",
        "print(1)",
        "eval(s)",
    ],
)
def test_each_forbidden_thing_is_seen(source: str) -> None:
    assert forbidden("backbones/x.py", source)


@pytest.mark.parametrize("source", ["np.load(p, allow_pickle=False)", "module.eval()", "re.compile('a')"])
def test_harmless_lines_pass(source: str) -> None:
    assert not forbidden("backbones/x.py", source)


PROBING = (
    "runs/", "recommender.py", "serve/", "cli/", "report/", "explain/", "align/", "fuse/", "evaluate/", "retrieval/",
    "contracts/", "training/",
)  # fmt: skip
"""who uses components: by what they declare, never by trying what they have"""


def probes(source: str) -> list[str]:
    """Lines that ask an object what it has, or wait for it to refuse."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and dotted(node.func) in ("getattr", "hasattr"):
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
        if isinstance(node, ast.ExceptHandler) and node.type is not None:
            caught = ast.unparse(node.type)
            if "NotImplementedError" in caught or "AttributeError" in caught:
                found.append(f"line {node.lineno}: except {caught}")
    return found


OF_OTHER_THINGS = {
    "explain/explain.py": "a tokenizer's template",
    "evaluate/result.py": "a file of results that is no table",
}
"""files that ask what a library's object, or a file, holds: no component"""


@pytest.mark.parametrize(
    "path", [p for p in FILES if ident(p).startswith(PROBING) and ident(p) not in OF_OTHER_THINGS], ids=ident
)
def test_components_are_not_probed(path: Path) -> None:
    assert not probes(path.read_text(encoding="utf-8"))


def test_a_probe_is_seen() -> None:
    assert probes("x = getattr(reader, 'calibrate', None)")
    assert probes("try:\n    f()\nexcept (NotImplementedError, KeyError):\n    pass")


TYPED = descendants({"Component", "Scorer", "Text", "Source", "Joint"}, PARENTS)
"""classes that nobody asks an object about: every component, every scorer, what stands for a text encoder"""
TYPE_TESTS = {"evaluate/protocol.py": "a stranger's object comes in here: what is no Scorer is refused in words"}
"""the places that may ask"""


def type_tests(source: str) -> list[str]:
    """Lines that ask for the class of a component or scorer, or whether its class has a method of its own."""
    found = []
    for node in ast.walk(ast.parse(source)):
        asked: list[ast.AST] = []
        if isinstance(node, ast.Call) and dotted(node.func) in ("isinstance", "issubclass"):
            asked = [each for each in ast.walk(node.args[1]) if isinstance(each, ast.Name | ast.Attribute)]
        if isinstance(node, ast.MatchClass):
            asked = [node.cls]
        if isinstance(node, ast.Compare) and any(isinstance(op, ast.Is | ast.IsNot) for op in node.ops):
            sides = [node.left, *node.comparators]
            own = [each for side in sides for each in ast.walk(side) if _of_class(each)]
            asked = [side for side in sides if own and isinstance(side, ast.Name | ast.Attribute)]
            if own and any(isinstance(side, ast.Attribute) and _of_class(side.value) for side in sides):
                found.append(f"line {node.lineno}: {ast.unparse(node)}")
        names = {dotted(each).rpartition(".")[2] for each in asked}
        if names & TYPED:
            found.append(f"line {getattr(node, 'lineno', 0)}: {', '.join(sorted(names & TYPED))}")
    return found


def _of_class(node: ast.AST) -> bool:
    """``type(x)`` or ``x.__class__``."""
    called = isinstance(node, ast.Call) and dotted(node.func) == "type" and len(node.args) == 1
    return called or (isinstance(node, ast.Attribute) and node.attr == "__class__")


@pytest.mark.parametrize("path", [p for p in FILES if not ident(p).startswith("testing/")], ids=ident)
def test_nobody_asks_what_class_a_component_has(path: Path) -> None:
    assert bool(type_tests(path.read_text(encoding="utf-8"))) is (ident(path) in TYPE_TESTS)


@pytest.mark.parametrize(
    ("source", "bad"),
    [
        ("isinstance(scorer, TableScorer)", True),
        ("isinstance(x, int | scorer.Ann)", True),
        ("issubclass(cls, (str, Component))", True),
        ("type(encoder).fit is not Component.fit", True),
        ("x.__class__.fit is Aligner.fit", True),
        ("type(encoder).fit is not base", True),
        ("type(x) is RetrieveThenRerank", True),
        ("match x:\n    case Fusion():\n        pass", True),
        ("isinstance(values, Mapping)", False),
        ("type(x) is int", False),
        ("type(scorer).__name__", False),
        ("name = type(x).makes(x.config)", False),
    ],
)
def test_a_type_test_is_seen(source: str, bad: bool) -> None:
    assert bool(type_tests(source)) is bad


DECLARING = ("contracts/", "config.py", "testing/")
"""the one place that may look at a class: a contract makes declarations (``makes``, ``width``) of what a class defines,
so that everybody else reads those; the suite compares the two"""


def looks_inside(source: str) -> list[str]:
    """Lines that ask which options a component has, or whether its class overrides a method of the contract's."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Compare):
            continue
        sides = [side for side in (node.left, *node.comparators) if isinstance(side, ast.Attribute)]
        if any(isinstance(op, ast.In | ast.NotIn) for op in node.ops):  # a NAMED options class is asked by its owner
            of = [dotted(side.value) or "?" for side in sides if side.attr == "model_fields"]
            bad = any(not OPTIONS.fullmatch(each) or each == "Config" for each in of)
        else:
            same = len(sides) == 2 and sides[0].attr == sides[1].attr
            named = {dotted(side.value).rpartition(".")[2] for side in sides}
            bad = same and bool(named & TYPED) and any(isinstance(op, ast.Is | ast.IsNot) for op in node.ops)
        if bad:
            found.append(f"line {node.lineno}: {ast.unparse(node)}")
    return found


@pytest.mark.parametrize("path", [p for p in FILES if not ident(p).startswith(DECLARING)], ids=ident)
def test_what_a_component_has_is_read_from_its_declarations(path: Path) -> None:
    assert not looks_inside(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("source", "bad"),
    [
        ("option in type(x.config).model_fields", True),
        ("'slots' not in part.cls.Config.model_fields", True),
        ("cls.fit is not Backbone.fit", True),
        ("part.cls.batches is aligner.Aligner.batches", True),
        ("key in SplitConfig.model_fields", False),
        ("self.data is other.data", False),
    ],
)
def test_a_look_inside_is_seen(source: str, bad: bool) -> None:
    assert bool(looks_inside(source)) is bad


@pytest.mark.parametrize("path", FILES, ids=ident)
def test_a_file_is_one_idea(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= MAX_LINES, f"{ident(path)} has {lines} lines; split it by idea"


def docstring_lines(text: str) -> int:
    """Lines that are bare strings: docstrings of modules, classes, functions and fields."""
    nodes = (n for n in ast.walk(ast.parse(text)) if isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))
    return sum((n.end_lineno or n.lineno) - n.lineno + 1 for n in nodes if isinstance(n.value.value, str))


def test_only_the_registry_compares_component_names() -> None:
    """``if name == "sasrec"`` outside the registry is how one component's quirk leaks into the others."""
    names = {
        p.stem.replace("_", "-")
        for kind in ("backbones", "align", "rankers")
        for p in (SOURCE / kind).glob("*.py")
        if 'kind = "' in p.read_text(encoding="utf-8") or "kind: ClassVar" in p.read_text(encoding="utf-8")
    }
    found = []
    for path in FILES:
        if ident(path).split("/")[0] in ("registry.py", "demo", "demo.py"):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Compare) and any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops):
                sides = (node.left, *node.comparators)
                same = [side.value for side in sides if isinstance(side, ast.Constant) and side.value in names]
                found += [f"{ident(path)}:{node.lineno} compares with the component name {name!r}" for name in same]
    assert not found


MAX_FUNCTION = 60


@pytest.mark.parametrize("path", [p for p in FILES if not ident(p).startswith("testing/")], ids=ident)
def test_functions_fit_on_a_screen(path: Path) -> None:
    long = [
        f"{ident(path)}:{node.lineno} {node.name} has {(node.end_lineno or 0) - node.lineno + 1} lines"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
        and (node.end_lineno or 0) - node.lineno >= MAX_FUNCTION
        # the docstring explains every argument of the loop; what counts is what one has to follow
        and (node.end_lineno or 0) - node.lineno - docstring_lines(ast.unparse(node)) >= MAX_FUNCTION
    ]
    assert not long, "; ".join(long)
