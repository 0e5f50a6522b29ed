"""The scorers of a finished run: its last stage that can score, and the one that retrieves for a language model."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors.torch import load_file

from interlingua.contracts.fusion import Fusion
from interlingua.contracts.ranker import Ranker
from interlingua.contracts.scorer import Scorer, TableScorer
from interlingua.errors import ArtifactError, ConfigError
from interlingua.retrieval.ann import Ann
from interlingua.retrieval.cascade import RetrieveThenRerank
from interlingua.runs.session import Session, known_items
from interlingua.storage import artifact
from interlingua.training.checkpoint import load_trained
from interlingua.training.loop import derive_seed, seed_all


def scorer_of(session: Session) -> Scorer:
    """The scorer that is measured, served and exported: that of the last stage that can score."""
    if session.recipe.fuse is not None:
        return fusion_of(session)
    if "rank" in session.done:
        ranker = session.ranker
        return ranker if ranker.ranks_catalogue else rerank_of(session, ranker)
    return retriever_of(session)[1]


def retriever_of(session: Session) -> tuple[str, Scorer]:
    """(stage, scorer) of what ranks the whole catalogue, before any ranker.

    The aligned vectors, where ``evaluate.candidate_source`` asks for them or a run without a ranker ends with an
    alignment into the space of a frozen backbone; else the backbone.
    """
    if session.recipe.fuse is not None:
        return "fuse", fusion_of(session)
    return ("align", aligned_scorer(session)) if retrieves_aligned(session) else ("train", session.backbone)


def retrieves_aligned(session: Session) -> bool:
    """Whether the aligned vectors retrieve, see :func:`retriever_of`."""
    recipe, part = session.recipe, session.recipe.align
    last = "rank" not in session.done and recipe.frozen_backbone
    return part is not None and (recipe.evaluate.candidate_source == "aligned" or (last and part.cls.keeps_space))


def aligned_scorer(session: Session) -> TableScorer:
    """The backbone's users and items. Items that it has not learned get vectors from their texts, in its space.

    Raises:
        ConfigError: the backbone's score is no dot product of vectors, or the aligner makes no item vectors from texts.
    """
    if "dot_product" not in session.backbone.makes(session.backbone.config):
        name = "" if session.recipe.backbone is None else session.recipe.backbone.name
        raise ConfigError(
            f"the backbone {name!r} does not score by one dot product, so item vectors made from texts cannot stand in "
            "for its own; choose another backbone, or a ranker ([ranker]) that reads the texts"
        )
    aligner, known = session.aligner, known_items(session)
    if session.aligned.items_from_text is None:
        name = "" if session.recipe.align is None else session.recipe.align.name
        raise ConfigError(
            f"evaluate.candidate_source = 'aligned': the aligner {name!r} makes no item vectors from texts alone; "
            "leave the option out, or choose the aligner contrastive, autoencoder or ridge"
        )
    cold = ~session.backbone.learned_items(session.data.split.train)
    with torch.no_grad():
        table, decoded = session.backbone.item_embeddings().detach(), aligner.to_backbone(known)
        by_texts = aligner.to_backbone(session.aligned.items_from_text)
    bias = session.backbone.item_bias()
    if bias is not None and bool(cold.any()) and not bool(cold.all()):
        bias = torch.where(cold, bias[~cold].mean(), bias)  # an item that was not learned has none
    vectors = torch.where(cold[:, None], decoded, table)
    users = session.backbone.users_over(vectors) or session.backbone.user_embeddings
    average = None if bias is None else bias.mean().expand(len(by_texts))
    unseen = TableScorer(by_texts, users, average)
    return TableScorer(vectors, users, bias, unseen)


def indexed(session: Session, scorer: Scorer, index: Path | str) -> Ann:
    """A scorer behind an approximate index.

    Args:
        session: the run that it belongs to.
        scorer: one that ranks by dot products.
        index: ``usearch`` builds it now; a folder of ``interlingua embed RUN --index usearch`` has it.

    Raises:
        ConfigError: the scorer has no dot products, or ``index`` is neither an index's name nor a folder.
        ArtifactError: the folder holds no index, or one of another run.
    """
    if str(index) == "usearch":
        return Ann.of(scorer)
    if not Path(index).is_dir():
        raise ConfigError(
            f"unknown index {str(index)!r}: use usearch, or a folder made by: interlingua embed RUN --index usearch"
        )
    made, own = artifact.load(Path(index)), session.done["evaluate"].path.name
    if made.card.get("run") != own:
        raise ArtifactError(f"{index} indexes the run {made.card.get('run')!r}, and this one is {own!r}")
    return Ann.of(scorer, folder=made.path)


def rerank_of(session: Session, ranker: Ranker | None, retriever: Scorer | None = None) -> RetrieveThenRerank:
    """A fast scorer retrieves and the ranker orders; a ranker that ranks the whole catalogue does both.

    Args:
        session: a finished run.
        ranker: None leaves the retriever's order.
        retriever: None: that of :func:`retriever_of`.
    """
    first: Scorer
    if ranker is not None and ranker.ranks_catalogue:
        first, ranker = ranker, None
    else:
        first = retriever or retriever_of(session)[1]
    return RetrieveThenRerank(first, ranker, session.recipe.evaluate.retrieve)


def make_fusion(session: Session) -> Fusion:
    """An untrained fusion of the members' scorers."""
    part = session.recipe.fuse
    assert part is not None
    members = [scorer_of(member) for member in session.members]
    seed_all(derive_seed(session.seed, "fuse"))
    fusion: Fusion = part.cls(part.config, members, session.data.split.train)
    return fusion


def fusion_of(session: Session) -> Fusion:
    """The finished fusion of a run."""
    if "fusion" not in session.loaded:
        fusion, path = make_fusion(session), session.done["fuse"].path / "weights.safetensors"
        load_trained(fusion, load_file(path), str(path))
        session.loaded["fusion"] = fusion.eval()
    found: Fusion = session.loaded["fusion"]
    return found
