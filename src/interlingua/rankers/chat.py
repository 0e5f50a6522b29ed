"""Asks a chat model, on any OpenAI-compatible server or on this machine, to order candidates. Nothing is trained.

The list-wise question of Hou et al. (ECIR 2024, arXiv 2305.08845): titles of the history and numbered candidates; the
answer is an order. How it is asked, and what counts as an answer: :mod:`interlingua.rankers._asked`.
"""

from __future__ import annotations

from collections.abc import Sequence

from interlingua.clients.completion import Request
from interlingua.contracts.ranker import RankerInputs
from interlingua.data.queries import IntArray, Queries
from interlingua.lm.template import FOLDER, Template
from interlingua.rankers._asked import AskedOptions, AskedRanker
from interlingua.rankers._orders import FIELD, HOW, checked, chosen


class ChatConfig(AskedOptions):
    """Options of :class:`interlingua.rankers.chat.Chat`."""

    named_templates = {"template": FOLDER}

    template: str = "chat"
    """a template's name or path: slots ``{history}`` and ``{candidates}``, entries with ``{title}`` and ``{number}``"""


class Chat(AskedRanker):
    """One question per query; the answer is an order of its candidates."""

    Config = ChatConfig
    version = 1
    name = "chat"

    def __init__(self, config: ChatConfig, inputs: RankerInputs) -> None:
        super().__init__(config, inputs)
        self.template = Template.load(config.template)

    def named(self, queries: Queries, orders: Sequence[list[int]]) -> list[list[int]]:
        """One question for each query (see :class:`AskedRanker`)."""
        form = self.config.answers
        requests = [self._request(queries.history(at), each) for at, each in enumerate(orders)]
        answers = self.answers(requests, lambda answer: checked(answer, form))
        return [
            [] if answer is None else chosen(answer, shown, self.shown, form)
            for answer, shown in zip(answers, orders, strict=True)
        ]

    def _request(self, history: IntArray, candidates: Sequence[int]) -> Request:
        config: ChatConfig = self.config
        read = [{"title": self.shown[item]} for item in history[-config.history_length :].tolist()]
        listed = [{"title": self.shown[item], "number": str(n)} for n, item in enumerate(candidates, 1)]
        text = self.template.render(self.inputs.domain, {"history": read, "candidates": listed})
        return Request(self.template.system(self.inputs.domain), f"{text.strip()}\n\n{HOW[config.answers]}", (FIELD,))
