"""The error and the warning of scenes."""

from worldmodel.errors import InputError


class SceneError(InputError):
    """A broken MJCF, or a scene that MJX cannot run or differentiate."""


class SceneWarning(UserWarning):
    """A scene that runs, but not as its author may expect."""
