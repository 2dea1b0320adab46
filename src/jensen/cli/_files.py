"""Files that a command is asked to write, refused before the work rather than after it."""

from __future__ import annotations

from pathlib import Path

import typer


def check_target(value: Path | None) -> Path | None:
    """Refuse a file that could not be written: in a folder that does not exist, or itself a folder."""
    if value is None:
        return None
    if not value.absolute().parent.is_dir():
        raise typer.BadParameter(f"the folder {value.absolute().parent} does not exist")
    if value.is_dir():
        raise typer.BadParameter(f"{value} is a folder; name a file in it")
    return value


def check_picture(value: Path | None) -> Path | None:
    """Refuse a picture that could not be written."""
    if value is not None:
        from jensen.plot import check_suffix

        check_suffix(value)
    return check_target(value)


def check_spared(target: Path | None, option: str, others: dict[str, Path | None]) -> None:
    """Refuse to write over a file that the command reads, or writes for another option.

    Raises
    ------
    typer.BadParameter
        If two of the names mean one file.
    """
    for name, other in others.items():
        if target is not None and other is not None and target.resolve() == other.resolve():
            raise typer.BadParameter(
                f"{target} is the {name} too; choose another name", param_hint=f"'{option}'"
            )
