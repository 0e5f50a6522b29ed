"""DMRec: Mult-VAE, whose latent vector is the sum of one by items and one by texts; the two are brought together.

SIGIR 2025, arXiv 2504.07363, over Mult-VAE, with the settings of its authors' code. A second network reads
``l_u = x_u T + t_u``: the texts of the history's items, summed up, and the user's own text. Means and log variances of
both are added; decoder and divergence see the sum (``S`` below; ``C`` by items, ``L`` by texts). Then one of:

- ``godm``: + beta W2(C, L), the 2-Wasserstein distance;
- ``cpdm``: + beta (KL(S || M) + KL(L || M)), M half-way between S and L;
- ``mddm``: beta KL(S || N(0, 1)) + (1 - beta) KL(S || L) in place of the divergence.

The text is part of serving. One dropout hides an item from both networks.

Shape key: B rows, I items, U users, T text width, K latent width.

**Deviations:**
- The authors add 1e-7 to variances and inside logarithms; here both divergences are exact.
- Weights begin as Mult-VAE's here (Xavier); those of the text's network as PyTorch's, as in the authors' code.
- RECONSTRUCTION: the authors have a written profile of every user. A user without one (unseen in training, a row of
  zeros, or the mean of all items) has the mean text of the history. With ``text.users = "none"`` nobody has
  one, and t_u is left out.
- The matching on C and L themselves, without the sum, which the authors mention for some data, is not here.

Dropout leaves a user's text whole: where it is made of the training items (``text.users = "items"``, or a profile
written from them), it knows in training what dropout hides, as the authors' profiles do; never a held-out item.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from interlingua.backbones.mult_vae import Bag, MultVae, MultVaeConfig
from interlingua.config import FitConfig
from interlingua.contracts.batch import Batch, Encoded
from interlingua.contracts.text import Text
from interlingua.data.interactions import Interactions
from interlingua.errors import ConfigError
from interlingua.nn.gaussians import Gaussian, divergence, midpoint, wasserstein


class DmrecConfig(MultVaeConfig):
    """Options of :class:`Dmrec`; the other ones are :class:`interlingua.backbones.mult_vae.MultVae`'s."""

    dropout: float = Field(0.3, ge=0, lt=1)
    """on the history (the authors: 0.3, on Steam 0.2)"""
    normalised: bool = False
    """False: the 0/1 row as it is (the authors)"""
    kl_weight: float = Field(1.0, ge=0)
    """of all divergences from the normal, and of ``mddm`` (the authors: 1)"""
    kl_steps: int = Field(0, ge=0)
    """steps in which it rises from 0 (the authors: none)"""
    matching: Literal["none", "godm", "cpdm", "mddm"] = "mddm"
    """what brings both Gaussians together; none: they are only added"""
    beta: float = Field(0.6, ge=0, le=1)
    """see the module (the authors, on Amazon / Yelp / Steam: godm 0.4 / 0.8 / 1.0, cpdm 0.2 / 0.9 / 0.6, mddm 0.6 /
    0.4 / 0.5)"""
    text_hidden_dim: int = Field(600, ge=1)
    """width of the hidden layer over texts (the authors: 600)"""
    language: bool = True
    """False: Mult-VAE alone, with these options (the control without texts)"""
    fit: FitConfig = FitConfig(learning_rate=1e-3, batch_size=1024, epochs=1000, evaluate_every=3, patience=20)
    """training (the authors: 1024 users a step, up to 1000 epochs, patience 20 measurements)"""


