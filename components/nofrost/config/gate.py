"""The `gate` of a study: when its best run takes the place of the champion (docs/champion.md)."""

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from nofrost.config.base import LaterKeys, Name, Settings, Share

Margin = Annotated[float, Field(ge=0, le=1)] | None


class Margins(Settings):
    """How much worse than the champion a challenger may be, in shares of images; null leaves a criterion out.

    Attributes:
        clean: of accuracy on clean test images.
        ood: of mean accuracy on corrupted test images.
        calibration: of the expected calibration error, which lies in [0, 1].
    """

    clean: Margin = 0.02
    ood: Margin = 0.02
    calibration: Margin = 0.02


class GateSpec(Settings, LaterKeys):
    """When the best run of a study, the challenger, becomes its champion.

    Attributes:
        promotion: ``automatic`` by the pipeline, or ``manual`` by `nofrost champion promote RUN`.
        confidence: of the tests, shared out over the runs that the challenger was chosen from.
        gain: worst-case robust accuracy, in shares of images, that the challenger must have more than the champion,
            beyond chance.
        margins: how much worse it may be elsewhere.
        adversarial, ood: the suites of the study that it compares on; null for the first of each kind.
    """

    later_keys: ClassVar[tuple[str, ...]] = ("adversarial", "ood")

    promotion: Literal["automatic", "manual"] = "automatic"
    confidence: float = Field(default=0.95, ge=0.5, le=0.9999)
    gain: Share = 0.0
    margins: Margins = Margins()
    adversarial: Name | None = None
    ood: Name | None = None
