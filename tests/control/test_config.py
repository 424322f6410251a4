from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.config.document import to_document, to_toml
from control.config.load import load_config, parse_config, read_document
from control.config.problems import ConfigErrors
from control.config.quick import route_name, teacher_config
from control.config.values import Address, Config, KeyConfig, Metric, Price
from control.errors import BadInput
from router.policy import GatePolicy, GuardPolicy, Policy, RolloutPolicy, ShadowPolicy, Step
from router.snapshot import Target
from tests.control.configs import ENVIRONMENT, PLAIN, PROGRAM, config_of

ROOT = Path(__file__).resolve().parents[2]


def problems(text: str, environment: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigErrors) as caught:
        config_of(text, environment=ENVIRONMENT if environment is None else environment)
    return str(caught.value).splitlines()


def test_the_smallest_file_has_every_default() -> None:
    config = config_of("")
    assert config.gateway.bind == Address(host="127.0.0.1", port=8000)
    assert config.control.data == Path("/srv/limbeck/.limbeck")
    assert config.routes == {}


def test_values_of_a_full_file() -> None:
    config = config_of(
        PLAIN
        + PROGRAM
        + """
        pure = true
        system = "field:style"
        [routes.support.distill]
        schedule = "30 4 * * 1"
        trainer = "classifier"
        [routes.support.shadow]
        sample_rate = 1
        [routes.support.rollout]
        alpha = 0.01
        approval = "every"
        steps.r1 = { served = 20 }
        steps.r50 = { served = 30, dwell_s = 5 }
        [routes.support.guard]
        return_dwell_s = [1, 2, 3, 4]
        [gateway]
        keys = { app = "env::APP_KEY" }
        """
    )
    assert config.gateway.keys == {"app": KeyConfig(env="APP_KEY")}
    assert config.upstreams["openai"].prices == {"gpt-5": Price(input_per_m=2, output_per_m=8)}
    plain, program = config.routes["triage"], config.routes["support"]
    assert (plain.plain, plain.metric) == (True, Metric(field="answer"))
    assert (plain.coverage("crm"), plain.coverage("thumbs")) == ("all", "volunteered")
    assert plain.policy == Policy()
    assert (program.program, program.lm) == (
        "app.support:build",
        Target(upstream="openai", model="gpt-5"),
    )
    assert (program.pure, program.system) == (True, "field:style")
    assert str(program.metric) == "app.metrics:correct"
    assert program.policy == Policy(
        gate=GatePolicy(alpha=0.01),
        rollout=RolloutPolicy(
            approval="every",
            r1=Step(served=20, dwell_s=RolloutPolicy().r1.dwell_s),
            r50=Step(served=30, dwell_s=5),
        ),
        guard=GuardPolicy(return_dwell_s=(1, 2, 3, 4)),
        shadow=ShadowPolicy(sample_rate=1),
    )


