"""Prepare -> embed -> train -> align -> rank -> evaluate: one function per stage.

A stage's key is the hash of its options, the seed, its parents' keys and the data; a finished key is reused, so one
trained backbone is the parent of every method. A stage seeds *after* its inputs are loaded, so that its random numbers
follow from the key alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from interlingua.contracts.aligner import Aligner
from interlingua.contracts.backbone import Backbone
from interlingua.data.prepared import Dataset
from interlingua.errors import ConfigError, shown
from interlingua.evaluate.rules import measured_under, scorer_for
from interlingua.progress import say, seconds_of
from interlingua.runs.adapter_seeds import check_other_seeds
from interlingua.runs.building import Built, job_of, stage_of
from interlingua.runs.facts import facts_of
from interlingua.runs.measuring import EvaluateConfig, check_labels
from interlingua.runs.named_texts import errors_name, textless
from interlingua.runs.old_words import renamed
from interlingua.runs.optional import with_possible_members
from interlingua.runs.plan import check_present, parts_of
from interlingua.runs.preflight import check
from interlingua.runs.ranker_validation import check_of
from interlingua.runs.readable import text_for
from interlingua.runs.recipe import Recipe
from interlingua.runs.scorers import make_fusion, scorer_of
from interlingua.runs.section import Section
from interlingua.runs.session import Session, make_text, remeasured
from interlingua.storage.artifact import Artifact
from interlingua.training.deploy import aligner_for, deploy
from interlingua.training.joint import Joint
from interlingua.training.loop import derive_seed, seed_all


@renamed(sets="overrides")
def run(
    recipe: Recipe | str | Path | Mapping[str, Any],
    *,
    out: Path | str = "runs",
    seed: int = 7,
    device: str = "auto",
    overrides: Sequence[str] = (),
    data: Any = None,
    trust: bool = False,
    budget: float | str | None = None,
) -> Session:
    """Runs every stage of a recipe that is not finished yet.

    Args:
        recipe: a resolved recipe, a shipped name, a path, or a mapping section -> options, as in a recipe's file.
        out: the runs folder.
        seed: every random number follows from it.
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``.
        overrides: ``section.key=value`` overrides.
        data: what replaces the recipe's dataset: a name, a path, a frame of events, a mapping with the frames
            ``interactions``, ``items`` and ``users``, or what ``interlingua.prepare`` returned. Tables in memory are
            stored below ``out``, so that the run can be continued and opened.
        trust: the recipe's file may import code and name servers and environment variables (docs/security.md).
        budget: time for training the members of ``[fuse]``, in seconds or like ``"10min"``; optional ones that would
            take longer are left out.

    Returns:
        The session: ``session.metrics``, ``session.slices``, and ``session.path``, the run's folder.

    Raises:
        ConfigError: a recipe or data that cannot be used, or ``overrides`` or ``data`` with a resolved recipe.
    """
    if not isinstance(recipe, Recipe):
        from interlingua.data.memory import as_source
        from interlingua.runs.recipe import load

        if not isinstance(recipe, str | Path | Mapping):
            raise ConfigError(f"recipe is {shown(recipe)}; give a shipped name, a path, a mapping or a resolved recipe")
        recipe = load(recipe, overrides, None if data is None else as_source(data, Path(out) / "frames"), trust=trust)
    elif data is not None or overrides:
        raise ConfigError(
            "data and overrides change a recipe that is still to be read; this one is resolved: load it anew"
        )
    session = started(Session(recipe, Path(out), seed, device), budget)
    run_stages(session)
    evaluate(session)
    return session


def started(session: Session, budget: float | str | None = None) -> Session:
    """The session, checked; optional members of ``[fuse]`` are chosen, for which the data are prepared.

    Raises:
        ConfigError: something is missing, or the budget cannot be read or kept.
    """
    check([session])
    check_present(session.plan)
    limit = None if budget is None else seconds_of(budget)

    def data() -> Dataset:
        prepare(session)
        made: Dataset = session.data
        return made

    return with_possible_members(session, data, limit)


def run_stages(session: Session) -> None:
    """Runs all stages except the measurement. Members of ``[fuse]`` run in turn on the same prepared data."""
    functions = {"train": train, "align": align, "rank": rank}
    for kind in session.plan:
        if kind == "prepare" and session.whole is not None:
            session.done[kind] = session.whole.done[kind]
        elif kind == "prepare":
            if kind not in session.done:
                prepare(session)
            check_labels(session.recipe.evaluate, session.data.split)
            for line in textless(_text_sections(session.recipe), session.data.catalogue):
                say(f"warning: {line}")
        elif kind == "fuse":
            for number, member in enumerate(session.members, 1):
                run_stages(member)
                session.done |= {f"{number}.{stage}": made for stage, made in member.done.items()}
            fuse(session)
        elif kind.rsplit(".", 1)[-1] == "embed":
            embed(session, kind)
        elif kind != "evaluate":
            functions[kind](session)


def _text_sections(recipe: Recipe) -> Iterator[tuple[str, Section]]:
    """(words, section) of everything that reads texts, members of ``[fuse]`` included."""
    for member in recipe.members:
        yield from ((f"{words} of the member {member.name}", part) for words, part in _text_sections(member))
    own = {} if recipe.text is None else {"[text]": recipe.text}
    yield from (own | {f"[texts.{name}]": part for name, part in recipe.texts.items()}).items()


def prepare(session: Session) -> Artifact:
    """Reads, filters and splits the dataset."""
    from interlingua.data.prepare import prepare_config, save

    for note in session.recipe.notes:
        say(note)

    def make(folder: Path, partial: Path) -> dict[str, Any]:
        prepared = prepare_config(session.recipe.data, session.seed)
        save(prepared, folder / "dataset")
        return {"data_fingerprint": prepared.fingerprint}

    return session.run_stage("prepare", make)


def embed(session: Session, kind: str = "embed") -> Artifact:
    """Fits a text encoder, if it learns, and encodes every item's (and user's) text once.

    ``kind``: ``NAME.embed`` for the section ``[texts.NAME]``.
    """
    from interlingua.vectors.health import notes_of

    ((section, part),) = parts_of(session.recipe, kind).items()

    def build() -> Built:
        seed_all(derive_seed(session.seed, kind))
        encoder = make_text(part, session.data)
        return Built(
            encoder, encoder, job_of(session, kind), encoder, stored_empty=False,
            settle=lambda: encoder.cpu().eval(), more=lambda: {"texts": notes_of(encoder)},
        )  # fmt: skip

    with errors_name(section, part.config):
        return stage_of(session, kind, build)


def train(session: Session) -> Artifact:
    """Fits the backbone: in closed form, or by gradient with early stopping on the validation part."""

    def build() -> Built:
        part = session.recipe.backbone
        assert part is not None
        train_events, text = session.data.split.train, session.text if part.cls.needs_text else None
        seed_all(derive_seed(session.seed, "train"))
        backbone: Backbone = part.cls(part.config, train_events)
        joint = Joint(backbone, Aligner(Aligner.Config(), 0, 0))
        return Built(
            backbone, joint, job_of(session, "train", text=text), backbone, judged=joint,
            settle=lambda: backbone.cpu().eval(),
            more=lambda: {"parameters": sum(p.numel() for p in backbone.parameters())},
        )  # fmt: skip

    return stage_of(session, "train", build)


def align(session: Session) -> Artifact:
    """Joins the ID space with the text space and exports the vectors that later stages read."""

    def build() -> Built:
        part, source = session.recipe.align, session.recipe.backbone
        assert part is not None
        assert source is not None
        frozen, text = session.recipe.frozen_backbone, text_for(session, part)
        finished, tables = (session.backbone, session.exported("train")) if frozen else (None, None)
        seed_all(derive_seed(session.seed, "align"))
        backbone = source.cls(source.config, session.data.split.train) if finished is None else finished
        aligner = aligner_for(part.cls, part.config, backbone, text)
        joint = Joint(backbone, aligner, text, frozen_backbone=frozen)

        def settle() -> None:
            joint.cpu().eval()
            deploy(joint)

        return Built(
            aligner, joint, job_of(session, "align", text=text, backbone=backbone, tables=tables or {}), joint,
            judged=joint, before=() if frozen else (backbone,), settle=settle,
            more=lambda: {"parameters": sum(p.numel() for p in joint.parameters() if p.requires_grad)},
        )  # fmt: skip

    return stage_of(session, "align", build)


def rank(session: Session) -> Artifact:
    """Fits the ranker: a language model, frozen or not, that reads vectors."""

    def build() -> Built:
        ranker = session.make_ranker()
        measured = check_of(ranker, session.data.split)
        return Built(
            ranker, ranker, job_of(session, "rank"), ranker, calibrates=True, check=measured,
            more=lambda: {"parameters": sum(p.numel() for p in ranker.parameters() if p.requires_grad)},
        )  # fmt: skip

    made = stage_of(session, "rank", build)
    check_other_seeds(session.root, made)
    return made


def fuse(session: Session) -> Artifact:
    """Joins the members' scores. A fusion that learns does so on the validation part."""

    def build() -> Built:
        fusion = make_fusion(session)
        return Built(
            fusion, fusion, job_of(session, "fuse"), fusion, calibrates=True,
            more=lambda: {"parameters": sum(buffer.numel() for buffer in fusion.buffers())},
        )  # fmt: skip

    return stage_of(session, "fuse", build)


