"""A finished run over more items than it was trained on: they stand behind its own, known by their texts alone.

Everything that reads a run reads a grown one in the same way. Its vectors of the new items are those that training
would have given to items without an event; all that it learned, and its vectors of its own items, stay as they are.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
import torch
from torch import Tensor

from interlingua.contracts.added import AddedItems
from interlingua.contracts.aligner import Aligner
from interlingua.contracts.backbone import Backbone
from interlingua.contracts.fitting import Fitting
from interlingua.contracts.padded import padded
from interlingua.contracts.text import Text
from interlingua.data.catalogue import Catalogue
from interlingua.data.interactions import Interactions
from interlingua.data.prepared import Dataset
from interlingua.errors import ArtifactError, ConfigError
from interlingua.runs.new_texts import NewTexts
from interlingua.runs.scorers import fusion_of, scorer_of
from interlingua.runs.session import Session
from interlingua.vectors.fields import item_texts
from interlingua.vectors.frozen import FrozenRows

SENTENCE = "what was said"
"""id of the line that stands for a sentence"""
READERS = ("all-round", "textknn", "l3ae")
"""shipped recipes that any catalogue with texts can use"""


class Grown(Session):
    """See the module. ``base`` is not changed, and lends what it has loaded."""

    base: Session
    new: pl.DataFrame
    """(n) lines of the catalogue"""
    changed: pl.DataFrame | None
    """lines of the run's own items whose texts or attributes are others now; vectors stay"""
    sentence: str | None
    """what the last new item stands for, which is no item: its text, as it was said"""

    def __init__(
        self,
        base: Session,
        new: pl.DataFrame,
        changed: pl.DataFrame | None = None,
        whole: Grown | None = None,
        sentence: str | None = None,
    ) -> None:
        super().__init__(base.recipe, base.root, base.seed, base.device, base.done, base.reused, {}, whole)
        self.base, self.new, self.changed, self.sentence = base, new, changed, sentence

    @property
    def num_added(self) -> int:
        """Number of new items."""
        return self.new.height

    @property
    def before_growth(self) -> tuple[Session, pl.DataFrame, pl.DataFrame | None]:
        """The run as it was trained, and the lines with which it grew."""
        return self.base, self.new, self.changed

    @cached_property
    def plan(self) -> Any:
        """That of the run."""
        return self.base.plan

    @cached_property
    def grown_members(self) -> list[Grown]:
        """The members, over the same new items."""
        return [Grown(member, self.new, self.changed, self, self.sentence) for member in self.base.members]

    @cached_property
    def members(self) -> list[Session]:
        """See :attr:`grown_members`."""
        return list(self.grown_members)

    @cached_property
    def data(self) -> Dataset:
        """The run's data, with the new items at the end of the catalogue; no event is added."""
        if self.whole is not None:
            shared: Dataset = self.whole.data
            return shared
        data: Dataset = self.base.data
        items = data.catalogue.items if self.changed is None else _updated(data.catalogue.items, self.changed)
        catalogue = replace(data.catalogue, items=pl.concat([items, self.new], how="diagonal"))
        train = _longer(data.split.train, self.new)
        return replace(
            data, catalogue=catalogue, interactions=_longer(data.interactions, self.new),
            split=replace(data.split, train=train),
        )  # fmt: skip

    @cached_property
    def added(self) -> AddedItems:
        """What the run's components read of the new items."""
        base, texts = self.base, self.new_vectors
        own = texts.get("text")
        named = {name.removeprefix("texts."): vectors for name, vectors in texts.items() if name != "text"}
        found = AddedItems(self.num_added, _job(base), self._lines, own, named)
        if own is None or "align" not in base.done:
            return found
        aligner, backbone, read = base.aligner, base.backbone, FrozenRows(own)
        makes, inputs = backbone.makes(backbone.config), None
        with torch.no_grad():
            if "inputs" in makes:
                inputs = aligner.inputs_from_texts(read, backbone.input_embeddings().items.shape[1])
            tables = {"items": backbone.item_embeddings().detach()} if "items" in makes else {}
            made = aligner.from_texts(read, replace(found.job, tables=tables))
            items = None if made is None else aligner.to_backbone(made)
        self.loaded["from_texts"] = made
        return replace(found, inputs=inputs, items=items)

    @property
    def _lines(self) -> Catalogue:
        known = self.base.data.catalogue
        return Catalogue(self.new, None, known.domain, known.names)

    @cached_property
    def new_vectors(self) -> dict[str, Tensor]:
        """Section -> (n, T) vectors of the new items' texts; sections that cannot read them are in :attr:`problems`."""
        encoders = encoders_of(self.base)
        base, found = self.base.data.catalogue, {}
        lines = self.new if self.sentence is None else self.new[:-1]
        catalogue, said = Catalogue(lines, None, base.domain, base.names), [self.sentence] if self.sentence else []
        for section in encoders.sections():
            table, _, name = section.partition(".")
            part = self.recipe.texts[name] if table == "texts" else self.recipe.text
            assert part is not None
            try:
                found[section] = encoders.vectors(section, [*item_texts(catalogue, part.config), *said])
            except (ConfigError, ArtifactError) as error:
                self.problems.append(str(error))
        return found

    @cached_property
    def problems(self) -> list[str]:
        """Why a section cannot read new texts."""
        return []

    @cached_property
    def backbone(self) -> Backbone:
        """The run's backbone over all items."""
        own = self.base.backbone if self.retold is None else self.retold
        if not self.num_added:
            return own.eval()
        return (own.extended(self.added) or padded(own, self.added)).eval()

    @cached_property
    def retold(self) -> Backbone | None:
        """The run's backbone with the changed texts of its items; None: no text changed, or what it learned stays."""
        part, base = self.recipe.text, self.base.data
        if self.changed is None or part is None or "embed" not in self.done or self.recipe.backbone is None:
            return None
        indices = [base.split.train.item_indices[item] for item in self.changed["item_id"]]
        tables = (base.catalogue.items[indices], self.changed)
        former, now = (item_texts(replace(base.catalogue, items=each), part.config) for each in tables)
        places = [place for place, text in enumerate(now) if text != former[place]]
        if not places:
            return None
        try:
            vectors = encoders_of(self.base).vectors("text", [now[place] for place in places])
        except (ConfigError, ArtifactError):
            return None
        chosen = torch.tensor([indices[place] for place in places])
        return self.base.backbone.retold(chosen, vectors, _job(self.base))

    @property
    def keeps_texts(self) -> bool:
        """Whether something that reads texts keeps what it knew of items of the run whose texts changed."""
        own = bool(encoders_of(self.base).sections()) and (self.retold is None or {"align", "rank"} & {*self.done})
        if self.recipe.backbone is not None:
            bare = AddedItems(self.num_added, _job(self.base), self._lines)  # no vectors: there may be no new item
            own = own or self.base.backbone.heard(bare) is not None
        return bool(own) or any(member.keeps_texts for member in self.grown_members)

    @property
    def places(self) -> bool:
        """Whether texts tell this run (with ``[fuse]``: a member) where a new item stands."""
        if self.recipe.fuse is not None:
            return any(member.places for member in self.grown_members)
        return self.added.items is not None or self.base.backbone.extended(self.added) is not None

    @property
    def silent(self) -> tuple[str, ...]:
        """New items whose texts say nothing to any encoder: all their vectors are zero."""
        parts = (self, *self.grown_members) if self.num_added else ()
        said = [each for part in parts for each in part.known_of]
        return tuple(self.new["item_id"].filter(~np.logical_or.reduce(said))) if said else ()

    @property
    def says(self) -> bool:
        """Whether the text of the last new item says anything: its vectors are not all zero."""
        if self.recipe.fuse is not None:
            return any(member.says for member in self.grown_members)
        return any(bool(each[-1]) for each in self.known_of)

    @property
    def known_of(self) -> list[Any]:
        """(n,) whether a new item says anything to an encoder, or to a backbone that reads its line: of each reader."""
        found = [vectors.any(dim=1).numpy() for vectors in self.new_vectors.values()]
        heard = None if self.recipe.backbone is None else self.base.backbone.heard(self.added)
        return found if heard is None else [*found, heard]

    @cached_property
    def text(self) -> Text | None:
        """The run's texts, and those of the new items; an encoder that was trained along stays as it is."""
        return super().text if "embed" in self.done else self.base.text

    @cached_property
    def aligner(self) -> Aligner:
        """That of the run."""
        return self.base.aligner

    def exported(self, stage: str) -> dict[str, Tensor]:
        """The tables of a finished stage, with lines of the new items where there is one line for each item."""
        tables: dict[str, dict[str, Tensor]] = self.loaded.setdefault("tables", {})
        if stage not in tables:
            own = self.base.exported(stage)
            if stage == "train" and "items" in own and self.retold is not None:
                own = own | {"items": self.retold.item_embeddings().detach().to(own["items"])}
            tables[stage] = self._with_new(stage, own) if self.num_added else own
        return tables[stage]

    def _with_new(self, stage: str, tables: dict[str, Tensor]) -> dict[str, Tensor]:
        name, _, kind = stage.rpartition(".")
        if "items" not in tables:
            return tables
        if kind == "embed":
            section = f"texts.{name}" if name else "text"
            new = self.new_vectors.get(section, tables["items"].new_zeros(self.num_added, tables["items"].shape[1]))
            return tables | {"items": torch.cat([tables["items"], new])}
        added, own = self.added, tables["items"]
        made = self.loaded.get("from_texts") if kind == "align" else None
        if made is None:
            made = self.backbone.item_embeddings().detach()[-self.num_added :]
        found = tables | {"items": torch.cat([own, made.to(own)])}
        if "items_from_text" in tables and added.items is not None:
            found["items_from_text"] = torch.cat([tables["items_from_text"], made.to(own)])
        if "item_codes" in tables:
            codes, read = tables["item_codes"], None if added.text is None else FrozenRows(added.text)
            found["item_codes"] = torch.cat([codes, self.aligner.further_codes(codes, made.to(own), read)])
        return found


