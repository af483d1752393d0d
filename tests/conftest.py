"""What all tests share: no test asserts a time, not even hypothesis, since the machine's load would decide it."""

import pytest
from hypothesis import settings

settings.register_profile("kith", deadline=None)
settings.load_profile("kith")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first: workers take whole files, and none is to be left with a long one at the end."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)
