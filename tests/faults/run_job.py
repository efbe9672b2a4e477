"""Runs a job's script, watched: ``python run_job.py script.py --JOB_NAME …``."""

import runpy
import sys

import effects

effects.patch()
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