# What to write into the file -> the one line that the reader gets.
SINGLE = [
    ("[gatway]", 'gatway: unknown key; did you mean "gateway"?'),
    ("[gateway]\nwrokers = 2", 'gateway.wrokers: unknown key; did you mean "workers"?'),
    ("[gateway]\nworkers = 0", "gateway.workers: must be at least 1, not 0"),
    ("[gateway]\nworkers = 1.5", "gateway.workers: must be a whole number, not 1.5"),
    ("[gateway]\nworkers = true", "gateway.workers: must be a whole number, not true"),
    ('[gateway]\nbind = "8000"', 'gateway.bind: must be "HOST:PORT", for example "127.0.0.1:8000"'),
    ("[gateway]\nbind = 8000", 'gateway.bind: must be "HOST:PORT" in quotes'),
    ('[gateway]\nspool_policy = "audits"', "gateway.spool_policy: must be one of 'availability' or "
     "'audit'; did you mean \"audit\"?"),
    ('[gateway]\npassthrough = "opnai"',
     'gateway.passthrough: unknown upstream; did you mean "openai"?'),
    ("gateway = 1", "gateway: must be a table, not 1"),
    ('[gateway]\nbind = "0.0.0.0:8000"', "gateway.bind: 0.0.0.0:8000 is reachable from other "
     'machines, and [gateway] keys is empty: add keys = { app = "env::APP_KEY" }, or bind to '
     "127.0.0.1"),
    ('[control]\nadmin_bind = "10.0.0.1:8001"', "control.admin_bind: 10.0.0.1:8001 is reachable "
     "from other machines; the admin API stays on this one: bind to 127.0.0.1"),
    ('[control]\nadmin_bind = "127.0.0.1:8000"',
     "control.admin_bind: port 8000 is the gateway's too: choose another"),
    ("[control]\ntick_s = 0", "control.tick_s: must be greater than 0, not 0"),
    ("[control]\ntick_s = inf", "control.tick_s: must be a finite number, not inf"),
    ('[control]\ndata = ""', "control.data: must not be empty"),
    ("[upstreams.x]", "upstreams.x.base_url: missing; add it"),
    ('[upstreams.x]\nbase_url = "ftp://x"',
     'upstreams.x.base_url: must be an http(s) URL, for example "https://api.openai.com/v1"'),
    ('[upstreams.x]\nbase_url = "https://u:pw@x/v1"', "upstreams.x.base_url: must hold no user, "
     "password or query; a key belongs into api_key"),
    ('[upstreams.students]\nbase_url = "http://x/v1"',
     "upstreams.students: limbeck's own upstream has this name: rename it"),
    ('[upstreams."a.b"]\nbase_url = "http://x/v1"',
     "upstreams.\"a.b\": this name consists of a-z, 0-9, '_' and '-': rename it"),
    ('[routes."A@b"]\nteacher = "openai/x"', "routes.\"A@b\": a route's name consists of a-z, 0-9, "
     "'.', '_' and '-', and starts with a letter or digit ('@' separates the student): rename it"),
    ("[routes.x]", 'routes.x: has no teacher: add teacher = "UPSTREAM/MODEL", or program and lm'),
    ('[routes.x]\nteacher = "gpt-5"',
     'routes.x.teacher: must be "UPSTREAM/MODEL", for example "openai/gpt-5"'),
    ('[routes.x]\nteacher = "anthropic/claude"',
     "routes.x.teacher: unknown upstream; known here: openai"),
    ('[routes.x]\nteacher = "openai/x"\nprogram = "a:b"\nlm = "openai/x"',
     "routes.x: has a teacher and a program: keep exactly one"),
    ('[routes.x]\nprogram = "a:b"', 'routes.x.lm: missing; a program needs lm = "UPSTREAM/MODEL"'),
    ('[routes.x]\nteacher = "openai/x"\nlm = "openai/x"',
     "routes.x.lm: belongs to a program: remove it, or replace teacher by program"),
    ('[routes.x]\nteacher = "openai/x"\npure = true',
     "routes.x.pure: belongs to a program: remove it"),
    ('[routes.x]\nteacher = "openai/x"\nsystem = "ignore"',
     "routes.x.system: belongs to a program: remove it"),
    ('[routes.x]\nprogram = "a:b"\nlm = "openai/x"\nsystem = "drop"', "routes.x.system: must be "
     '"reject", "ignore" or "field:NAME", an input of the program'),
    ('[routes.x]\nprogram = "app.py"\nlm = "openai/x"',
     'routes.x.program: must be "module:factory", for example "app.triage:build"'),
    ('[routes.x]\nteacher = "openai/x"\nmetric = "exactmatch(a)"',
     'routes.x.metric: must be "module:function" or "exact_match(FIELD)"'),
    ('[routes.x]\nteacher = "openai/x"\nmetric = "exact_match(intent)"', 'routes.x.metric: a plain '
     'route with output = "text" has one field, "answer", and no "intent": use '
     'exact_match(answer), or output = "json"'),
    ('[routes.x]\nteacher = "openai/x"\npass_score = 80',
     "routes.x.pass_score: must be at most 1, not 80"),
    ('[routes.x]\nteacher = "openai/x"\nfeedback = { crm = "some" }',
     "routes.x.feedback.crm: must be one of 'all', 'audit' or 'volunteered', not \"some\""),
    ('[routes.x]\nteacher = "openai/x"\nfeedback = { crm = "audit" }',
     'routes.x.feedback.crm: coverage "audit" needs requests in the audit sample: set '
     "shadow.audit_rate above 0"),
    ('[routes.x]\nteacher = "openai/x"\n[routes.x.shadow]\nsampel_rate = 0.1',
     'routes.x.shadow.sampel_rate: unknown key; did you mean "sample_rate"?'),
    ('[routes.x]\nteacher = "openai/x"\n[routes.x.distill]\nschedule = "0 3 * *"',
     "routes.x.distill.schedule: must be a cron line of five fields (UTC), for example "
     '"0 3 * * *": Wrong number of fields; got 4, expected 5'),
    ('[routes.x]\nteacher = "openai/x"\n[routes.x.rollout]\nretention = 0.9\nmargin = 0.1',
     "routes.x.rollout.margin: another form of the bar is retention: keep one of the two"),
    ('[routes.x]\nteacher = "openai/x"\n[routes.x.rollout]\nmin_pairs = 9000',
     "routes.x.rollout.min_pairs: must be at most max_pairs"),
    ('[routes.x]\nteacher = "openai/x"\n[routes.x.rollout]\nmin_score = 1.0',
     "routes.x.rollout.min_score: must be less than 1, not 1.0"),
    ('[routes.x]\nteacher = "openai/x"\n[routes.x.rollout]\nretention = 1.1',
     "routes.x.rollout.retention: must be at most 1, not 1.1"),
    ('[routes.x]\nteacher = "openai/x"\n[routes.x.rollout]\nmargin = 1.0',
     "routes.x.rollout.margin: must be less than 1, not 1.0"),
    ('[control]\ntick_s = 60\n[routes.x]\nteacher = "openai/x"',
     "routes.x.rollout.lease_s: 60 s is too short: a renewal takes up to 70.5 s (lease_renew_s + "
     "control.tick_s + control.collect_s), and a lease must last twice as long; raise it, or lower "
     "one of the three"),
    ('[routes.x]\nteacher = "openai/x"\n[routes.x.rollout]\nlease_renew_s = 59\nlease_s = 600\n'
     "live_lease_s = 120",
     "routes.x.rollout.live_lease_s: 120 s is too short: a renewal takes up to 60.5 s "
     "(lease_renew_s + control.tick_s + control.collect_s), and a lease must last twice as long; "
     "raise it, or lower one of the three"),
    ('[routes.x]\nteacher = "openai/x"\n[routes.x.rollout.steps]\nr1 = { dwel_s = 5 }',
     'routes.x.rollout.steps.r1.dwel_s: unknown key; did you mean "dwell_s"?'),
    ('[routes.x]\nteacher = "openai/x"\n[routes.x.guard]\nreturn_dwell_s = [1, 2]',
     "routes.x.guard.return_dwell_s: must have at least 4 items"),
    ('[routes.x]\nteacher = "openai/x"\n[routes.x.guard]\nreturn_dwell_s = [1, 2, 3, "a"]',
     "routes.x.guard.return_dwell_s: must be a number, not text"),
]  # fmt: skip

