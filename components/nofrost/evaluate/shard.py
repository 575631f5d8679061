"""A part of an evaluation that is measured by itself, such as on a machine of its own."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from nofrost.errors import UserError
from nofrost.evaluate.sample import Rows


@dataclass(frozen=True)
class Shard:
    """Part `index` (from 0) of `count`, written ``0/3``: every `count`-th batch of the images.

    Whole batches are dealt out, and not single images, because the last bits of a model's answer depend on how many
    images it is given at once: the kernel that a library picks for a convolution or a product of matrices depends on
    the size of the batch, and an iterative attack makes much of little. In a shard every batch holds the very images
    that it holds in the evaluation of all images, so each flag is the same on devices of one kind. The price: shards
    differ in size by up to one batch, and where there are fewer batches than shards the last shards are empty.

    Raises:
        UserError: there is no such part.
    """

    index: int
    count: int

    def __post_init__(self) -> None:
        if self.count < 1:
            raise UserError(f"shard {self}: the number of shards must be at least 1, such as 0/3")
        if not 0 <= self.index < self.count:
            raise UserError(
                f"there is no shard {self}: of {self.count} the first is 0/{self.count} and the last "
                f"{self.count - 1}/{self.count}"
            )

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Return the shard that is written ``index/count``.

        Raises:
            UserError: the text is of another form, or there is no such part.
        """
        found = re.fullmatch(r"(-?[0-9]{1,9})/(-?[0-9]{1,9})", text.strip())
        if found is None:
            raise UserError(f"shard {text!r} is not of the form index/count: write 0/3 for the first of three")
        return cls(int(found[1]), int(found[2]))

    def rows(self, total: int, batch_size: int) -> Rows:
        """Return which of `total` rows belong to this shard, when all are cut into batches of `batch_size`."""
        return np.flatnonzero(np.arange(total) // batch_size % self.count == self.index).astype(np.int64)
