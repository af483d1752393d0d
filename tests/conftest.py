"""What all tests share: no test asserts a time, not even hypothesis, since the machine's load would decide it."""

from hypothesis import settings

settings.register_profile("kith", deadline=None)
settings.load_profile("kith")
