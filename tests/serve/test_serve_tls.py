from __future__ import annotations

import http.client
import logging
import shutil
import socket
import ssl
import subprocess
from pathlib import Path

import pytest
from tests.serve.certificates import Pair, make
from tests.serve.raw_client import connected
from tests.waiting import wait_for

from epochcost.serve import Server, WebConfigError, text

CONFIG = """
tls_server_config:
  cert_file: server.crt
  key_file: server.key
"""


@pytest.fixture(scope="module")
def pki(tmp_path_factory) -> dict[str, Pair]:
    folder = tmp_path_factory.mktemp("pki")
    authority = make(folder, "authority")
    return {
        "server": make(folder, "server"),
        "next": make(folder, "next"),
        "authority": authority,
        "prometheus": make(folder, "prometheus", "DNS:prometheus.example", authority),
        "stranger": make(folder, "stranger", "DNS:prometheus.example"),
    }


@pytest.fixture
def config(tmp_path: Path, pki) -> Path:
    shutil.copy(pki["server"].cert, tmp_path / "server.crt")
    shutil.copy(pki["server"].key, tmp_path / "server.key")
    shutil.copy(pki["authority"].cert, tmp_path / "ca.crt")
    file = tmp_path / "web.config.yml"
    file.write_text(CONFIG)
    return file


def trusting(pair: Pair, client: Pair | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(pair.cert))
    if client:
        context.load_cert_chain(client.cert, client.key)
    return context


def get(server: Server, context: ssl.SSLContext, path: str = "/-/healthy") -> http.client.HTTPResponse:
    connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=10, context=context)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        return response
    finally:
        connection.close()


def test_https_serves_small_and_large_responses_on_one_connection(config, pki):
    with Server(("127.0.0.1", 0), {"/big": lambda _: text(200, "x" * 300_000)}, str(config)) as server:
        assert server.url == f"https://127.0.0.1:{server.port}"
        connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=10, context=trusting(pki["server"]))
        for path, size in (("/-/healthy", 8), ("/big", 300_001), ("/-/healthy", 8)):
            connection.request("GET", path)
            assert len(connection.getresponse().read()) == size
        connection.close()


def test_plain_http_to_an_https_port_gets_an_explanation(config):
    with Server(("127.0.0.1", 0), {}, str(config)) as server, connected(server) as client:
        response = client.request("/-/healthy")
    assert (response.status, response.body) == (400, b"this port speaks HTTPS\n")


def test_a_broken_handshake_does_not_affect_other_connections(config, pki):
    with Server(("127.0.0.1", 0), {}, str(config)) as server:
        with connected(server) as client:
            client.send(b"\x16\x03\x01\x00\x05rubbish" * 50)
            assert client.sock.recv(1) == b"\x15"  # an alert
        with socket.create_connection(("127.0.0.1", server.port)):
            assert get(server, trusting(pki["server"])).status == 200


def test_tls_below_the_minimum_is_refused(config, pki):
    config.write_text(CONFIG + "  min_version: TLS13\n")
    old = trusting(pki["server"])
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    with Server(("127.0.0.1", 0), {}, str(config)) as server:
        with pytest.raises(ssl.SSLError):
            get(server, old)
        assert get(server, trusting(pki["server"])).status == 200


def test_the_cipher_suites_of_the_file_are_the_only_ones_of_tls_1_2(config, pki):
    config.write_text(CONFIG + "  max_version: TLS12\n  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384]\n")
    other = trusting(pki["server"])
    other.set_ciphers("ECDHE-ECDSA-AES128-GCM-SHA256")
    with Server(("127.0.0.1", 0), {}, str(config)) as server:
        with pytest.raises(ssl.SSLError):
            get(server, other)
        assert get(server, trusting(pki["server"])).status == 200


