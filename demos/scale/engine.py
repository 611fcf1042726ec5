"""What an engine is: something that makes attempts at jobs somewhere and tells how they ended."""

from __future__ import annotations

from typing import Protocol

from demos.scale.attempt import Attempt
from demos.scale.job import Job


class Engine(Protocol):
    """Makes attempts. Whatever becomes of a worker, every attempt that was started ends once."""

    def has_room(self) -> bool:
        """Whether another attempt can be started now."""
        ...

    def start(self, job: Job) -> None:
        """Starts an attempt."""
        ...

    def wait(self) -> list[tuple[Job, Attempt]]:
        """Attempts that have ended, after a second at most; a worker's death ends its attempt as broken."""
        ...

    def close(self) -> None:
        """Ends all workers and what they are at."""
        ...
