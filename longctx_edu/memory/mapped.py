"""The file of a memory: safetensors, laid out before it is filled, mapped when it is read.

Big arrays are tensors, everything else one JSON text in the header; nothing is pickled. A file
is made under a scratch name and moved to its own at the end, so that a half-written one is never
found there. What stands in it, and what that must agree with, is for ``saved``.
"""

import hashlib
import json
import mmap
import os
import shutil
import tempfile
import warnings
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from longctx_edu.errors import MemoryFileError
from longctx_edu.memory.storage import Form

FORMAT = "longctx_edu.memory"
VERSION = 1
SMALL = "text."  # beginning of the names of tensors that are read on opening
_CHECKSUMS = "checksums"  # CRC-32 of every tensor, in the order of the file
_NAMES = {
    torch.int64: "I64",
    torch.float32: "F32",
    torch.int32: "I32",
    torch.float16: "F16",
    torch.int8: "I8",
    torch.uint8: "U8",
}
_DTYPES = {name: dtype for dtype, name in _NAMES.items()}
_LENGTH_BYTES = 8  # of a safetensors file: the header's length, little-endian


class MappedFile:
    """A bank's file in the address space: its tensors are read, or written, in place.

    Attributes:
        path: where it lies.
        about: what its header says.
        tensors: by name; those of a file opened for reading must not be written to.
    """

    def __init__(self, path: Path, about: dict, header: dict, start: int, *, writable: bool):
        self.path, self.about = path, about
        with path.open("r+b" if writable else "rb") as file:
            access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
            self._map = mmap.mmap(file.fileno(), 0, access=access)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*not writable.*")
            whole = torch.frombuffer(self._map, dtype=torch.uint8)
        self.tensors = {}
        for name, entry in header.items():
            begin, end = (start + offset for offset in entry["data_offsets"])
            flat = whole[begin:end].view(_DTYPES[entry["dtype"]])
            self.tensors[name] = flat.view(entry["shape"])

    def let_go(self) -> None:
        """Give the pages that were touched back to the system; the file keeps what they hold."""
        if hasattr(mmap, "MADV_DONTNEED"):  # not on Windows
            self._map.madvise(mmap.MADV_DONTNEED)

    def close(self) -> None:
        """Let go of the file itself, once nobody else has its tensors (Windows moves no other)."""
        self.tensors.clear()
        with suppress(BufferError):
            self._map.close()

    def checksums(self) -> torch.Tensor:
        """Return the CRC-32 of all tensors but the checksums themselves; reads every byte."""
        sums = []
        for name, tensor in self.tensors.items():
            if name != _CHECKSUMS:
                sums.append(zlib.crc32(tensor.flatten().view(torch.uint8).numpy()))
                self.let_go()
        return torch.tensor(sums, dtype=torch.int64)


@contextmanager
def file_in_the_making(
    path: Path, about: dict, forms: Mapping[str, Form], small: Mapping[str, torch.Tensor]
) -> Iterator[MappedFile]:
    """Lend a file with room for tensors; it takes its name when all of them have been filled in.

    Args:
        path: its name then; a saved memory that is there is replaced.
        about: plain data for JSON.
        forms: the tensors that will be written, by name.
        small: those that are known now; names begin with ``text.``.

    Raises:
        MemoryFileError: if it cannot be written, or something else lies there.
    """
    _assert_replaceable(path)
    known = {name: Form(one.dtype, tuple(one.shape)) for name, one in small.items()}
    header = _table({**known, **forms})
    metadata = {"format": FORMAT, "version": str(VERSION), "about": json.dumps(about)}
    metadata["digest"] = _digest(metadata["about"], header, small)
    head = json.dumps({"__metadata__": metadata, **header}).encode()
    head += b" " * (-len(head) % 8)  # so that every tensor begins at a multiple of its item
    start = _LENGTH_BYTES + len(head)
    size = start + _data_bytes(header)
    with _disk_errors(path):
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    scratch, made = Path(name), None
    try:
        with _disk_errors(path), os.fdopen(handle, "wb") as file:
            free = shutil.disk_usage(path.parent).free
            if size > free:
                raise MemoryFileError(
                    f"{path} would have {size / 1e9:.2f} GB, and {free / 1e9:.2f} GB are free on "
                    "that disk; make room, or choose another file or a smaller storage."
                )
            file.write(len(head).to_bytes(_LENGTH_BYTES, "little") + head)
            file.flush()
            # A page of a mapped file that finds the disk full would end the process.
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            file.truncate(size)
        made = MappedFile(scratch, about, header, start, writable=True)
        for name, tensor in small.items():
            made.tensors[name].copy_(tensor)
        yield made
        made.tensors[_CHECKSUMS].copy_(made.checksums())
        made.close()
        with _disk_errors(path):
            os.chmod(scratch, path.stat().st_mode & 0o777 if path.exists() else 0o644)
            os.replace(scratch, path)
    except BaseException:
        if made:
            made.close()
        with suppress(OSError):
            scratch.unlink(missing_ok=True)
        raise


