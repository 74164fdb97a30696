"""ClickHouse's HTTP interface over chDB, for tests: the driver speaks to a real socket, and answers fail on command.

There is no ClickHouse server in a package registry; its engine is (chDB), and one process may open many connections to it. A
gateway lives in the process that holds the engine and listens on 127.0.0.1; other processes may ask it.

What it keeps to: statements in the address and in the body, settings and parameters in the address, users, sessions, every
format, compressed bodies both ways, ClickHouse's codes and HTTP statuses of errors, the summary of what was written,
``readonly``. It knows no external tables and no progress in headers, and after an error a session has lost what was set in it.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import socket
import struct
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qsl, urlsplit

import lz4.frame  # type: ignore[import-untyped]

USER, PASSWORD = "duewatch", "secret"
HANG_S = 120.0
"""After that even a hanging request ends, so that no test waits for ever."""
IDLE_S = 60.0
"""For so long a session waits for its next request, as in ClickHouse."""

# What the address may say that is no setting.
_NO_SETTINGS = frozenset({
    "query", "database", "default_format", "query_id", "session_id", "session_timeout", "session_check", "user", "password",
    "wait_end_of_query", "buffer_size", "compress", "decompress", "enable_http_compression", "client_protocol_version",
    "send_progress_in_http_headers", "http_headers_progress_interval_ms", "http_write_exception_in_output_format",
})  # fmt: skip
# ClickHouse's code of an error -> status; 500 otherwise.
_STATUS = {
    **dict.fromkeys((6, 26, 27, 36, 38, 41, 42, 43, 47, 53, 62, 70, 117), 400),
    **dict.fromkeys((46, 60, 81), 404),
    **dict.fromkeys((164, 192, 193, 497, 516), 403),
    48: 501,
    159: 408,
    373: 423,
}
_ERROR = re.compile(r"Code: (\d+)\. DB::Exception: .*", re.DOTALL)
_UNKNOWN_ERROR = 1002
_INSERT = re.compile(rb"\A\s*INSERT\s+INTO\s.*?\sFORMAT\s+(\w+)[ \t]*(?:\r?\n|;|\Z)", re.IGNORECASE | re.DOTALL)
_LEAVES_ITS_MARK = re.compile(rb"\A\s*(SET|USE)\s", re.IGNORECASE)
_SETTING = re.compile(r"[A-Za-z_]\w*\Z")


class Fault(Enum):
    """What may befall a request."""

    UNAVAILABLE = "503"
    HANG = "no answer, and the connection stays open"
    CUT = "half of an answer, then the end of the connection"
    RESET = "the connection is reset"


@dataclass(eq=False)
class _Command:
    fault: Fault
    is_run: bool
    statements: re.Pattern[bytes]
    times: int


class Faults:
    """The faults to come, in the order in which they were ordered."""

    def __init__(self) -> None:
        self.count = 0
        """How many have struck."""
        self._commands: list[_Command] = []
        self._lock = threading.Lock()
        self._let_go = threading.Event()

    def order(self, fault: Fault, statements: str = "", *, times: int = 1, is_run: bool = False) -> None:
        """Let the next requests fail whose statement holds this regular expression.

        ``is_run``: ClickHouse does what it is asked, and only the answer is lost.
        """
        with self._lock:
            self._commands.append(_Command(fault, is_run, re.compile(statements.encode(), re.IGNORECASE), times))

    def clear(self) -> None:
        """No more of them; whoever hangs is let go."""
        with self._lock:
            self._commands.clear()
            self.count = 0
            self._let_go.set()
            self._let_go = threading.Event()

    def next(self, statement: bytes) -> _Command | None:
        """What befalls this statement."""
        with self._lock:
            for command in self._commands:
                if command.statements.search(statement):
                    command.times -= 1
                    if command.times <= 0:
                        self._commands.remove(command)
                    self.count += 1
                    return command
        return None

    def hang(self) -> None:
        """Return when the faults are cleared, at last after HANG_S."""
        self._let_go.wait(HANG_S)


class RefusedError(Exception):
    """An error as ClickHouse words it."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        match = _ERROR.search(text)
        self.text = match[0].strip() if match else f"Code: {_UNKNOWN_ERROR}. DB::Exception: {text.strip()}"
        self.code = int(match[1]) if match else _UNKNOWN_ERROR


@dataclass(frozen=True)
class Question:
    """A request, taken apart."""

    statement: bytes
    session_id: str | None
    database: str | None
    settings: tuple[tuple[str, str], ...]
    parameters: Mapping[str, str]
    output_format: str
    query_id: str
    takes_lz4: bool


@dataclass(frozen=True)
class Answer:
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(eq=False)
class _Session:
    """A connection, and for which database and settings it was last prepared."""

    connection: Any = None
    prepared_for: object = None
    used_at: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
        self.connection = self.prepared_for = None


