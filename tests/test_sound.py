"""Sound as a medium: WAV files in and out, the synthetic set, samples and the report."""

import hashlib
import re
import struct
import wave
from dataclasses import replace

import numpy as np
import pytest
from test_cli import call, own_cache, succeed  # noqa: F401  its compilation cache
from test_import_refusals import snapshot

from gen_jax import Independent, InputError, sound
from gen_jax.data.builders.plucks import LENGTH, PERIODS, RATE, plucks, string
from gen_jax.data.importing import importer, writer
from gen_jax.data.importing.importer import Options, import_files
from gen_jax.data.importing.sounds import SILENCE
from gen_jax.data.prepared import Data, load
from gen_jax.data.wav import read_wav, wav
from gen_jax.evaluate import draw
from gen_jax.experiment import Evaluate, Experiment
from gen_jax.media import medium_of
from gen_jax.media.sound import PAUSE, Sound
from gen_jax.ops import mu_law
from gen_jax.optimizer import Adam
from gen_jax.runs.run import load_run
from gen_jax.runs.workdir import WorkDir
from gen_jax.train import loop

RNG = np.random.default_rng(0)


def save(path, content, rate=8000, width=2, channels=1):
    """By the standard library, from integers as they are stored."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(content)
    return path


def riff(described: bytes, data: bytes, size: int | None = None) -> bytes:
    """A file with any header; `size` is what a writer to a pipe says for both sizes."""
    body = b"WAVEfmt " + struct.pack("<I", len(described)) + described
    body += b"data" + struct.pack("<I", len(data) if size is None else size) + data
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


def form(tag: int, bits: int, channels: int = 1) -> bytes:
    width = channels * bits // 8
    return struct.pack("<HHIIHH", tag, channels, 8000, 8000 * width, width, bits)


def extensible(tag: int, bits: int = 16) -> bytes:
    guid = struct.pack("<H", tag) + bytes.fromhex("000000001000800000aa00389b71")
    return form(0xFFFE, bits) + struct.pack("<HHI", 22, bits, 4) + guid


def noise(count):
    return RNG.integers(-32768, 32768, count).astype("<i2")


def test_16_and_8_bits(tmp_path):
    """-1 and the largest number below 1 at both ends, zero in the middle, channels side by side."""
    ends = np.array([-32768, 0, 32767, 1], "<i2")
    x, rate = read_wav(save(tmp_path / "a.wav", ends.tobytes(), 44100, channels=2))
    assert rate == 44100
    np.testing.assert_array_equal(x, [[-1, 0], [32767 / 32768, 1 / 32768]])
    x, _ = read_wav(save(tmp_path / "b.wav", bytes([0, 128, 255]), width=1))
    np.testing.assert_array_equal(x[:, 0], [-1, 0, 127 / 128])


WHOLE = np.array([-(2**23), 0, 2**23 - 1, 1, -1])
PLAIN = np.array([-32768, 0, 32767, 1, -1])


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (riff(extensible(1), PLAIN.astype("<i2").tobytes()), PLAIN / 2**15),
        (riff(extensible(3, 32), (PLAIN / 2**15).astype("<f4").tobytes()), PLAIN / 2**15),
        (riff(form(1, 24), WHOLE.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()), WHOLE / 2**23),
        (riff(form(1, 32), (256 * WHOLE).astype("<i4").tobytes()), WHOLE / 2**23),
        (riff(form(3, 64), (WHOLE / 2**23).tobytes()), WHOLE / 2**23),
        (riff(form(1, 16), PLAIN.astype("<i2").tobytes(), 2**32 - 1), PLAIN / 2**15),
        (riff(form(1, 16), PLAIN.astype("<i2").tobytes(), 0x7FFFF000), PLAIN / 2**15),
        (riff(form(1, 16), PLAIN.astype("<i2").tobytes(), 0), PLAIN / 2**15),
    ],
    ids=["extensible", "extensible float", "24", "32", "float 64", "ffmpeg", "sox", "zero"],
)  # fmt: skip
def test_kinds_of_wav(tmp_path, content, expected):
    """Headers that Python 3.11 refuses or that were written to a pipe: exact amplitudes all the same."""
    (tmp_path / "a.wav").write_bytes(content)
    x, rate = read_wav(tmp_path / "a.wav")
    assert rate == 8000
    np.testing.assert_array_equal(x[:, 0], expected)


def test_other_parts_are_passed_over(tmp_path):
    """A list of odd length before the samples, and one after them."""
    whole, extra = riff(form(1, 16), PLAIN.astype("<i2").tobytes()), b"LIST\3\0\0\0abc\0"
    at = whole.index(b"data")
    (tmp_path / "a.wav").write_bytes(whole[:at] + extra + whole[at:] + extra)
    np.testing.assert_array_equal(read_wav(tmp_path / "a.wav")[0][:, 0], PLAIN / 2**15)


def test_every_code_survives_a_file(tmp_path):
    """All 256 codes to 16 bits and back."""
    codes = np.arange(256)
    (tmp_path / "a.wav").write_bytes(wav(mu_law.decode(codes), 8000))
    x, rate = read_wav(tmp_path / "a.wav")
    assert (x.shape, rate) == ((256, 1), 8000)
    np.testing.assert_array_equal(mu_law.encode(x[:, 0]), codes)


def test_a_file_is_cut_like_a_text(tmp_path):
    """Contiguous parts, windows in order; the message says how much is left out."""
    x = noise(1050)
    save(tmp_path / "a.wav", x.tobytes(), 11025)
    options = Options(length=20, split="train=0.5,validation=1/4,test=1/4")
    done = import_files("mine", [tmp_path / "a.wav"], options, tmp_path / "data")
    codes = mu_law.encode(x / 32768)
    starts = {"train": (0, 525), "validation": (525, 787), "test": (787, 1050)}
    for split, (start, stop) in starts.items():
        read = load("mine", split, tmp_path / "data")
        whole = codes[start : start + (stop - start) // 20 * 20]
        np.testing.assert_array_equal(read.x, whole.reshape(-1, 20))
        assert read.event == sound(20)
        assert dict(read.presentation) == {"rate": 11025, "unit": "sample"}
    assert done.notes[0] == "sound at 11025 Hz"
    assert "256 levels, the codes of the mu-law" in done.notes
    assert done.notes[-1].startswith("windows of 20 samples; ")


def test_several_files_stay_whole_and_have_classes(tmp_path):
    """No file is in two splits; two channels become their mean where that is asked for."""
    sounds = {}
    for name in ("bell", "drum"):
        for i in range(4):
            pairs = noise(2 * 45).reshape(-1, 2)
            save(tmp_path / "set" / name / f"{i}.wav", pairs.tobytes(), channels=2)
            sounds[name, i] = mu_law.encode(pairs.mean(axis=1) / 32768)[:40].reshape(2, 20)
    options = Options(length=20, split="train=1/2,validation=1/4,test=1/4", mono=True)
    done = import_files("mine", [tmp_path / "set"], options, tmp_path / "data")
    assert done.content.class_names == ["bell", "drum"]
    for split, numbers in (("train", (0, 1)), ("validation", (2,)), ("test", (3,))):
        read = load("mine", split, tmp_path / "data")
        expected = [sounds[name, i] for name in ("bell", "drum") for i in numbers]
        np.testing.assert_array_equal(read.x, np.concatenate(expected))
        np.testing.assert_array_equal(read.labels, np.repeat([0, 1], 2 * len(numbers)))
    assert done.notes[-1] == "windows of 20 samples; 40 of 360 at the ends of sounds are dropped"


def test_sounds_shorter_than_a_window(tmp_path):
    """Refused, padded with silence or passed over, as the user says; a split of nothing is refused always."""
    sounds = {name: noise(count) for name, count in (("a", 50), ("b", 13), ("c", 20))}
    for name, x in sounds.items():
        save(tmp_path / "in" / name / "0.wav", x.tobytes())
    whole = {"length": 20, "split": "train=1"}
    with pytest.raises(InputError, match="--short pad pads such sounds, --short skip skips them"):
        importer.read([tmp_path / "in"], Options(**whole))
    codes = {name: mu_law.encode(x / 32768) for name, x in sounds.items()}
    assert mu_law.encode(np.zeros(1)) == SILENCE
    padded = np.pad(codes["b"], (0, 7), constant_values=SILENCE)
    rows = [codes["a"][:20], codes["a"][20:40], padded, codes["c"]]
    content, notes = importer.read([tmp_path / "in"], Options(**whole, short="pad"))
    np.testing.assert_array_equal(content.x["train"], rows)
    assert notes[-1] == "shorter than a window and padded with silence (7 samples): 0.wav"
    content, notes = importer.read([tmp_path / "in"], Options(**whole, short="skip"))
    np.testing.assert_array_equal(content.x["train"], [rows[0], rows[1], rows[3]])
    np.testing.assert_array_equal(content.labels["train"], [0, 0, 2])
    assert "shorter than a window and skipped: 0.wav" in notes
    nine = save(tmp_path / "nine.wav", noise(9).tobytes())
    for short in (None, "pad", "skip"):
        with pytest.raises(InputError, match=r"has 0 samples for validation, .*give other shares"):
            importer.read([nine], Options(length=4, short=short))
    with pytest.raises(InputError, match="no sound of train fills a window of 10 samples"):
        importer.read([nine], Options(length=10, split="train=1", short="skip"))


BY_NAME = r"(?P<label>\d)_[a-z]+_(?P<index>\d+)"
RANGES = "train=10-11,validation=5-9,test=0-4"


def test_names_of_files_tell_label_and_split(tmp_path):
    """One window of each sound, from its start; another group is another label, and order is by name."""
    sounds = {}
    for digit, speaker in (("0", "ada"), ("1", "bob"), ("1", "ada")):
        for index in (0, 4, 5, 10, 11):
            name = f"{digit}_{speaker}_{index}"
            sounds[name] = noise(20 + 5 * index)
            save(tmp_path / "in" / f"{name}.wav", sounds[name].tobytes())
    codes = {name: mu_law.encode(x / 32768) for name, x in sounds.items()}
    files = sorted((tmp_path / "in").iterdir(), reverse=True)
    options = Options(length=40, short="pad", windows="first", names=BY_NAME, split=RANGES)
    content, notes = importer.read(files, options)
    for split, numbers in (("test", (0, 4)), ("validation", (5,)), ("train", (10, 11))):
        members = sorted(name for name in sounds if int(name.split("_")[2]) in numbers)
        rows = [
            np.pad(codes[name][:40], (0, max(0, 40 - len(codes[name]))), constant_values=SILENCE)
            for name in members
        ]
        np.testing.assert_array_equal(content.x[split], rows)
        np.testing.assert_array_equal(content.labels[split], [int(name[0]) for name in members])
    assert (
        "split by the index in the names: train 10 to 11, validation 5 to 9, test 0 to 4" in notes
    )
    left = 3 * (5 + 30 + 35)
    first = f"windows of 40 samples, the first of each sound; {left} of {3 * 250} at the ends of"
    assert any(note.startswith(first) for note in notes)
    same, _ = importer.read([tmp_path / "in"], options)
    assert writer.checksum(same) == writer.checksum(content)
    by_speaker = r"\d_(?P<label>[a-z]+)_(?P<index>\d+)"
    content, _ = importer.read(files, replace(options, names=by_speaker))
    assert content.class_names == ["ada", "bob"]
    np.testing.assert_array_equal(content.labels["validation"], [0, 0, 1])
    content, _ = importer.read(files, replace(options, split="train=0.8,test=0.2"))
    assert {split: len(x) for split, x in content.x.items()} == {"train": 12, "test": 3}


@pytest.mark.parametrize(
    ("pattern", "split", "sentence"),
    [
        ("(", None, "--names '(' is not a regular expression"),
        (r"\d.*", None, "has neither a group (?P<label>...) nor a group (?P<index>...)"),
        (r"(?P<labl>\d).*", None, "--names: 'labl' is not label or index (did you mean label?)"),
        (r"(?P<label>\d)", None, "0_ada_0.wav does not match --names"),
        (r"(?P<label>\d).*", "test=0-4", "ranges need a group (?P<index>...) in --names"),
        (r".*_(?P<index>[a-z]+)_.*", "train=0-4", "the group index of --names is 'ada', not a"),
        (r".*_(?P<index>\d)", "train=1-4", "0_ada_0.wav: index 0 is in no range of --split"),
        (r".*_(?P<index>\d)", "train=0-4,test=5-9", "no file has an index in the range of test"),
        (r".*_(?P<index>\d)", "train=0-5,test=5-9", "the ranges of train and test overlap"),
        (r".*_(?P<index>\d)", "train=4-0", "the range of train should be like 0-4, not '4-0'"),
        (r".*_(?P<index>\d)", "train=0-4,test=0.5", "should be like 0-4, not '0.5'"),
        (r".*_(?P<index>\d)", "train=0-1,training=2-3", "--split names train twice"),
        (r".*_(?P<index>\d)", "tain=0-1", "'tain' is not train, validation or test"),
        (r"\d_ada(?P<label>x)?_\d", None, "0.wav has no label by --names, but others have"),
        (None, "test=0-4", "ranges are of the group index of --names, which is not given"),
    ],
)
def test_names_that_tell_nothing_are_refused(pattern, split, sentence, tmp_path):
    for name in ("0_ada_0", "1_adax_1"):
        save(tmp_path / "in" / f"{name}.wav", noise(8).tobytes())
    options = Options(length=4, names=pattern, split=split)
    with pytest.raises(InputError, match=re.escape(sentence)):
        importer.read([tmp_path / "in"], options)


@pytest.fixture(scope="module")
def bad(tmp_path_factory):
    """A folder of sounds that no import should take."""
    folder = tmp_path_factory.mktemp("bad")
    good = save(folder / "good.wav", noise(2000).tobytes())
    save(folder / "fast.wav", noise(2000).tobytes(), 16000)
    save(folder / "stereo.wav", noise(2000).tobytes(), channels=2)
    (folder / "wide.wav").write_bytes(riff(form(3, 24), bytes(300)))
    (folder / "alaw.wav").write_bytes(riff(form(6, 8), bytes(300)))
    (folder / "rf64.wav").write_bytes(b"RF64" + riff(form(1, 16), bytes(300))[4:])
    (folder / "odd.wav").write_bytes(riff(form(1, 16)[:12] + b"\3\0\x10\0", bytes(300)))
    (folder / "guid.wav").write_bytes(riff(extensible(1)[:-1] + b"\0", bytes(300)))
    save(folder / "empty.wav", b"")
    save(folder / "short.wav", noise(100).tobytes())
    content = good.read_bytes()
    (folder / "cut.wav").write_bytes(content[:-7])
    (folder / "head.wav").write_bytes(content[:20])
    (folder / "text.wav").write_text("no sound")
    loud = np.array([0.0, -1.5], "<f4").tobytes()
    (folder / "float.wav").write_bytes(riff(form(3, 32), loud))
    np.savez(folder / "a.npz", train=np.eye(3, dtype=int))
    return folder


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("{bad}/stereo.wav", "{bad}/stereo.wav has 2 channels; --mono takes their mean"),
        ("{bad}/wide.wav", "{bad}/wide.wav has floats of 24 bits; only integers of 8, 16, 24 and"),
        ("{bad}/empty.wav", "{bad}/empty.wav contains no sound: 0 samples at 8000 Hz"),
        ("{bad}/cut.wav", "{bad}/cut.wav is truncated: chunk 'data' has 3993 of 4000 bytes"),
        ("{bad}/head.wav", "{bad}/head.wav is truncated: chunk 'fmt ' has 0 of 16 bytes"),
        ("{bad}/text.wav", "{bad}/text.wav is not a WAV file"),
        ("{bad}/float.wav", "{bad}/float.wav has floats up to 1.5, amplitudes must lie in [-1, 1]"),
        (
            "{bad}/alaw.wav",
            "{bad}/alaw.wav is a WAV file with A-law; only uncompressed sound can be read",
        ),
        ("{bad}/rf64.wav", "{bad}/rf64.wav is RF64, which cannot be read"),
        ("{bad}/odd.wav", "{bad}/odd.wav is damaged: 1 channels of 16 bits are not 3 bytes"),
        ("{bad}/guid.wav", "{bad}/guid.wav is a WAV file of an unknown format"),
        ("{bad}/good.wav {bad}/fast.wav", "fast.wav is at 16000 Hz, {bad}/good.wav at 8000"),
        ("{bad}/good.wav", "good.wav has 100 samples for validation, fewer than a window of 1024"),
        ("{bad}/good.wav --tiles 8", "--tiles is for images, {bad}/good.wav is WAV"),
        ("{bad}/good.wav --levels 16", "--levels is for integers, {bad}/good.wav is sound"),
        ("{bad}/a.npz --mono", "--mono is for sound, {bad}/a.npz is .npz"),
        ("{bad}/a.npz --windows first", "--windows is for sound, {bad}/a.npz is .npz"),
        ("{bad}/a.npz --names x", "--names is for folders of files, {bad}/a.npz is .npz"),
        ("{bad}/good.wav --names x --classes", "--classes is for class folders, --names for names"),
    ],
)
def test_refusals(line, sentence, bad, tmp_path):
    """One sentence that names the file, and nothing written."""
    before = snapshot(tmp_path)
    command = line.format(bad=bad).split()
    status, out, err = call("data", "import", "x", *command, "--data-dir", tmp_path / "data")
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert sentence.format(bad=bad) in err
    assert snapshot(tmp_path) == before


def test_a_plucked_string_is_the_published_recurrence():
    """y_t = decay (y_{t-N} + y_{t-N-1}) / 2 after a burst of N, by a loop."""
    burst, decay = RNG.normal(size=(2, 7)), np.array([[0.99], [0.9]])
    found = string(burst, decay, 40)
    y = np.zeros((2, 41))  # y[:, 0] is what stands before
    for t in range(1, 41):
        if t <= 7:
            y[:, t] = burst[:, t - 1]
        else:
            y[:, t] = decay[:, 0] * (y[:, t - 7] + y[:, t - 8]) / 2
    np.testing.assert_allclose(found, y[:, 1:], atol=1e-15)


def test_plucks_are_always_the_same_and_have_their_pitch():
    """By the checksum of the codes; the autocorrelation of a class is highest near N + 1/2, octaves apart."""
    labels = np.arange(4000) % len(PERIODS)
    codes = plucks(np.random.default_rng((0, 0)), labels)
    digest = hashlib.sha256(codes.tobytes()).hexdigest()
    assert digest == "98a1fac07e59681b4a61b2cdd384130ce4a25b6d2c125af08cfe4117ded13f76"
    for label, period in enumerate(PERIODS):
        x = mu_law.decode(codes[labels == label][:100])[:, 2 * period :]
        lags = np.arange(period * 2 // 3, period * 3 // 2)
        correlation = [np.mean(x[:, lag:] * x[:, :-lag]) for lag in lags]
        assert lags[np.argmax(correlation)] in (period, period + 1)


def test_the_set_is_prepared_as_sound(tmp_path):
    succeed("data", "prepare", "plucks", "--data-dir", tmp_path)
    split = load("plucks", "validation", tmp_path)
    assert (split.event, split.num_classes, len(split)) == (sound(LENGTH), len(PERIODS), 400)
    np.testing.assert_array_equal(split.labels, np.arange(400) % len(PERIODS))
    medium = medium_of(split.event, split.presentation)
    assert isinstance(medium, Sound)
    assert medium.rate == RATE
    out = tmp_path / "a.wav"
    command = ("data", "export", "plucks", "--split", "validation", "--data-dir", tmp_path)
    said = succeed(*command, "--limit", 2, "--out", out)
    assert said == f"2 examples of plucks validation in {out}\n"
    pause = round(PAUSE * RATE)
    x, rate = read_wav(out)
    assert (len(x), rate) == (2 * LENGTH + pause, RATE)
    codes = mu_law.encode(x[:, 0])
    np.testing.assert_array_equal(codes[:LENGTH], split.x[0])
    np.testing.assert_array_equal(codes[LENGTH + pause :], split.x[1])
    assert not x[LENGTH:-LENGTH].any()


def test_samples_and_the_report_are_heard(tmp_path):
    """Draws as a WAV file without the data set; the page has them, given ones, completions, the bits."""
    save(tmp_path / "a.wav", noise(2000).tobytes())
    options = Options(length=24, split="train=0.8,validation=0.1,test=0.1")
    import_files("mine", [tmp_path / "a.wav"], options, tmp_path / "data")
    run, judge = tmp_path / "run", Evaluate(every=2, batch_size=8)
    experiment = Experiment(
        model=Independent(sound(24)),
        data=Data("mine"),
        optimizer=Adam(1e-2),
        steps=2,
        batch_size=8,
        evaluate=judge,
    )
    loop.train(experiment, WorkDir(run), tmp_path / "data")
    succeed("sample", run, "--num", 1, "--out", tmp_path / "b.wav")
    x, _ = read_wav(tmp_path / "b.wav")
    np.testing.assert_array_equal(mu_law.encode(x[:, 0]), draw.sample(load_run(run), 1)[0])
    succeed("report", run, "--out", tmp_path / "x.html", "--data-dir", tmp_path / "data")
    page = (tmp_path / "x.html").read_text()
    assert page.count('<audio controls src="data:audio/wav;base64,UklGR') == 3
    assert ">Completions</h2><p>The same sounds: the first quarter" in page
    assert ">Bits per sample</h2><p>-log2 p(x_t | x_&lt;t), mean over 8 sounds" in page
    status, _, err = call("sample", run, "--out", tmp_path / "b.png")
    assert (status, err.count("\n")) == (2, 1)
    assert "--out needs a name that ends in .wav or .npz" in err
