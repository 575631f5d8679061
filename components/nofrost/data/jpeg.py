"""JPEGs: what is stored of a photograph, and what Pillow, whose pixels are the reference, makes of it."""

import io

from PIL import Image, UnidentifiedImageError

QUALITY = 95


def encode_jpeg(image: Image.Image) -> bytes:
    """Return an image of mode L or RGB as a JPEG of quality 95 with all of its colour (4:4:4)."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=QUALITY, subsampling=0)
    return stream.getvalue()


def decode_jpeg(content: bytes, channels: int) -> Image.Image:
    """Return the pixels of a stored JPEG, in mode L for one channel and RGB for three.

    Raises:
        ValueError: it is damaged or not a JPEG.
    """
    try:
        image = Image.open(io.BytesIO(content), formats=("JPEG",))
        # grey photographs among coloured ones are stored as they were published
        return image.convert("L" if channels == 1 else "RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(str(error)) from None
