"""Everything before the first child: checks, lock, secrets, addresses, plan."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from types import TracebackType

from control.addresses import Addresses, bind_error, ensure_addresses
from control.config.document import to_document, to_toml
from control.config.values import Config
from control.errors import StartRefused
from control.files import write_atomically
from control.layout import Layout
from control.lock import FileLock
from control.secrets import Secrets, ensure_secrets
from control.supervisor.child import ChildSpec, Report, RestartPolicy
from control.supervisor.plan import plan
from control.supervisor.supervisor import Supervisor
from programs.user_folder import collisions

_HEADING = """\
# What `limbeck up` started with. Its processes read this file; the next start writes it anew.
# Where there is no limbeck.toml yet, copy it there to go on from here.

"""


class Launch:
    """Holds the data folder for one supervisor, from construction to `close`.

    Raises `Held` if another supervisor holds it, and `StartRefused` with every reason why the
    children could not work.
    """

    def __init__(self, config: Config) -> None:
        self.config = config
        self.layout = Layout(data=config.control.data)
        self.layout.data.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(
            self.layout.supervisor_lock,
            who="`limbeck up`",
            way_out="stop it first, or give this one another [control] data",
        )
        try:
            _check(config)
            _keep(self.layout.configuration, config)
            self.secrets: Secrets = ensure_secrets(self.layout.secrets)
            self.addresses: Addresses = ensure_addresses(
                self.layout.addresses, config, starting=True
            )
            self.specs: tuple[ChildSpec, ...] = plan(
                config,
                layout=self.layout,
                addresses=self.addresses,
                secrets=self.secrets,
                script=console_script(),
            )
        except BaseException:
            self.close()
            raise

    def supervisor(self, report: Report, *, restart: RestartPolicy | None = None) -> Supervisor:
        """A supervisor of the planned children."""
        return Supervisor(
            self.specs,
            logs=self.layout.logs,
            state=self.layout.data / "processes.json",
            report=report,
            restart=restart,
        )

    def close(self) -> None:
        """Give the data folder up."""
        self._lock.close()

    def __enter__(self) -> Launch:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def console_script() -> str:
    """Path of the script `limbeck` that belongs to this interpreter."""
    beside = Path(sys.executable).parent / "limbeck"
    script = str(beside) if beside.exists() else shutil.which("limbeck")
    if script is None:
        raise StartRefused(
            f"the command limbeck is neither beside {sys.executable} nor on PATH: install limbeck "
            "into this environment (pip install)"
        )
    return script


def _keep(path: Path, config: Config) -> None:
    """Write what the children read; not if it is there already, for a full disk stops nobody."""
    document = (_HEADING + to_toml(to_document(config))).encode()
    try:
        if not path.exists() or path.read_bytes() != document:
            write_atomically(path, document)
    except OSError as error:
        raise StartRefused(
            f"{path}: can't be written ({error.strerror}): free some space there, or repair the "
            "permissions"
        ) from error


def _check(config: Config) -> None:
    problems: list[str] = []
    runs_user_code = any(
        not route.plain or (route.metric is not None and route.metric.function is not None)
        for route in config.routes.values()
    )
    if runs_user_code:
        problems += collisions(config.folder)
    another = "set another {}"
    if config.path is None:
        another = "give another --bind HOST:PORT (the admin API has the port after it)"
    for key, address in (
        ("gateway.bind", config.gateway.bind),
        ("control.admin_bind", config.control.admin_bind),
    ):
        why = bind_error(address)
        if why == "in use":
            problems.append(
                f"{key}: port {address.port} on {address.host} is in use: stop what listens there "
                f"(`ss -ltnp 'sport = :{address.port}'` names it), or {another.format(key)}"
            )
        elif why is not None:
            problems.append(f"{key}: {address} can't be listened on: {why}: {another.format(key)}")
    if problems:
        raise StartRefused("\n".join(problems))
