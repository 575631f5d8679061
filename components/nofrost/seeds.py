"""Seeds derived from their purpose, so that no state of a random generator has to be saved or passed on."""

import hashlib


def derive_seed(*parts: int | str) -> int:
    """Return a seed in [0, 2^63) that is a function of all `parts`, such as ``derive_seed(0, "order", 7)``.

    Seeds of different parts are independent of one another.
    """
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