UPSTREAM = '\n[upstreams.openai]\nbase_url = "https://api.openai.com/v1"\n'


@pytest.mark.parametrize(("text", "line"), SINGLE)
def test_one_problem(text: str, line: str) -> None:
    assert problems(text + UPSTREAM) == [f"limbeck.toml: {line}"]


def test_all_problems_in_one_run() -> None:
    found = problems(
        """
        [gateway]
        wrokers = 2
        passthrough = "opnai"
        [upstreams.openai]
        base_url = "https://api.openai.com/v1"
        api_key = "env::NOT_SET"
        [routes.triage]
        teacher = "openai/gpt-5"
        pass_score = 2
        [routes.triage.shadow]
        sampel_rate = 0.1
        [routes.other]
        program = "a:b"
        """
    )
    assert found == [
        'limbeck.toml: gateway.wrokers: unknown key; did you mean "workers"?',
        "limbeck.toml: routes.triage.pass_score: must be at most 1, not 2",
        'limbeck.toml: routes.triage.shadow.sampel_rate: unknown key; did you mean "sample_rate"?',
        'limbeck.toml: gateway.passthrough: unknown upstream; did you mean "openai"?',
        'limbeck.toml: routes.other.lm: missing; a program needs lm = "UPSTREAM/MODEL"',
        "limbeck.toml: upstreams.openai.api_key: the environment variable NOT_SET is not set: "
        "export NOT_SET=...",
    ]


