"""DICOM files: what the header says decides, and the grey levels are those of the standard."""

import io
import sys
import zlib

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom.sequence import Sequence

from pipeline.imaging import decoding
from pipeline.imaging.decoding import UnreadableImage, read_header
from tests.imaging.files import dicom, dicom_dataset, item, lut, saved, with_syntax


def decode(data, channels, **options):
    return decoding.decode(data, channels, **options).pixels


@pytest.fixture
def rgb():
    return np.random.default_rng(1).integers(0, 256, (24, 32, 3), np.uint8)


@pytest.fixture
def ramp():
    """16-bit values 0..4095, every one at least once."""
    return np.arange(4096, dtype=np.uint16).reshape(64, 64)


def test_dicom_window_is_that_of_the_standard(ramp):
    shown = decode(dicom(ramp, WindowCenter=2048, WindowWidth=1024), 1).ravel().astype(int)
    # PS3.3 C.11.2.1.2: black up to c - 0.5 - (w - 1) / 2, white above c - 0.5 + (w - 1) / 2
    assert shown[1536] == 0
    assert (shown[:1536] == 0).all()
    assert shown[1540] > 0
    assert (shown[2559:] == 255).all()
    assert shown[2047] in (127, 128)
    assert (np.diff(shown) >= 0).all()


def test_dicom_uses_the_first_of_several_windows(ramp):
    several = dicom(ramp, WindowCenter=[2048, 100], WindowWidth=[1024, 50])
    np.testing.assert_array_equal(decode(several, 1), decode(dicom(ramp, WindowCenter=2048, WindowWidth=1024), 1))


def test_dicom_monochrome1_is_inverted(ramp):
    window = {"WindowCenter": 2048, "WindowWidth": 1024}
    one, two = (decode(dicom(ramp, kind, **window), 1).astype(int) for kind in ("MONOCHROME1", "MONOCHROME2"))
    np.testing.assert_allclose(one, 255 - two, atol=1)
    assert one[0, 0] == 255


def test_dicom_values_are_rescaled_before_the_window(ramp):
    hounsfield = dicom(ramp, RescaleSlope=2, RescaleIntercept=-1024, WindowCenter=3072, WindowWidth=2048)
    np.testing.assert_allclose(
        decode(hounsfield, 1).astype(int),
        decode(dicom(ramp, WindowCenter=2048, WindowWidth=1024), 1).astype(int),
        atol=1,
    )


def test_dicom_signed_values(ramp):
    signed = (ramp.astype(np.int16) - 2048).astype(np.int16)
    shown = decode(dicom(signed, WindowCenter=0, WindowWidth=4096), 1).ravel()
    np.testing.assert_allclose(shown, np.linspace(0, 255, 4096), atol=1)


@pytest.mark.parametrize("function", ["SIGMOID", "LINEAR_EXACT"])
def test_dicom_other_window_functions(ramp, function):
    shown = decode(dicom(ramp, WindowCenter=2048, WindowWidth=1024, VOILUTFunction=function), 1).ravel()
    x = (np.arange(4096) - 2048) / 1024
    expected = 255 / (1 + np.exp(-4 * x)) if function == "SIGMOID" else np.clip(x + 0.5, 0, 1) * 255
    np.testing.assert_allclose(shown, expected, atol=0.51)


def test_dicom_without_a_window_spans_its_percentiles(ramp):
    shown = decode(dicom(ramp), 1).ravel()
    expected = np.interp(np.arange(4096), [4095 * 0.005, 4095 * 0.995], [0, 255])
    np.testing.assert_allclose(shown, expected, atol=0.51)
    assert (decode(dicom(np.full((8, 8), 900, np.uint16)), 1) == 0).all()


def test_dicom_padding_does_not_count(ramp):
    padded = np.vstack([np.full((64, 64), 60000, np.uint16), ramp])
    shown = decode(dicom(padded, PixelPaddingValue=60000), 1)
    np.testing.assert_array_equal(shown[64:], decode(dicom(ramp), 1))


def test_dicom_colour_and_compression(rgb, ramp):
    np.testing.assert_array_equal(decode(dicom(rgb, "RGB"), 3), rgb)
    np.testing.assert_allclose(decode(dicom(rgb, "RGB"), 1), rgb @ np.array([0.299, 0.587, 0.114]), atol=0.51)
    compressed = dicom_dataset(ramp)
    compressed.compress(pydicom.uid.RLELossless)
    np.testing.assert_array_equal(decode(saved(compressed), 1), decode(dicom(ramp), 1))
    assert decode(dicom(ramp), 3).shape == (64, 64, 3)