class Engine:
    """chDB's engine on a folder: a connection per session, or for one request where there is none."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._sessions: dict[str, _Session] = {}
        self._lock = threading.Lock()
        connection = self._connect()
        self.version = connection.query("SELECT version()", "TSV").bytes().decode().strip()
        connection.close()

    def _connect(self) -> Any:
        import chdb

        connect: Any = chdb.connect  # whether it has types depends on what else mypy looks at
        return connect(self._path)

    def ask(self, question: Question) -> Answer:
        """Run the statement. Raises RefusedError."""
        start_time = time.monotonic()
        with self._connection(question) as connection, _infile(question.statement) as statement:
            result = connection.query(statement, question.output_format, params=dict(question.parameters))
            summary = {
                "read_rows": result.rows_read(),
                "read_bytes": result.bytes_read(),
                "written_rows": result.rows_written(),
                "written_bytes": result.bytes_written(),
                "elapsed_ns": int((time.monotonic() - start_time) * 1e9),
            }
            headers = {
                "X-ClickHouse-Query-Id": question.query_id,
                "X-ClickHouse-Format": question.output_format,
                "X-ClickHouse-Timezone": "UTC",
                "X-ClickHouse-Summary": json.dumps({name: str(value) for name, value in summary.items()}),
            }
            return Answer(result.bytes(), headers)

    @contextmanager
    def _connection(self, question: Question) -> Iterator[Any]:
        """One with the question's database and settings, which nobody else uses meanwhile. Raises RefusedError."""
        with self._session(question.session_id) as session:
            try:
                if session.connection is None:
                    session.connection = self._connect()
                if session.prepared_for != (question.database, question.settings):
                    _prepare(session.connection, question)
                    session.prepared_for = (question.database, question.settings)
                yield session.connection
            except RuntimeError as error:
                # chDB puts what a failed statement had written at the head of the connection's next answer.
                session.close()
                raise RefusedError(str(error)) from error
            if _LEAVES_ITS_MARK.match(question.statement):
                session.prepared_for = None  # what the address says counts more, next time again

    @contextmanager
    def _session(self, session_id: str | None) -> Iterator[_Session]:
        """The session of this id, for one request at a time; without an id one that ends with the request."""
        if session_id is None:
            session = _Session()
            try:
                yield session
            finally:
                session.close()
            return
        with self._lock:
            self._forget_idle()
            session = self._sessions.setdefault(session_id, _Session())
            if not session.lock.acquire(blocking=False):
                text = f"Code: 373. DB::Exception: Session {session_id} is locked by a concurrent client. (SESSION_IS_LOCKED)"
                raise RefusedError(text)
        try:
            yield session
        finally:
            session.used_at = time.monotonic()
            session.lock.release()

    def _forget_idle(self) -> None:
        for session_id, session in list(self._sessions.items()):
            if not session.lock.locked() and time.monotonic() - session.used_at > IDLE_S:
                self._sessions.pop(session_id).close()

    def close(self) -> None:
        with self._lock:
            for session in self._sessions.values():
                session.close()
            self._sessions.clear()


def _prepare(connection: Any, question: Question) -> None:
    if question.database:
        connection.query("USE `" + question.database.replace("`", "\\`") + "`")
    # readonly comes last: with it nothing can be set any more.
    for name, value in sorted(question.settings, key=lambda setting: setting[0] == "readonly"):
        connection.query(f"SET {name} = {_literal(value)}")


