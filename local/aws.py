"""AWS on the loopback interface: the jobs read their secrets there and send it their metrics."""

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import boto3
from botocore.config import Config
from moto.server import ThreadedMotoServer

REGION = "eu-west-2"
_HOST = "127.0.0.1"
_ANY_KEY = "local"  # the stand-in looks at none


class Aws:
    """A client's view of the running stand-in; its memory is this process's, nothing is on disk."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint

    def environment(self) -> dict[str, str]:
        """Environment variables that send every AWS client of a process here."""
        # Whatever proxy leads out of this machine, it does not lead here.
        bypassed = os.environ.get("no_proxy") or os.environ.get("NO_PROXY")
        direct = ",".join(filter(None, [bypassed, _HOST]))
        return {
            "NO_PROXY": direct,
            "no_proxy": direct,
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": _ANY_KEY,
            "AWS_SECRET_ACCESS_KEY": _ANY_KEY,
            "AWS_DEFAULT_REGION": REGION,
            "AWS_REGION": REGION,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    def create_secret(self, name: str, content: Mapping[str, Any]) -> None:
        """Keep a JSON secret."""
        client = boto3.client(
            "secretsmanager",
            endpoint_url=self.endpoint,
            region_name=REGION,
            aws_access_key_id=_ANY_KEY,
            aws_secret_access_key=_ANY_KEY,
            config=Config(proxies={}),
        )
        client.create_secret(Name=name, SecretString=json.dumps(dict(content)))


def forget_aws() -> None:
    """Take another account's settings out of this process's environment."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]


@contextmanager
def running_aws() -> Iterator[Aws]:
    """Run the stand-in on a free port while the block lasts."""
    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # else a line for each request
    server = ThreadedMotoServer(ip_address=_HOST, port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield Aws(f"http://{host}:{port}")
    finally:
        server.stop()
