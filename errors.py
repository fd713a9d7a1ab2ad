"""The one exception that a user is meant to read."""


class FaceGenError(ValueError):
    """A problem the user can solve: the message says what was given, what is needed and what to change."""
