"""What is stored of a photograph, a JPEG or in test sets also a PNG, and what Pillow, the reference, makes of it."""

import io

from PIL import Image, UnidentifiedImageError

QUALITY = 95
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
# Markers of a frame that is coded line by line of blocks (baseline and extended sequential, both of Huffman codes), and
# of what may come before it: quantisation and Huffman tables, restart interval, comment, and data of applications
_SEQUENTIAL = (0xC0, 0xC1)
_BEFORE = (0xDB, 0xC4, 0xDD, 0xFE, *range(0xE0, 0xF0))


def encode_jpeg(image: Image.Image) -> bytes:
    """Return an image of mode L or RGB as a JPEG of quality 95 with all of its colour (4:4:4)."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=QUALITY, subsampling=0)
    return stream.getvalue()


def encode_png(image: Image.Image) -> bytes:
    """Return an image of mode L or RGB as a PNG, which loses nothing."""
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def decode_photograph(content: bytes, channels: int) -> Image.Image:
    """Return the pixels of a stored JPEG or PNG, in mode L for one channel and RGB for three.

    Raises:
        ValueError: it is damaged, or neither.
    """
    try:
        image = Image.open(io.BytesIO(content), formats=("JPEG", "PNG"))
        # grey photographs among coloured ones are stored as they were published
        return image.convert("L" if channels == 1 else "RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(str(error)) from None


def first_lines(content: bytes, lines: int) -> bytes | bytearray:
    """Return a JPEG that says that it has so many lines and no more; one that is not sequential, such as a progressive
    one, as it is.

    A decoder stops after the last line of blocks that it needs, which saves it the rest. Other lines are as before,
    except that the last one may be interpolated from fewer lines of colour (libjpeg's fancy upsampling).

    Args:
        lines: at most those that it has.
    """
    place = 2
    while place + 9 <= len(content) and content[place] == 0xFF:
        marker = content[place + 1]
        if marker in _SEQUENTIAL:
            shortened = bytearray(content)
            # after the marker, the length of the segment and the number of bits
            shortened[place + 5 : place + 7] = lines.to_bytes(2, "big")
            return shortened
        if marker not in _BEFORE:
            break
        place += 2 + int.from_bytes(content[place + 2 : place + 4], "big")
    return content