def test_a_client_without_a_certificate_of_the_right_authority_is_refused(config, pki):
    config.write_text(CONFIG + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n")
    with Server(("127.0.0.1", 0), {}, str(config)) as server:
        assert get(server, trusting(pki["server"], pki["prometheus"])).status == 200
        for client in (None, pki["stranger"]):
            with pytest.raises(OSError, match=r"(?i)alert|reset|closed|broken|EOF"):
                get(server, trusting(pki["server"], client))


def test_only_the_allowed_names_of_client_certificates_get_in(config, pki):
    needs = CONFIG + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n"
    config.write_text(needs + "  client_allowed_sans: [prometheus.example]\n")
    with Server(("127.0.0.1", 0), {}, str(config)) as server:
        assert get(server, trusting(pki["server"], pki["prometheus"])).status == 200
    config.write_text(needs + "  client_allowed_sans: [someone.else]\n")
    with Server(("127.0.0.1", 0), {}, str(config)) as server:
        assert get(server, trusting(pki["server"], pki["prometheus"])).status == 403


def test_a_renewed_certificate_is_used_without_a_restart(config, pki, caplog):
    with caplog.at_level(logging.INFO, "epochcost.serve"), Server(("127.0.0.1", 0), {}, str(config)) as server:
        get(server, trusting(pki["server"]))
        # The certificate before its key: for a moment they do not belong together, and the old pair stays in use.
        replace(pki["next"].cert, config.parent / "server.crt")
        assert get(server, trusting(pki["server"])).status == 200
        assert "web configuration not applied" in caplog.text
        replace(pki["next"].key, config.parent / "server.key")

        def renewed() -> bool:
            try:
                return get(server, trusting(pki["next"])).status == 200
            except ssl.SSLCertVerificationError:
                return False

        assert wait_for(renewed, 10, "the new certificate")


def replace(source: Path, target: Path) -> None:
    """Replace a file as certificate tools do: atomically, by rename."""
    fresh = target.with_suffix(".fresh")
    shutil.copy(source, fresh)
    fresh.replace(target)


def test_headers_of_the_file_are_on_every_response(config, pki):
    config.write_text(CONFIG + "http_server_config:\n  http2: false\n  headers:\n    X-Frame-Options: deny\n")
    with Server(("127.0.0.1", 0), {}, str(config)) as server:
        assert get(server, trusting(pki["server"]), "/none").headers["X-Frame-Options"] == "deny"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("tls_config: {}", "tls_config: unknown; allowed: tls_server_config"),
        ("tls_server_config: {cert: x}", "tls_server_config: cert: is not supported: write it to a file"),
        ("tls_server_config: {curve_preferences: [X25519]}", "tls_server_config: curve_preferences: is not supported"),
        ("tls_server_config: {certfile: x}", "tls_server_config: certfile: unknown"),
        ("tls_server_config: {key_file: server.key}", "tls_server_config: cert_file: is missing"),
        ("tls_server_config: {cert_file: server.crt}", "tls_server_config: key_file: is missing"),
        ("tls_server_config: {cert_file: no.crt, key_file: server.key}", "cert_file: file not found"),
        ("tls_server_config: {cert_file: server.key, key_file: server.key}", "cert_file, key_file: are not a cert"),
        ("tls_server_config: {cert_file: ca.crt, key_file: server.key}", "cert_file, key_file: are not a cert"),
        (CONFIG + "  min_version: SSL3", "tls_server_config: min_version: 'SSL3'; allowed: TLS10"),
        (CONFIG + "  min_version: TLS13\n  max_version: TLS12", "min_version: is above max_version"),
        (CONFIG + "  cipher_suites: [RC4]", "tls_server_config: cipher_suites: 'RC4'; allowed: TLS_ECDHE"),
        (CONFIG + "  cipher_suites: RC4", "tls_server_config: cipher_suites: must be a list"),
        (CONFIG + "  prefer_server_cipher_suites: 1", "prefer_server_cipher_suites: must be true or false"),
        (
            CONFIG + "  client_auth_type: RequireAnyClientCert",
            "client_auth_type: RequireAnyClientCert verifies nothing",
        ),
        (CONFIG + "  client_auth_type: Always", "client_auth_type: 'Always'; allowed: NoClientCert"),
        (CONFIG + "  client_auth_type: RequireAndVerifyClientCert", "client_ca_file: is needed"),
        (CONFIG + "  client_ca_file: ca.crt", "client_ca_file: needs a client_auth_type that verifies"),
        (CONFIG + "  client_allowed_sans: [a]", "client_allowed_sans: needs client_auth_type"),
        (
            CONFIG + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: server.key",
            "client_ca_file: holds no certificate",
        ),
        ("http_server_config: {headers: {X-Mine: a}}", "http_server_config: headers: X-Mine: unknown"),
        ('http_server_config: {headers: {X-Frame-Options: "a\\nb"}}', "X-Frame-Options: must be one line"),
        ("http_server_config: {http2: maybe}", "http_server_config: http2: must be true or false"),
        ("rate_limit: {burst: 2}", "rate_limit: is not supported"),
        ("basic_auth_users: [alice]", "basic_auth_users: must be a mapping"),
        ("basic_auth_users: {alice: hunter2}", "basic_auth_users: alice: is not a bcrypt hash"),
        ("basic_auth_users: {'a:b': x}", "basic_auth_users: a user name must be text without a colon"),
        ("basic_auth_users:\n  alice: hunter2\n  bob: [", "is not valid YAML at line"),
        ("just text", "must be a mapping of tls_server_config"),
    ],
)
def test_a_wrong_file_is_refused_by_file_and_key_and_never_quotes_a_secret(config, content, complaint):
    config.write_text(content)
    with pytest.raises(WebConfigError) as caught:
        Server(("127.0.0.1", 0), {}, str(config))
    assert str(caught.value).startswith(f"{config}: ")
    assert complaint in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_a_missing_or_binary_file_is_refused(tmp_path):
    with pytest.raises(WebConfigError, match=r"none\.yml: cannot be read: No such file"):
        Server(("127.0.0.1", 0), {}, str(tmp_path / "none.yml"))
    (tmp_path / "binary.yml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WebConfigError, match=r"binary\.yml: is not UTF-8"):
        Server(("127.0.0.1", 0), {}, str(tmp_path / "binary.yml"))


def test_an_encrypted_key_is_refused_without_a_prompt(config, pki):
    subprocess.run(
        [
            "openssl",
            "ec",
            "-aes256",
            "-passout",
            "pass:x1234",
            "-in",
            pki["server"].key,
            "-out",
            config.parent / "server.key",
        ],
        check=True,
        capture_output=True,
    )
    with pytest.raises(WebConfigError, match="key_file: is encrypted"):
        Server(("127.0.0.1", 0), {}, str(config))


def test_an_empty_file_means_plain_http_for_everybody(tmp_path):
    (tmp_path / "empty.yml").write_text("")
    with Server(("127.0.0.1", 0), {}, str(tmp_path / "empty.yml")) as server, connected(server) as client:
        assert client.request("/-/healthy").status == 200
