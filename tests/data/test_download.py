"""Downloads from a local server with faults."""

import hashlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from khasr.data.download import download

CONTENT = bytes(range(256)) * 40_000  # 10 MB
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@dataclass
class Server:
    url: str
    content: bytes = CONTENT
    drop_after: list[int] = field(default_factory=list)  # bytes sent before each of the first connections breaks
    ranges: bool = True
    status: int = 200
    requests: list[str] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            state.requests.append(self.headers.get("Range", ""))
            if state.status != 200:
                self.send_error(state.status)
                return
            match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
            start = int(match[1]) if match and state.ranges else 0
            if start >= len(state.content):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("Content-Length", str(len(state.content) - start))
            self.end_headers()
            rest = state.content[start:]
            self.wfile.write(rest[: state.drop_after.pop(0)] if state.drop_after else rest)

        def log_message(self, *_: object) -> None:
            pass

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    state = Server(f"http://127.0.0.1:{httpd.server_port}/km_kh_male.zip")
    yield state
    httpd.shutdown()
    httpd.server_close()


def fetch(server: Server, path: Path, **expected: object) -> Path:
    return download(server.url, path, progress=False, pause=0.001, **expected)  # type: ignore[arg-type]


def test_download(server: Server, tmp_path: Path) -> None:
    for _ in range(2):
        path = fetch(server, tmp_path / "new" / "a.zip", size=len(CONTENT), sha256=SHA256)
        assert path.read_bytes() == CONTENT
    assert server.requests == [""]
    assert sorted(p.name for p in path.parent.iterdir()) in (["a.zip"], ["a.zip", "a.zip.lock"])


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_broken_connection(server: Server, tmp_path: Path, size: int | None) -> None:
    """A broken connection is resumed where it broke."""
    server.drop_after = [3_000_000, 2_000_000]
    path = fetch(server, tmp_path / "a.zip", size=size, sha256=SHA256)
    assert path.read_bytes() == CONTENT
    starts = [int(r.removeprefix("bytes=").rstrip("-") or 0) for r in server.requests]
    assert len(starts) == 3
    assert 0 == starts[0] < starts[1] < starts[2]


def test_resume(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.zip.partial").write_bytes(CONTENT[:5_000_000])
    assert fetch(server, tmp_path / "a.zip", size=len(CONTENT), sha256=SHA256).read_bytes() == CONTENT
    assert server.requests == ["bytes=5000000-"]


def test_server_without_ranges(server: Server, tmp_path: Path) -> None:
    server.ranges, server.drop_after = False, [3_000_000]
    assert fetch(server, tmp_path / "a.zip", sha256=SHA256).read_bytes() == CONTENT


def test_attempts(server: Server, tmp_path: Path) -> None:
    """After five attempts without data the download fails and keeps the partial file."""
    server.drop_after = [2_000_000] + [0] * 20
    with pytest.raises(ConnectionError, match=r"5 attempts in a row received no data.*are kept.*data\.root=FILE"):
        fetch(server, tmp_path / "a.zip", size=len(CONTENT))
    assert not (tmp_path / "a.zip").exists()
    kept = (tmp_path / "a.zip.partial").read_bytes()
    assert 0 < len(kept) <= 2_000_000
    assert CONTENT.startswith(kept)


def test_wrong_length(server: Server, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the server's file has 10,240,000 bytes, expected 866,086,951"):
        fetch(server, tmp_path / "a.zip", size=866_086_951)
    assert not (tmp_path / "a.zip").exists()


def test_wrong_checksum(server: Server, tmp_path: Path) -> None:
    server.content = CONTENT[:-1] + b"x"
    with pytest.raises(ValueError, match=rf"its SHA-256 is [0-9a-f]{{64}}, expected {SHA256}.*deleted"):
        fetch(server, tmp_path / "a.zip", size=len(CONTENT), sha256=SHA256)
    assert [p for p in tmp_path.iterdir() if p.suffix != ".lock"] == []


def test_partial_too_long(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.zip.partial").write_bytes(CONTENT * 2)
    assert fetch(server, tmp_path / "a.zip", sha256=SHA256).read_bytes() == CONTENT


@pytest.mark.parametrize(("status", "error"), [(404, FileNotFoundError), (403, ConnectionError)])
def test_client_error(server: Server, tmp_path: Path, status: int, error: type[Exception]) -> None:
    server.status = status
    with pytest.raises(error, match=rf"answered with status {status}.*data\.url=URL"):
        fetch(server, tmp_path / "a.zip")
    assert len(server.requests) == 1


def test_server_error(server: Server, tmp_path: Path) -> None:
    server.status = 503
    with pytest.raises(ConnectionError, match=r"5 attempts in a row received no data \(status 503"):
        fetch(server, tmp_path / "a.zip")
    assert len(server.requests) == 5


def test_unreachable(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError, match="5 attempts in a row received no data"):
        download("http://127.0.0.1:9/a.zip", tmp_path / "a.zip", progress=False, pause=0.001)
