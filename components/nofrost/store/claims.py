"""Compare-and-swap on servers that do not obey conditions: claims that keep others out, and a look back afterwards.

Whoever wants to write an object first writes a claim, ``nofrost/claims/NAME/UUID``, and lists all claims. Only a writer
that finds no other claim goes on, so two never do if the lists of a server show at once what was written, as those of
S3 do. Unlike with conditions, a request that a network delays for longer than a claim lasts can still overwrite what
another wrote.
"""

import random
import time
import uuid
from contextlib import suppress

from nofrost.errors import UnavailableError, UserError
from nofrost.store.base import Store, SwapError

CLAIMS = "nofrost/claims/"
# Seconds after which a claim is taken for that of a killed process, by the server's clock; and within which, by our
# own, an object is written after its claim, so that nobody takes the claim for one.
_LIFE_S, _USE_S = 60.0, 20.0
# Seconds to wait for others: at most in one pause, and in all.
_PAUSE_S, _PATIENCE_S = 0.5, 120.0


def swap_by_claim(store: Store, name: str, content: bytes, expected: str | None) -> str:
    """Do what :meth:`nofrost.store.base.Store.swap` does, without conditions of the server."""
    prefix = f"{CLAIMS}{name}/"
    own = prefix + uuid.uuid4().hex
    end = time.monotonic() + _PATIENCE_S
    while time.monotonic() < end:
        latest = time.monotonic() + _USE_S
        store.put(own, b"")
        # What is deleted afterwards.
        claims = [own]
        try:
            dead = _claims_of_the_dead(store, prefix, own)
            if dead is not None:
                claims += dead
                tag = _write(store, name, content, expected, latest)
                if tag is not None:
                    return tag
        finally:
            # A writer that may not delete leaves a claim that keeps others waiting for a minute.
            with suppress(UserError):
                store.delete(claims)
        time.sleep(random.uniform(0.1, 1) * _PAUSE_S)
    raise UnavailableError(f"{name} in {store.url} is being written by others all the time: try again later")


def _claims_of_the_dead(store: Store, prefix: str, own: str) -> list[str] | None:
    """Return the claims that killed processes left; None if there are others, or the own one is gone."""
    claims = store.objects(prefix)
    if own not in claims:
        return None
    dead = [name for name, claim in claims.items() if claim.changed < claims[own].changed - _LIFE_S]
    return dead if len(dead) == len(claims) - 1 else None


def _write(store: Store, name: str, content: bytes, expected: str | None, latest: float) -> str | None:
    """Swap the object under a claim, and return its new tag; None if it is too late to write under that claim."""
    current = store.version(name)
    if current and current.content == content:
        return current.tag
    if (current.tag if current else None) != expected:
        raise SwapError(name, store.url)
    if time.monotonic() >= latest:
        return None
    store.put(name, content)
    current = store.version(name)
    if not current or current.content != content:
        raise SwapError(name, store.url)
    return current.tag
