"""Why a job can't be trained as asked. The message goes to the person who started it."""

from __future__ import annotations

from distiller.errors import DistillerError


class Refused(DistillerError):
    """The job fails with this message; asking again without a change is pointless."""

    def __init__(self, message: str, *, code: str = "invalid_training_data") -> None:
        super().__init__(message)
        #: OpenAI's ``error.code`` of the job
        self.code = code
