"""A recipe: which data, backbone, text source, alignment and language-model ranker, resolved to checked options."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from interlingua import registry
from interlingua.config import OF_SECTION, build, merge, parse_overrides, read_toml
from interlingua.errors import ConfigError, shown, unknown
from interlingua.progress import say
from interlingua.runs.measuring import EvaluateConfig, evaluate_options, unread_metrics
from interlingua.runs.members import members_of, of_a_member, optional_of, stored_member, with_members
from interlingua.runs.named_texts import named_texts
from interlingua.runs.old_words import parted, renamed, translated
from interlingua.runs.pairs import misfits, unfit_members
from interlingua.runs.section import Section
from interlingua.runs.trust import of_recipe, refuse

RENAMED = {
    "a-llmrec-long": "aligned-mixture-long",
    "a-llmrec-hour": "aligned-mixture-hour",
    "paper/a-llmrec/small": "a-llmrec",
}
"""old name of a shipped recipe -> today's"""
SECTIONS = ("data", "backbone", "text", "align", "ranker", "texts", "fuse", "evaluate")


@dataclass(frozen=True)
class Recipe:
    """All sections of one method, resolved. ``None``: the method has no such part."""

    name: str
    data: Any
    backbone: Section | None
    text: Section | None
    align: Section | None
    ranker: Section | None
    evaluate: EvaluateConfig
    frozen_backbone: bool = True
    """whether [align].frozen names the backbone: it is trained first and then stays as it is"""
    texts: dict[str, Section] = field(default_factory=dict)
    """further texts by name, each with an encoder of its own"""
    fuse: Section | None = None
    """joins the scores of the members: a recipe has either it or a backbone"""
    members: tuple[Recipe, ...] = ()
    """recipes on the same data, whose last stages are joined"""
    optional: frozenset[str] = frozenset()
    """names of members that are left out where data, machine or budget do not allow them"""
    notes: tuple[str, ...] = ()
    """notes for whoever runs it, one line each"""

    def makes(self) -> frozenset[str]:
        """The words that its parts make together; of ``[fuse]``: scores."""
        parts = (self.backbone, self.text, self.align, self.ranker)
        return frozenset({"scores"}).union(*(part.cls.makes(part.config) for part in parts if part is not None))

    def resolved(self) -> dict[str, Any]:
        """Every option of every section, as the artifacts store it."""
        out: dict[str, Any] = {"data": self.data.model_dump(mode="json")}
        for part in (self.backbone, self.text, self.align, self.ranker):
            if part is not None:
                out[part.kind] = part.options()
        if self.align is not None:
            out["align"]["frozen"] = ["backbone"] if self.frozen_backbone else []
        if self.texts:
            out["texts"] = {name: part.options() for name, part in self.texts.items()}
        if self.fuse is not None:
            out["fuse"] = self.fuse.options() | {
                "members": [stored_member(each.name, each.resolved()) for each in self.members]
            }
        out["evaluate"] = self.evaluate.model_dump(mode="json")
        return out


def folder() -> Path:
    """The recipes that ship with the package (in a checkout: ``recipes/``)."""
    packaged = Path(str(files("interlingua"))) / "recipes"
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[3] / "recipes"


def shipped() -> list[str]:
    """Names of the shipped recipes, papers' settings included (``paper/a-llmrec/beauty``)."""
    root = folder()
    return sorted(str(p.relative_to(root).with_suffix("")) for p in root.rglob("*.toml"))


def find(name: str | Path) -> Path:
    """A recipe by path or shipped name. A former name still works, with a warning."""
    path = Path(name)
    if path.suffix == ".toml":
        return path
    if str(name) in RENAMED:
        say(f"warning: the recipe {str(name)!r} is called {RENAMED[str(name)]!r} now")
        name = RENAMED[str(name)]
    if str(name) in shipped():
        return folder() / f"{name}.toml"
    raise ConfigError(
        unknown("recipe", str(name), shipped(), see="interlingua list recipes") + "; or give a .toml file"
    )


