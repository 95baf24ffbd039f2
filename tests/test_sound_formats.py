"""FLAC, AIFF and Ogg, which soundfile reads: the same samples as from WAV, and what is refused."""

import io
import sys

import numpy as np
import pytest
from test_cli import call
from test_sound import save

from gen_jax import InputError
from gen_jax.data.importing.importer import Options, import_files
from gen_jax.data.sound import read_sound
from gen_jax.data.wav import read_wav

soundfile = pytest.importorskip("soundfile")
INTEGERS = np.random.default_rng(0).integers(-(2**15), 2**15, size=(500, 2)).astype("<i2")


def saved(path, x, subtype=None, rate=8000):
    soundfile.write(path, x, rate, subtype=subtype)
    return path


@pytest.mark.parametrize(("ending", "bits"), [("flac", 16), ("flac", 24), ("aiff", 16)])
def test_samples_are_those_of_wav(tmp_path, ending, bits):
    """Integers divided by 2^(b-1), exactly."""
    whole = INTEGERS.astype(np.int32) << 16
    if bits == 24:
        whole |= (np.arange(500, dtype=np.int32)[:, None] % 256) << 8
    path = saved(tmp_path / f"x.{ending}", whole, f"PCM_{bits}")
    x, rate = read_sound(path)
    np.testing.assert_array_equal(x, whole / 2.0**31)
    there = saved(tmp_path / "x.wav", whole, f"PCM_{bits}")
    np.testing.assert_array_equal(x, read_wav(there)[0])
    np.testing.assert_array_equal(x, read_sound(there)[0])
    assert rate == 8000


def test_a_folder_of_flac_is_the_data_set_of_the_wav_files(tmp_path):
    (tmp_path / "flac").mkdir()
    for name in "abcdef":
        x = INTEGERS[::-1, 0] if name > "c" else INTEGERS[:, 0]
        saved(tmp_path / "flac" / f"{name}.flac", x, "PCM_16")
        save(tmp_path / "wav" / f"{name}.wav", x.astype("<i2").tobytes())
    options = Options(length=50, split="train=0.5,test=0.5")
    records = [
        import_files("sounds", [tmp_path / kind], options, tmp_path / f"data_{kind}").record()
        for kind in ("flac", "wav")
    ]
    assert records[0]["checksum"] == records[1]["checksum"]
    assert records[0]["shape"] == [50]


def test_ogg_is_near_and_within_bounds(tmp_path):
    wave = 1.05 * np.sin(np.arange(8000) * 0.05)  # decoded beyond 1
    x, _ = read_sound(saved(tmp_path / "x.ogg", wave))
    assert np.abs(x).max() == 1
    assert np.abs(x[500:7500, 0] - wave[500:7500].clip(-1, 1)).max() < 0.1


def test_what_is_refused(tmp_path, monkeypatch):
    good = saved(tmp_path / "good.flac", INTEGERS, "PCM_16")
    (tmp_path / "cut.flac").write_bytes(good.read_bytes()[:800])
    (tmp_path / "text.flac").write_text("no sound")
    saved(tmp_path / "none.flac", INTEGERS[:0], "PCM_16")
    buffer = io.BytesIO()
    soundfile.write(buffer, INTEGERS, 8000, format="AIFF")
    (tmp_path / "other.flac").write_bytes(buffer.getvalue())
    (tmp_path / "short.aiff").write_bytes(buffer.getvalue()[:-1])
    with pytest.raises(InputError, match=r"short.aiff is truncated: its end is missing"):
        read_sound(tmp_path / "short.aiff")
    for name, words in (
        ("cut", "cut.flac is (truncated|not a readable FLAC file)"),
        ("text", "text.flac is not a readable FLAC file"),
        ("none", "none.flac (contains no sound|is not a readable)"),
        ("other", "other.flac is AIFF, not FLAC"),
    ):
        with pytest.raises(InputError, match=words):
            read_sound(tmp_path / f"{name}.flac")
    with pytest.raises(InputError, match="unpacks to 2,000 bytes, the limit is 1,999"):
        read_sound(good, 1999)
    whole = soundfile.SoundFile.read
    with monkeypatch.context() as patch:  # a library that gives what it has, without a word
        patch.setattr(soundfile.SoundFile, "read", lambda self, **how: whole(self, **how)[:-1])
        with pytest.raises(InputError, match="truncated: it has 499 of 500 samples"):
            read_sound(good)
    argv = ("data", "import", "x", good, "--data-dir", tmp_path / "data")
    assert "has 2 channels; --mono takes their mean" in call(*argv)[2]
    monkeypatch.setitem(sys.modules, "soundfile", None)
    status, _, err = call(*argv)
    assert status == 2
    assert "good.flac is FLAC, which needs the package soundfile: pip install 'gen_jax[" in err
