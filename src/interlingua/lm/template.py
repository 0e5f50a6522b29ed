"""Prompt templates: text files with named slots, read like code.

A file has ``key: value`` lines, a line ``---`` and the body. In the body stand words of the domain (``{noun}``,
``{verb}``, ``{past}``), the vector ``{user}`` and lists (``{history}``, ``{disliked}``, ``{neighbours}``,
``{candidates}``, ``{target}``). The entry of a list is written in a line of its own (``history: "{title}"{item}``):
``{title}`` is text, ``{item}`` a vector. What stands in ``[[...]]`` is left out where the vector named in it is not
used. A ranker may fill slots of any other name too (:meth:`interlingua.contracts.ranker.Ranker.slots`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from interlingua.contracts.slots import Slot
from interlingua.data.domain import Domain
from interlingua.errors import ConfigError, unknown

FOLDER = Path(__file__).parent / "templates"
BODY_SLOTS = ("user", "history", "disliked", "neighbours", "candidates", "target", "noun", "verb", "past")
ENTRY_SLOTS = ("title", "item", "about", "number", "noun", "verb", "past")
ENTRIES = {
    "history": "history", "disliked": "disliked", "neighbour": "neighbours", "candidate": "candidates",
    "target": "target",
}  # fmt: skip
"""key of the header line -> slot in the body"""
KEYS = (*ENTRIES, "separator", "nothing", "system", "chat", "answer")
USUAL: Mapping[str, Slot] = {"user": Slot("query"), "item": Slot("item")}
"""slots that a ranker may name without saying what they are"""
CLOSED = ("history", "disliked", "neighbours", "candidates", "target", "noun", "verb", "past", "title")
"""slots that the template, the catalogue and the domain fill; all others are open: the ranker fills them"""
_SLOT = re.compile(r"\{([a-z_]+)\}")
_GROUP = re.compile(r"\[\[(.*?)\]\]", re.DOTALL)


@dataclass(frozen=True)
class Piece:
    """A literal or a slot. A text slot whose kind begins with a space (``" title"``) has one before it."""

    kind: str
    text: str = ""


@dataclass(frozen=True)
class Layout:
    """A template for one set of slots and one domain."""

    body: list[Piece]
    entries: dict[str, list[Piece]]
    """slot of the body -> pieces of one entry"""
    separator: str
    nothing: str
    """text for an empty list"""


@dataclass(frozen=True)
class Template:
    """The text of a template, checked."""

    name: str
    body: str
    head: dict[str, str] = field(default_factory=dict)

    @classmethod
    def load(cls, name_or_path: str, more: Collection[str] = ()) -> Template:
        """A template by its name (``next-item``) or by a path to a file.

        Args:
            name_or_path: which.
            more: names of slots that whoever fills it has beside the usual ones.

        Raises:
            ConfigError: no such template, or one with an unknown key or slot.
        """
        path = Path(name_or_path).expanduser()
        if path.suffix != ".txt":
            path = FOLDER / f"{name_or_path}.txt"
            if not path.is_file():
                raise ConfigError(unknown("template", name_or_path, names()) + "; or give the path of a .txt file")
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read the template {path}: {error}") from None
        return cls.parse(path.stem, text, more)

    @classmethod
    def parse(cls, name: str, text: str, more: Collection[str] = ()) -> Template:
        """A template from its text (see :meth:`load`)."""
        before, sign, body = text.partition("\n---\n")
        if not sign:
            raise ConfigError(f"template {name}: no line '---' between the settings and the body")
        head: dict[str, str] = {}
        for line in before.splitlines():
            if not line.strip() or line.startswith("#"):
                continue
            key, colon, value = line.partition(":")
            if not colon or key.strip() not in KEYS:
                raise ConfigError(unknown("key", key.strip(), KEYS, f"template {name}"))
            head[key.strip()] = value.strip().replace("\\n", "\n")
        template = cls(name, body.rstrip("\n"), head)
        template._check(tuple(more))
        return template

    def _check(self, more: tuple[str, ...]) -> None:
        for slot in _SLOT.findall(self.body):
            if slot not in BODY_SLOTS + more:
                raise ConfigError(unknown("slot", slot, BODY_SLOTS + more, f"template {self.name}"))
        for key in ENTRIES:
            for slot in _SLOT.findall(self.head.get(key, "")):
                if slot not in ENTRY_SLOTS + more:
                    raise ConfigError(unknown("slot", slot, ENTRY_SLOTS + more, f"template {self.name}, entry {key!r}"))
        for key, slot in ENTRIES.items():
            if f"{{{slot}}}" in self.body and key not in self.head:
                raise ConfigError(
                    f"template {self.name} uses {{{slot}}} but has no line '{key}: ...' that says an entry"
                )
        for slot in ("user", *ENTRIES.values()):
            if self.body.count(f"{{{slot}}}") > 1:
                raise ConfigError(f"template {self.name} has the slot {{{slot}}} more than once")

    def resolve(
        self, slots: Collection[str] | Mapping[str, Slot], domain: Domain, chat: Callable[..., Any] | None = None
    ) -> Layout:
        """The pieces for the slots that will be filled.

        Args:
            slots: what the ranker fills: slots by name, or names of the usual ones (``user``, ``item``).
            domain: the words.
            chat: the tokenizer's ``apply_chat_template``, used where the template says ``chat: yes``.

        Raises:
            ConfigError: slots and what fills them do not match.
        """
        filled = given_slots(slots)
        words = {"noun": domain.noun, "verb": domain.verb, "past": domain.past}
        body = _fill(_groups(self.body, filled), words)
        if self.head.get("chat") == "yes" and chat is not None:
            body = _as_chat(body, _fill(self.head.get("system", ""), words), chat)
        raw = {key: _fill(_groups(self.head.get(key, '"{title}"'), filled), words) for key in ENTRIES}
        self._check_filled(body, raw, filled)
        texts = {name for name, slot in filled.items() if slot.texts is not None} | {"title"}
        separator = self.head.get("separator", ",")
        joined = separator if separator.endswith("\n") else f"{separator} "
        return Layout(
            _split(body, texts, leading=False),
            {ENTRIES[key]: _split(raw[key], texts, leading=self._spaced(key, body, joined)) for key in ENTRIES},
            joined.removesuffix(" "),
            f" {self.head.get('nothing', 'nothing yet')}",
        )

    def _check_filled(self, body: str, entries: Mapping[str, str], filled: Mapping[str, Slot]) -> None:
        """Open slots and what fills them: every one that is shown is given, every vector that is given is shown."""
        shown = [key for key, slot in ENTRIES.items() if f"{{{slot}}}" in body]
        used = {name for name in _SLOT.findall(body) if name not in CLOSED}
        inside = {name for key in (*shown, "target") for name in _SLOT.findall(entries[key]) if name not in CLOSED}
        lacking = sorted((used | inside) - set(filled))
        if lacking:
            raise ConfigError(
                f"template {self.name} needs {'vectors' if set(lacking) <= set(USUAL) else 'something'} for the slot "
                f"{', '.join(lacking)}, which the recipe does not give"
            )
        for name in sorted(used | inside):
            if (filled[name].of == "query") != (name in used) or (name in used and name in inside):
                where = "the body" if filled[name].of == "query" else "the entries of lists"
                raise ConfigError(f"template {self.name}: the slot {{{name}}} belongs into {where}")
        extra = sorted(n for n, slot in filled.items() if slot.texts is None and n not in used | inside)
        if extra:
            raise ConfigError(
                f"the recipe gives vectors for {', '.join(extra)}, but template {self.name} has no such slot"
            )

    def render(
        self, domain: Domain, lists: Mapping[str, Sequence[Mapping[str, str]]], chat: Callable[..., Any] | None = None
    ) -> str:
        """The template as text, for prompts without vectors that are made one at a time.

        Args:
            domain: the words.
            lists: slot of the body -> entries, each with ``title`` and, where it has one, ``about``.
            chat: the tokenizer's ``apply_chat_template``, used where the template says ``chat: yes``.
        """
        words = {"noun": domain.noun, "verb": domain.verb, "past": domain.past}
        body = self._lists(_fill(self.body, words), words, lists)
        if self.head.get("chat") == "yes" and chat is not None:
            return _as_chat(body, _fill(self.head.get("system", ""), words), chat)
        return body

    def system(self, domain: Domain) -> str:
        """The line ``system:`` in the domain's words."""
        return _fill(self.head.get("system", ""), {"noun": domain.noun, "verb": domain.verb, "past": domain.past})

    def opening(self, domain: Domain, lists: Mapping[str, Sequence[Mapping[str, str]]]) -> str:
        """The first words of the answer (line ``answer:``), or nothing."""
        words = {"noun": domain.noun, "verb": domain.verb, "past": domain.past}
        return self._lists(_fill(self.head.get("answer", ""), words), words, lists)

    def _lists(self, text: str, words: dict[str, str], lists: Mapping[str, Sequence[Mapping[str, str]]]) -> str:
        separator = self.head.get("separator", ",")
        joined = separator if separator.endswith("\n") else f"{separator} "
        values: dict[str, str] = {}
        for key, slot in ENTRIES.items():
            form = self.head.get(key, "{title}")
            entries = lists.get(slot, ())
            said = [_fill(_keep(form, e), {**words, **e}) for e in entries]
            values[slot] = joined.join(said)
        empty = self.head.get("nothing", "nothing yet")
        body = _keep(text, values)
        return _fill(body, {slot: value or empty for slot, value in values.items()})

    def _spaced(self, key: str, body: str, separator: str) -> bool:
        """Whether an entry starts with a space, which tokenizers of the GPT-2 kind want joined to the word."""
        slot = f"{{{ENTRIES[key]}}}"
        if slot not in body:
            return not body.endswith("\n")  # the target answers the body
        before = body.partition(slot)[0]
        if ENTRIES[key] != "target" and before.endswith(" ") != separator.endswith(" "):
            raise ConfigError(
                f"template {self.name}: the text before {slot} and the separator must both end with a space or both not"
            )
        return before.endswith(" ")