def test_dicom_of_several_frames_gives_the_first(ramp):
    both = dicom(np.stack([ramp, ramp[::-1]]), frames=2)
    np.testing.assert_array_equal(decode(both, 1, frame="first"), decode(dicom(ramp), 1))


@pytest.mark.parametrize(
    ("syntax", "reason"),
    [
        (
            "1.2.840.10008.1.2.4.102",
            "no decoder: DICOM with transfer syntax MPEG-4 AVC/H.264 High Profile / Level 4.1; a video; convert its "
            "frames",
        ),
        (
            "1.3.46.670589.33.1.4.1",
            "no decoder: DICOM with transfer syntax 1.3.46.670589.33.1.4.1; convert the files, as with gdcmconv",
        ),
        ("1.2.840.10008.1.2.4.94", "no pixels: DICOM with an address in their place (JPIP Referenced)"),
    ],
)
def test_dicom_of_syntaxes_that_nothing_decodes(ramp, syntax, reason):
    for read in (read_header, lambda data: decode(data, 1)):
        with pytest.raises(UnreadableImage) as error:
            read(dicom(ramp, syntax=syntax, stream=b"\0" * 8))
        assert str(error.value) == reason


def test_truncated_dicom(ramp):
    with pytest.raises(UnreadableImage, match=r"^truncated"):
        decode(dicom(ramp)[:-4000], 1)


def test_without_pydicom(ramp, monkeypatch):
    data = dicom(ramp)
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(UnreadableImage, match="no decoder: DICOM; pip install pydicom"):
        decode(data, 1)


def test_dicom_without_pixels():
    file = pydicom.dcmread(io.BytesIO(dicom(np.zeros((4, 4), np.uint16))))
    del file.PixelData
    out = io.BytesIO()
    file.save_as(out)
    with pytest.raises(UnreadableImage, match=r"^no pixels: DICOM DX$"):
        decode(out.getvalue(), 1)


WHOLE = {"WindowCenter": 2048, "WindowWidth": 4096}
"""Shows 0 to 4095 from black to white."""
STEPS = np.array([[0, 1, 1000, 2000, 3000, 4000]], np.uint16)
FALLING = (4095 - np.arange(4096)) * 16


def test_modality_lut():
    # dcm2pnm 3.6.7: 255, 254, 192, 130, 68, 5; it rounds down.
    data = dicom(STEPS, ModalityLUTSequence=lut(FALLING), WindowCenter=32768, WindowWidth=65536, BitsStored=12)
    np.testing.assert_allclose(decode(data, 1), [[255, 254, 192, 130, 68, 5]], atol=1)


def test_voi_lut():
    # dcm2pnm 3.6.7: 255, 255, 193, 130, 68, 5
    data = dicom(STEPS, VOILUTSequence=lut(FALLING), BitsStored=12)
    np.testing.assert_allclose(decode(data, 1), [[255, 255, 193, 130, 68, 5]], atol=1)
    assert decoding.decode(data, 1).facts.window == "LUT"


def test_voi_lut_takes_values_of_the_modality():
    # Values 0..4000 become -1000..3000; the table covers -1000..3000 and doubles nothing else.
    table = np.linspace(0, 65535, 4001).round()
    data = dicom(STEPS, VOILUTSequence=lut(table, first=64536), RescaleSlope=1, RescaleIntercept=-1000, BitsStored=12)
    np.testing.assert_allclose(decode(data, 1), [STEPS[0] * (255 / 4000)], atol=0.6)


def test_luts_of_8_bits_two_in_a_word():
    entries = np.arange(256, dtype=np.uint8)[::-1]
    made = item(LUTDescriptor=[256, 0, 8])
    made.add_new("LUTData", "OW", entries.tobytes())
    values = np.arange(256, dtype=np.uint8).reshape(16, 16)
    np.testing.assert_array_equal(decode(dicom(values, VOILUTSequence=Sequence([made])), 1), 255 - values)


