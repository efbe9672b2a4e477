"""The pipeline of the tests of jobs."""

from tests.jobs.conftest import empty_source, make_pipeline, pipeline, small_source

__all__ = ["empty_source", "make_pipeline", "pipeline", "small_source"]
