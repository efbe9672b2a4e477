"""How runs went, told to the Glue API that they belong to: its clients then see what happened."""

import json
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Protocol
from urllib.request import ProxyHandler, Request, build_opener

from local.runner import FAILED, STOPPED, SUCCEEDED, TIMEOUT

COMPLETED = "COMPLETED"


class Records(Protocol):
    """Whoever keeps how runs went."""

    def job_began(self, name: str, arguments: Mapping[str, str]) -> str:
        """A job's run begins; return its id."""

    def job_ended(self, name: str, run_id: str, state: str, seconds: float, reason: str) -> None:
        """A job's run is over."""

    def crawler_ended(self, name: str, state: str, reason: str) -> None:
        """A crawl is over."""

    def workflow_ended(self, name: str, run_id: str, status: str, states: Iterable[str]) -> None:
        """A workflow's run is over, its nodes in these states."""


class NoRecords:
    """For an API that cannot be told: plain moto says of every run that it succeeded at once."""

    def job_began(self, *_: object) -> str:
        """Nothing is kept."""
        return ""

    def job_ended(self, *_: object) -> None:
        """Nothing is kept."""

    def crawler_ended(self, *_: object) -> None:
        """Nothing is kept."""

    def workflow_ended(self, *_: object) -> None:
        """Nothing is kept."""


class MotoRecords:
    """For moto as `moto_server.py` starts it, which has an action of its own for this.

    Args:
        glue: A boto3 client of it.
    """

    def __init__(self, glue: Any) -> None:
        self._glue = glue

    def job_began(self, name: str, arguments: Mapping[str, str]) -> str:
        """A job's run begins; return its id."""
        run_id = str(self._glue.start_job_run(JobName=name, Arguments=dict(arguments))["JobRunId"])
        self._tell({"Job": name, "RunId": run_id}, {"JobRunState": "RUNNING"})
        return run_id

    def job_ended(self, name: str, run_id: str, state: str, seconds: float, reason: str) -> None:
        """A job's run is over."""
        facts = {"JobRunState": state, "CompletedOn": time.time(), "ExecutionTime": round(seconds)}
        self._tell({"Job": name, "RunId": run_id}, facts | _error(reason))

    def crawler_ended(self, name: str, state: str, reason: str) -> None:
        """A crawl is over."""
        self._tell({"Crawler": name}, {"Status": state} | _error(reason))

    def workflow_ended(self, name: str, run_id: str, status: str, states: Iterable[str]) -> None:
        """A workflow's run is over, its nodes in these states."""
        count = Counter(states)
        kinds = {SUCCEEDED: "Succeeded", FAILED: "Failed", STOPPED: "Stopped", TIMEOUT: "Timeout"}
        statistics = {f"{word}Actions": count[state] for state, word in kinds.items()}
        facts = {
            "Status": status,
            "CompletedOn": time.time(),
            "Statistics": {"TotalActions": count.total(), "RunningActions": 0, **statistics},
        }
        self._tell({"Workflow": name, "RunId": run_id}, facts)

    def _tell(self, run: Mapping[str, str], facts: Mapping[str, Any]) -> None:
        scope = f"local/20000101/{self._glue.meta.region_name}/glue/aws4_request"
        request = Request(
            self._glue.meta.endpoint_url,
            json.dumps({**run, "Facts": facts}).encode(),
            {
                "X-Amz-Target": "AWSGlue.RecordRun",
                "Content-Type": "application/x-amz-json-1.1",
                # Where the request goes by; nobody checks the signature.
                "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=, Signature=",
            },
        )
        with build_opener(ProxyHandler({})).open(request, timeout=30) as answer:
            answer.read()


def _error(reason: str) -> dict[str, str]:
    return {"ErrorMessage": reason} if reason else {}