def test_a_window_goes_before_a_voi_lut(ramp):
    data = dicom(ramp, VOILUTSequence=lut(FALLING), BitsStored=12, **WHOLE)
    np.testing.assert_array_equal(decode(data, 1), decode(dicom(ramp, **WHOLE), 1))


@pytest.mark.parametrize("signed", [False, True])
def test_left_justified_values(signed):
    # dcm2pnm 3.6.7: 0, 0, 62, 124, 186, 249
    values = STEPS.astype(np.int16) - 2048 if signed else STEPS
    window = WHOLE | {"WindowCenter": 0} if signed else WHOLE
    data = dicom((values << 4).astype(values.dtype), BitsStored=12, HighBit=15, **window)
    np.testing.assert_allclose(decode(data, 1), [[0, 0, 62, 124, 186, 249]], atol=1)


@pytest.mark.parametrize("signed", [False, True])
def test_rubbish_above_and_below_the_stored_bits(signed):
    values = (STEPS.astype(np.int32) - (2048 if signed else 0)) & 0xFFF
    noise = np.array([[0xA000, 0x4001, 0xE000, 0x2001, 0x8000, 0x6001]])
    stored = (values << 1 | noise).astype(np.uint16)
    data = dicom(
        stored.view(np.int16) if signed else stored,
        BitsStored=12,
        HighBit=12,
        **(WHOLE | {"WindowCenter": 0} if signed else WHOLE),
    )
    np.testing.assert_allclose(decode(data, 1), [STEPS[0] * (255 / 4095)], atol=0.6)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_colours_of_every_depth(bits):
    white = (1 << bits) - 1
    image = np.full((4, 4, 3), 1, np.uint16) * (np.array([200, 100, 50]) * white // 255).astype(np.uint16)
    shown = decode(dicom(image, "RGB", BitsStored=bits), 3)
    np.testing.assert_allclose(shown[0, 0], [200, 100, 50], atol=1)


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("window", [{}, {"WindowCenter": 2048, "WindowWidth": 4096}])
def test_padding_is_black_and_takes_no_part(ramp, photometric, window):
    anatomy = ramp.astype(np.int16)
    plain = decode(dicom(anatomy, photometric, **window), 1)
    border = np.repeat(np.arange(-2000, -1992, dtype=np.int16), 64).reshape(8, 64)
    padded = dicom(
        np.vstack([border, anatomy]), photometric, PixelPaddingValue=-2000, PixelPaddingRangeLimit=-1993, **window
    )
    shown = decode(padded, 1)
    assert (shown[:8] == 0).all()
    np.testing.assert_array_equal(shown[8:], plain)
    high = dicom(np.vstack([np.full((8, 64), 5000, np.uint16), ramp]), photometric, PixelPaddingValue=5000, **window)
    assert (decode(high, 1)[:8] == 0).all()
    np.testing.assert_array_equal(decode(high, 1)[8:], plain)


def test_padding_written_with_the_wrong_sign(ramp):
    padded = np.vstack([np.full((8, 64), -2000, np.int16), ramp.astype(np.int16)])
    file = dicom_dataset(padded)
    file.add_new("PixelPaddingValue", "US", 63536)
    np.testing.assert_array_equal(decode(saved(file), 1)[8:], decode(dicom(ramp), 1))


@pytest.mark.parametrize(
    ("photometric", "shape", "inverted"),
    [
        ("MONOCHROME2", "IDENTITY", False),
        ("MONOCHROME2", "INVERSE", True),
        ("MONOCHROME1", "INVERSE", True),
        ("MONOCHROME1", "IDENTITY", False),
        ("MONOCHROME1", "", True),
        ("MONOCHROME2", "", False),
    ],
)
def test_presentation_lut_shape(ramp, photometric, shape, inverted):
    # As dcm2pnm 3.6.7.
    shown = decode(dicom(ramp, photometric, PresentationLUTShape=shape, **WHOLE), 1)
    plain = decode(dicom(ramp, **WHOLE), 1)
    np.testing.assert_allclose(shown, 255.0 - plain if inverted else plain, atol=1)


def groups(window=None, rescale=None, function=None):
    """An item of a functional groups sequence."""
    made = item()
    if window:
        voi = item(WindowCenter=window[0], WindowWidth=window[1])
        if function:
            voi.VOILUTFunction = function
        made.FrameVOILUTSequence = Sequence([voi])
    if rescale:
        made.PixelValueTransformationSequence = Sequence(
            [item(RescaleSlope=rescale[0], RescaleIntercept=rescale[1], RescaleType="HU")]
        )
    return made


def test_functional_groups_of_the_frame_and_of_all_frames(ramp):
    frames = np.stack([ramp, ramp])
    data = dicom(
        frames,
        frames=2,
        SharedFunctionalGroupsSequence=Sequence([groups(rescale=(2, -1024))]),
        PerFrameFunctionalGroupsSequence=Sequence([groups((3072, 2048)), groups((1024, 4096), function="SIGMOID")]),
    )
    np.testing.assert_allclose(
        decode(data, 1, frame="first").astype(int),
        decode(dicom(ramp, WindowCenter=2048.25, WindowWidth=1024.5), 1).astype(int),
        atol=1,
    )
    hounsfield = np.arange(4096) * 2 - 1024
    np.testing.assert_allclose(
        decode(data, 1, frame=1).ravel(), 255 / (1 + np.exp(-4 * (hounsfield - 1024) / 4096)), atol=0.51
    )


def test_shared_window(ramp):
    data = dicom(
        np.stack([ramp, ramp]), frames=2, SharedFunctionalGroupsSequence=Sequence([groups((2048, 4096), (1, 0))])
    )
    np.testing.assert_array_equal(decode(data, 1, frame=1), decode(dicom(ramp, **WHOLE), 1))
    assert decoding.decode(data, 1, frame=1).facts.window == "header"


def test_modality_lut_goes_where_the_frame_has_no_rescale(ramp):
    frames = np.stack([ramp, ramp])
    data = dicom(
        frames,
        frames=2,
        BitsStored=12,
        ModalityLUTSequence=lut(FALLING),
        PerFrameFunctionalGroupsSequence=Sequence([groups(rescale=(1, 0)), groups()]),
        **WHOLE,
    )
    np.testing.assert_array_equal(decode(data, 1, frame=0), decode(dicom(ramp, **WHOLE), 1))
    assert decode(data, 1, frame=1)[0, 0] == 255


def test_several_frames(ramp):
    data = dicom(np.stack([ramp, ramp[::-1], ramp[:, ::-1], ramp]), frames=4, **WHOLE)
    assert read_header(data).frames == 4
    with pytest.raises(UnreadableImage, match=r"^several frames: 4; choose with preprocess\.frame$"):
        decode(data, 1)
    np.testing.assert_array_equal(decode(data, 1, frame="middle"), decode(dicom(ramp[:, ::-1], **WHOLE), 1))
    np.testing.assert_array_equal(decode(data, 1, frame=1), decode(dicom(ramp[::-1], **WHOLE), 1))
    with pytest.raises(UnreadableImage, match="frame missing: 5 of 4"):
        decode(data, 1, frame=4)


def deflate(frame):
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(frame.tobytes()) + packer.flush()


def smooth():
    return (np.add.outer(np.arange(64), np.arange(64)) * 32).astype(np.uint16)


STREAMS = {
    "1.2.840.10008.1.2.8.1": deflate,
    "1.2.840.10008.1.2.4.51": lambda image: imagecodecs.jpeg8_encode(image, bitspersample=12, level=100),
    "1.2.840.10008.1.2.4.57": lambda image: imagecodecs.jpeg8_encode(
        image, bitspersample=16, lossless=True, predictor=4
    ),
    "1.2.840.10008.1.2.4.70": lambda image: imagecodecs.jpeg8_encode(
        image, bitspersample=12, lossless=True, predictor=1
    ),
    "1.2.840.10008.1.2.4.80": imagecodecs.jpegls_encode,
    "1.2.840.10008.1.2.4.90": lambda image: imagecodecs.jpeg2k_encode(image, level=0, codecformat="j2k"),
    "1.2.840.10008.1.2.4.110": lambda image: imagecodecs.jpegxl_encode(image, lossless=True),
}


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("syntax", STREAMS)
def test_compressions_of_hospitals(syntax, frames):
    image = smooth()
    several = [image, image[::-1], image.T[::-1]][:frames]
    streams = [STREAMS[syntax](np.ascontiguousarray(frame)) for frame in several]
    data = dicom(np.stack(several), frames=frames, syntax=syntax, stream=streams, BitsStored=12, **WHOLE)
    for index, frame in enumerate(several):
        shown = decode(data, 1, frame=index)
        np.testing.assert_allclose(shown, frame * (255 / 4095), atol=0.6 if syntax[-2:] != "51" else 1.5)
    assert not read_header(data).compression.startswith("1.2")


@pytest.mark.parametrize("keep", [0.3, 0.97])
@pytest.mark.parametrize("syntax", [*STREAMS, "1.2.840.10008.1.2.4.50"])
def test_compressed_frames_that_are_cut_short(syntax, keep):
    image = np.random.default_rng(0).integers(0, 4096, (64, 64)).astype(np.uint16)
    elements = {"BitsStored": 12, **WHOLE}
    if syntax.endswith("50"):
        image, elements = (image >> 4).astype(np.uint8), {}
    stream = imagecodecs.jpeg8_encode(image) if syntax.endswith("50") else STREAMS[syntax](image)
    decode(dicom(image, syntax=syntax, stream=stream, **elements), 1)
    with pytest.raises(UnreadableImage) as error:
        decode(dicom(image, syntax=syntax, stream=stream[: int(len(stream) * keep) // 2 * 2], **elements), 1)
    assert error.value.reason in ("truncated", "damaged")


def test_a_scan_that_breaks_a_rule_is_left_to_libjpeg_turbo():
    image = smooth()
    stream = bytearray(imagecodecs.jpeg8_encode(image, bitspersample=12, level=100))
    scan = stream.index(b"\xff\xda")
    length = int.from_bytes(stream[scan + 2 : scan + 4])
    stream[scan + 2 + length - 2] = 0  # last coefficient 0 in place of 63, as pydicom's JPEG-lossy.dcm has it
    data = dicom(image, syntax="1.2.840.10008.1.2.4.51", stream=bytes(stream), BitsStored=12, **WHOLE)
    np.testing.assert_allclose(decode(data, 1), image * (255 / 4095), atol=1.5)
    assert decoding.decode(data, 1).facts.reader == "imagecodecs"


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.8.1", "1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.80"])
def test_compressed_colours(rgb, syntax):
    stream = imagecodecs.jpegxl_encode(rgb, lossless=True) if syntax.endswith("110") else STREAMS[syntax](rgb)
    np.testing.assert_array_equal(decode(dicom(rgb, "RGB", syntax=syntax, stream=stream), 3), rgb)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_floating_point(ramp, dtype):
    values = ramp.astype(dtype) / 4096
    np.testing.assert_array_equal(decode(dicom(values), 1), decode(dicom(ramp), 1))
    values[0, 0], values[0, 1] = np.nan, np.inf
    shown = decode(dicom(values), 1)
    assert (shown[0, :2] == 0).all()
    assert shown[-1, -1] == 255
    padded = dicom(
        values, **{f"{'Double' if dtype == np.float64 else ''}FloatPixelPaddingValue": float(values[-1, -1])}
    )
    assert decode(padded, 1)[-1, -1] == 0
    assert read_header(padded).bits == 0


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_palettes(bits, big):
    tables = np.stack([np.arange(256), np.arange(256)[::-1], np.full(256, 90)])
    scale = 257 if bits == 16 else 1
    order = ">" if big else "<"
    index = np.arange(256, dtype=np.uint8).reshape(16, 16)
    file = dicom_dataset(index, "PALETTE COLOR")
    for name, table in zip(("Red", "Green", "Blue"), tables):
        setattr(file, f"{name}PaletteColorLookupTableDescriptor", [256, 0, bits])
        words = (table * scale).astype(order + "u2") if bits == 16 else table.astype(np.uint8)
        if bits == 8 and big:
            words = words.reshape(-1, 2)[:, ::-1]
        file.add_new(f"{name}PaletteColorLookupTableData", "OW", words.tobytes())
    if big:
        file.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
        file["PixelData"].VR = "OB"
    np.testing.assert_array_equal(decode(saved(file), 3), tables.T.reshape(16, 16, 3))


def test_dark_palette_of_16_bits():
    file = dicom_dataset(np.zeros((4, 4), np.uint8), "PALETTE COLOR")
    for name in ("Red", "Green", "Blue"):
        setattr(file, f"{name}PaletteColorLookupTableDescriptor", [2, 0, 16])
        file.add_new(f"{name}PaletteColorLookupTableData", "OW", np.array([3000, 4000], "<u2").tobytes())
    np.testing.assert_array_equal(decode(saved(file), 3), np.full((4, 4, 3), 12))


def test_without_preamble_and_without_meta_information(ramp):
    whole = dicom(ramp, **WHOLE)
    expected = decode(whole, 1)
    np.testing.assert_array_equal(decode(whole[132:], 1), expected)
    for implicit, big in [(True, False), (False, False), (False, True)]:
        file = dicom_dataset(ramp.byteswap() if big else ramp, **WHOLE)
        del file.file_meta
        out = io.BytesIO()
        pydicom.dcmwrite(out, file, implicit_vr=implicit, little_endian=not big)
        np.testing.assert_array_equal(decode(out.getvalue(), 1), expected)


def test_big_endian_with_unused_bits(ramp):
    file = dicom_dataset(ramp.byteswap(), BitsStored=12, HighBit=11, **WHOLE)
    file.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRBigEndian
    np.testing.assert_array_equal(decode(saved(file), 1), decode(dicom(ramp, **WHOLE), 1))


def test_one_bit_keeps_its_two_values():
    mask = np.zeros((16, 16), np.uint8)
    mask[3, 5] = 1
    file = dicom_dataset(mask, BitsAllocated=1, BitsStored=1, HighBit=0)
    file.PixelData = np.packbits(mask, bitorder="little").tobytes()
    shown = decode(saved(file), 1)
    np.testing.assert_array_equal(shown, mask * 255)


def test_16_bits_are_kept(ramp):
    shown = decode(dicom(ramp, **WHOLE), 1, depth="uint16")
    assert shown.dtype == np.uint16
    np.testing.assert_allclose(shown.ravel(), np.arange(4096) * (65535 / 4095), atol=0.51)


def test_facts_name_how_the_file_was_made_and_not_whose_it_is(ramp):
    data = dicom(ramp, Manufacturer="Acme  Imaging", PatientName="Doe^Jane", BitsStored=12, Modality="CR", **WHOLE)
    facts = decoding.decode(data, 1).facts
    assert (facts.format, facts.maker, facts.bits, facts.photometric) == ("DICOM CR", "Acme Imaging", 12, "MONOCHROME2")
    assert (facts.compression, facts.reader, facts.window) == ("none", "pydicom", "header")
    assert (facts.width, facts.height, facts.frames) == (64, 64, 1)
    assert "Doe" not in repr(facts)


def test_unknown_colours(rgb):
    with pytest.raises(UnreadableImage, match="unsupported colours: DICOM with HSV x 3"):
        decode(dicom(rgb, "HSV"), 3)


def test_preamble_of_a_slide_that_is_tiff_too(ramp):
    data = b"II*\0" + dicom(ramp, **WHOLE)[4:]
    np.testing.assert_array_equal(decode(data, 1), decode(dicom(ramp, **WHOLE), 1))


def test_big_endian_pixels_of_ge(ramp):
    # dcm2pnm 3.6.7 shows the same.
    file = dicom_dataset(ramp.byteswap(), **WHOLE)
    file.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    data = with_syntax(saved(file), "1.2.840.113619.5.2")
    np.testing.assert_array_equal(decode(data, 1), decode(dicom(ramp, **WHOLE), 1))


@pytest.mark.parametrize(
    ("elements", "reason"),
    [
        ({"BitsAllocated": 12}, "unsupported pixel type: DICOM of 12 bits allocated"),
        ({"PhotometricInterpretation": ""}, "damaged: DICOM header without PhotometricInterpretation"),
        ({"Rows": None}, "damaged: DICOM header without Rows"),
        ({"Rows": 0}, "empty image"),
    ],
)
def test_headers_that_miss_something(ramp, elements, reason):
    with pytest.raises(UnreadableImage) as error:
        read_header(saved(dicom_dataset(ramp, **elements), enforce_file_format=False))
    assert str(error.value) == reason


def test_transfer_syntax_of_rubbish(ramp):
    with pytest.raises(UnreadableImage, match=r"^damaged: transfer syntax of DICOM$"):
        read_header(with_syntax(dicom(ramp), "1.2.\1\2\3.4"))


def test_partial_range_of_video():
    # Y is 16 to 235 and chroma 16 to 240 (ITU-R BT.601); two pixels share Cb and Cr. Black, white, and a red.
    rows = [[16, 235, 128, 128], [82, 82, 90, 240]]
    file = dicom_dataset(np.zeros((2, 2, 3), np.uint8), "YBR_PARTIAL_422")
    file.PixelData = bytes(rows[0] + rows[1])
    shown = decode(saved(file), 3)
    np.testing.assert_allclose(shown[0], [[0, 0, 0], [255, 255, 255]], atol=1)
    np.testing.assert_allclose(shown[1], [[255, 1, 0], [255, 1, 0]], atol=2)


def test_number_of_frames_of_rubbish(ramp):
    file = dicom_dataset(ramp)
    file.add_new("NumberOfFrames", "IS", "7")
    data = saved(file).replace(b"IS\x02\x007 ", b"IS\x02\x007A")
    with pytest.raises(UnreadableImage, match=r"^damaged: NumberOfFrames '7A'$"):
        read_header(data)


def test_jpeg_whose_components_are_letters():
    # Pillow's plugin of pydicom calls this sound stream broken.
    image = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    stream = bytearray(imagecodecs.jpeg8_encode(image, colorspace="RGB", outcolorspace="RGB", level=98))
    for marker, step, count in ((b"\xff\xc0", 3, 3), (b"\xff\xda", 2, 3)):
        start = stream.index(marker) + (10 if marker == b"\xff\xc0" else 5)
        for component in range(count):
            stream[start + step * component] = b"RGB"[component]
    if (adobe := stream.find(b"\xff\xee")) > 0:
        del stream[adobe : adobe + 2 + int.from_bytes(stream[adobe + 2 : adobe + 4])]
    if (jfif := stream.find(b"\xff\xe0")) > 0:
        del stream[jfif : jfif + 2 + int.from_bytes(stream[jfif + 2 : jfif + 4])]
    data = dicom(image, "RGB", syntax="1.2.840.10008.1.2.4.50", stream=bytes(stream) + b"\0" * (len(stream) % 2))
    np.testing.assert_allclose(decode(data, 3), image, atol=3)


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.4.90"])
def test_high_bit_that_a_code_stream_does_not_follow(syntax):
    # The stream says 12 bits, so that HighBit 15 tells of the container that it was made from.
    image = smooth()
    image[0, 0] = 4095
    if syntax.endswith("90"):
        stream = imagecodecs.jpeg2k_encode(image, level=0, codecformat="j2k", bitspersample=12)
    else:
        stream = STREAMS[syntax](image)
    data = dicom(image, syntax=syntax, stream=stream, BitsStored=12, HighBit=15, **WHOLE)
    np.testing.assert_allclose(decode(data, 1), image * (255 / 4095), atol=0.6)


def test_colours_in_a_stream_of_a_grey_header(rgb, ramp):
    stream = imagecodecs.jpegxl_encode(rgb, lossless=True)
    data = dicom(rgb[..., 0], syntax="1.2.840.10008.1.2.4.110", stream=stream)
    with pytest.raises(UnreadableImage, match="damaged: colours in a code stream"):
        decode(data, 1)


@pytest.mark.parametrize("bits", [12, 16])
def test_signed_values_of_a_stream_without_signs(bits):
    image = (smooth().astype(np.int32) - 2048).astype(np.int16)
    stored = image.view(np.uint16) & np.uint16((1 << bits) - 1)
    data = dicom(
        image,
        syntax="1.2.840.10008.1.2.4.110",
        stream=imagecodecs.jpegxl_encode(stored, lossless=True),
        BitsStored=bits,
        WindowCenter=0,
        WindowWidth=4096,
    )
    np.testing.assert_allclose(decode(data, 1), smooth() * (255 / 4095), atol=0.6)


@pytest.mark.parametrize("syntax", [syntax for syntax in STREAMS if "4." in syntax])
def test_without_the_plugins_of_pydicom(syntax, monkeypatch):
    image = smooth()
    data = dicom(image, syntax=syntax, stream=STREAMS[syntax](image), BitsStored=12, **WHOLE)
    with_plugins = decode(data, 1)
    monkeypatch.setattr(pydicom.pixels.decoders.base.Decoder, "is_available", False)
    found = decoding.decode(data, 1)
    assert found.facts.reader == "imagecodecs"
    np.testing.assert_allclose(found.pixels.astype(int), with_plugins.astype(int), atol=1)
