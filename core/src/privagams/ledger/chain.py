"""How a ledger lies on disk: JSON lines, each sealed by a hash over itself and the line before it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from attrs import frozen
from filelock import FileLock, Timeout

from privagams.errors import LedgerError, StageError
from privagams.home import make_private_folder

_OPENING, _MIDDLE, _CLOSING = b'{"hash":"', b'","record":', b"}"
_HASH_DIGITS = 64
_BODY = len(_OPENING) + _HASH_DIGITS + len(_MIDDLE)
_PATIENCE_SECONDS = 120


@frozen
class Head:
    """How far a chain had grown when somebody looked: number of records, and the hash of the last."""

    seq: int
    hash: str

    def __str__(self) -> str:
        return f"{self.seq}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> Head:
        """Read what `str` wrote; raises `ValueError`."""
        seq, _, digest = text.partition(":")
        if not seq.isdecimal() or len(digest) != _HASH_DIGITS:
            raise ValueError(f"expected a ledger's head as NUMBER:HASH, found {text!r}")
        return cls(int(seq), digest)


START = Head(0, "0" * _HASH_DIGITS)


@frozen(eq=False)
class Chain:
    """The records that were read, all hashes verified."""

    records: Sequence[Mapping[str, Any]]
    hashes: Sequence[str]
    size: int
    """Bytes up to the end of the last whole record."""
    torn: int
    """Bytes after it that a killed process left of a line that it never finished."""

    @property
    def head(self) -> Head:
        return Head(len(self.hashes), self.hashes[-1]) if self.hashes else START

    def extends(self, head: Head) -> bool:
        """Whether this chain holds all that was in it at `head`."""
        if head.seq > len(self.hashes):
            return False
        return head == START or (head.seq > 0 and self.hashes[head.seq - 1] == head.hash)


def read_chain(path: Path) -> Chain:
    """Read and verify a chain; a missing file is an empty one.

    The last line may lack its end: a process was killed, or the power went, in the middle of an append.
    Whoever appended had not been told that it was done, so nothing ran on the strength of that record, and it
    is left out. If it is there but for the newline it counts: that can only say too much. Any other damage
    raises `LedgerError`. So does, through the heads that others keep, a torn line that somebody did act upon.

    Guarantee: every change of a byte is refused or adds to what was spent
    (`test_no_changed_byte_makes_the_ledger_show_less`).
    """
    content = path.read_bytes() if path.exists() else b""
    *lines, rest = content.split(b"\n")
    records: list[Mapping[str, Any]] = []
    hashes: list[str] = []
    previous = START.hash
    if rest and _is_whole_json(rest):
        lines, rest = [*lines, rest], b""
    for number, line in enumerate(lines, 1):
        if not _is_sealed(line, previous):
            raise LedgerError(
                f"{path}, line {number}: expected a record that continues the line before it, found a "
                "changed or foreign one, or a gap; restore the ledger from a backup as new as the newest run"
            )
        previous = line[len(_OPENING) : len(_OPENING) + _HASH_DIGITS].decode()
        records.append(json.loads(line[_BODY : -len(_CLOSING)]))
        hashes.append(previous)
    return Chain(records, hashes, len(content) - len(rest), len(rest))


def append_records(path: Path, chain: Chain, records: Sequence[Mapping[str, Any]]) -> Head:
    """Append to the chain as just read under the lock; the records are on disk when this returns."""
    previous, lines = chain.head.hash, []
    for record in records:
        body = json.dumps(record, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
        previous = _seal(previous, body)
        lines.append(_OPENING + previous.encode() + _MIDDLE + body + _CLOSING + b"\n")
    try:
        _append(path, chain, b"".join(lines))
    except OSError as error:
        raise StageError(
            f"{path}: the ledger could not be written ({error.strerror}), so nothing was run; make room or "
            "make it writable, and run again"
        ) from error
    return Head(chain.head.seq + len(records), previous)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock. The system releases it when a process dies, however it dies."""
    make_private_folder(folder)
    lock = FileLock(folder / "ledger.lock", timeout=_PATIENCE_SECONDS, mode=0o600)
    try:
        lock.acquire()
    except Timeout as error:
        raise LedgerError(
            f"{folder}: another process has held the ledger for {_PATIENCE_SECONDS} s; end it, and run again"
        ) from error
    try:
        yield
    finally:
        lock.release()


def write_durably(path: Path, text: str) -> None:
    """Replace a small file as a whole; it is on disk under its name when this returns."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StageError(
            f"{path}: could not be written ({error.strerror}); make room or make it writable, and run again"
        ) from error


def _seal(previous: str, body: bytes) -> str:
    return hashlib.sha256(previous.encode() + body).hexdigest()


def _is_sealed(line: bytes, previous: str) -> bool:
    body = line[_BODY : -len(_CLOSING)]
    return line == _OPENING + _seal(previous, body).encode() + _MIDDLE + body + _CLOSING


def _is_whole_json(rest: bytes) -> bool:
    """Whether a JSON value ends in here: then the line was written whole, its newline lost or changed."""
    try:
        json.JSONDecoder().raw_decode(rest.decode(errors="replace"))
    except ValueError:
        return False
    return True


def _append(path: Path, chain: Chain, content: bytes) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        os.ftruncate(descriptor, chain.size)
        if chain.size and os.pread(descriptor, 1, chain.size - 1) != b"\n":
            content = b"\n" + content
        os.lseek(descriptor, chain.size, os.SEEK_SET)
        while content:
            content = content[os.write(descriptor, content) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if os.name != "posix":
        return  # elsewhere a folder cannot be opened, and the rename is durable by itself
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