class Dmrec(MultVae):
    """A latent vector by items and by texts."""

    Config = DmrecConfig
    needs_text = True

    texts: Tensor
    user_texts: Tensor

    def __init__(self, config: DmrecConfig, train: Interactions) -> None:
        super().__init__(config, train)
        self.map: nn.Module = nn.Identity()
        self.register_buffer("texts", torch.zeros(train.num_items, 0))
        self.register_buffer("user_texts", torch.zeros(0, 0))

    @classmethod
    def makes(cls, config: Any) -> frozenset[str]:
        """No inputs that an aligner may change: it has joined with texts already."""
        return super().makes(config) - {"inputs"}

    @torch.no_grad()
    def start(self, train: Interactions, text: Text | None) -> None:
        """Keeps the texts of items, and of users if there are any, and makes the network that reads them.

        Raises:
            ConfigError: there are none.
        """
        if not self.config.language:
            return
        if text is None:
            raise ConfigError(
                "backbone 'dmrec' reads item texts, but the recipe has no [text] section; add one, e.g. name = 'lsa' "
                "with users = 'items'"
            )
        place = self.items.device
        self.texts = text.rows("items").detach().float().to(place)
        if text.has_users:
            own = text.rows("users").detach().float().to(place)
            of_nobody = torch.isclose(own, self.texts.mean(0), rtol=1e-4, atol=1e-6).all(dim=1)
            self.user_texts = torch.where(of_nobody[:, None], 0, own)
        self.map = self._network(text.dim).to(place)

    def _network(self, width: int) -> nn.Module:
        """T -> mean and log variance, 2K."""
        hidden, latent = self.config.text_hidden_dim, self.config.latent_dim
        return nn.Sequential(nn.Linear(width, hidden), nn.Tanh(), nn.Linear(hidden, 2 * latent))

    def latent(self, histories: Tensor, users: Tensor) -> tuple[Gaussian, ...]:
        """The sum, and its parts by items and by texts (see :class:`MultVae`)."""
        bag = self.bag(histories)
        own = self.of_items(bag)
        if not self.config.language:
            return (own,)
        words = Gaussian(*self.map(self.text_of(bag, users)).chunk(2, dim=-1))
        return Gaussian(own.mean + words.mean, own.log_variance + words.log_variance), own, words

    def text_of(self, bag: Bag, users: Tensor) -> Tensor:
        """(B, T) the texts of the histories' items, summed up, plus the users' own.

        Args:
            bag: B histories.
            users: (B,) indices, negative where unknown.
        """
        items = bag.sums(self.texts)
        if not len(self.user_texts):
            return items
        known = (users >= 0) & (users < len(self.user_texts))
        own = self.user_texts[torch.where(known, users, 0)]
        written = known & own.any(dim=1)
        if bool(written.all()):
            return items + own
        totals = bag.totals()
        mean = torch.where(totals > 0, items / totals.clamp(min=1), self.texts.mean(0))
        return items + torch.where(written[:, None], own, mean)

    def losses(self, encoded: Encoded, batch: Batch) -> dict[str, Tensor]:
        """Mult-VAE's for the sum; and ``matching`` of its parts, which for ``mddm`` takes a part of the divergence."""
        out = super().losses(encoded, batch)
        beta = self.config.beta
        if not self.config.language:
            return out
        both, own, words = encoded.private
        if self.config.matching == "godm":
            out["matching"] = beta * wasserstein(own, words)
        elif self.config.matching == "cpdm":
            middle = midpoint(both, words)
            out["matching"] = beta * (divergence(both, middle) + divergence(words, middle))
        elif self.config.matching == "mddm":
            out["kl"] = beta * out["kl"]
            out["matching"] = (1 - beta) * self._weight(batch.step) * divergence(both, words)
        return out

    def learned_users(self, train: Interactions) -> Tensor:
        """(U,) bool: those with events or a text of their own."""
        learned = super().learned_users(train)
        own = self.user_texts.any(dim=1).to(learned.device)
        return learned | own if len(own) == len(learned) else learned

    def user_rows(self) -> frozenset[str]:
        """The users' texts."""
        return frozenset({"user_texts"})

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        """The network is made for texts as wide as the stored ones; one that is made already stays an optimiser's."""
        stored = state_dict.get(prefix + "texts")
        if stored is not None and stored.shape[1] != self.texts.shape[1]:
            self.map = self._network(stored.shape[1]).to(self.items.device)
        super()._load_from_state_dict(state_dict, prefix, *args)
