"""Evaluation view: how a photograph becomes an image of one size when a model is evaluated."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from nofrost.config.base import Settings

LARGEST_SIDE = 4096


class EvaluationView(Settings):
    """The shorter side of a photograph is resized to `resize` pixels, then the central square of `crop` pixels is cut.

    256 and 224 are those of nearly all results on ImageNet; 288 and 288 take all of the height.
    """

    resize: int = Field(default=256, ge=4, le=LARGEST_SIDE)
    crop: int = Field(default=224, ge=4, le=LARGEST_SIDE)

    @model_validator(mode="after")
    def _crop_lies_inside(self) -> Self:
        if self.crop > self.resize:
            raise ValueError(f"crop {self.crop} is larger than resize {self.resize}: lower it, or raise resize")
        return self


def whole_view(view: EvaluationView) -> EvaluationView:
    """Return the view with the crop of `view` that resizes to no more than that: a square image is shown whole."""
    return EvaluationView(resize=view.crop, crop=view.crop)