def test_a_wrong_key_causes_no_second_problem_elsewhere() -> None:
    # The upstream is there, only its URL is missing; the app has a key, only a literal one.
    assert problems(
        """
        [gateway]
        bind = "0.0.0.0:8000"
        keys = { app = "sk-literal" }
        [upstreams.openai]
        [routes.triage]
        teacher = "openai/gpt-5"
        """
    ) == [
        'limbeck.toml: gateway.keys.app: must be "env::NAME", the name of an environment variable; '
        "a secret in the file is refused (its value is not shown here): move it into the "
        "environment",
        "limbeck.toml: upstreams.openai.base_url: missing; add it",
    ]


@pytest.mark.parametrize(
    "text",
    [
        '[gateway]\nkeys = { app = "sk-very-secret" }',
        '[gateway]\nkeys = { app = { key = "sk-very-secret" } }',
        '[gateway]\nkeys = { app = ["sk-very-secret"] }',
        '[gateway]\nkeys = "sk-very-secret"',
        '[upstreams.x]\nbase_url = "http://x/v1"\napi_key = "sk-very-secret"',
        '[upstreams.x]\nbase_url = "http://x/v1"\napi_key = { key = "sk-very-secret" }',
        '[upstreams.x]\nbase_url = "https://sk-very-secret@x/v1"',
        '[upstreams.x]\nbase_url = "http://x/v1"\napikey = "sk-very-secret"',
    ],
)
def test_a_literal_secret_is_refused_and_not_shown(text: str) -> None:
    assert "very-secret" not in "\n".join(problems(text))


def test_two_apps_with_one_key() -> None:
    text = '[gateway]\nkeys = { a = "env::ONE", b = "env::TWO" }'
    assert problems(text, {"ONE": "same", "TWO": "same"}) == [
        "limbeck.toml: gateway.keys.b: the same key as that of a: give each app a key of its own"
    ]


def test_a_key_that_may_pin() -> None:
    config = config_of('[gateway]\nkeys = { app = { key = "env::APP_KEY", may_pin = true } }')
    assert config.gateway.keys == {"app": KeyConfig(env="APP_KEY", may_pin=True)}


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("[gateway\n", "line 1, column 9"),
        ('[gateway]\nbind = "127.0.0.1:8000\n', "line 2, column 23"),
        ("[gateway]\nworkers = 2\nworkers = 3\n", "line 3, column 12"),
        ("[gateway", "at the end of the file"),
    ],
)
def test_malformed_toml_names_the_place(tmp_path: Path, text: str, key: str) -> None:
    file = tmp_path / "limbeck.toml"
    file.write_text(text)
    with pytest.raises(ConfigErrors) as caught:
        load_config(file, environment={})
    assert str(caught.value).startswith(f"limbeck.toml: {key}: malformed TOML: ")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match=r"not found in .*limbeck init"):
        load_config(tmp_path / "limbeck.toml", environment={})


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "limbeck.toml").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigErrors, match="can't be read"):
        read_document(tmp_path / "limbeck.toml")


