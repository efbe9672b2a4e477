"""Terraform applied to moto."""

import pytest

pytest.register_assert_rewrite("tests.aws.everything")
