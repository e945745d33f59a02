import hashlib
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from sharpscope.data import DataSource
from sharpscope.data.files.download import RemoteFile, fetch, locate, verify_file
from sharpscope.errors import DataError

CONTENT = bytes(range(256)) * 40
FILE = RemoteFile("file.bin", hashlib.sha256(CONTENT).hexdigest())


class Handler(BaseHTTPRequestHandler):
    """Serves the file whole under ``/good/``, damaged, cut off after 1,000 bytes, or without ranges."""

    def do_GET(self):
        self.server.requests.append((self.path, self.headers.get("Range")))
        kind = self.path.split("/")[1]
        if kind == "missing":
            self.send_error(404)
            return
        start = int(self.headers["Range"][6:-1]) if self.headers.get("Range") and kind != "rangeless" else 0
        if start >= len(CONTENT):
            self.send_error(416)
            return
        if kind == "slow":
            time.sleep(0.2)
        body = (b"x" * len(CONTENT) if kind == "damaged" else CONTENT)[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[:1000] if kind == "cut" else body)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server():
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        running.requests = []
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        running.address = f"http://127.0.0.1:{running.server_port}"
        yield running
        running.shutdown()
        thread.join()


def mirrors(server, *kinds):
    return [f"{server.address}/{kind}/" for kind in kinds]


def test_a_file_comes_whole_into_a_new_folder(server, tmp_path):
    fetch(FILE, mirrors(server, "good"), tmp_path / "new" / "file.bin")
    assert (tmp_path / "new" / "file.bin").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["file.bin"]


@pytest.mark.parametrize("first", ["missing", "damaged", "cut"])
def test_the_next_mirror_serves_where_one_fails(server, tmp_path, first):
    fetch(FILE, mirrors(server, first, "good"), tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_a_download_that_broke_off_goes_on_where_it_was(server, tmp_path):
    target = tmp_path / "file.bin"
    with pytest.raises(DataError, match="the connection ended 9240 bytes early"):
        fetch(FILE, mirrors(server, "cut"), target)
    assert not target.exists()
    fetch(FILE, mirrors(server, "good"), target)
    assert target.read_bytes() == CONTENT
    assert server.requests[-1] == ("/good/file.bin", "bytes=1000-")


def test_a_server_without_ranges_sends_all_again(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT[:500])
    fetch(FILE, mirrors(server, "rangeless"), tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_a_part_that_is_whole_already_is_kept(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(CONTENT)
    fetch(FILE, mirrors(server, "good"), tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_where_no_mirror_serves_each_reason_is_told_and_nothing_is_left(server, tmp_path):
    with pytest.raises(DataError, match=r"404.*SHA-256 .* instead of .*put it in .* by hand"):
        fetch(FILE, mirrors(server, "missing", "damaged"), tmp_path / "file.bin")
    assert list(tmp_path.iterdir()) == []


def test_a_download_that_never_began_leaves_no_folder(server, tmp_path):
    with pytest.raises(DataError, match="404"):
        fetch(FILE, mirrors(server, "missing"), tmp_path / "new" / "file.bin")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_told(server, tmp_path):
    (tmp_path / "taken").write_bytes(b"a file where a folder should be")
    with pytest.raises(DataError, match=r"file.bin could not be downloaded .*taken"):
        fetch(FILE, mirrors(server, "good"), tmp_path / "taken" / "file.bin")


def test_a_file_that_is_there_is_not_downloaded(server, tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "file.bin").write_bytes(b"anything")
    found = locate(FILE, DataSource(tmp_path), ("a", "b"), mirrors(server, "good"))
    assert found == tmp_path / "b" / "file.bin"
    assert server.requests == []


def test_a_file_that_is_nowhere_is_downloaded_into_the_first_folder(server, tmp_path):
    found = locate(FILE, DataSource(tmp_path), ("a", "b"), mirrors(server, "good"))
    assert found == tmp_path / "a" / "file.bin"
    assert found.read_bytes() == CONTENT


def test_of_two_that_want_one_file_one_downloads_it(server, tmp_path):
    target, failures = tmp_path / "new" / "file.bin", []

    def want():
        try:
            fetch(FILE, mirrors(server, "slow"), target)
        except DataError as error:
            failures.append(error)

    threads = [threading.Thread(target=want) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert target.read_bytes() == CONTENT
    assert [path for path, _ in server.requests] == ["/slow/file.bin"]
    assert [path.name for path in target.parent.iterdir()] == ["file.bin"]


def test_a_file_published_with_an_md5_alone_is_verified_by_it(server, tmp_path):
    fetch(RemoteFile("file.bin", md5=hashlib.md5(CONTENT).hexdigest()), mirrors(server, "good"), tmp_path / "file.bin")
    assert (tmp_path / "file.bin").read_bytes() == CONTENT
    with pytest.raises(DataError, match=r"MD5 \w+ instead of 0123"):
        fetch(RemoteFile("file.bin", md5="0123"), mirrors(server, "good"), tmp_path / "other.bin")
    with pytest.raises(DataError, match=r"not the file that was published: MD5 \w+ instead of 0123"):
        verify_file(RemoteFile("file.bin", md5="0123"), tmp_path / "file.bin")
