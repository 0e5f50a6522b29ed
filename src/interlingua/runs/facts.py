"""What a run knows about its items apart from events, for metrics that read it."""

from __future__ import annotations

import torch
from torch import Tensor

from interlingua.data.categories import category_matrix
from interlingua.evaluate.judged import ItemFacts
from interlingua.evaluate.named import check_facts, parse
from interlingua.runs.measuring import EvaluateConfig
from interlingua.runs.new_texts import weights_trained_along
from interlingua.runs.section import Section
from interlingua.runs.session import Session, make_text


def facts_of(session: Session, options: EvaluateConfig) -> ItemFacts:
    """Categories of the catalogue and vectors of the recipe's [text], as far as the metrics need them.

    Raises:
        ConfigError: a metric needs something that the run does not have.
    """
    needed = {fact for name in options.metrics for fact in parse(name)[0].needs}
    facts, text = ItemFacts(), session.recipe.text
    if "categories" in needed:
        facts = ItemFacts(category_matrix(session.data.catalogue.categories))
    if "vectors" in needed and text is not None:
        vectors = _vectors(session, text).detach().float().cpu().numpy()
        facts = ItemFacts(facts.categories, vectors, f"the text vectors of {text.name}")
    check_facts(options.metrics, facts)
    return facts


@torch.no_grad()
def _vectors(session: Session, text: Section) -> Tensor:
    """(I, T) of [text]; of an encoder that was trained along, by the weights that the run keeps, or as it began."""
    if "embed" in session.done and session.text is not None:
        return session.text.rows("items")
    encoder = make_text(text, session.data)
    encoder.load_state_dict(weights_trained_along(session), strict=False)
    found: Tensor = encoder.eval().rows("items")
    return found