def mapped(path: Path, *, thorough: bool = False) -> MappedFile:
    """Map a saved memory; only its header and the small tensors are read.

    Args:
        thorough: read every byte and compare the checksums.

    Raises:
        MemoryFileError: if there is none, or it is damaged, of another kind or version.
    """
    with _disk_errors(path, "read"):
        size = path.stat().st_size
        header, start = _header(path, size)
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise MemoryFileError(
            f"{path} is no saved memory, or too short for one (a safetensors file of the format "
            f"{FORMAT!r}); give a file that MemoryBank.save wrote, or build the memory again."
        )
    if metadata.get("version") != str(VERSION):
        raise MemoryFileError(
            f"{path} is a memory in version {metadata.get('version')!r} of its format, and this "
            f"program reads version {VERSION}; build the memory again."
        )
    if not _is_laid_out(header):
        raise _damaged(path)
    whole = start + _data_bytes(header)
    if size < whole:
        raise MemoryFileError(
            f"{path} is cut short: it has {size:,} of {whole:,} bytes; copy it again, or build the "
            "memory again."
        )
    with _disk_errors(path, "read"):
        found = MappedFile(path, {}, header, start, writable=False)
    small = {name: one for name, one in found.tensors.items() if name.startswith(SMALL)}
    about = metadata.get("about", "")
    if size > whole or metadata.get("digest") != _digest(about, header, small):
        raise _damaged(path)
    if thorough and not torch.equal(found.checksums(), found.tensors[_CHECKSUMS]):
        raise _damaged(path)
    found.about = json.loads(about)
    return found


def _damaged(path) -> MemoryFileError:
    return MemoryFileError(
        f"{path} is damaged: its parts do not agree; copy it again, or build the memory again."
    )


def _header(path: Path, size: int) -> tuple[dict, int]:
    """Return the header of a safetensors file, empty if it is none, and where its data begin."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        if not 2 <= length <= size - _LENGTH_BYTES:
            return {}, 0
        try:
            header = json.loads(file.read(length))
        except (ValueError, RecursionError):
            return {}, 0
    return header if isinstance(header, dict) else {}, _LENGTH_BYTES + length


def _table(forms: Mapping[str, Form]) -> dict:
    """Return the header's entries; large items come first, so that each lies at a multiple."""
    forms = {**forms, _CHECKSUMS: Form(torch.int64, (len(forms),))}
    table, offset = {}, 0
    for name, form in sorted(forms.items(), key=lambda pair: -pair[1].dtype.itemsize):
        end = offset + form.nbytes
        shape = list(form.shape)
        table[name] = {"dtype": _NAMES[form.dtype], "shape": shape, "data_offsets": [offset, end]}
        offset = end
    return table


def _is_laid_out(header: dict) -> bool:
    """Say whether the entries are what ``_table`` makes of their forms."""
    try:
        forms = {
            name: Form(_DTYPES[entry["dtype"]], tuple(entry["shape"]))
            for name, entry in header.items()
            if name != _CHECKSUMS
        }
        return header == _table(forms)
    except (KeyError, TypeError):
        return False


def _data_bytes(header: dict) -> int:
    return max(entry["data_offsets"][1] for entry in header.values())


def _digest(about: str, header: dict, small: Mapping[str, torch.Tensor]) -> str:
    digest = hashlib.sha256(json.dumps([about, header]).encode())
    for name in sorted(small):
        digest.update(small[name].contiguous().flatten().view(torch.uint8).numpy())
    return digest.hexdigest()


def _assert_replaceable(path: Path) -> None:
    if not path.exists():
        return
    with _disk_errors(path):
        metadata = _header(path, path.stat().st_size)[0].get("__metadata__")
    if not isinstance(metadata, dict) or metadata.get("format") != FORMAT:
        raise MemoryFileError(f"{path} is there already and is no saved memory; name another file.")


@contextmanager
def _disk_errors(path: Path, done: str = "written") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise MemoryFileError(
            f"The memory file {path} cannot be {done} ({error.strerror or error}); check the path, "
            "its folder and what you may do there, or build the memory again."
        ) from error