FULL = (
    PLAIN
    + PROGRAM
    + "[routes.support.rollout]\nmin_score = 0.8\nsteps.r5 = { served = 7 }\n"
    + '[gateway]\npassthrough = "openai"\nkeys = { app = "env::APP_KEY" }\n'
    + "min_free_mb = 100\n"
)


def read_back(config: Config, tmp_path: Path) -> Config:
    file = tmp_path / "limbeck.toml"
    file.write_text(to_toml(to_document(config)))
    return load_config(file, environment=ENVIRONMENT)


def test_what_is_shown_reads_back_equal(tmp_path: Path) -> None:
    config = config_of(FULL, folder=tmp_path)
    assert read_back(config, tmp_path) == config


@given(model=st.text(min_size=1, max_size=20), price=st.floats(0, 1e6))
def test_any_model_name_reads_back(
    tmp_path_factory: pytest.TempPathFactory, model: str, price: float
) -> None:
    model = model.encode(errors="ignore").decode() or "m"
    folder = tmp_path_factory.mktemp("config")
    config = config_of(PLAIN, folder=folder)
    upstream = msgspec.structs.replace(
        config.upstreams["openai"], prices={model: Price(input_per_m=price, output_per_m=0.0)}
    )
    config = msgspec.structs.replace(config, upstreams={"openai": upstream})
    assert read_back(config, folder) == config


def test_what_is_shown_has_no_secret() -> None:
    text = to_toml(to_document(config_of(FULL)))
    assert not any(secret in text for secret in ENVIRONMENT.values())
    assert 'api_key = "env::OPENAI_API_KEY"' in text


def test_the_hash_is_that_of_the_content() -> None:
    config = config_of(PLAIN)
    assert config.hash == config_of(PLAIN, folder=Path("/elsewhere")).hash
    assert config.hash == config_of(f"# a comment\n{PLAIN}").hash
    assert config.hash != config_of(f"{PLAIN}\n[routes.triage.shadow]\nsample_rate = 0.2").hash


def test_the_example_at_the_root_is_what_init_writes() -> None:
    template = ROOT / "control" / "commands" / "template" / "limbeck.toml"
    assert (ROOT / "limbeck.toml").read_text() == template.read_text()
    assert load_config(ROOT / "limbeck.toml", environment=ENVIRONMENT).routes["triage"].plain


def test_a_teacher_without_a_file(tmp_path: Path) -> None:
    config = teacher_config(
        "openai/gpt-5", base_url=None, data=tmp_path, environment={"OPENAI_API_KEY": "x"}
    )
    assert config.upstreams["openai"].base_url == "https://api.openai.com/v1"
    assert config.upstreams["openai"].api_key_env == "OPENAI_API_KEY"
    assert config.routes["gpt-5"].lm == Target(upstream="openai", model="gpt-5")
    assert config.control.data == tmp_path
    assert read_back(config, tmp_path).routes == config.routes


def test_a_teacher_at_a_url_of_its_own_needs_no_key(tmp_path: Path) -> None:
    config = teacher_config(
        "local/Big/Model", base_url="http://127.0.0.1:9/v1", data=tmp_path, environment={}
    )
    assert config.upstreams["local"].api_key_env is None
    assert config.routes["big-model"].lm.model == "Big/Model"


@pytest.mark.parametrize(
    ("teacher", "message"),
    [("gpt-5", "must be UPSTREAM/MODEL"), ("acme/x", "the base URL of acme is not known")],
)
def test_a_teacher_that_can_not_be_used(tmp_path: Path, teacher: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        teacher_config(teacher, base_url=None, data=tmp_path, environment={})


def test_a_teacher_whose_key_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match="OPENAI_API_KEY is not set"):
        teacher_config("openai/x", base_url=None, data=tmp_path, environment={})


@given(st.text(max_size=30))
def test_a_route_may_have_any_name_made_from_a_model(model: str) -> None:
    document = {
        "upstreams": {"x": {"base_url": "http://x/v1"}},
        "routes": {route_name(model): {"teacher": "x/y"}},
    }
    parse_config(document, file="-", path=Path("/x/limbeck.toml"), environment={})
