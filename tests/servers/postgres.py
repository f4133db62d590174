"""A PostgreSQL server of a test's own: a new cluster in a temporary folder, ended by its pid.

    with PostgresServer() as server:
        engine = sqlalchemy.create_engine(server.new_database())

It listens on a Unix socket only, so there is no port to race for, and asks for a password.
PostgreSQL refuses to run as root; the server then runs as `postgres`, or `nobody`.
"""

import contextlib
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Self

import psycopg2

USER = "geofm"
# what makes a server durable costs a test seconds and gives it nothing
_NOT_DURABLE = ("fsync=off", "full_page_writes=off", "synchronous_commit=off")


class NoPostgresError(Exception):
    """This machine cannot run a server; says why."""


class PostgresServer:
    """A running server, for as long as its `with` block.

    Args:
        settings: `name=value` of postgresql.conf; by default nothing is synced to disk.

    Attributes:
        password: of the superuser `geofm`, new for every server.
        pid: of the server's first process.

    Raises:
        NoPostgresError: on entering, if there are no binaries or no user to run them as.
    """

    def __init__(self, *settings: str) -> None:
        self.password = secrets.token_urlsafe(12)
        self.pid = 0
        self._settings = settings or _NOT_DURABLE
        self._databases = 0

    def url(self, database: str = "postgres", *, password: bool = True) -> str:
        """SQLAlchemy's URL of a database, with or without the password."""
        user = f"{USER}:{self.password}" if password else USER
        return f"postgresql+psycopg2://{user}@/{database}?host={self._folder}"

    def new_database(self) -> str:
        """Make an empty database; its URL, with the password."""
        self._databases += 1
        name = f"instance_{self._databases}"
        self._execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def __enter__(self) -> Self:
        initdb, postgres = _binary("initdb"), _binary("postgres")
        account = _account()
        # not below pytest's folders, which no other user may enter
        self._folder = Path(tempfile.mkdtemp(prefix="geofm-postgres-"))
        try:
            secret = self._folder / "password"
            secret.write_text(self.password)
            if account:
                shutil.chown(self._folder, account["user"], account["group"])
                shutil.chown(secret, account["user"], account["group"])
            make = [initdb, "-D", "data", "-U", USER, "-A", "scram-sha-256", "-E", "UTF8"]
            make += ["--locale=C", "--no-sync", "--no-instructions", f"--pwfile={secret}"]
            self._run(make, account)
            self._start(postgres, account)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, command: list[str], account: dict[str, Any]) -> None:
        done = subprocess.run(
            command, cwd=self._folder, capture_output=True, text=True, check=False, **account
        )
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)

    def _start(self, postgres: str, account: dict[str, Any]) -> None:
        values = ("listen_addresses=", f"unix_socket_directories={self._folder}", *self._settings)
        command = [postgres, "-D", "data", *(part for v in values for part in ("-c", v))]
        log = self._folder / "log"
        with log.open("w") as output:
            self._process = subprocess.Popen(
                command, cwd=self._folder, stdout=output, stderr=output, **account
            )
        self.pid = self._process.pid
        limit = time.monotonic() + 60
        while True:
            with contextlib.suppress(psycopg2.OperationalError):
                self._execute("SELECT 1")
                return
            if self._process.poll() is not None or time.monotonic() > limit:
                raise RuntimeError(f"PostgreSQL did not start: {log.read_text()}")
            time.sleep(0.05)

    def _execute(self, statement: str) -> None:
        connection = psycopg2.connect(
            host=str(self._folder), user=USER, password=self.password, dbname="postgres"
        )
        connection.autocommit = True
        with contextlib.closing(connection), connection.cursor() as cursor:
            cursor.execute(statement)

    def close(self) -> None:
        """End the server and remove its folder."""
        if self.pid and self._process.poll() is None:
            os.kill(self.pid, signal.SIGQUIT)  # at once: there is nothing to keep
            self._process.wait(timeout=60)
        shutil.rmtree(self._folder)


def _binary(name: str) -> str:
    """A program of PostgreSQL: on the PATH, or where Debian's package leaves it."""
    packaged = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    found = shutil.which(name) or (str(packaged[-1]) if packaged else "")
    if not found:
        raise NoPostgresError(f"PostgreSQL's {name} is not installed")
    return found


def _account() -> dict[str, Any]:
    """How to start a process as somebody who is not root; empty where nobody need be."""
    if os.geteuid() != 0:
        return {}
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            found = pwd.getpwnam(name)
            return {"user": found.pw_uid, "group": found.pw_gid, "extra_groups": []}
    raise NoPostgresError("PostgreSQL does not run as root, and there is no user postgres, nobody")
