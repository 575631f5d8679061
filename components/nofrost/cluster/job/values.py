"""Values that Kubernetes and KFP accept, as types of settings: names, labels, quantities, durations.

Sources: the pages "Object Names and IDs" and "Labels and Selectors" of the documentation of Kubernetes, and the
reference of its type Quantity.
"""

import re
from decimal import Decimal
from typing import Annotated

from pydantic import AfterValidator, Field

from nofrost.errors import shortened

_SUBDOMAIN = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_LABEL = r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
LABEL_VALUE = re.compile(_LABEL)  # one that is not empty
_LONGEST_WAIT_S = 8760 * 3600
_SECONDS = {"s": 1, "m": 60, "h": 3600}
# KFP's client takes no fractions of bytes, and Kubernetes no "K".
_BYTES = {"": 1, "Ki": 2**10, "M": 10**6, "Mi": 2**20, "G": 10**9, "Gi": 2**30, "T": 10**12, "Ti": 2**40}


def _matching(pattern: str, rule: str, longest: int) -> AfterValidator:
    def check(text: str) -> str:
        if len(text) > longest or not re.fullmatch(pattern, text):
            raise ValueError(f"Kubernetes refuses {shortened(text)}: write {rule}")
        return text

    return AfterValidator(check)


def _cpu_quantity(text: str) -> str:
    match = re.fullmatch(r"([0-9]{1,6}\.[0-9]{1,3}|[0-9]{1,9})(m?)", text)
    if (
        match is None
        or (match[2] and "." in match[1])
        or not 1 <= Decimal(match[1]) * (1 if match[2] else 1000) <= 10**7
    ):
        raise ValueError(f"{shortened(text)} is not a CPU quantity: write one from 1m to 10000, such as 4 or 500m")
    return text


def _memory(text: str) -> str:
    match = re.fullmatch(r"([0-9]{1,18})([A-Za-z]*)", text)
    if match is None or not 2**20 <= int(match[1]) * _BYTES.get(match[2], 0) <= 2**50:
        raise ValueError(
            f"{shortened(text)} is not a size of memory: write a whole number from 1Mi to 1024Ti, such as 16Gi"
        )
    return text


def _wait(text: str) -> str:
    match = re.fullmatch(r"([0-9]{1,9})([smh])", text)
    if match is None or int(match[1]) * _SECONDS[match[2]] > _LONGEST_WAIT_S:
        raise ValueError(f"{shortened(text)} is not a time that fits: write at most 8760h, such as 30s, 10m or 2h")
    return text


Int32 = Annotated[int, Field(le=2**31 - 1)]
CpuQuantity = Annotated[str, AfterValidator(_cpu_quantity)]
Memory = Annotated[str, AfterValidator(_memory)]
Wait = Annotated[str, AfterValidator(_wait)]
ObjectName = Annotated[
    str, _matching(_SUBDOMAIN, "at most 253 small letters, digits, - and . that begin and end with no sign", 253)
]
LabelValue = Annotated[
    str, _matching(f"({_LABEL})?", "at most 63 letters, digits, -, _ and . that begin and end with no sign", 63)
]
# A queue of Kueue is an object, and its name the value of a label.
QueueName = Annotated[
    str, _matching(_SUBDOMAIN, "at most 63 small letters, digits, - and . that begin and end with no sign", 63)
]
LabelKey = Annotated[
    str, _matching(rf"({_SUBDOMAIN}/)?{_LABEL}", "a key of a label, such as example.com/pool", 253 + 1 + 63)
]
# Without a domain, or with its own, it is a resource of Kubernetes itself, of which none is a GPU. Names of quotas
# begin with "requests.".
DeviceResource = Annotated[
    str,
    _matching(
        rf"(?!requests\.)(?!(.*\.)?kubernetes\.io/){_SUBDOMAIN}/{_LABEL}",
        "the resource of a device plugin, such as nvidia.com/gpu",
        253 + 1 + 63,
    ),
]
