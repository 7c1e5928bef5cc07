"""Where the secrets and the account of a data set lie on this machine, apart from every run."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from pathlib import Path

from privagams.errors import ConfigError, LedgerError

HOME_VARIABLE = "PRIVAGAMS_HOME"
LEDGER_FILE = "ledger.jsonl"
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.IGNORECASE)
_SECRET_BYTES = 32
PSEUDONYM_DIGITS = 16


def home() -> Path:
    """Folder of all data sets: `PRIVAGAMS_HOME`, else the user's data folder."""
    stated = os.environ.get(HOME_VARIABLE)
    if stated:
        return Path(stated).expanduser().resolve()
    import platformdirs

    return Path(platformdirs.user_data_dir("privagams"))


def dataset_folder(dataset: str) -> Path:
    """Folder of one data set's key, salt and ledger. Nothing is created by asking."""
    if not _NAME.fullmatch(dataset) or dataset.endswith("."):
        raise ConfigError(
            "source.dataset: expected letters, digits, '.', '_' and '-', at most 64, the first a letter or "
            f"digit, found {dataset!r}; rename the data set"
        )
    return home() / dataset


def key(folder: Path) -> bytes:
    """The secret behind a data set's pseudonyms, 32 bytes; made on first use.

    Guarantee: it is never made anew beside a ledger, where new pseudonyms would turn patients who have spent
    privacy into patients who have not (`test_a_lost_key_is_not_replaced_beside_a_ledger`).
    """
    return _secret(folder, "key")


def salt(folder: Path) -> bytes:
    """The secret behind a data set's split and choice of tiles, 32 bytes; made on first use.

    Like the key it is never made anew beside a ledger: another salt would train on those who were to be
    non-members.
    """
    return _secret(folder, "salt")


def pseudonym(key: bytes, kind: str, text: str) -> str:
    """Keyed pseudonym of a patient, slide or image: 16 hex digits, equal for equal (key, kind, text) only."""
    message = f"{kind}\0{text}".encode()
    return hmac.new(key, message, hashlib.sha256).hexdigest()[:PSEUDONYM_DIGITS]


def fingerprint(key: bytes) -> str:
    """What the ledger remembers of the key, to notice another one; tells nothing about the key itself."""
    return pseudonym(key, "fingerprint", "")


def make_private_folder(folder: Path) -> None:
    """Create `folder` for its owner only."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if os.name == "posix" and folder.stat().st_mode & 0o077:
        folder.chmod(0o700)


def _secret(folder: Path, name: str) -> bytes:
    path = folder / name
    if not path.exists():
        _create_secret(path)
    value = path.read_bytes()
    if len(value) != _SECRET_BYTES:
        raise LedgerError(
            f"{path}: expected {_SECRET_BYTES} bytes, found {len(value)}; restore it from a backup"
        )
    return value


def _create_secret(path: Path) -> None:
    make_private_folder(path.parent)
    if (path.parent / LEDGER_FILE).exists():
        raise LedgerError(
            f"{path}: missing, though a ledger lies beside it, so patients who have spent privacy could no "
            "longer be recognised; restore the file from a backup"
        )
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(_SECRET_BYTES))
        file.flush()
        os.fsync(file.fileno())
    try:
        # A link fails where another process was first; a rename would give the two different secrets.
        os.link(temporary, path)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
