"""Other ways to per-example gradient norms, each as its documentation says: torch.func, Opacus, BackPACK.

Each maker takes (model, inputs, targets), may change the model where the library refuses it, and returns
(run, changes): `run()` gives the norms [n] of the model it accepted. Whatever it raises is the refusal that is printed.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F
from torchvision.models.resnet import BasicBlock

Run = Callable[[], Tensor]
Maker = Callable[[nn.Module, Tensor, Tensor], tuple[Run, str, nn.Module]]


def torch_func(model: nn.Module, inputs: Tensor, targets: Tensor, chunk: int | None = None) -> tuple[Run, str, Any]:
    """PyTorch's tutorial on per-sample gradients: vmap over grad of a functional call; `chunk` as vmap's chunk_size."""
    parameters = {name: p.detach() for name, p in model.named_parameters()}
    buffers = dict(model.named_buffers())

    def loss(values: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return F.cross_entropy(functional_call(model, (values, buffers), (x[None],)), y[None])

    each = vmap(grad(loss), in_dims=(None, 0, 0), chunk_size=chunk)

    def run() -> Tensor:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _joined(each(parameters, inputs, targets).values())

    return run, "", model


def torch_func_in_chunks(model: nn.Module, inputs: Tensor, targets: Tensor) -> tuple[Run, str, Any]:
    """The same with 32 examples at a time."""
    return torch_func(model, inputs, targets, chunk=32)


def opacus(model: nn.Module, inputs: Tensor, targets: Tensor) -> tuple[Run, str, nn.Module]:
    """GradSampleModule: per-sample gradients in p.grad_sample."""
    from opacus import GradSampleModule

    model, changes = _for_opacus(model)
    wrapped = GradSampleModule(model, batch_first=True, loss_reduction="sum")

    def run() -> Tensor:
        wrapped.zero_grad(set_to_none=True)
        F.cross_entropy(wrapped(inputs), targets, reduction="sum").backward()
        norms = _joined([p.grad_sample for p in wrapped.parameters()])
        for p in wrapped.parameters():
            p.grad_sample = None
        return norms

    return run, changes, model


def opacus_ghost(model: nn.Module, inputs: Tensor, targets: Tensor) -> tuple[Run, str, nn.Module]:
    """GradSampleModuleFastGradientClipping with ghost clipping: per-sample norms without the gradients."""
    from opacus.grad_sample import GradSampleModuleFastGradientClipping

    model, changes = _for_opacus(model)
    wrapped = GradSampleModuleFastGradientClipping(
        model, batch_first=True, loss_reduction="sum", max_grad_norm=1.0, use_ghost_clipping=True
    )

    def run() -> Tensor:
        wrapped.zero_grad(set_to_none=True)
        F.cross_entropy(wrapped(inputs), targets, reduction="sum").backward()
        norms: Tensor = wrapped.get_norm_sample()
        return norms

    return run, changes, model


def backpack(model: nn.Module, inputs: Tensor, targets: Tensor) -> tuple[Run, str, nn.Module]:
    """BackPACK's BatchL2Grad: squared norms in p.batch_l2."""
    from backpack import backpack as extended
    from backpack import extend
    from backpack.extensions import BatchL2Grad

    original, model = model, copy.deepcopy(model)
    changes = [words] if (words := _without_addition_in_place(model)) else []
    for name, layer in list(model.named_modules()):
        if isinstance(layer, nn.GroupNorm):
            _replace(model, name, nn.Identity())
    if any(isinstance(layer, nn.GroupNorm) for layer in original.modules()):
        changes.append("GroupNorm left out")
    model = extend(model)
    loss = extend(nn.CrossEntropyLoss(reduction="sum"))

    def run() -> Tensor:
        model.zero_grad(set_to_none=True)
        with extended(BatchL2Grad()):
            loss(model(inputs), targets).backward()
        return torch.stack([p.batch_l2 for p in model.parameters()]).sum(0).sqrt()

    return run, ", ".join(changes), model


PEERS: dict[str, Maker] = {
    "torch.func": torch_func,
    "torch.func, 32 at a time": torch_func_in_chunks,
    "Opacus": opacus,
    "Opacus ghost": opacus_ghost,
    "BackPACK": backpack,
}


def _for_opacus(model: nn.Module) -> tuple[nn.Module, str]:
    """Recurrent layers become Opacus's own; ModuleValidator.fix does the rest."""
    from opacus.layers import DPGRU, DPLSTM
    from opacus.validators import ModuleValidator

    model = copy.deepcopy(model)
    changes = [words] if (words := _without_addition_in_place(model)) else []
    for name, layer in list(model.named_modules()):
        for kind, own in ((nn.GRU, DPGRU), (nn.LSTM, DPLSTM)):
            if isinstance(layer, kind):
                _replace(model, name, own(layer.input_size, layer.hidden_size, batch_first=layer.batch_first))
                changes.append(f"{kind.__name__} replaced by {own.__name__}")
    if ModuleValidator.validate(model.train(), strict=False):
        model = ModuleValidator.fix(model)
        changes.append("ModuleValidator.fix")
    ModuleValidator.validate(model, strict=True)
    return model.train(), ", ".join(changes)  # its hooks work in train mode only; no layer here behaves differently


class _Apart(BasicBlock):
    """torchvision's block with `out += identity` written as a sum, which backward hooks can follow."""

    def forward(self, x: Tensor) -> Tensor:
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        shortcut = x if self.downsample is None else self.downsample(x)
        return F.relu(out + shortcut)


def _without_addition_in_place(model: nn.Module) -> str:
    """Changes the blocks of a torchvision ResNet; says so."""
    blocks = [layer for layer in model.modules() if isinstance(layer, BasicBlock)]
    for block in blocks:
        block.__class__ = _Apart
    return "+= replaced by +" if blocks else ""


def _replace(model: nn.Module, name: str, layer: nn.Module) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, layer)


def _joined(gradients: Any) -> Tensor:
    return torch.stack([g.flatten(1).norm(dim=1) for g in gradients]).norm(dim=0)
