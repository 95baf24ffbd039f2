"""Downloads: kept, used again, refused where they are not the published files."""

import functools
import gzip
import http.server
import threading

import pytest
from originals import MNIST, assert_split, idx, prepare, published, refusal_of, small_mnist

from gen_jax.data.builders import BUILDERS, mnist

IMAGES = mnist.FILES["train"] + ".gz"


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        pass


@pytest.fixture
def folder(tmp_path):
    """The four gzipped idx files."""
    folder = tmp_path / "originals"
    folder.mkdir()
    for name, file in mnist.FILES.items():
        (folder / f"{file}.gz").write_bytes(gzip.compress(idx(MNIST[name])))
    return folder


@pytest.fixture
def served(folder, monkeypatch):
    """Mnist's URL is a local server that holds the folder, with sizes and SHA-256 as published."""
    small_mnist(monkeypatch)
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/"
    monkeypatch.setattr(mnist.Mnist, "URL", url)
    monkeypatch.setattr(mnist.Mnist, "url_infos", published(url, *folder.iterdir()))
    yield url
    server.shutdown()
    server.server_close()


def test_a_download_is_kept_and_used_again(served, folder, tmp_path):
    data = tmp_path / "data"
    prepare("mnist", data, None)
    assert_split("mnist", "test", data, MNIST["test"])
    assert sorted(path.name for path in data.iterdir()) == ["downloads", "mnist"]
    kept = [path.read_bytes() for path in (data / "downloads").rglob("*.gz")]
    assert sorted(kept) == sorted(path.read_bytes() for path in folder.iterdir())
    for path in [*folder.iterdir(), *(data / "mnist" / "1.0.0").iterdir()]:
        path.unlink()  # the server has nothing any more, the prepared set is gone
    prepare("mnist", data, None)
    assert_split("mnist", "test", data, MNIST["test"])


def test_a_download_that_is_another_file_is_refused(served, folder, tmp_path):
    content = idx(MNIST["train"])
    (folder / IMAGES).write_bytes(gzip.compress(content[:-1] + bytes([content[-1] ^ 1])))
    message = refusal_of("mnist", tmp_path / "data", None)
    assert (
        f"cannot download {served}{IMAGES} (the downloaded file is not the published one)"
        in message
    )
    assert "--source PATH" in message


def test_a_download_that_is_not_there_is_refused(served, folder, tmp_path, monkeypatch):
    (folder / IMAGES).unlink()
    message = refusal_of("mnist", tmp_path / "data", None)
    assert f"cannot download {served}{IMAGES}" in message
    assert "404" in message
    monkeypatch.setattr(mnist.Mnist, "URL", "http://127.0.0.1:9/")  # nobody listens
    message = refusal_of("mnist", tmp_path / "data", None)
    assert f"http://127.0.0.1:9/{IMAGES} (the connection failed); if you have the file" in message


def test_every_url_has_a_published_checksum():
    infos = {}
    for builder in BUILDERS.values():
        infos |= builder.url_infos
    assert all(len(info.checksum) == 64 for info in infos.values())
    for name, builder in BUILDERS.items():
        if builder.TAKES_SOURCE:
            assert any(url.startswith(builder.URL) for url in infos), name
    for name in ("fashion_mnist", "mnist"):
        for file in mnist.FILES.values():
            assert f"{BUILDERS[name].URL}{file}.gz" in infos
    for side in (32, 64):
        resized = BUILDERS[f"imagenet_resized_{side}"]
        assert all(resized.URL + file in infos for file in resized.FILES)
        for key in ("train", "valid"):
            assert f"http://image-net.org/small/{key}_{side}x{side}.tar" in infos
