"""Compiled loops over single images; importing this folder imports numba (see :mod:`~corruptions.compilation`).

They are compiled when they are first called, in each process anew: numba's cache is a folder of pickles.
"""

import numba
import numpy as np

# Values are numbers and the sign of zero does not matter, so that loops with least and largest ones work on several
# values at once; so do those with divisions, which as in numpy are not tested for zero.
kernel = numba.njit(nogil=True, error_model="numpy", fastmath={"nnan", "nsz"})
# Sums and products may be rounded once instead of twice: for what is not cut off at a threshold.
blending_kernel = numba.njit(nogil=True, error_model="numpy", fastmath={"nnan", "nsz", "contract"})

# Python's numbers would make floats of 64 bits of those of 32.
ZERO, ONE, TWO, HIGHEST = np.float32(0), np.float32(1), np.float32(2), np.float32(255)
_ROUNDING = np.float32(1.5 * 2**23)


@kernel
def rounded(value):
    """Return the nearest whole number of a float32 below 2**22, halves to even ones: the sum has no bits for more."""
    return (value + _ROUNDING) - _ROUNDING
