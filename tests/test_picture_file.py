"""Picture files: read as they are seen, whatever their colours; or refused by a PictureError, whatever was done to their bytes;
and never at a cost that their pixels don't explain."""

import io
import random
import struct
import time
import zlib

import numpy as np
import pytest
from PIL import Image, features

from facegen.picture_file import MAX_ASPECT, OWN_FORMATS, PictureError, open_rgb
from peak_memory import peak_of
from pictures import HEIC

PIXELS = np.random.default_rng(0).integers(0, 256, (24, 20, 3), dtype=np.uint8)
AVIF = ["AVIF"] if features.check("avif") else []
# Pillow's transpositions that lay an upright picture down, by the orientation that says so.
LYING = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}


def saved(kind, image=None, **options):
    file = io.BytesIO()
    (image or Image.fromarray(PIXELS)).save(file, kind, **options)
    return file.getvalue()


def refusal(content):
    with pytest.raises(PictureError) as error:
        open_rgb(content)
    return str(error.value)


def exif(orientation, *more, order="<", kind=3):
    """An EXIF block whose first directory holds `more` entries (tag, type, count, value or offset) before the orientation."""
    value = struct.pack(f"{order}H2x" if kind == 3 else f"{order}L", orientation)
    entries = [struct.pack(f"{order}HHLL", *entry) for entry in more]
    entries.append(struct.pack(f"{order}HHL", 0x0112, kind, 1) + value)
    start = b"II*\0" if order == "<" else b"MM\0*"
    return b"Exif\0\0" + start + struct.pack(f"{order}LH", 8, len(entries)) + b"".join(entries) + bytes(4)


def chunk(kind, data):
    return struct.pack(">L", len(data)) + kind + data + struct.pack(">L", zlib.crc32(kind + data))


def empty_png(width, height, depth=8, colour=2):
    """A picture of one colour, whose file is a thousandth of its pixels."""
    packer, row = zlib.compressobj(1), bytes(1 + width * {0: 1, 2: 3, 6: 4}[colour] * depth // 8)
    rows = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    header = struct.pack(">LLBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", *AVIF])
def test_bytes_that_were_tampered_with(kind):
    chance, whole, refused = random.Random(kind), saved(kind, exif=exif(1 if kind == "AVIF" else 6)), 0
    for _ in range(400):
        content = bytearray(whole)
        for _ in range(chance.randint(1, 6)):
            content[chance.randrange(chance.choice((60, 200, len(content))))] = chance.randrange(256)
        content = content[: chance.choice((len(content), chance.randrange(len(content))))]
        try:
            assert open_rgb(bytes(content), 100_000).mode == "RGB"
        except PictureError as error:
            assert str(error).startswith(("It is no", "It has", "It is a", "The picture is damaged"))
            refused += 1
    assert refused > 50
    assert open_rgb(whole, 480).size == ((20, 24) if kind == "AVIF" else (24, 20))  # upright


@pytest.mark.parametrize("kind", ["I;16", "L", "LA", "RGBA", "P", "1", "CMYK"])
def test_colours_and_depths(kind):
    level = np.full((8, 8), 100)
    if kind == "I;16":
        image = Image.fromarray((level * 257).astype(np.uint16))
    else:
        image = Image.fromarray(level.astype(np.uint8)).convert("RGB" if kind in ("P", "CMYK", "RGBA") else "L").convert(kind)
    rgb = np.asarray(open_rgb(saved("JPEG" if kind == "CMYK" else "PNG", image), 100)).astype(float)
    wanted = np.asarray(image.convert("L")).mean() if kind == "1" else 100
    assert rgb.shape == (8, 8, 3) and abs(rgb.mean() - wanted) < 3


FILES = {"RGBA": ["PNG", "WEBP", "TIFF", *AVIF], "LA": ["PNG", "TIFF"], "P": ["PNG", "GIF"], "RGB": ["PNG"], "L": ["PNG"]}


