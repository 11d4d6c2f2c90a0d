"""The orientation tag, against the definition in the Exif standard and against Pillow's own reader."""

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from verydeep.image.orientation import UPRIGHT, orientation

# Orientation -> how an upright picture is stored (Exif 2.32: "the 0th row is the visual ... side").
STORED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: np.rot90,  # row 0 is the right-hand side: stored a quarter turn to the left
    7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
    8: lambda a: np.rot90(a, -1),
}


def exif(entries, order="<"):
    mark = b"II" if order == "<" else b"MM"
    table = b"".join(struct.pack(order + "HHI", *entry[:3]) + entry[3] for entry in entries)
    return mark + struct.pack(order + "HIH", 42, 8, len(entries)) + table + bytes(4)


@pytest.mark.parametrize("value", range(1, 9))
def test_what_was_stored_turned_is_turned_upright(value):
    upright = np.arange(12, dtype=np.uint8).reshape(3, 4)
    stored = Image.fromarray(np.ascontiguousarray(STORED[value](upright)))
    turned = stored.transpose(UPRIGHT[value]) if value in UPRIGHT else stored
    assert np.array_equal(np.asarray(turned), upright)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0", b"Exif\0\0Exif\0\0"])
def test_both_byte_orders_and_all_prefixes_are_read(order, prefix):
    entries = [(271, 2, 4, b"abc\0"), (274, 3, 1, struct.pack(order + "HH", 6, 0))]
    assert orientation({"exif": prefix + exif(entries, order)}) == 6


def test_a_long_is_read_as_well_as_a_short():
    assert orientation({"exif": exif([(274, 4, 1, struct.pack("<I", 8))])}) == 8


@pytest.mark.parametrize("value", [0, 9, 255, 65535])
def test_a_value_outside_the_standard_means_upright(value):
    assert orientation({"exif": exif([(274, 3, 1, struct.pack("<HH", value, 0))])}) == 1


def test_a_table_that_is_cut_off_is_read_as_far_as_it_goes():
    block = exif([(274, 3, 1, struct.pack("<HH", 3, 0)), (305, 2, 4, b"abc\0")])
    assert orientation({"exif": block[:25]}) == 3
    assert orientation({"exif": block[:20]}) == 1


def test_imagemagick_writes_the_block_as_hexadecimal_text():
    block = (b"Exif\0\0" + exif([(274, 3, 1, struct.pack("<HH", 5, 0))])).hex()
    assert orientation({"Raw profile type exif": f"\nexif\n   32\n{block[:20]}\n{block[20:]}\n"}) == 5
    assert orientation({"Raw profile type exif": "\nexif\n   32\nnot hexadecimal\n"}) == 1


@pytest.mark.parametrize("text", ['<x tiff:Orientation="7"/>', "<tiff:Orientation>7</tiff:Orientation>"])
def test_xmp_counts_where_exif_says_nothing(text):
    assert orientation({"XML:com.adobe.xmp": text}) == 7
    assert orientation({"xmp": text.encode()}) == 7
    assert orientation({"xmp": text.encode(), "exif": exif([(271, 2, 4, b"abc\0")])}) == 7
    assert orientation({"xmp": text.encode(), "exif": exif([(274, 3, 1, struct.pack("<HH", 2, 0))])}) == 2


@given(st.binary(max_size=200))
def test_no_block_whatever_raises(block):
    for start in (b"", b"II*\0\x08\0\0\0", b"MM\0*\0\0\0\x08"):
        assert 1 <= orientation({"exif": start + block, "xmp": block}) <= 8


@given(
    st.lists(
        st.tuples(st.sampled_from([271, 274, 282]), st.sampled_from([3, 4]), st.just(1), st.integers(0, 65535)),
        max_size=6,
    )
)
def test_pillow_reads_the_same(entries):
    block = exif([(tag, kind, count, struct.pack("<I", value)) for tag, kind, count, value in entries])
    theirs = Image.Exif()
    theirs.load(block)
    expected = theirs.get(274, 1)
    assert orientation({"exif": block}) == (expected if expected in range(1, 9) else 1)
