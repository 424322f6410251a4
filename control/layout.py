"""Where limbeck keeps its files: the data folder. Paths only, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The data folder (default ``.limbeck`` beside ``limbeck.toml``)."""

    data: Path

    @property
    def database(self) -> Path:
        return self.data / "limbeck.duckdb"

    @property
    def spool(self) -> Path:
        return self.data / "spool"

    @property
    def snapshot(self) -> Path:
        return self.data / "snapshot.json"

    @property
    def last_good_snapshot(self) -> Path:
        return self.data / "snapshot.good.json"

    @property
    def overrides(self) -> Path:
        """One file a route, ``ROUTE.json``."""
        return self.data / "overrides"

    @property
    def acknowledgements(self) -> Path:
        """One file a gateway worker, locked while it lives."""
        return self.data / "acks"

    @property
    def events(self) -> Path:
        """The rollouts' hash-chained event log: the truth."""
        return self.data / "rollouts" / "events.jsonl"

    @property
    def students(self) -> Path:
        """Immutable students, ``ROUTE@ID/student.json`` and ``ROUTE@ID/PREDICTOR/``."""
        return self.data / "students"

    @property
    def trainer(self) -> Path:
        """Files and jobs of the fine-tuning service."""
        return self.data / "trainer"

    @property
    def reports(self) -> Path:
        return self.data / "reports"

    @property
    def logs(self) -> Path:
        return self.data / "logs"

    @property
    def secrets(self) -> Path:
        """Salts and internal keys, made at the first start (mode 0600)."""
        return self.data / "secrets.json"

    @property
    def addresses(self) -> Path:
        """Ports of limbeck's own processes, written by the supervisor."""
        return self.data / "addresses.json"

    @property
    def configuration(self) -> Path:
        """What `limbeck up` started with; its processes read it, and never a file of the user's."""
        return self.data / "up.toml"

    @property
    def control_lock(self) -> Path:
        """Locked by the leading control."""
        return self.data / "control.lock"

    @property
    def supervisor_lock(self) -> Path:
        return self.data / "up.lock"
