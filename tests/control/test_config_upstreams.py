"""Where upstreams are, and the keys of upstreams and apps."""

from __future__ import annotations

import pytest

from control.config.problems import ConfigErrors
from tests.control.configs import config_of

UPSTREAM = '[upstreams.x]\nbase_url = "http://x/v1"\napi_key = "env::X_KEY"\n'
KEYS = '[gateway]\nkeys = { app = "env::APP_KEY" }\n'
UNSENDABLE = (
    "holds white space or a character outside ASCII, which no header can carry: set it to the bare"
    " key"
)


@pytest.mark.parametrize(
    ("base_url", "problem"),
    [
        ("http://api..x.com/v1", "'api..x.com' can't be the name of a host"),
        (f"http://{'a' * 64}.com/v1", f"'{'a' * 64}.com' can't be the name of a host"),
        ("http://a b/v1", "'a b' can't be the name of a host"),
        ("http://x:99999/v1", "Port out of range 0-65535"),
        ("http://x/é", "its path holds a character that no URL can: percent-encode it"),
    ],
)
def test_an_address_that_nobody_can_call(base_url: str, problem: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        config_of(f'[upstreams.x]\nbase_url = "{base_url}"')
    assert str(caught.value) == f"limbeck.toml: upstreams.x.base_url: {problem}"


@pytest.mark.parametrize("key", ["sk two", "sk-\u201cquoted\u201d", "sk-\nline", "sk-\x00"])
def test_a_key_that_can_not_be_sent(key: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        config_of(KEYS + UPSTREAM, environment={"X_KEY": key, "APP_KEY": key})
    assert str(caught.value).splitlines() == [
        f"limbeck.toml: gateway.keys.app: the environment variable APP_KEY {UNSENDABLE}",
        f"limbeck.toml: upstreams.x.api_key: the environment variable X_KEY {UNSENDABLE}",
    ]


def test_the_line_end_of_a_mounted_secret_does_no_harm() -> None:
    config_of(KEYS + UPSTREAM, environment={"X_KEY": "sk-x\n", "APP_KEY": "sk-app\r\n"})
    same = '[gateway]\nkeys = { a = "env::ONE", b = "env::TWO" }'
    with pytest.raises(ConfigErrors, match="the same key as that of a"):
        config_of(same, environment={"ONE": "same", "TWO": "same\n"})
    with pytest.raises(ConfigErrors, match="X_KEY is not set"):
        config_of(UPSTREAM, environment={"X_KEY": "\n"})
