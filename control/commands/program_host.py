"""Run one side of a route's program as an upstream of the gateway."""

from __future__ import annotations

import argparse

from control.commands.process import add_configured, config_of, share_internal_key


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("route", metavar="ROUTE")
    parser.add_argument("--side", choices=("teacher", "student"), required=True)
    parser.add_argument(
        "--check", action="store_true", help="only load the program, as the teacher side does"
    )
    add_configured(parser)


def run(args: argparse.Namespace) -> int:
    from control.addresses import ensure_addresses
    from control.errors import UnknownRoute
    from control.layout import Layout
    from programs.host import load, serve
    from programs.settings import HostSettings, LmSettings

    config = config_of(args, environment=None, user_dir=args.user_dir)
    route = config.routes.get(args.route)
    if route is None or route.program is None:
        programs = ", ".join(name for name, one in config.routes.items() if one.program) or "none"
        raise UnknownRoute(
            f'no program serves a route "{args.route}"; routes with a program: {programs}'
        )
    upstream = config.upstreams[route.lm.upstream]
    lm = LmSettings(
        base_url=upstream.base_url,
        model=route.lm.model,
        api_key_env=upstream.api_key_env,
        timeout_s=route.deadline_s,
    )
    if args.check:
        load(route.program, lm=lm, user_dir=config.folder, system=route.system)
        return 0
    layout = Layout(data=config.control.data)
    share_internal_key(layout)
    addresses = ensure_addresses(layout.addresses, config, starting=False)
    address = addresses.host(route.name, args.side)
    serve(
        HostSettings(
            route=route.name,
            side=args.side,
            factory=route.program,
            user_dir=config.folder,
            lm=lm,
            student_server=f"{addresses.student_server.url}/v1",
            students=layout.students,
            spool=layout.spool,
            system=route.system,
            max_spool_bytes=config.gateway.max_spool_bytes,
            min_free_bytes=config.gateway.min_free_bytes,
            host=address.host,
            port=address.port,
        )
    )
    return 0
