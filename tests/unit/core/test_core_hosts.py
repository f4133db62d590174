"""Requests go to allowed hosts only, however they are sent on."""

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from geofm_assets.core.errors import AddressRefusedError, ConfigError
from geofm_assets.core.hosts import allowed_for, checked_session, is_loopback


class Redirecting(ThreadingHTTPServer):
    """Sends /to?URL on to that URL, and answers anything else; keeps who was asked."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.asked = []

    def url(self, host="127.0.0.1"):
        return f"http://{host}:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.headers["Host"].split(":")[0] + self.path)
        target = self.path.partition("/to?")[2]
        self.send_response(302 if target else 200)
        if target:
            self.send_header("Location", target)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module")
def running():
    with Redirecting() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def server(running):
    running.asked.clear()
    return running


def get(server, target, base=None):
    return checked_session(allowed_for(base or server.url())).get(target, timeout=5)


def test_a_redirect_to_the_same_host_is_followed(server):
    assert get(server, f"{server.url()}/to?{server.url()}/there").text == "ok"


def test_a_redirect_to_another_host_is_refused_before_it_is_asked(server):
    with pytest.raises(AddressRefusedError, match="not on an allowed host"):
        get(server, f"{server.url()}/to?{server.url('localhost')}/private")
    assert [path.split("/")[0] for path in server.asked] == ["127.0.0.1"]


def test_every_hop_is_looked_at(server):
    end = f"{server.url('localhost')}/private"
    with pytest.raises(AddressRefusedError):
        get(server, f"{server.url()}/to?{server.url()}/to?{end}")
    assert [path.split("/")[0] for path in server.asked] == ["127.0.0.1"] * 2


def test_a_host_of_the_environment_is_allowed(server, monkeypatch):
    monkeypatch.setenv("GEOFM_ALLOWED_HOSTS", "data.example.org, LOCALHOST")
    target = f"{server.url()}/to?{server.url('localhost')}/there"
    assert get(server, target).url == f"{server.url('localhost')}/there"


@pytest.mark.parametrize(
    "address",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "gopher://127.0.0.1/x",
        "http://169.254.169.254/latest/meta-data",
        "http://[::1]/x",
        "http://127.0.0.1@localhost/x",
        "//localhost/x",
    ],
)
def test_other_schemes_and_hosts_are_refused(server, address):
    with pytest.raises(AddressRefusedError):
        get(server, f"{server.url()}/to?{address}")


@pytest.mark.parametrize(
    "address",
    [
        "http://a.org/x",  # https was promised
        "https://a.org.evil.org/x",
        "https://evil.org/a.org",
        "https://a.org@evil.org/x",
        "https://evil.org\\@a.org/x",  # urllib and urllib3 see two hosts here
        "https://a.org\t.evil.org/x",
        "https://xb.org/",
        "https://b.org/",  # *.b.org is what lies below it
        "https:///x",
        "https://[broken/x",
        "/vsicurl/https://a.org/x",
        "",
    ],
)
def test_addresses_that_only_look_allowed(address):
    with pytest.raises(AddressRefusedError):
        allowed_for("https://a.org/api", "*.b.org").check(address)


@pytest.mark.parametrize(
    "address",
    ["https://a.org/x?y=1", "https://A.org:8443/x", "https://c.b.org/x", "https://d.c.b.org/x"],
)
def test_addresses_that_are_allowed(address):
    allowed_for("https://a.org/api", "*.b.org").check(address)


@pytest.mark.parametrize("entry", ["https://a.org", "*", "a.org/path", "*.*", "a b"])
def test_what_is_no_host_is_refused(monkeypatch, entry):
    monkeypatch.setenv("GEOFM_ALLOWED_HOSTS", entry)
    with pytest.raises(ConfigError, match="GEOFM_ALLOWED_HOSTS"):
        allowed_for("https://a.org")


@pytest.mark.parametrize("url", ["https://u:pa55word@a.org/api", "https://a.org/api?sig=abcdef"])
def test_credentials_in_an_address_are_refused_and_not_repeated(url):
    with pytest.raises(ConfigError, match="netrc") as caught:
        allowed_for(url)
    assert "pa55word" not in str(caught.value)
    assert "abcdef" not in str(caught.value)


def test_credentials_come_from_netrc_and_stay_with_their_host(tmp_path, monkeypatch):
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password pa55word\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("GEOFM_ALLOWED_HOSTS", "localhost")
    seen = {}

    class Keeping(Answer):
        def do_GET(self):
            seen[self.headers["Host"].split(":")[0]] = self.headers.get("Authorization")
            super().do_GET()

    with Redirecting() as server:
        server.RequestHandlerClass = Keeping
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        get(server, f"{server.url()}/to?{server.url('localhost')}/there")
        server.shutdown()
        thread.join()
    assert seen["127.0.0.1"].startswith("Basic ")
    assert seen["localhost"] is None


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("127.5.5.5", True),
        ("localhost", True),
        ("::1", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.2", False),
        ("myserver", False),
    ],
)
def test_loopback(host, own):
    assert is_loopback(host) is own
