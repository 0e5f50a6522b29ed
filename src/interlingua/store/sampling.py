"""Which requests are logged: a fraction of the users, always the same ones, so that their logs are whole."""

from __future__ import annotations

import hashlib
import random

from interlingua.errors import ConfigError, shown


def sampled(user_id: str | None, fraction: float) -> bool:
    """Whether a request of this user is logged; those without a user by chance.

    Raises:
        ConfigError: a fraction below 0 or above 1.
    """
    if isinstance(fraction, bool) or not isinstance(fraction, int | float) or not 0 <= fraction <= 1:
        raise ConfigError(f"the fraction of logged requests is {shown(fraction)}; give a number from 0 to 1")
    if user_id is None:
        return random.random() < fraction
    place = int.from_bytes(hashlib.blake2b(user_id.encode(), digest_size=8).digest(), "big") / 2**64
    return place < fraction
