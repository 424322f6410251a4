"""An upstream that speaks TLS."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest

from tests.fakes.upstream import FakeUpstream
from tests.gateway.rig import Rig, ask, snapshot

openssl = shutil.which("openssl")
pytestmark = pytest.mark.skipif(openssl is None, reason="needs the openssl command")


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, ssl.SSLContext]:
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    command = [str(openssl), "req", "-x509", *curve, "-nodes", "-days", "2", *files, *subject]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return certificate, context


def test_an_upstream_over_tls(rig: Rig, certificate: tuple[Path, ssl.SSLContext]) -> None:
    file, context = certificate
    with FakeUpstream(tls=context) as upstream:
        rig.publish(snapshot(upstream.base_url))
        worker = rig.start(env={"SSL_CERT_FILE": str(file)})
        for stream in (False, True, False):
            assert ask(worker, stream=stream, metadata={"fake": "size=300000"}).status_code == 200
        assert upstream.connections == 1


def test_a_certificate_that_nobody_signed(
    rig: Rig, certificate: tuple[Path, ssl.SSLContext]
) -> None:
    _, context = certificate
    with FakeUpstream(tls=context) as upstream:
        rig.publish(snapshot(upstream.base_url))
        answer = ask(rig.start())
    assert answer.status_code == 502
    assert "certificate verify failed" in answer.json()["error"]["message"].lower()
