"""What a training prints."""

from lightning.pytorch.utilities import rank_zero_only


@rank_zero_only
def say(line: str) -> None:
    """Prints once, however many ranks there are."""
    print(line, flush=True)
