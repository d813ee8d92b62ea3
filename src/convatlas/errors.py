"""What a user is told when a request or its input is wrong."""


class InputError(ValueError):
    """A request, or what it was given, is wrong: one sentence that names it and says what to do.

    The command line prints the sentence and exits with status 2; Python code may catch it as a `ValueError`.
    """


class WorkError(RuntimeError):
    """The work itself failed, though the request was right: one sentence that says how, and what may help.

    The command line prints the sentence and exits with status 1.
    """
