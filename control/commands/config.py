"""Check the configuration and the code that it names, or show it with every default."""

from __future__ import annotations

import argparse
import asyncio
import json
import os

from control.place import add_config, config_path


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", choices=("check", "show"))
    parser.add_argument("--json", action="store_true", help="print JSON")
    add_config(parser)


def run(args: argparse.Namespace) -> int:
    from control.config.document import to_document, to_toml
    from control.config.load import load_config
    from control.config.problems import ConfigErrors
    from control.loading import loading_problems

    path = config_path(args)
    checking = args.action == "check"
    try:
        # To show a configuration, the machine need not have its secrets.
        config = load_config(path, environment=os.environ if checking else None)
        if checking:
            problems = asyncio.run(loading_problems(config))
            if problems:
                raise ConfigErrors(problems)
    except ConfigErrors as error:
        if not args.json:
            raise
        listed = [
            {"file": item.file, "key": item.key, "message": item.message} for item in error.problems
        ]
        print(json.dumps({"ok": False, "problems": listed}))
        return error.exit_code
    if checking and args.json:
        print(json.dumps({"ok": True, "hash": config.hash, "routes": list(config.routes)}))
    elif checking:
        routes = ", ".join(config.routes) or "none yet"
        print(f"{path}: fine. Routes: {routes}. Hash: {config.hash}")
    elif args.json:
        print(json.dumps(to_document(config), indent=2))
    else:
        print(f"# {path} with every default, hash {config.hash}")
        print(to_toml(to_document(config)), end="")
    return 0