@pytest.mark.parametrize(("mode", "kind"), [(mode, kind) for mode, kinds in FILES.items() for kind in kinds])
def test_who_was_erased_stays_erased(mode, kind):
    """The left half is transparent, and its pixels are still there: somebody black, on nothing."""
    grey = np.full((8, 16, 4), 100, np.uint8)
    grey[:, :8] = (0, 0, 0, 0)
    image, options = Image.fromarray(grey, "RGBA"), {}
    if mode == "P":
        image, options = Image.fromarray((grey[..., 3] > 0).astype(np.uint8), "P"), {"transparency": 0}
        image.putpalette([0, 0, 0, 100, 100, 100])
    elif mode in ("RGB", "L"):
        image, options = image.convert(mode), {"transparency": (0, 0, 0) if mode == "RGB" else 0}
    else:
        image = image.convert(mode)
        image.putalpha(Image.fromarray(np.where(np.arange(16) < 8, 0, 255).astype(np.uint8)[None].repeat(8, 0)))
    if kind in ("WEBP", "AVIF"):
        options = {"lossless": True, "exact": True} if kind == "WEBP" else {"quality": 100}
    rgb = np.asarray(open_rgb(saved(kind, image, **options), formats=OWN_FORMATS)).astype(int)
    assert (rgb[:, :7] >= 250).all() and np.abs(rgb[:, 9:] - 100).max() <= 5


def test_half_transparent_is_half_seen():
    image = Image.new("RGBA", (4, 4), (0, 0, 0, 51))
    assert np.asarray(open_rgb(saved("PNG", image))).tolist() == [[[204] * 3] * 4] * 4


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_in_every_format(orientation, order):
    lying = Image.fromarray(PIXELS)
    lying = lying.transpose(Image.Transpose(LYING[orientation])) if orientation in LYING else lying
    for kind, options in (("PNG", {}), ("WEBP", {"lossless": True}), ("JPEG", {"quality": 100, "subsampling": 0})):
        seen = open_rgb(saved(kind, lying, exif=exif(orientation, order=order, kind=4 if kind == "PNG" else 3), **options))
        assert np.abs(np.asarray(seen).astype(int) - PIXELS).max() <= (6 if kind == "JPEG" else 0)
        assert seen.info == {} and not seen.getexif()


@pytest.mark.skipif(not AVIF, reason="This Pillow reads no AVIF.")
def test_avif_turns_by_its_own_box():
    """Pillow writes the orientation there, and the rest of the EXIF beside it."""
    marked = Image.Exif()
    marked[0x0112], marked[0x010F] = 6, "Camera"
    content = saved("AVIF", exif=marked)
    assert b"Exif" in content and open_rgb(content).size == (24, 20)
    assert open_rgb(content.replace(b"irot\x03", b"irot\x00")).size == (20, 24)


# Types that Pillow can't write, counts and offsets beyond the block: cameras and editors leave such entries.
ODD_ENTRIES = [(0x010F, 2, 4000, 99999), (0x9999, 77, 1, 0), (0x011A, 5, 1, 0), (0x8769, 4, 1, 8), (0x0132, 0, 0, 0)]


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("entry", ODD_ENTRIES, ids=lambda entry: hex(entry[0]))
def test_exif_that_cannot_be_written_again(kind, entry):
    assert open_rgb(saved(kind, exif=exif(6, entry))).size == (24, 20)


@pytest.mark.parametrize("block", [b"", b"Exif\0\0", b"II*\0", b"MM\0*\xff\xff\xff\xff", exif(0), exif(9), exif(6)[:-20]])
def test_exif_that_says_nothing(block):
    assert open_rgb(saved("PNG").replace(b"IDAT", b"IDAT", 1)[:-12] + chunk(b"eXIf", block) + chunk(b"IEND", b"")).size == (
        20,
        24,
    )


def bomb(tags, size):
    """EXIF of `size` bytes whose first directory points `tags` times at nearly all of it."""
    entries = [(0x8000 + n, 7, size - 4096, 4000) for n in range(tags)]
    block = exif(6, *entries)
    return block + bytes(size - len(block))


