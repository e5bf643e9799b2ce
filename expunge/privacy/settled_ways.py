"""Was the one pass found right for this very model, with these very weights? Then a second call need not try it again.

A trial costs about a fifth of a pass. Its success is remembered while the model object lives and its layers, weights
(torch counts every change of a tensor in place), loss and the shape of its inputs stay what they were. Values written
through `.data` are the one change that torch does not count: the norms are those of the new values, and only the check
that examples do not interact is not made again.
"""

from __future__ import annotations

import itertools
import weakref
from typing import Any, NamedTuple

from torch import nn

from expunge.privacy.batches import tensors


class Settled(NamedTuple):
    """In which memory format the pass was found right, and how many examples go into one."""

    channels_last: bool
    at_once: int


_Key = tuple[Any, ...]
_found: weakref.WeakKeyDictionary[nn.Module, tuple[_Key, Settled]] = weakref.WeakKeyDictionary()


def recall(model: nn.Module, loss: Any, inputs: Any) -> Settled | None:
    """An earlier success, if it still holds."""
    key, known = _key(model, loss, inputs), _found.get(model)
    return known[1] if known is not None and key is not None and known[0] == key else None


def remember(model: nn.Module, loss: Any, inputs: Any, settled: Settled) -> None:
    """Keeps a success."""
    if (key := _key(model, loss, inputs)) is not None:
        _found[model] = (key, settled)


def _key(model: nn.Module, loss: Any, inputs: Any) -> _Key | None:
    """None where changes could not be noticed: tensors of inference mode, which have no count."""
    try:
        whose = loss if isinstance(loss, str) else weakref.ref(loss)
        values = itertools.chain(model.parameters(), model.buffers())
        weights = tuple((id(t), t.data_ptr(), t._version, t.requires_grad) for t in values)
    except (RuntimeError, TypeError):
        return None
    layers = tuple(id(layer) for layer in model.modules())
    return whose, weights, layers, tuple((x.shape[1:], x.dtype) for x in tensors(inputs))
