"""Which parts of a recipe fit together: compares what each needs with what the others make, before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from interlingua import registry

if TYPE_CHECKING:
    from interlingua.runs.section import Section

WORDS = {
    "scores": "something that scores items",
    "items": "item vectors",
    "users": "user vectors",
    "inputs": "vectors that training can change or read",
    "training": "a backbone that is trained by gradient",
    "dot_product": "a score that is one dot product of vectors",
    "text.items": "item texts",
    "text.table": "a frozen table of item texts",
    "text.users": "user vectors made from texts",
    "text.encoder": "an encoder that reads further texts",
    "texts": "further texts by name ([texts.NAME])",
    "items_from_text": "item vectors made from texts alone",
    "item_codes": "integer codes of items",
    "labels": "events with labels (data.label, or data.columns.label)",
    "order": "events in an order",
    "times": "events with times",
}
"""word of :mod:`interlingua.contracts.component` -> what a person reads"""
OF_DATA = frozenset({"labels", "order", "times"})
"""words that the data make"""
OF_ALIGNERS = {"items_from_text": "autoencoder, contrastive or ridge", "item_codes": "rq-vae or masked-vq"}
"""word that only aligners make -> which one to choose"""
TEXTS = frozenset({"texts", "text.items", "text.table", "text.encoder", "text.users", "text.user_table", *OF_ALIGNERS})


def misfits(
    backbone: Section | None,
    text: Section | None,
    align: Section | None,
    ranker: Section | None,
    *,
    texts: frozenset[str] = frozenset(),
    encoders: Sequence[Section] = (),
    data: frozenset[str] = OF_DATA,
    frozen: bool,
    candidate_source: str,
) -> list[str]:
    """Why these parts cannot work together: one sentence per problem, with a remedy; empty if they can.

    ``texts`` are the names of [texts.NAME], ``encoders`` their sections; ``data`` says what the data make.
    """
    if backbone is None:
        return []
    own = backbone.cls.makes(backbone.config)
    made = own | data | (text.cls.makes(text.config) if text else frozenset())
    if texts:
        made |= {"texts"}
    if "text.users" in made or "user_table" not in own:
        made |= {"text.user_table"}
    problems = []
    given = f"neither the backbone {backbone.name!r} nor another part does"
    for part in (text, *encoders):  # what it makes itself does not count
        if part is not None:
            problems += _of_nobody(part, part.cls.needs(part.config) - own - data, given)
    for part in (backbone, align, ranker):
        if part is None:
            continue
        lacks = part.cls.needs(part.config) - made
        strange = _strange(lacks)
        problems += _of_nobody(part, strange)
        lacks -= strange
        problems += [_of_texts(part, word, backbone, align) for word in sorted(lacks & TEXTS)]
        if lacks - TEXTS:
            problems.append(_of_backbone(part, lacks - TEXTS, backbone))
        gone = part.cls.needs_texts(part.config) - texts
        if gone and "texts" not in lacks:
            problems.append(
                f"the {part.kind} {part.name!r} reads the texts {', '.join(map(repr, sorted(gone)))}, and there are "
                f"{', '.join(sorted(texts | {'text'}))}; add e.g. --set texts.{min(gone)}.name=lsa, or name another"
            )
        if part is align:
            made |= part.cls.makes(part.config)
    present = [part for part in (backbone, align, ranker) if part is not None]
    if texts and not any("texts" in part.cls.needs(part.config) for part in present):
        names = ", ".join(repr(part.name) for part in present)
        problems.append(f"nothing here reads [texts.NAME] ({names} read [text] at most): leave those sections out")
    if align is None or problems:
        return problems
    return _of_alignment(align, text, backbone, made, candidate_source == "aligned", ranker is None and frozen)


def _of_alignment(
    align: Section, text: Section | None, backbone: Section, made: frozenset[str], aligned: bool, alone: bool
) -> list[str]:
    """What an aligner asks of the other parts beside its needs; ``alone``: a frozen backbone without a ranker."""
    problems: list[str] = []
    if align.cls.picks_dimensions and text is not None:
        problems += _too_few_dimensions(align, text, backbone)
    if (aligned or (alone and align.cls.keeps_space)) and "dot_product" not in backbone.cls.makes(backbone.config):
        problems.append(
            f"with the aligner {align.name!r} items made from texts stand beside the backbone's own, which needs "
            f"{WORDS['dot_product']}; {_instead('backbone', frozenset({'items', 'dot_product'}), backbone.name)}"
        )
    if aligned and "items_from_text" not in made:
        problems.append(
            f"evaluate.candidate_source = 'aligned' needs {WORDS['items_from_text']}, which the aligner {align.name!r} "
            "does not make; leave the option out, or choose the aligner autoencoder, contrastive or ridge"
        )
    return problems


def _strange(lacks: frozenset[str]) -> frozenset[str]:
    """Words that no part makes: the data's, and unknown ones."""
    return frozenset(word for word in lacks if word in OF_DATA or word not in {*WORDS, "text.user_table"})


