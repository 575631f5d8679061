"""What the name of a folder says: that it holds a split, and which."""

import difflib
import re

# Names of folders that hold a split, without regard to case.
ROLES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("test", "testing"), "test"),
    **dict.fromkeys(("val", "valid", "validation", "dev", "eval", "evaluation"), "validation"),
}
# Names that may just as well be those of classes, such as codes of countries.
_ABBREVIATIONS = {
    **dict.fromkeys(("tr", "trn", "trng", "fit"), "train"),
    **dict.fromkeys(("te", "ts", "tst", "holdout"), "test"),
    **dict.fromkeys(("va", "vl", "vld"), "validation"),
}
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_ADDED = ("images", "imgs", "split", "data", "set")  # as in "trainset"


def role_of(name: str) -> str | None:
    """Return the split that a folder of exactly this name holds: "train", "test" or "validation"; else None."""
    return ROLES.get(name.lower())


def role_in(name: str) -> str | None:
    """Return the split that a word of the name stands for, as in "my_train" or "TestSet"; None if none does."""
    if role := role_of(name):
        return role
    for word in map(str.lower, _WORD.findall(name)):
        stem = next((word.removesuffix(added) for added in _ADDED if word.endswith(added)), word)
        if role := ROLES.get(stem) or ROLES.get(word):
            return role
        if word == "trainval":
            return "train"
    return None


def likely_role(name: str) -> str | None:
    """Return the split that a folder, if it is known to be one, holds by its name; None if the name says nothing."""
    letters = re.sub("[^a-z]", "", name.lower())
    if role := role_in(name) or _ABBREVIATIONS.get(letters):
        return role
    return next((ROLES[close] for close in difflib.get_close_matches(letters, ROLES, n=1, cutoff=0.75)), None)
