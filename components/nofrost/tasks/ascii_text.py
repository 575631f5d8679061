"""Text in ASCII and back: what tasks take and return passes through Kubeflow's database, which may hold nothing else.

A database in MySQL's character set latin1 or utf8mb3 refuses λ or an emoji (kubeflow/pipelines#7283), Kubeflow itself
stumbles over ``\\u`` escapes (#8933), and Argo replaces what stands in ``{{ }}``.
"""

import re
from urllib.parse import quote, unquote

from nofrost.errors import UserError

# In YAML a comment; no JSON begins like this.
_MARK = "# percent-encoded UTF-8\n"
_UNSAFE = re.compile(r"[^\x00-\x7f]+|\\|\{\{")
_ENCODED = re.compile(rf"{_UNSAFE.pattern}|%")


def to_ascii(text: str) -> str:
    """Return the text without what may be refused or changed on its way; unchanged where there is nothing of that."""
    if not _UNSAFE.search(text) and not text.startswith(_MARK):
        return text
    return _MARK + _ENCODED.sub(lambda match: quote(match[0], safe=""), text)


def from_ascii(text: str) -> str:
    """Return the text from which :func:`to_ascii` made this one; text of other origin is returned unchanged.

    Raises:
        UserError: it has the mark of `to_ascii`, and is damaged.
    """
    if not text.startswith(_MARK):
        return text
    try:
        return unquote(text.removeprefix(_MARK), errors="strict")
    except UnicodeDecodeError:
        raise UserError("a percent-encoded text is not UTF-8: submit the study again") from None
