"""Crawlers of a Glue API, run on this machine: by a trigger, or because a job started them."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Event as Flag
from threading import Lock, Thread
from types import TracebackType
from typing import Any, Self

from local.crawler import crawl
from local.crawler_definition import CrawlerError, definition_of
from local.glue_records import Records
from local.runner import FAILED, SUCCEEDED, JobRun, Observer

# A crawler is a node of the graph as a job is; no job's script is called so.
CRAWLER = "crawler:"
_SECONDS_TO_LOOK = 1.0


@dataclass(frozen=True)
class Clients:
    """Clients of boto3 for the APIs that are used."""

    glue: Any
    events: Any


def failure_event(node: str, state: str, reason: str) -> dict[str, str]:
    """What AWS sends to EventBridge when a job or crawler did not succeed."""
    detail: Mapping[str, str]
    if node.startswith(CRAWLER):
        kind, name = "Crawler", {"crawlerName": node.removeprefix(CRAWLER)}
        detail = {**name, "state": "Failed", "message": "Crawler Failed", "errorMessage": reason}
    else:
        kind = "Job"
        detail = {"jobName": node, "severity": "ERROR", "state": state, "message": reason}
    return {
        "Source": "aws.glue",
        "DetailType": f"Glue {kind} State Change",
        "Detail": json.dumps(detail),
    }


class Crawls:
    """Runs crawlers; while the block lasts, those too that someone starts through the API.

    Leaving the block waits for what was started in it.
    """

    def __init__(
        self, clients: Clients, records: Records, observer: Observer, logs: Path, bucket: str
    ) -> None:
        self._clients = clients
        self._records = records
        self._observer = observer
        self._logs = logs
        self._bucket = bucket
        self._own: set[str] = set()
        self._lock = Lock()
        self._over = Flag()
        self._error: BaseException | None = None
        self._watcher = Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._watcher.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        if error is None:
            self._watcher.join()
            if self._error is not None:
                raise self._error

    def run(self, name: str, log: Path) -> tuple[str, str]:
        """Crawl as a trigger asks for; return the state it ended in and, if it failed, why."""
        with self._lock:
            self._own.add(name)
        self._clients.glue.start_crawler(Name=name)
        return self._crawl(name, log)

    def _watch(self) -> None:
        try:
            over = False
            while not over:
                over = self._over.wait(_SECONDS_TO_LOOK)
                for name in self._started():
                    self._run_started(name)
        except BaseException as error:  # noqa: BLE001  raised again where the block ends
            self._error = error

    def _started(self) -> list[str]:
        """Crawlers that run, but those that this run's triggers started."""
        with self._lock:
            own = set(self._own)
        pages = self._clients.glue.get_paginator("get_crawlers").paginate()
        running = [
            crawler["Name"]
            for page in pages
            for crawler in page["Crawlers"]
            if crawler["State"] == "RUNNING"
        ]
        with self._lock:
            own |= self._own  # one that ended, or began, while the API was asked
        return [name for name in running if name not in own]

    def _run_started(self, name: str) -> None:
        node = CRAWLER + name
        self._observer.started(node)
        began = time.monotonic()
        # One name may be started several times in a run.
        log = self._logs / f"{node}-{time.time_ns()}.log"
        state, reason = self._crawl(name, log)
        seconds = time.monotonic() - began
        if state != SUCCEEDED:
            self._clients.events.put_events(Entries=[failure_event(node, state, reason)])
        self._observer.ended(JobRun(node, state, seconds, [], log, reason))

    def _crawl(self, name: str, log: Path) -> tuple[str, str]:
        glue = self._clients.glue
        state, reason = SUCCEEDED, ""
        try:
            done = crawl(glue, definition_of(glue.get_crawler(Name=name)["Crawler"]), self._bucket)
            log.write_text(f"{done}\n", encoding="utf-8")
        except CrawlerError as error:
            log.write_text(f"{error}\n", encoding="utf-8")
            state, reason = FAILED, str(error)
        # moto's crawl is over once it has been listed.
        glue.list_crawls(CrawlerName=name)
        self._records.crawler_ended(name, state, reason)
        with self._lock:
            self._own.discard(name)
        return state, reason
