"""How the data of a model are read and its predictions scored; a checkpoint carries it."""

import dataclasses
from typing import Any

from worldmodel.episodes.columns import Columns
from worldmodel.episodes.columns_toml import from_toml, to_toml
from worldmodel.episodes.errors import Channels
from worldmodel.episodes.windows import HISTORY, WindowGrid
from worldmodel.errors import InputError
from worldmodel.scene import Scene


@dataclasses.dataclass(frozen=True)
class Protocol:
    """Columns of the log, windows, and which joints are scored together."""

    columns: Columns
    windows: WindowGrid
    planar: tuple[tuple[str, tuple[str, ...]], ...] = ()  # bodies in a plane and their joints
    remember: int = HISTORY  # frames of history that a network sees, the start included

    def channels(self, scene: Scene) -> Channels:
        """What is scored of a scene."""
        return Channels.of(scene, planar=dict(self.planar))

    def to_json(self) -> dict[str, Any]:
        """As JSON; the columns as their TOML."""
        return {
            "columns": to_toml(self.columns),
            "windows": dataclasses.asdict(self.windows),
            "planar": {body: list(joints) for body, joints in self.planar},
            "remember": self.remember,
        }

    @classmethod
    def from_json(cls, value: Any) -> "Protocol":
        """From ``to_json``.

        Raises:
          InputError: a part is absent or of another kind.
        """
        try:
            return cls(
                columns=from_toml(value["columns"]),
                windows=WindowGrid(**value["windows"]),
                planar=tuple((body, tuple(joints)) for body, joints in value["planar"].items()),
                remember=int(value["remember"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"the columns and windows in a checkpoint are damaged: {error!r}; give --columns"
            ) from error