def grown(session: Session, new: pl.DataFrame, changed: pl.DataFrame | None = None) -> Grown:
    """A run over its own items and ``new`` ones.

    Args:
        session: the finished run.
        new: (n) lines of a catalogue, as :func:`interlingua.runs.new_items.lines_of` makes them; n may be 0.
        changed: lines of own items, in full.

    Raises:
        ConfigError: the run reads no texts, or cannot read new ones: the message says why, and what to use.
    """
    found = Grown(session, new, changed)
    if new.height and not found.places:
        raise ConfigError(refusal(found))
    if session.recipe.fuse is not None:
        members = [scorer_of(member) for member in found.members]
        found.loaded["fusion"] = fusion_of(session).extended(members, found.data.split.train)
    return found


def takes_new_items(session: Session) -> bool:
    """Whether a run has a place for items that come after its training."""
    return spoken(session.before_growth[0], SENTENCE).places


def spoken(session: Session, sentence: str) -> Grown:
    """The run with one more item behind all others: what a sentence says. It must not come out.

    Args:
        session: a finished run, grown or not.
        sentence: any text.
    """
    base, new, changed = session.before_growth
    line = pl.DataFrame([{"item_id": SENTENCE, "title": sentence}], {"item_id": pl.String, "title": pl.String})
    return Grown(base, pl.concat([new, line], how="diagonal"), changed, sentence=sentence)


