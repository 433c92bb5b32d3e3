"""`key=value` command lines of the corpus tools, in the style of the two entry files."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager


def parse_arguments(
    usage: str | None, required: tuple[str, ...], optional: tuple[str, ...] = ()
) -> dict[str, str]:
    """sys.argv as a dict. Exits with `usage` and the key at fault on an unknown or missing key."""
    options: dict[str, str] = {}
    for argument in sys.argv[1:]:
        key, equals, value = argument.partition("=")
        if not equals or key not in required + optional:
            sys.exit(f"unknown argument {argument!r}\n\n{usage}")
        options[key] = value
    if missing := [key for key in required if key not in options]:
        sys.exit(f"missing argument {missing[0]}=...\n\n{usage}")
    return options


@contextmanager
def clear_errors() -> Iterator[None]:
    """Ends a command with one line for what a user can act on: a file that is missing, damaged, or too large
    for the disk, a setting without meaning."""
    try:
        yield
    except (OSError, ValueError) as error:
        sys.exit(f"error: {error}")