def evaluate(session: Session) -> Artifact:
    """Measures the run on the test part (or the validation part, to choose options) under the recipe's protocols."""
    from interlingua.evaluate.protocol import evaluate as measure

    options, part = session.recipe.evaluate, session.recipe.align

    def make(folder: Path, partial: Path) -> dict[str, Any]:
        scorer = scorer_of(session)
        if part is not None and session.recipe.frozen_backbone and scorer is session.backbone:
            say(
                f"note: nothing here reads the alignment {part.name!r}: the backbone alone is measured; add a ranker "
                "([ranker]), or set evaluate.candidate_source = 'aligned' to reach items without events by their texts"
            )
        for caveat in session.recipe.ranker.cls.caveats(session.recipe.ranker.config) if session.recipe.ranker else ():
            say(f"warning: {caveat}")
        if options.part == "valid" and {"rank", "fuse"} & set(session.done):
            say("note: what this run learns after its fit it learned on the validation part, where it is measured now")
        summary: dict[str, Any] = {}
        facts = facts_of(session, options)
        for protocol in options.protocols:
            names, unread = measured_under(protocol, options.metrics)
            if unread:
                say(f"note: the protocol {protocol} judges nothing that {', '.join(unread)} could read")
            report = measure(
                scorer_for(scorer, protocol), session.data.split, options.part, protocol=protocol, metrics=names,
                seed=options.negatives_seed, max_users=options.max_users, facts=facts,
            )  # fmt: skip
            target = folder / "protocols" / protocol
            target.mkdir(parents=True)
            report.save(target)
            summary[protocol] = report.to_json()
        (folder / "metrics.json").write_text(json.dumps(summary, indent=1), encoding="utf-8")
        return {"recipe": session.recipe.resolved()}

    return session.run_stage("evaluate", make)


def reevaluate(session: Session, options: EvaluateConfig) -> Artifact:
    """Measures a finished run under other protocols: a new evaluate stage beside the old one."""
    return evaluate(remeasured(session, options))