def refusal(session: Grown) -> str:
    """Why a run knows nothing of new items."""
    use = f"use a recipe that reads texts, e.g. {', '.join(READERS)}"
    parts = [session, *session.grown_members]
    problems = [problem for part in parts for problem in part.problems]
    if problems:
        return f"the run {session.recipe.name!r} cannot read new texts: {'; '.join(dict.fromkeys(problems))}"
    names = [part.recipe.backbone.name for part in parts if part.recipe.backbone is not None]
    scored = f"{' and '.join(dict.fromkeys(names))} score{'s' if len(names) == 1 else ''} items by events alone"
    if session.recipe.align is not None:
        scored += f", and the aligner {session.recipe.align.name!r} makes no vectors of items from texts"
    return f"the run {session.recipe.name!r} has no place for items that came after its training: {scored}; {use}"


def encoders_of(session: Session) -> NewTexts:
    """The encoders of a run, kept with it."""
    found: NewTexts = session.loaded.setdefault("encoders", NewTexts(session))
    return found


def load_encoders(session: Session) -> None:
    """Loads what reads new texts, of the members too (:meth:`interlingua.runs.new_texts.NewTexts.load`)."""
    for part in (session, *session.members):
        encoders_of(part).load()


def _job(base: Session) -> Fitting:
    frozen = base.text if "embed" in base.done else None
    return Fitting(base.data.split.train, text=frozen, texts=base.texts)


def _updated(items: pl.DataFrame, changed: pl.DataFrame) -> pl.DataFrame:
    """The lines in their order, those that are in ``changed`` with its values."""
    further = [column for column in changed.columns if column not in items.columns]
    wide = items.with_columns(pl.lit(None, pl.String).alias(column) for column in further)
    return wide.update(changed, on="item_id", how="left", include_nulls=True)


def _longer(events: Interactions, new: pl.DataFrame) -> Interactions:
    ids = np.concatenate([events.item_ids.astype(object), np.array(new["item_id"].to_list(), object)])
    return replace(events, item_ids=ids)
