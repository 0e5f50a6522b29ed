"""Puts ID vectors into the frozen model: through each layer's projections, as keys and values, or as input tokens.

Shape key: B rows, D ID vectors, N prompted layers, P prompt vectors, H width, G key/value heads, E width of a head.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from interlingua.injection.prompt_maps import PromptMaps
from interlingua.lm.models import LanguageModel
from interlingua.lm.prefix_attention import Pair, embedding_scale, project, survey


class Injection(nn.Module):
    """The maps of both sides, and what they give to :func:`interlingua.injection.two_tower.read`.

    Args:
        config: which injection, maps, layers and lengths.
        lm: the model.
        dims: D of each side (``user``, ``item``).
        probe: (ids, mask) of some texts, from which the size of what each layer reads is taken.
    """

    def __init__(self, config: Any, lm: LanguageModel, dims: Mapping[str, int], probe: tuple[Tensor, Tensor]) -> None:
        super().__init__()
        self._lm = [lm]  # in a list: the language model is no child, its weights never enter an artifact
        self.kind, self.place = config.injection, config.place
        self.layers = (
            list(range(lm.num_layers)) if config.prompted_layers is None else sorted(set(config.prompted_layers))
        )
        if config.injection == "input":
            self.layers = [0]
            width, scales = lm.hidden_size, embedding_scale(lm, *probe)[None]
        else:
            found = survey(lm, *probe)
            self.heads, self.head_width = found.heads, found.head_width
            width, scales = found.width, found.scales[self.layers]
            if config.injection == "direct":
                width, scales = 2 * self.heads * self.head_width, found.pair_scales[self.layers]
        self.maps = nn.ModuleDict(
            {
                side: PromptMaps(dim, scales * config.start_gain, width, config.prefix_length, config.maps, config.rank)
                for side, dim in dims.items()
            }
        )
        if config.tied_start and dims["user"] == dims["item"]:
            self.maps["item"].load_state_dict(self.maps["user"].state_dict())

    @property
    def aligned(self) -> bool:
        """Whether prompts have the width of a layer's states, so that they can be aligned with them."""
        return self.kind == "kv"

    def vectors(self, side: str, ids: Tensor) -> Tensor:
        """(B, N, P, H) prompts of (B, D) ID vectors."""
        out: Tensor = self.maps[side](ids)
        return out

    def arguments(self, side: str, ids: Tensor) -> dict[str, Any]:
        """``pairs`` or ``soft`` for :func:`interlingua.injection.two_tower.read`."""
        if self.kind == "kv":
            return {"pairs": self._projected(side, ids)}
        given = self.vectors(side, ids)
        if self.kind == "input":
            return {"soft": given[:, 0]}
        shape = (len(ids), -1, 2, self.heads, self.head_width)
        pairs = {layer: given[:, at].reshape(shape).permute(2, 0, 3, 1, 4) for at, layer in enumerate(self.layers)}
        return {"pairs": {layer: (both[0], both[1]) for layer, both in pairs.items()}}

    def _projected(self, side: str, ids: Tensor) -> dict[int, Pair]:
        """The frozen projections of ``d``; the context, which all rows share, is projected once."""
        maps: Any = self.maps[side]
        own = maps.length - maps.context.shape[1]
        parts: list[dict[int, Pair]] = []
        if maps.context.shape[1]:
            context = {layer: maps.context[at][None] for at, layer in enumerate(self.layers)}
            parts.append(project(self._lm[0], context, self.place, behind=own))
        if own:
            mapped = maps.mapped(ids)
            vectors = {layer: mapped[:, at, None] for at, layer in enumerate(self.layers)}
            parts.append(project(self._lm[0], vectors, self.place))

        def joined(layer: int, which: int) -> Tensor:
            return torch.cat([part[layer][which].expand(len(ids), -1, -1, -1) for part in parts], 2)

        return {layer: (joined(layer, 0), joined(layer, 1)) for layer in self.layers}
