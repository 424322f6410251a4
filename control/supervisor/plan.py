"""Which processes a configuration needs, and with which commands. Pure."""

from __future__ import annotations

from control.addresses import Addresses
from control.config.values import Address, Config
from control.layout import Layout
from control.secrets import INTERNAL_KEY_ENV, Secrets
from control.supervisor.child import ChildSpec

#: the gateway drains before what answers its requests ends, and control collects the last frames
_GATEWAY, _UPSTREAMS, _TRAINER, _CONTROL = range(4)
#: longer than the worker's own patience with open requests
_DRAIN_S = 35.0


def plan(
    config: Config,
    *,
    layout: Layout,
    addresses: Addresses,
    secrets: Secrets,
    script: str,
) -> tuple[ChildSpec, ...]:
    """The children. ``script``: path of the console script `limbeck`."""
    environment = {
        INTERNAL_KEY_ENV: secrets.internal_key,
        # Nothing is downloaded at start: litellm would fetch its price list on import.
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    }
    data = ("--data", str(layout.data))
    # Never the user's own file: an edit must not come into force half, where one of them restarts.
    file = ("--config", str(layout.configuration), "--user-dir", str(config.folder), *data)

    def child(
        name: str, *words: str, rank: int, health: Address | None = None, stop_s: float = 10.0
    ) -> ChildSpec:
        ready = "/readyz" if rank == _GATEWAY else "/healthz"
        return ChildSpec(
            name=name,
            command=(script, *words),
            environment=environment,
            stop_rank=rank,
            stop_s=stop_s,
            health_url=None if health is None else health.url + ready,
        )

    def server(name: str, address: Address, *, rank: int) -> ChildSpec:
        return child(name, name, "--bind", str(address), *data, rank=rank, health=address)

    children = [child("control", "control", *file, rank=_CONTROL, health=addresses.admin)]
    if config.routes:
        children.append(server("student-server", addresses.student_server, rank=_UPSTREAMS))
    if any(route.distill.enabled for route in config.routes.values()):
        children.append(server("trainer", addresses.trainer, rank=_TRAINER))
    for route in config.routes.values():
        for side in () if route.plain else ("teacher", "student"):
            children.append(
                child(
                    f"program-host.{route.name}.{side}",
                    *("program-host", route.name, "--side", side, *file),
                    rank=_UPSTREAMS,
                    health=addresses.host(route.name, side),
                )
            )
    spool = ["--max-spool-mb", str(config.gateway.max_spool_mb)]
    if config.gateway.min_free_mb is not None:
        spool += ["--min-free-mb", str(config.gateway.min_free_mb)]
    children += [
        child(
            f"gateway.w{number}",
            *("gateway", "--name", f"w{number}", "--bind", str(config.gateway.bind), *data),
            *("--spool-policy", config.gateway.spool_policy, *spool),
            rank=_GATEWAY,
            health=addresses.gateway,
            stop_s=_DRAIN_S,
        )
        for number in range(1, config.gateway.workers + 1)
    ]
    return tuple(children)