@pytest.mark.parametrize("tags", [120, 5000])
def test_exif_that_unfolds_is_not_unfolded(tags):
    block = bomb(tags, 6 << 20 if tags == 120 else 64 << 10)
    parts = [block[6:][at : at + 65000] for at in range(0, len(block) - 6, 65000)]
    segments = b"".join(b"\xff\xe1" + struct.pack(">H", len(part) + 8) + b"Exif\0\0" + part for part in parts)
    plain = saved("JPEG")
    for content in (plain[:2] + segments + plain[2:], saved("WEBP", exif=block), saved("PNG", exif=block)):
        began = time.process_time()
        assert peak_of(lambda content=content: open_rgb(content)) < 60 << 20
        assert time.process_time() - began < 10
        assert open_rgb(content).size == (24, 20)


def test_text_that_unfolds_is_not_unfolded():
    text = chunk(b"zTXt", b"key\0\0" + zlib.compress(bytes(1_000_000)))
    assert peak_of(lambda: open_rgb(saved("PNG")[:33] + text * 60 + saved("PNG")[33:])) < 20 << 20


def test_a_jpeg_of_many_scans():
    plain = saved("JPEG", Image.new("RGB", (2000, 2000)), progressive=True)
    last = plain[plain.rindex(b"\xff\xda") : -2]
    began = time.process_time()
    with pytest.raises(PictureError, match="damaged \\(.* scans\\)"):
        open_rgb(plain[:-2] + last * 2000 + plain[-2:])
    assert time.process_time() - began < 5
    assert open_rgb(plain).size == (2000, 2000)


@pytest.mark.parametrize("part", [b"\xff", b"\xff\xd0", b"\xff\x00", b"\xff\xe5\0\0", b"\0\0\0\x08free", b"\0\0\0\0IDATcrc."])
def test_files_of_countless_parts_are_given_up_on_at_once(part):
    start = {b"\xff": b"\xff\xd8", b"\0\0\0\x08": b"\0\0\0\x0cftypavif"}.get(
        part[:1] if part[0] else part[:4], empty_png(1, 1)[:33]
    )
    began = time.process_time()
    assert refusal(start + part * ((20 << 20) // len(part)))
    assert time.process_time() - began < 10


@pytest.mark.parametrize("shape", [(1, 50_000_000), (50_000_000, 1), (100_000, 500), (10 * MAX_ASPECT + 1, 10)])
def test_strips_are_refused_before_they_are_unpacked(shape):
    ihdr = chunk(b"IHDR", struct.pack(">LLBBBBB", *shape, 8, 2, 0, 0, 0))
    content = empty_png(10, 10)[:8] + ihdr + empty_png(10, 10)[33:]
    began = time.process_time()
    assert f"{shape[0]}x{shape[1]} pixels" in refusal(content)
    assert peak_of(lambda: refusal(content)) < 10 << 20
    assert time.process_time() - began < 5


def test_more_pixels_than_allowed():
    with pytest.raises(PictureError, match="million pixels"):
        open_rgb(saved("PNG"), 479)
    webp = b"RIFF" + struct.pack("<L", 22) + b"WEBPVP8X" + struct.pack("<LL", 10, 0) + b"\xff\x3f\x00" * 2
    assert "million pixels" in refusal(webp)
    assert peak_of(lambda: refusal(webp)) < 10 << 20


@pytest.mark.parametrize("kind", ["RGB", "16 bits", "grey 16 bits", "RGBA", "JPEG", "progressive JPEG", "WEBP", *AVIF])
def test_memory_is_in_proportion_to_the_pixels(kind):
    side = 3000
    if kind in ("RGB", "RGBA", "16 bits", "grey 16 bits"):
        content = empty_png(side, side, 16 if "16" in kind else 8, {"RGBA": 6, "grey 16 bits": 0}.get(kind, 2))
    else:
        content = saved(kind.split()[-1], Image.new("RGB", (side, side)), **({"progressive": True} if " " in kind else {}))
    assert len(content) < 1 << 20
    assert peak_of(lambda: open_rgb(content)) < 4 * 4 * side * side + (8 << 20)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (HEIC, "HEIC picture.*Save it as JPEG"),
        (HEIC.replace(b"ftypheic", b"ftypmif1"), "HEIC picture.*Save it as JPEG"),
        (b"GIF89a" + bytes(40), "no JPEG, PNG, .*WebP"),
        (b"", "no JPEG"),
        (b"<svg/>", "no JPEG"),
    ],
)
def test_other_files(content, says):
    with pytest.raises(PictureError, match=says):
        open_rgb(content)
