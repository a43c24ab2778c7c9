"""Shared helpers whose assertions pytest explains like those of the tests themselves."""

import pytest

pytest.register_assert_rewrite("tests.exporter.kafka.contract")
