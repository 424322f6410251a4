"""What a person needs after the start: addresses, routes, the next command."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from control.commands.output import console, print_table
from control.config.values import Config, DistillConfig
from control.supervisor.launch import Launch


def print_summary(launch: Launch, *, ready: bool) -> None:
    """Print it to the terminal."""
    config = launch.config
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    # What is copied from here must be whole: folded on a narrow terminal, never cut.
    grid.add_column(overflow="fold")
    for name, value in (
        ("apps", f"base_url = {launch.addresses.gateway.url}/v1"),
        *_apps_send(config),
        ("keys", ", ".join(config.gateway.keys) or "none is asked for (this machine only)"),
        ("admin API", f"{launch.addresses.admin.url}/admin/v1"),
        ("data", str(launch.layout.data)),
        ("logs", str(launch.layout.logs)),
    ):
        grid.add_row(Text(name, style="bold"), Text(value))
    terminal = console()
    terminal.print()
    if ready:
        terminal.print(Text("limbeck is ready", style="bold green"))
    else:
        terminal.print(Text("limbeck is not complete: see above", style="bold red"))
    print_table(terminal, grid)
    if config.routes:
        print_table(terminal, _routes(config))
    else:
        terminal.print(_no_routes(config))
    terminal.print("`limbeck status` shows who serves. Ctrl-C stops everything.")


def _apps_send(config: Config) -> list[tuple[str, str]]:
    """The models as apps must spell them: the name of a route need not be that of its model."""
    models = " or ".join(f'"{name}"' for name in config.routes)
    return [("apps send", f"model = {models}")] if models else []


def _routes(config: Config) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("route (model)", "teacher", "metric", "distil"):
        table.add_column(heading, overflow="fold")
    for route in config.routes.values():
        lm = f"{route.lm.upstream}/{route.lm.model}"
        teacher = lm if route.plain else f"{route.program} on {lm}"
        metric = str(route.metric) if route.metric else "none: nothing is promoted"
        distil = _when(route.distill) if route.distill.enabled else "off"
        table.add_row(*(Text(cell) for cell in (route.name, teacher, metric, distil)))
    return table


def _when(distill: DistillConfig) -> str:
    moments = [f"cron {distill.schedule}"] if distill.schedule else []
    moments += [f"at {distill.after_rows} rows"] if distill.after_rows else []
    return " and ".join(moments) or "by hand"


def _no_routes(config: Config) -> Text:
    file = config.path.name if config.path else "the configuration"
    return Text(f"No routes yet: add [routes.NAME] to {file} and start again.")
