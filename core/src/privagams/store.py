"""Artifacts on disk: one folder per key, complete or not there at all."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from privagams.errors import StageError

MANIFEST = "manifest.json"


class Store:
    """The artifacts of one run folder.

    An artifact is first a hidden `.partial-…` folder, then fsynced and renamed: after a crash it is either whole
    or partial, never damaged. Partial folders are kept only where a stage resumes from them.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, verb: str, key: str) -> Path:
        return self.folder / f"{verb}-{key}"

    def has(self, verb: str, key: str) -> bool:
        return (self.path(verb, key) / MANIFEST).is_file()

    def manifest(self, verb: str, key: str) -> dict[str, Any]:
        return json.loads((self.path(verb, key) / MANIFEST).read_text())

    @contextmanager
    def writing(self, verb: str, key: str, provenance: Mapping[str, Any], resumes: bool) -> Iterator[Path]:
        """Give a folder to write into; on success it becomes the artifact, with a manifest."""
        partial = self.folder / f".partial-{verb}-{key}"
        try:
            if partial.exists() and not resumes:
                shutil.rmtree(partial)
            partial.mkdir(parents=True, exist_ok=True, mode=0o700)
            record: dict[str, Any] = dict(provenance)
            yield partial
            record["files"] = {
                str(path.relative_to(partial)): file_digest(path)
                for path in sorted(partial.rglob("*"))
                if path.is_file() and path.name != MANIFEST
            }
            write_json(partial / MANIFEST, record)
            _sync_tree(partial)
            os.replace(partial, self.path(verb, key))
            _sync_folder(self.folder)
        except OSError as error:
            raise disk_error(error, self.folder) from error

    def damaged(self, verb: str, key: str) -> list[str]:
        """Names of files that are gone or differ from the manifest."""
        folder = self.path(verb, key)
        return [
            name
            for name, digest in self.manifest(verb, key)["files"].items()
            if not (folder / name).is_file() or file_digest(folder / name) != digest
        ]


def disk_error(error: OSError, folder: Path) -> StageError | OSError:
    """Turn what a full or read-only disk raises into a text for the user; leave other errors as they are."""
    if error.errno == errno.ENOSPC:
        return StageError(
            f"{folder}: the disk is full; free some space and run again: finished stages are kept"
        )
    if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        return StageError(
            f"{folder}: not writable ({error.strerror}); make it writable, or choose another with --runs"
        )
    return error


def write_json(path: Path, value: Any) -> None:
    write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a whole file or nothing: temporary name, fsync, rename."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with open(temporary, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def file_digest(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: Any) -> str:
    """Key of a plain value: first 20 hex digits of the SHA-256 of its canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def _sync_tree(folder: Path) -> None:
    for root, _, files in os.walk(folder):
        for name in files:
            with open(os.path.join(root, name), "rb") as file:
                os.fsync(file.fileno())
        _sync_folder(Path(root))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
