"""What a check says: one line each, with a level and the remedy."""

import dataclasses

OK, NOTE, MEND = "ok", "note", "MEND"


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line of a check."""

    level: str  # ok; note: look at it; MEND: a fit would be wrong
    subject: str
    text: str

    def __str__(self) -> str:
        return f"{self.level:4}  {self.subject:24} {self.text}"
