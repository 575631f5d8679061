"""Check the texts that a submission sends: Kubeflow keeps them in columns of limited length, maybe of ASCII alone."""

from collections.abc import Iterator, Mapping
from typing import Any

from nofrost.errors import UserError, shortened

# Columns of Kubeflow's database, in characters.
LONGEST = {"--experiment": 128, "--run-name": 255, "--service-account": 253}
# Linux takes no longer argument of a program than 128 KiB; JSON around it takes some.
LONGEST_ARGUMENT = 100_000


def check_texts(texts: Mapping[str, str | None]) -> None:
    """Check texts by the option that they come from.

    Raises:
        UserError: one is not ASCII or too long; the message names the option and the text.
    """
    for name, text in texts.items():
        if text is None:
            continue
        if not text.isascii() or not text.isprintable():
            raise UserError(
                f"{name} {shortened(text)} has other characters than those of ASCII, which databases of Kubeflow "
                "refuse: use these alone"
            )
        if len(text) > (limit := LONGEST.get(name, LONGEST_ARGUMENT)):
            raise UserError(f"{name} {shortened(text)} has {len(text)} characters, and Kubeflow takes {limit}: "
                            "shorten it")  # fmt: skip


def texts_in(value: Any) -> Iterator[str]:
    """Yield every text in nested lists and mappings, keys included."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, each in value.items():
            yield from texts_in(key)
            yield from texts_in(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from texts_in(each)
