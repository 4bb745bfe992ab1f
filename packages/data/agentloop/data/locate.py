"""Which files a file source means."""

from __future__ import annotations

from pathlib import Path

from agentloop.contracts.errors import EmptySource, SourceNotFound, SourceUnreadable
from agentloop.contracts.spec import FileSource

EXTENSIONS = {
    "csv": (".csv", ".tsv"),
    "jsonl": (".jsonl", ".ndjson", ".json"),
    "parquet": (".parquet", ".pq"),
}
_MAGIC = frozenset("*?[")


def locate_files(source: FileSource, base_dir: Path) -> tuple[Path, ...]:
    """The files of a file, folder (all depths) or glob source, sorted by path.

    Raises SourceNotFound where nothing is there, EmptySource for a folder without files of the
    kind, SourceUnreadable where a link leads out of the folder.
    """
    path = base_dir / source.path
    if path.is_file():
        return (path,)
    if path.is_dir():
        files = [p for p in path.rglob("*") if p.suffix.lower() in EXTENSIONS[source.kind]]
        return _checked(path, files, source)
    if _MAGIC & set(source.path):
        root, pattern = _split_glob(path)
        return _checked(root, list(root.glob(pattern)), source)
    raise SourceNotFound(source.path)


def _split_glob(path: Path) -> tuple[Path, str]:
    """The longest folder without wildcards, and the pattern below it."""
    parts = path.parts
    first = next(i for i, part in enumerate(parts) if _MAGIC & set(part))
    return Path(*parts[:first]), str(Path(*parts[first:]))


def _checked(root: Path, found: list[Path], source: FileSource) -> tuple[Path, ...]:
    files = sorted(p for p in found if p.is_file() and not _hidden(p.relative_to(root)))
    if not files:
        if root.is_dir() and not _MAGIC & set(source.path):
            known = ", ".join(EXTENSIONS[source.kind])
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
    return tuple(files)


def _hidden(relative: Path) -> bool:
    return any(part.startswith(".") for part in relative.parts)
