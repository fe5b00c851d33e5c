"""A number of a scene that is unknown and may be fitted."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class FreeParameter:
    """One free parameter of a scene; ``physics.parameters.KINDS`` lists the kinds."""

    kind: str  # a key of KINDS, such as "mass" or "friction"
    element: str  # the body's, geom's, joint's or actuator's name; "" for gravity
    scale: float | tuple[float, ...] = 1.0  # times the kind's own prior width; 0 fixes a number
    also: tuple[str, ...] = ()  # further elements that the same numbers move

    @property
    def name(self) -> str:
        """Key in ``physics.parameters.Parameters``: ``element.kind``."""
        return f"{self.element}.{self.kind}" if self.element else self.kind
