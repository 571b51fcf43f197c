"""The exception for errors that the user can fix."""


class UserError(Exception):
    """An error that the user can fix.

    The message is one sentence: which file, key or id, what was expected, and what to do.
    The command line prints it without a traceback and exits with code 1.
    """
