"""An S3 that answers 500 and SlowDown, also after it did what it was asked."""

import http.client
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import urlsplit

import boto3
import pytest
from s3fs import S3FileSystem

from local.aws import Aws
from totelake import batch
from totelake.batch import Attempt, Manifest
from totelake.lake import Zone

SLOW_DOWN, BROKEN, DONE_AND_BROKEN = "SlowDown", "InternalError", "done, then InternalError"


class FaultyS3(ThreadingHTTPServer):
    """Passes requests on to the real one; the next few it answers with faults."""

    def __init__(self, behind: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.behind = urlsplit(behind).netloc
        self.faults: list[str] = []
        self.struck = 0


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultyS3

    def _pass_on(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        fault = self.server.faults.pop(0) if self.server.faults else ""
        if fault in ("", DONE_AND_BROKEN):
            connection = http.client.HTTPConnection(self.server.behind)
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            status, content, headers = answer.status, answer.read(), answer.getheaders()
            connection.close()
        if fault:
            self.server.struck += 1
            status = 503 if fault == SLOW_DOWN else 500
            code = SLOW_DOWN if fault == SLOW_DOWN else BROKEN
            content = f"<Error><Code>{code}</Code><Message>again</Message></Error>".encode()
            headers = [("Content-Type", "application/xml")]
        self.send_response(status)
        for name, value in headers:
            if name.lower() not in ("content-length", "transfer-encoding", "connection", "date"):
                self.send_header(name, value)
        length = dict(headers).get("Content-Length") if self.command == "HEAD" else None
        self.send_header("Content-Length", length or str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass_on  # noqa: N815

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def faulty(aws: Aws, bucket: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultyS3]:
    server = FaultyS3(aws.endpoint)
    thread = Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    S3FileSystem.clear_instance_cache()
    yield server
    S3FileSystem.clear_instance_cache()
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("fault", [SLOW_DOWN, BROKEN, DONE_AND_BROKEN])
def test_what_is_written_and_read_is_there_after_retries(
    faulty: FaultyS3, bucket: str, fault: str
) -> None:
    zone = Zone(f"{bucket}/zone")
    for place, work in enumerate((lambda: zone.write(b"1", "a"), lambda: zone.names("."))):
        faulty.faults = [fault, fault]
        work()
        assert faulty.struck == 2 * (place + 1)
    faulty.faults = [fault]
    assert zone.read("a") == b"1"
    assert boto3.client("s3").list_objects_v2(Bucket=bucket[5:])["KeyCount"] == 1


def test_a_manifest_whose_answer_was_lost_is_committed_once(faulty: FaultyS3, bucket: str) -> None:
    """The retry meets what the first try wrote: that is this run's own, and no other's."""
    zone = Zone(f"{bucket}/zone")
    now = batch.utc_now()
    manifest = Manifest(1, "20240101T000000Z", "extract", "full", {}, {}, now.isoformat())
    faulty.faults = [DONE_AND_BROKEN]
    committed = batch.commit_raw(zone, Attempt(manifest.batch, 1, now), manifest)
    assert faulty.struck == 1
    assert batch.latest_raw(zone) == committed
    faulty.faults = [DONE_AND_BROKEN]
    assert batch.read_processed(zone, "00000001") == committed
    faulty.faults = [DONE_AND_BROKEN]
    batch.commit_processed(zone, manifest)
    assert batch.processed_ids(zone) == [manifest.batch]
