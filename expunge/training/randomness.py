"""Where does randomness come from? From (seed, purpose, step) alone, never from a generator's history.

So a run can be resumed, rewound or trained beside others and draws the same numbers.
"""

from __future__ import annotations

import hashlib

import torch


def derived_seed(seed: int, purpose: str, step: int = 0) -> int:
    """A 63-bit seed for one purpose at one step."""
    digest = hashlib.blake2b(f"{seed}|{purpose}|{step}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1


def generator(seed: int, purpose: str, step: int = 0) -> torch.Generator:
    """A CPU generator for one purpose at one step; draws are moved to the device, so devices agree."""
    return torch.Generator().manual_seed(derived_seed(seed, purpose, step))
