"""What do the models of a stack draw at a step? Each the batch and the noise that it would draw alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from expunge.training.config import TrainingConfig
from expunge.training.randomness import derived_seed
from expunge.training.sampler import batch_rows


class StackedDraws:
    """Batches and noise of K models, drawn straight into one buffer by as many threads as torch uses.

    A generator is seeded anew for every draw, so neither the order nor the number of threads changes a number.
    Use as a context manager: the threads end with it.
    """

    def __init__(
        self,
        config: TrainingConfig,
        seeds: Sequence[int],
        rows: Sequence[NDArray[np.int64]],
        rate: float,
        width: int,
        absent: Sequence[Tensor | None] = (),
    ) -> None:
        """`rows`: table rows of each model's records. `rate`: q. `width`: numbers of noise a model takes each step.

        absent: for each model the places in its `rows` that are drawn and then left out of the batch.
        """
        self.config, self.seeds, self.rate = config, seeds, rate
        self._absent = list(absent) or [None] * len(seeds)
        models, longest = len(seeds), max(len(own) for own in rows)
        filled = [np.append(own, np.full(longest - len(own), own[0])) for own in rows]
        self._rows = torch.from_numpy(np.stack(filled).astype(np.int64))
        # A row of the model's own: padding never touches a record that the model does not train on.
        present = [own if gone is None else np.delete(own, gone) for own, gone in zip(rows, self._absent, strict=True)]
        self._padding = torch.tensor([[int(own[0])] for own in present])
        self._records = [len(own) for own in rows]
        self._coins = torch.full((models, longest), 2.0)  # 2: in no batch
        self._noise = torch.empty(models, width)
        parts = [part for part in np.array_split(np.arange(models), torch.get_num_threads()) if len(part)]
        self._parts: list[list[int]] = [part.tolist() for part in parts]
        self._pool = ThreadPoolExecutor(len(parts)) if len(parts) > 1 else None

    def __enter__(self) -> StackedDraws:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._pool is not None:
            self._pool.shutdown()

    def batches(self, step: int) -> tuple[Tensor, Tensor]:
        """Table rows int64 [K, b] and weights float32 [K, b]; b is the largest batch, padding has weight 0.

        The draws of `expunge.training.sampler.batch_rows`, for all models at once.
        """
        if self.config.batches == "poisson":

            def draw(generator: torch.Generator, k: int) -> None:
                generator.manual_seed(derived_seed(self.seeds[k], "batch", step))
                self._coins[k, : self._records[k]].uniform_(generator=generator)
                if (absent := self._absent[k]) is not None:
                    self._coins[k, absent] = 2.0

            self._each(draw)
            model, place = torch.nonzero(self._coins < self.rate, as_tuple=True)
            sizes = torch.bincount(model, minlength=len(self.seeds))
        else:
            drawn = zip(self.seeds, self._records, strict=True)
            picked = [batch_rows(self.config, seed, step, records, self.rate) for seed, records in drawn]
            without = zip(picked, self._absent, strict=True)
            picked = [own if absent is None else own[~torch.isin(own, absent)] for own, absent in without]
            sizes = torch.tensor([len(own) for own in picked])
            model, place = torch.repeat_interleave(sizes), torch.cat(picked)
        column = torch.arange(len(model)) - (sizes.cumsum(0) - sizes)[model]
        index = self._padding.repeat(1, max(1, int(sizes.max())))
        weight = torch.zeros(index.shape)
        index[model, column] = self._rows[model, place]
        weight[model, column] = 1.0
        return index, weight

    def noise(self, step: int) -> Tensor:
        """Standard normal float32 [K, width], overwritten by the next call; as `expunge.training.trainer.draw_noise`.

        The noise of a model's parameters lies side by side, in the order of their names.
        """

        def draw(generator: torch.Generator, k: int) -> None:
            generator.manual_seed(derived_seed(self.seeds[k], "noise", step))
            self._noise[k].normal_(generator=generator)

        self._each(draw)
        return self._noise

    def _each(self, draw: Callable[[torch.Generator, int], None]) -> None:
        """Call `draw` for every model, with a generator that belongs to the calling thread."""

        def of_part(models: list[int]) -> None:
            generator = torch.Generator()
            for k in models:
                draw(generator, k)

        if self._pool is None:
            of_part(self._parts[0])
        else:
            list(self._pool.map(of_part, self._parts))
