"""What a run knows about its items apart from events, for metrics that read it."""

from __future__ import annotations

from interlingua.data.categories import category_matrix
from interlingua.evaluate.judged import ItemFacts
from interlingua.evaluate.named import check_facts, parse
from interlingua.runs.measuring import EvaluateConfig
from interlingua.runs.session import Session


def facts_of(session: Session, options: EvaluateConfig) -> ItemFacts:
    """Categories of the catalogue and vectors of the recipe's [text], as far as the metrics need them.

    Raises:
        ConfigError: a metric needs something that the run does not have.
    """
    needed = {fact for name in options.metrics for fact in parse(name)[0].needs}
    facts, text = ItemFacts(), session.recipe.text
    if "categories" in needed:
        facts = ItemFacts(category_matrix(session.data.catalogue.categories))
    if "vectors" in needed and text is not None and session.text is not None:
        vectors = session.text.rows("items").detach().float().cpu().numpy()
        facts = ItemFacts(facts.categories, vectors, f"the text vectors of {text.name}")
    check_facts(options.metrics, facts)
    return facts