def _literal(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


@contextmanager
def _infile(statement: bytes) -> Iterator[bytes]:
    """The statement, with the rows of an INSERT in a file: chDB parses no more than 256 KiB of a statement."""
    match = _INSERT.match(statement)
    if match is None or len(statement) == match.end():
        yield statement
        return
    head = statement[: match.end()].rstrip().rstrip(b";")
    at = head.upper().rindex(b"FORMAT")
    with tempfile.NamedTemporaryFile(prefix="duewatch-insert-") as file:
        file.write(statement[match.end() :])
        file.flush()
        yield b"%s FROM INFILE %s %s" % (head[:at], _literal(file.name).encode(), head[at:])


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    # Headers and body in one packet: without, each answer waits 40 ms for the acknowledgement of its head.
    wbufsize = -1
    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the standard library's name
        """Tests read answers, not logs."""

    def do_GET(self) -> None:
        self._answer(b"")

    def do_POST(self) -> None:
        try:
            body = _unpacked(self.headers.get("Content-Encoding", ""), self._read_body())
        except RefusedError as error:
            self._refuse(error)
        else:
            self._answer(body)

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            parts.append(self.rfile.read(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _answer(self, body: bytes) -> None:
        url = urlsplit(self.path)
        words = dict(parse_qsl(url.query, keep_blank_values=True))
        statement = b"\n".join(part for part in (words.get("query", "").encode(), body) if part)
        command = self.server.faults.next(b"/ping" if url.path == "/ping" else statement)
        if command is not None and not command.is_run:
            self._strike(command.fault, Answer())
            return
        try:
            answer = Answer(b"Ok.\n") if url.path == "/ping" else self._ask(words, statement)
        except RefusedError as error:
            self._refuse(error)
            return
        if command is not None:
            self._strike(command.fault, answer)
        else:
            self._send(200, answer)

    def _ask(self, words: Mapping[str, str], statement: bytes) -> Answer:
        self._check_user(words)
        settings = {name: value for name, value in words.items() if name not in _NO_SETTINGS and not name.startswith("param_")}
        question = Question(
            statement=statement,
            session_id=words.get("session_id"),
            database=words.get("database") or self.headers.get("X-ClickHouse-Database"),
            settings=tuple(sorted((name, value) for name, value in settings.items() if _SETTING.match(name))),
            parameters={name.removeprefix("param_"): value for name, value in words.items() if name.startswith("param_")},
            output_format=words.get("default_format") or self.headers.get("X-ClickHouse-Format") or "TabSeparated",
            query_id=words.get("query_id") or str(uuid.uuid4()),
            takes_lz4=words.get("enable_http_compression") == "1" and "lz4" in self.headers.get("Accept-Encoding", ""),
        )
        answer = self.server.engine.ask(question)
        if question.takes_lz4 and answer.body:
            return Answer(lz4.frame.compress(answer.body), {**answer.headers, "Content-Encoding": "lz4"})
        return answer

    def _check_user(self, words: Mapping[str, str]) -> None:
        user, password = words.get("user", "default"), words.get("password", "")
        scheme, _, credentials = self.headers.get("Authorization", "").partition(" ")
        if scheme == "Basic":
            user, _, password = base64.b64decode(credentials).decode().partition(":")
        user = self.headers.get("X-ClickHouse-User", user)
        password = self.headers.get("X-ClickHouse-Key", password)
        if (user, password) != (USER, PASSWORD):
            raise RefusedError(
                f"Code: 516. DB::Exception: {user}: Authentication failed: password is incorrect, or there is no user with such"
                " name. (AUTHENTICATION_FAILED)"
            )

    def _refuse(self, error: RefusedError) -> None:
        body = f"{error.text} (version {self.server.engine.version})\n".encode()
        self._send(_STATUS.get(error.code, 500), Answer(body, {"X-ClickHouse-Exception-Code": str(error.code)}))

    def _send(self, status: int, answer: Answer) -> None:
        """In chunks, as ClickHouse does: how long an answer will be it does not know when it begins."""
        self._send_head(status, answer)
        self.wfile.write(_chunk(answer.body) + _chunk(b"", is_last=True))

    def _send_head(self, status: int, answer: Answer) -> None:
        self.send_response(status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def _strike(self, fault: Fault, answer: Answer) -> None:
        self.close_connection = True
        if fault is Fault.UNAVAILABLE:
            self._send(503, Answer(b"the gateway was told to be away\n"))
        elif fault is Fault.HANG:
            self.server.faults.hang()
        elif fault is Fault.CUT:
            self._send_head(200, answer)
            self.wfile.write(_chunk(answer.body)[: len(answer.body) // 2])
        else:
            self._reset()

    def _reset(self) -> None:
        # To linger for no time means a reset; the files over the socket go first, or it would stay open for them.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.rfile.close()
        self.wfile.close()
        self.connection.close()


def _chunk(body: bytes, *, is_last: bool = False) -> bytes:
    return b"%x\r\n%s\r\n" % (len(body), body) if body or is_last else b""


def _unpacked(encoding: str, body: bytes) -> bytes:
    if encoding in {"", "identity"}:
        return body
    if encoding == "lz4":
        return bytes(lz4.frame.decompress(body))
    if encoding == "gzip":
        return gzip.decompress(body)
    raise RefusedError(f"Code: 48. DB::Exception: the gateway does not unpack {encoding}. (NOT_IMPLEMENTED)")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, engine: Engine, faults: Faults) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.engine, self.faults = engine, faults

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is what some tests are about."""


class Gateway:
    """A context manager: ClickHouse over HTTP, on chDB's data in ``path``, which this process may have open already."""

    def __init__(self, path: str) -> None:
        self.faults = Faults()
        self._engine = Engine(path)
        self._server = _Server(self._engine, self.faults)
        self._thread = threading.Thread(target=self._server.serve_forever, name="clickhouse-http", daemon=True)
        self.port = int(self._server.server_address[1])
        self.dsn = f"clickhouse://{USER}:{PASSWORD}@127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.faults.clear()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._engine.close()
