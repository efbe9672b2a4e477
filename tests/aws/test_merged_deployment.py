"""The deployed compact job, run by the local Glue on S3: what the catalogue answers stays."""

import os
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from shutil import rmtree

import fsspec
import pytest
from rich.console import Console
from s3fs import S3FileSystem

from local import package
from local.aws import REGION, Aws
from local.crawler import crawl
from local.crawler_definition import definition_of
from local.data_catalog import PROCESSED, RAW, ZONES
from local.deployed import Deployment, without_terraform
from local.glue import Clients, LocalGlue
from local.glue_records import MotoRecords
from local.moto_process import running_moto
from local.progress import Progress
from local.rehearsal_checks import answers, crawled, objects, registered, unchanged
from local.rehearsal_stage import client
from tests import small_lake
from tests.aws.deployment import REPOSITORY
from totelake.batch import newest_processed, newest_raw
from totelake.catalog import Catalogue
from totelake.lake import Zone
from totelake.metrics import Metrics
from totelake.runtime import Log

pytestmark = pytest.mark.whole


@pytest.fixture
def deployment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Deployment]:
    """A deployment whose lake has been crawled and registered, in an account of its own."""
    build = tmp_path / "build"
    build.mkdir()
    package.write_zip(build / "totelake.zip", package.library_files(REPOSITORY / "glue_jobs"))
    (build / "totelake.gluewheels.zip").write_bytes(b"not installed here")
    lake = tmp_path / "lake"
    small_lake.write(lake)
    rmtree(lake / "processed" / "fact_sales_order" / "batch=20261121T235900Z")  # not committed
    # Other tests' S3 is at another endpoint, and s3fs keeps its instances.
    S3FileSystem.clear_instance_cache()
    with running_moto() as endpoint:
        for name, value in Aws(endpoint).environment().items():
            monkeypatch.setenv(name, value)
        found = without_terraform(client, REGION, build, "merged")
        filesystem = fsspec.filesystem("s3", use_listings_cache=False)
        glue = client("glue")
        for zone, newest in ((RAW, newest_raw), (PROCESSED, newest_processed)):
            filesystem.put(f"{lake}/{zone}/", f"{found.buckets[zone]}/", recursive=True)
            crawler = definition_of(glue.get_crawler(Name=found.crawlers[zone])["Crawler"])
            crawl(glue, crawler)
            at, catalogue = Zone(found.zones[zone]), Catalogue(found.databases[zone], "")
            catalogue.register(at, newest(at), Log("test"), Metrics("test"))
            crawl(glue, crawler)  # its own partitions follow the column that a job added
        yield found
    S3FileSystem.clear_instance_cache()


def test_written_together_the_batches_give_the_same_answers(
    deployment: Deployment, tmp_path: Path
) -> None:
    glue = client("glue")
    before = registered(glue, deployment)
    assert before.problems == []
    assert " 0 of them merged" in before.what
    given = answers(glue, deployment)
    clients = Clients(glue, client("events"))
    jobs = LocalGlue(clients, dict(os.environ), tmp_path, records=MotoRecords(glue))
    job = deployment.jobs["compact"]
    run = jobs.run_job(job, Progress(Console(file=StringIO())), {"--open_batches": "1"})
    assert (run.state, run.reason) == ("SUCCEEDED", "")
    after = registered(glue, deployment)
    assert after.problems == []
    assert " 3 of them merged" in after.what
    assert unchanged(given, answers(glue, deployment)).problems == []
    # Which the job told the crawlers to leave as it is.
    assert crawled(glue, deployment).problems == []
    buckets = [deployment.buckets[zone] for zone in ZONES]
    assert objects(client("s3"), *buckets).problems == []