def names() -> list[str]:
    """The templates that ship with the package."""
    return sorted(path.stem for path in FOLDER.glob("*.txt"))


def given_slots(slots: Collection[str] | Mapping[str, Slot]) -> Mapping[str, Slot]:
    """Slots by name; names alone mean the usual ones.

    Raises:
        ConfigError: a name alone that is none of them.
    """
    if isinstance(slots, Mapping):
        return slots
    for name in slots:
        if name not in USUAL:
            raise ConfigError(unknown("vector slot", name, tuple(USUAL)))
    return {name: USUAL[name] for name in USUAL if name in slots}


def _groups(text: str, slots: Collection[str]) -> str:
    def keep(match: re.Match[str]) -> str:
        named = [slot for slot in _SLOT.findall(match[1]) if slot not in CLOSED]
        return match[1] if all(slot in slots for slot in named) else ""

    return _GROUP.sub(keep, text)


def _keep(text: str, values: Mapping[str, str]) -> str:
    """Groups whose slots all have text."""
    return _GROUP.sub(lambda m: m[1] if all(values.get(slot) for slot in _SLOT.findall(m[1])) else "", text)


def _fill(text: str, words: dict[str, str]) -> str:
    return _SLOT.sub(lambda match: words.get(match[1], match[0]), text)


def _as_chat(body: str, system: str, chat: Callable[..., Any]) -> str:
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": body.strip()})
    try:
        return str(chat(messages, tokenize=False, add_generation_prompt=True))
    except ValueError:  # a base model without a chat template reads the plain text
        return f"{system} {body}".strip()


def _split(text: str, texts: Collection[str], *, leading: bool) -> list[Piece]:
    """Literals and slots. A space before a slot goes to the text that follows it, or is dropped before a vector."""
    parts = _SLOT.split(text)
    pieces: list[Piece] = []
    space = leading
    for index, part in enumerate(parts):
        if index % 2 == 0:
            if not part:
                continue
            literal = f" {part}" if space else part
            space = False
            if index + 1 < len(parts) and literal.endswith(" "):
                literal, space = literal[:-1], True
            if literal:
                pieces.append(Piece("text", literal))
        elif part in texts:
            pieces.append(Piece(f" {part}" if space else part))
            space = False
        else:
            pieces.append(Piece(part))
            space = False
    return pieces
