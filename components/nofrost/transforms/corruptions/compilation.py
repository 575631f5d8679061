"""Where corruptions run as compiled loops: on large images on the CPU, where numba is installed (extra ``fast``).

A loop goes once through memory where torch's operations go many times. Both draw the same numbers; results differ by at
most a level, where sums of floats are added in another order.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import torch
from torch import Tensor

from nofrost.transforms.corruptions.taps import is_large


@lru_cache(maxsize=1)
def has_compiler() -> bool:
    """Return whether numba is there. The first call imports it, which takes a second."""
    try:
        import numba  # noqa: F401
    except (ImportError, OSError):  # also where it does not fit numpy, or lacks a library of the system
        return False
    return True


def is_compiled(images: Tensor) -> bool:
    """Return whether `images` [N, C, H, W] are corrupted by compiled loops."""
    return is_large(images) and has_compiler()


def for_each_image(call: Callable[[int], object], count: int) -> None:
    """Call with the number of each image, as many at a time as torch has threads.

    Compiled loops free the interpreter lock. They start no threads themselves, so that processes may fork.
    """
    threads = min(torch.get_num_threads(), count)
    if threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(call, range(count)))
    else:
        for number in range(count):
            call(number)


def made_by(loop: Callable[..., object], images: Tensor, *others: Tensor, settings: Sequence[object] = ()) -> Tensor:
    """Return what a loop makes of each image [N, ...], in a tensor of the same shape.

    Args:
        loop: is called with an image, what belongs to it of the others, its place in the result and the settings.
        others: [N, ...]. All arrays are contiguous, whatever the tensors are, so that a loop is compiled once.
    """
    result = torch.empty_like(images, memory_format=torch.contiguous_format)
    arrays = [*(each.contiguous().numpy() for each in (images, *others)), result.numpy()]
    for_each_image(lambda image: loop(*(each[image] for each in arrays), *settings), len(images))
    return result
