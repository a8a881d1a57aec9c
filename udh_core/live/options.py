"""What a user may choose for the live page."""

from __future__ import annotations

from dataclasses import dataclass

from ..options import check, option


@dataclass(frozen=True)
class ServeOptions:
    """Options of a server."""

    sessions: int = option(
        0,
        "How many visitors may talk at once; one more is told to wait. 0 = as many as this machine draws at the clip's "
        "rate, measured when it starts.",
        least=0,
        step=1,
    )
    grace_s: float = option(
        10.0,
        "When the server is ended: how long, in seconds, those who are speaking may finish what they say.",
        least=0,
        step=1,
    )

    def __post_init__(self) -> None:
        check(self)
