"""The evaluation view of a photograph: resize of the shorter side, then the central square."""

from PIL import Image

from nofrost.config.evaluation_view import EvaluationView


def central_square(image: Image.Image, view: EvaluationView) -> Image.Image:
    """Return the central square of `view.crop` pixels of the image with its shorter side resized to `view.resize`.

    Bilinear with antialias and rounded as torchvision's ``Resize`` and ``CenterCrop`` are, pixel for pixel.
    """
    width, height = image.size
    shorter = min(width, height)
    if shorter != view.resize:
        width, height = (
            view.resize if side == shorter else int(view.resize * side / shorter) for side in (width, height)
        )
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (round((side - view.crop) / 2) for side in (width, height))
    return image.crop((left, top, left + view.crop, top + view.crop))
