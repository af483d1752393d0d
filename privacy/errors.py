"""The one tree of errors that Kith raises on purpose.

Every message says what was expected, what came and where; it never holds a person's value (a cell of a
table), only names of columns, files, sites and parameters. The command line prints the message as one line
and exits with ``exit_code``.
"""


class KithError(Exception):
    """Base of all errors that Kith raises on purpose."""

    exit_code = 1


class InputError(KithError):
    """What came in can not be used: an argument, a file, a table, a message."""

    exit_code = 2


class Refused(KithError):  # noqa: N818 - it names what happened; an error would be a fault
    """The input is well formed and a rule says no."""


class BudgetExceeded(Refused):
    """A plan asks for more mu² than a site's people have left."""


class VerificationFailed(Refused):
    """A signature, digest, proof or figure does not hold."""
