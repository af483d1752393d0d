"""A log says what failed and where, never on which value."""

import io
import logging

import pytest

from serving.value_free_logs import ValueFree, install

CANARY = "canary-4711"


@pytest.fixture
def log():
    output = io.StringIO()
    logger = logging.getLogger("bentoml")
    handler = logging.StreamHandler(output)
    logger.addHandler(handler)
    install()
    yield lambda: output.getvalue()
    logger.removeHandler(handler)


def test_an_exceptions_text_and_cause_are_not_logged_but_its_type_and_place_are(log):
    try:
        try:
            int(CANARY)
        except ValueError as error:
            raise RuntimeError(CANARY) from error
    except RuntimeError:
        logging.getLogger("bentoml.serve").exception("Exception on /v1/recommend [POST]")
    assert CANARY not in log()
    assert "Exception on /v1/recommend [POST]\nRuntimeError at test_value_free_logs.py:" in log()


def test_installing_twice_filters_once(log):
    install()
    handlers = logging.getLogger("bentoml").handlers
    assert all(sum(isinstance(f, ValueFree) for f in handler.filters) == 1 for handler in handlers)