def agree_on_data(overrides: Mapping[str, Any], data: str | None, option: str = "--data") -> None:
    """Refuses overrides that name another dataset than the one that was given.

    Args:
        overrides: parsed.
        data: what replaces ``[data].name``; None: nothing does.
        option: how it was given.
    """
    table = overrides.get("data")
    name = table.get("name") if isinstance(table, Mapping) else None
    if data is not None and name is not None and name != data:
        raise ConfigError(f"--set data.name={name} contradicts {option} {data}; leave one of the two out")


def _check_sections(file: Mapping[str, Any], overrides: Mapping[str, Any], where: str) -> None:
    """Refuses an override of a section that the recipe does not have, unless the overrides name its component."""
    for section, table in overrides.items():
        begins = not isinstance(table, Mapping) or "name" in table or not table
        if section not in ("backbone", "text", "align", "ranker") or file.get(section) or begins:
            continue
        if file.get("fuse"):
            raise ConfigError(of_a_member(section, table, where))
        raise ConfigError(
            f"--set {section}.{next(iter(table))}: {where} has no section [{section}]; leave it out, or begin it "
            f"with --set {section}.name=NAME (interlingua list {registry.LISTED[section]})"
        )


def data_section(values: Mapping[str, Any], file: Any, overrides: Any) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A recipe's [data], and notes. A prepared folder's card is used, changed by the overrides (see :func:`load`)."""
    from interlingua.data.prepared_card import card_of, with_card

    card = card_of(values.get("name"))
    if card is None:
        return dict(values), ()
    overrides = {k: v for k, v in (overrides or {}).items() if k != "name"}
    return with_card(str(values["name"]), card, file or {}, overrides)


@renamed(sets="overrides")
def load(
    name: str | Path | Mapping[str, Any],
    overrides: Sequence[str] = (),
    data: str | None = None,
    *,
    trust: bool = False,
) -> Recipe:
    """Reads and resolves a recipe.

    Args:
        name: a shipped name, a path to a TOML file, or what such a file holds: a mapping section -> options.
        overrides: overrides of the form ``section.key=value``, in any order.
        data: dataset name or folder that replaces ``[data].name``. How a prepared folder was split and filtered stays
            as it is, whatever the recipe's file says; only ``overrides`` change it.
        trust: for a recipe of your own, or one that you have read: it may import ``module:Class`` and name servers and
            environment variables. Shipped recipes and ``overrides`` do not need it.

    Raises:
        ConfigError: every problem of the recipe in one message, or one that is not trusted.
    """
    paths: tuple[Path, ...] = () if isinstance(name, Mapping) else (find(name),)
    called, where = (paths[0].stem, str(paths[0])) if paths else ("recipe", "recipe")
    file = translated(name, where) if isinstance(name, Mapping) else read_toml(paths[0], translated)
    parsed = translated(parse_overrides(overrides), "--set")
    agree_on_data(parsed, data)
    _check_sections(file, parsed, where)
    values = with_members(merge(file, parsed), find, lambda each: read_toml(each, translated), paths)
    if not trust:
        refuse(where, of_recipe(values, parsed))
    own: Any = values.get("data", {})
    notes: tuple[str, ...] = ()
    if isinstance(own, Mapping):  # anything else is resolve's to refuse
        own = {**own, **({} if data is None else {"name": data})}
        values["data"], notes = data_section(own, file.get("data"), parsed.get("data"))
    recipe = resolve(values, called, where)
    if "name" not in own:
        notes = (*notes, f"[data] names no dataset: {recipe.data.name} is taken")
    return replace(recipe, notes=notes)


def resolve(values: Mapping[str, Any], name: str = "recipe", where: str = "recipe", *, stored: bool = False) -> Recipe:
    """Checks nested tables against the components' options (see :func:`load`).

    Args:
        values: section -> options.
        name: of the recipe.
        where: for errors.
        stored: the recipe of a finished run: it opens even if such a recipe would be refused today.
    """
    from interlingua.data.prepare import DataConfig
    from interlingua.data.splitting import SplitConfig

    values = parted(translated(values, where, stored), where, stored)
    problems = [unknown("section", s, SECTIONS, where) for s in values if s not in SECTIONS]
    if isinstance(values.get("fuse"), Mapping):
        return _fused(values, name, where, stored, problems)
    problems += [_no_table(s, values[s], where) for s in SECTIONS if not isinstance(values.get(s), Mapping | None)]
    given = values.keys()  # --set ranker=null takes the ranker away, and leaves what was frozen for it as it was
    values = {section: table for section, table in values.items() if isinstance(table, Mapping)}
    if stored and isinstance(values.get("data", {}).get("split"), Mapping):
        values["data"] = {**values["data"], "split": SplitConfig.read_part(values["data"]["split"])}
    parts: dict[str, Any] = {}

    def attempt(section: str, make: Any) -> None:
        try:
            parts[section] = make()
        except ConfigError as error:
            problems.append(str(error))

    attempt("data", lambda: build(DataConfig, values.get("data", {}), f"{where} [data]"))
    attempt("evaluate", lambda: evaluate_options(values.get("evaluate", {}), f"{where} [evaluate]", stored=stored))
    align = dict(values.get("align", {}))
    frozen = align.pop("frozen", None)
    if frozen not in (None, ["backbone"], [], "backbone"):
        problems.append(f"{where} [align].frozen is ['backbone'] or [], got {frozen!r}")
        frozen = None
    for kind in ("backbone", "text", "align", "ranker"):
        table = align if kind == "align" else values.get(kind)
        if table:
            attempt(kind, lambda kind=kind, table=table: _component(kind, table, where))
    texts, more = named_texts(values.get("texts", {}), where, _component)
    problems += more
    if not values.get("backbone") and not problems:
        problems.append(f"{where} has no [backbone] section; interlingua list backbones shows what there is")
    if "evaluate" in parts and not stored and not problems:
        problems += unread_metrics(parts["evaluate"], has_text=parts.get("text") is not None, where=where)
    joined = len(problems)
    frozen, more = _trained(parts, frozen, "ranker" in given, where)
    problems += more
    if parts.get("align") is None and "evaluate" in parts and parts["evaluate"].candidate_source == "aligned":
        problems.append(f"{where} [evaluate] candidate_source = 'aligned' needs an [align] section")
    if not problems:
        problems += [f"{where}: {said}" for said in _misfits(parts, texts, "backbone" in frozen)]
    if stored:
        del problems[joined:]
    if problems:
        raise ConfigError("\n".join(problems))
    backbone, text, aligner, ranker = (parts.get(kind) for kind in ("backbone", "text", "align", "ranker"))
    measured, fixed = parts["evaluate"], "backbone" in frozen
    return Recipe(name, parts["data"], backbone, text, aligner, ranker, measured, fixed, texts=texts)


def _misfits(parts: Mapping[str, Any], texts: Mapping[str, Section], frozen: bool) -> list[str]:
    """Why the parts cannot work together."""
    chosen = {kind: parts.get(kind) for kind in ("backbone", "text", "align", "ranker")}
    return misfits(
        **chosen, texts=frozenset(texts), encoders=tuple(texts.values()), data=parts["data"].makes(), frozen=frozen,
        candidate_source=parts["evaluate"].candidate_source,
    )  # fmt: skip


def _fused(values: Mapping[str, Any], name: str, where: str, stored: bool, problems: list[str]) -> Recipe:
    """A recipe of recipes (see :mod:`interlingua.runs.members`)."""
    from interlingua.data.prepare import DataConfig

    values = with_members(values, find, lambda each: read_toml(each, translated))
    table, members, more = members_of(
        values, where, lambda own, called, at: resolve(own, called, at, stored=stored), stored
    )
    problems, parts = problems + more, dict[str, Any]()
    for section, make in (
        ("data", lambda: build(DataConfig, values.get("data", {}), f"{where} [data]")),
        ("evaluate", lambda: evaluate_options(values.get("evaluate", {}), f"{where} [evaluate]", stored=stored)),
        ("fuse", lambda: _component("fuse", table, where)),
    ):
        try:
            parts[section] = make()
        except ConfigError as error:
            problems.append(str(error))
    if "evaluate" in parts and parts["evaluate"].candidate_source == "aligned":
        problems.append(f"{where} [evaluate].candidate_source = 'aligned' is for recipes with [align]: leave it out")
    if "evaluate" in parts and not stored:
        problems += unread_metrics(parts["evaluate"], has_text=False, where=where)
    if {"fuse", "data"} <= parts.keys() and not stored:
        made = [(member.name, member.makes()) for member in members]
        problems += [f"{where}: {said}" for said in unfit_members(parts["fuse"], made, parts["data"].makes())]
    if problems:
        raise ConfigError("\n".join(dict.fromkeys(problems)))
    data, measured = parts["data"], parts["evaluate"]
    return Recipe(
        name, data, None, None, None, None, measured, fuse=parts["fuse"], members=tuple(members),
        optional=optional_of(values["fuse"]["members"]),
    )  # fmt: skip


def _trained(parts: Mapping[str, Any], frozen: Any, has_ranker: bool, where: str) -> tuple[Any, list[str]]:
    """Which parts are frozen by default, and which cannot be trained this way."""
    needs, problems = _needs_frozen(parts), []
    if frozen is None:
        frozen = ["backbone"] if has_ranker or needs else []
    elif needs and "backbone" not in frozen:
        problems.append(f"{where} [align] frozen = {list(frozen)}: {needs}; set frozen = ['backbone'] or leave it out")
    if "backbone" in frozen and parts.get("align") is not None and parts["align"].cls.trains_backbone:
        why = needs or "align.frozen names it; with [ranker] that is the default, and frozen = [] trains it"
        other = "choose the aligner ridge or autoencoder, or a backbone that is trained by gradient" if needs else ""
        problem = f"{where}: the aligner {parts['align'].name!r} trains the backbone, but {why}"
        problems.append(f"{problem}; {other}" if other else problem)
    if "align" in parts and "backbone" in frozen and _patience(parts["align"]):
        problems.append(
            f"{where} [align].fit.patience: early stopping looks at the backbone's ranking, which a frozen one keeps; "
            "leave it out and set the epochs"
        )
    if (ranker := parts.get("ranker")) and ranker.cls.validation == "none" and _patience(ranker):
        problems.append(f"{where} [ranker].fit.patience: {ranker.name!r} is trained for all its epochs; leave it out")
    return frozen, problems


def _no_table(section: str, value: Any, where: str) -> str:
    """The error for ``--set backbone=lightgcn``, or for ``backbone = "lightgcn"`` in a file: what to write instead."""
    word = value if isinstance(value, str) else value[0] if isinstance(value, list) and value else None
    key, meant = ("protocols", f'["{word or "full"}"]') if section == "evaluate" else ("name", word or "NAME")
    example = f"{section}.{key}={meant}"
    example = f"'{example}'" if section == "evaluate" else example
    return f"{where}: [{section}] is a table, not {shown(value)}; did you mean --set {example}?"


def _patience(part: Section) -> int | None:
    options = part.config.training()
    return None if options is None else options.patience


def _needs_frozen(parts: Mapping[str, Any]) -> str:
    """Why the backbone cannot be trained along with the aligner; empty if it can."""
    align, backbone = parts.get("align"), parts.get("backbone")
    if align is None or backbone is None:
        return ""
    if align.cls.closed_form:
        return f"the aligner {align.name!r} is fitted on a finished backbone, and trains none"
    if backbone.cls.sampling == "none":
        return f"the backbone {backbone.name!r} is not trained by gradient"
    return ""


def _component(kind: str, table: Mapping[str, Any], where: str) -> Section:
    options = dict(table)
    name = options.pop("name", None)
    if name is None:
        raise ConfigError(f"{where} [{kind}] has no name; interlingua list {registry.LISTED[kind]} shows what there is")
    if not isinstance(name, str):
        raise ConfigError(
            f"{where} [{kind}].name is a word, got {shown(name)}; interlingua list {registry.LISTED[kind]}"
        )
    cls = registry.find(kind, name, f"{where} [{kind}].name")
    further = ("name", *(OF_SECTION if kind == "fuse" else ()))
    return Section(kind, name, cls, build(cls.Config, options, f"{where} [{kind}]", further))
