"""Published sets of corrupted test images: which corruptions and severities of one are read, and how they fit."""

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar

from pydantic import Field, SerializerFunctionWrapHandler, field_validator, model_serializer

from nofrost.config.corruption_families import COMMON, CORRUPTION_FAMILIES, SEVERITIES
from nofrost.errors import UserError, unknown
from nofrost.prepare.sources.layout import first_names
from nofrost.prepare.sources.published_source import Published

PUBLISHED = (*COMMON, *CORRUPTION_FAMILIES["extra"])


class CorruptedSource(Published):
    """A published set with the same images in all corruptions and severities.

    Attributes:
        corruptions: those that are read; null reads all 19, the 4 extra ones among them.
        severities: those that are read; null reads all 5.
    """

    test_only: ClassVar[bool] = True

    corruptions: tuple[str, ...] | None = Field(default=None, min_length=1)
    severities: tuple[Annotated[int, Field(ge=1, le=len(SEVERITIES))], ...] | None = Field(default=None, min_length=1)

    @field_validator("corruptions")
    @classmethod
    def _are_published(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for name in names or ():
            if name not in PUBLISHED:
                raise unknown("published corruption", name, PUBLISHED)
        return names

    @model_serializer(mode="wrap")
    def _without_a_choice_that_was_not_made(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        unset = {
            name for name in ("classes", "class_limit", "corruptions", "severities") if getattr(self, name) is None
        }
        return {key: value for key, value in handler(self).items() if key not in unset}

    def names(self) -> list[str]:
        """Return the corruptions that are read, in the order of the paper."""
        return [name for name in PUBLISHED if self.corruptions is None or name in self.corruptions]

    def levels(self) -> list[int]:
        """Return the severities that are read, ascending."""
        return sorted(set(self.severities or SEVERITIES))

    def check_corruptions(self, there: Sequence[str]) -> None:
        """Check that all corruptions that are to be read are `there`.

        Raises:
            UserError: some are missing.
        """
        if absent := [name for name in self.names() if name not in there]:
            raise UserError(
                f"{self.path} lacks the corruption {first_names(absent)} ({len(absent)} in all): download and unpack "
                f"{' and '.join(file.name for file in self.card.files)} again, or name those that are there in "
                "dataset.corruptions"
            )
