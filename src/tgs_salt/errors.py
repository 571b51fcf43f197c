"""The one exception that a user is meant to read."""


class UserError(Exception):
    """Something the user can put right.

    The message is one sentence: which file, key or id, what was expected, and what to do.
    The command line prints it without a traceback and exits with 1.
    """