def unfit_members(
    fuse: Section, members: Sequence[tuple[str, frozenset[str]]], data: frozenset[str] = OF_DATA
) -> list[str]:
    """What a fusion needs and neither the data nor a member makes: one sentence for each.

    Args:
        fuse: the fusion.
        members: (name, words that it makes) each.
        data: words that the data make.
    """
    needs = fuse.cls.needs(fuse.config)
    problems = _of_nobody(fuse, (needs & OF_DATA) - data)
    for name, made in members:
        problems += _of_nobody(fuse, needs - made - OF_DATA, f"the member {name!r} does not")
    return problems


def _of_nobody(part: Section, lacks: frozenset[str], given: str = "nothing in this recipe can") -> list[str]:
    """Needs that only the data could meet, or nobody."""
    known = ", ".join(sorted(WORDS))
    return [
        f"{_start(part, WORDS[word])}, which {given} give; add it, or choose another"
        if word in WORDS
        else f"{_start(part, f'the word {word!r}')}, which is none of those that parts say to each other: {known}"
        for word in sorted(lacks)
    ]


def _too_few_dimensions(align: Section, text: Section, backbone: Section) -> list[str]:
    width, most = backbone.cls.width(backbone.config), text.config.most_dims
    if width is None or most is None or most >= width:
        return []
    return [
        f"the aligner {align.name!r} picks {width} of the text's dimensions, as many as a vector of the backbone "
        f"{backbone.name!r} has, but [text] makes {most} at most; set text options that give {width} or more, or "
        "choose narrower vectors of the backbone"
    ]


def _start(part: Section, words: str) -> str:
    kind = {"align": "aligner", "text": "text encoder", "fuse": "fusion"}.get(part.kind, part.kind)
    return f"the {kind} {part.name!r} needs {words}"


def _of_texts(part: Section, word: str, backbone: Section, align: Section | None) -> str:
    if word in OF_ALIGNERS:
        given = f"the aligner {align.name!r} makes none" if align else "there is no [align] section"
        if "items" not in backbone.cls.makes(backbone.config):
            given += f" (none goes with the backbone {backbone.name!r}, which makes no item vectors)"
        return f"{_start(part, WORDS[word])}, and {given}; choose the aligner {OF_ALIGNERS[word]}"
    if word == "texts":
        return f"{_start(part, WORDS[word])}: add one, e.g. --set texts.title.name=lsa"
    if word in ("text.users", "text.user_table"):
        return (
            f"{_start(part, WORDS['text.users'])} with the backbone {backbone.name!r}: set text.users = 'items' (the "
            "mean of a user's training items) or 'texts' (the dataset's own user texts)"
        )
    if word == "text.encoder":
        return (
            f"{_start(part, WORDS[word])}: add a [text] section that reads the catalogue's own words, e.g. --set "
            "text.name=lsa (not brought vectors, profiles or noise)"
        )
    frozen = "; text.trainable = true makes no table" if word == "text.table" else ""
    return f"{_start(part, WORDS[word])}: add a [text] section, e.g. --set text.name=lsa{frozen}"


def _of_backbone(part: Section, lacks: frozenset[str], backbone: Section) -> str:
    words = " and ".join(WORDS.get(word, word) for word in sorted(lacks))
    leave = f"leave out [{part.kind}]"
    if part.kind == "ranker" and lacks == {"users"} and part.cls.without_users:
        leave = f"set ranker.{part.cls.without_users} = 'none'"
    instead = _instead("backbone", part.cls.needs(part.config) - TEXTS, backbone.name)
    return f"{_start(part, words)}, which the backbone {backbone.name!r} does not give; {leave}, or {instead}"


def _instead(kind: str, words: frozenset[str], not_this: str) -> str:
    """``choose one of ...``: the components that make all the words with their own defaults."""
    fit = []
    for name in registry.names(kind):
        cls = registry.find(kind, name)
        if name != not_this and words <= cls.makes(cls.Config()):
            fit.append(name)
    return f"choose the {kind} {', '.join(fit)}" if fit else f"choose another {kind}"
