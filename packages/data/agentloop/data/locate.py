"""Which files a file source means."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote

from agentloop.contracts.errors import EmptySource, SourceNotFound, SourceUnreadable
from agentloop.contracts.spec_data import FileSource
from agentloop.data.source_file import LocalFile, SourceFile

EXTENSIONS = {
    "csv": (".csv", ".tsv", ".csv.gz", ".tsv.gz"),
    "jsonl": (".jsonl", ".ndjson", ".json", ".jsonl.gz", ".ndjson.gz", ".json.gz"),
    "parquet": (".parquet", ".pq"),
    "idx": ("-ubyte", "-ubyte.gz", ".idx", ".idx.gz"),
}
NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
_MAGIC = frozenset("*?[")


def is_remote(path: str) -> bool:
    return path.startswith("s3://")


def locate_files(source: FileSource, base_dir: Path) -> tuple[SourceFile, ...]:
    """The files of a file, folder (all depths), glob or S3 source, sorted by path.

    Raises SourceNotFound where nothing is there, EmptySource for a folder without files of the
    kind, SourceUnreadable where a link leads out of the folder, and what S3 raises.
    """
    if is_remote(source.path):
        from agentloop.data.s3_files import list_s3

        return list_s3(source)
    if "://" in source.path:
        raise SourceUnreadable(
            source.path,
            "it is no path, and of addresses only s3://bucket/… is read",
            next_step="download it first, or read it in a callable source",
        )
    path = base_dir / source.path
    try:
        if path.is_file():
            return (LocalFile(path, path.name, source.path),)
        if path.is_dir():
            known = EXTENSIONS[_kind(source)]
            files = [p for p in path.rglob("*") if p.name.lower().endswith(known)]
            return _checked(path, files, source)
        if _MAGIC & set(source.path):
            root, pattern = _split_glob(path)
            return _checked(root, list(root.glob(pattern)), source)
    except (OSError, ValueError) as error:  # ValueError: a path with a NUL, a pattern of none
        reason = getattr(error, "strerror", None) or str(error)
        raise SourceUnreadable(source.path, reason) from None
    raise SourceNotFound(source.path)


def folder_keys(file: SourceFile) -> dict[str, str | None]:
    """The columns that the folders ``key=value`` above a file stand for."""
    keys: dict[str, str | None] = {}
    for part in file.below.split("/")[:-1]:
        key, equals, value = part.partition("=")
        if key and equals:
            keys[unquote(key)] = None if value == NO_VALUE else unquote(value)
    return keys


def _kind(source: FileSource) -> str:
    return str(getattr(source, "kind", "csv"))


def _split_glob(path: Path) -> tuple[Path, str]:
    """The longest folder without wildcards, and the pattern below it."""
    parts = path.parts
    first = next(i for i, part in enumerate(parts) if _MAGIC & set(part))
    return Path(*parts[:first]), str(Path(*parts[first:]))


def _checked(root: Path, found: list[Path], source: FileSource) -> tuple[SourceFile, ...]:
    files = sorted(p for p in found if p.is_file() and not _hidden(p.relative_to(root)))
    if not files:
        if root.is_dir() and not _MAGIC & set(source.path):
            known = ", ".join(EXTENSIONS[_kind(source)])
            raise EmptySource(source.path, next_step=f"put files named {known} into the folder")
        raise SourceNotFound(source.path)
    inside = root.resolve()
    for file in files:
        if not file.resolve().is_relative_to(inside):
            name = file.relative_to(root)
            raise SourceUnreadable(
                source.path,
                f"{name} is a symbolic link that leads out of the folder",
                next_step="copy that file into the folder, or name it as the source",
            )
    return tuple(_located(file, root, source) for file in files)


def _located(file: Path, root: Path, source: FileSource) -> LocalFile:
    below = file.relative_to(root).as_posix()
    shown = source.path if file.name in source.path else f"{source.path} ({below})"
    return LocalFile(file, below, shown)


def _hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)
