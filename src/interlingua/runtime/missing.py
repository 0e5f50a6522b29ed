"""Things that a recipe needs and this machine lacks, as one line with the remedy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from interlingua.errors import install_command
from interlingua.storage.contents import may_be_on_hub


@dataclass(frozen=True)
class Missing:
    """One thing that is not here: installed by an extra, by a command, or to be got as ``get`` says."""

    what: str
    extra: str = ""
    command: str = ""
    get: str = ""


def package(name: str, extra: str, purpose: str) -> list[Missing]:
    """Nothing where the package can be imported; it is looked for, not imported."""
    return [] if find_spec(name) is not None else [Missing(f"the package {name} ({purpose})", extra=extra)]


def hub_model(name: str, revision: str | None, purpose: str, command: str = "") -> list[Missing]:
    """Nothing where the hub's cache holds the model, or the hub says that it has it.

    Args:
        name: on the Hugging Face hub.
        revision: commit or tag.
        purpose: what the model is for.
        command: what installs it without the hub.
    """
    if find_spec("huggingface_hub") is None:  # it comes with transformers, which is then missing itself
        return []
    if not may_be_on_hub(name):
        why = "not a name that the hub could have"
        return [Missing(f"the {purpose} {name!r} ({why})", get="give a folder that exists, or a name like owner/model")]
    from huggingface_hub import HfApi, constants, try_to_load_from_cache

    if isinstance(try_to_load_from_cache(name, "config.json", revision=revision), str):
        return []
    if constants.HF_HUB_OFFLINE:
        why = "the hub is switched off by HF_HUB_OFFLINE"
    else:
        try:
            HfApi().model_info(name, revision=revision, timeout=5)
            return []
        except Exception as error:  # no network, no such model, gated: many types, one remedy
            why = f"the hub did not answer for it: {type(error).__name__}"
    get = "" if command else f"give the folder of a downloaded copy of {name}"
    return [Missing(f"the {purpose} {name} (not on this machine, and {why})", command=command, get=get)]


def sentence(found: Sequence[Missing]) -> str:
    """One line for a person: what is missing, then what to do."""
    each = list(dict.fromkeys(found))
    extras = list(dict.fromkeys(m.extra for m in each if m.extra))
    commands = ([install_command(*extras)] if extras else []) + list(
        dict.fromkeys(m.command for m in each if m.command)
    )
    todo = ([f"install with: {' && '.join(commands)}"] if commands else []) + [m.get for m in each if m.get]
    return f"before anything runs: missing {', '.join(m.what for m in each)}; {'; '.join(todo)}"
