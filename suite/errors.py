"""The one exception whose text is meant for the user."""


class InputError(Exception):
    """Something the user gave cannot be used. The message is one clear sentence; the command exits with status 2."""
