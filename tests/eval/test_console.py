"""Tables in a terminal show what they are given."""

import io

from rich.console import Console

from eval.console import number_table


def test_brackets_in_names_are_text():
    console = Console(file=io.StringIO(), width=100)
    rows = [["CosyVoice2[zh]", "1 [0.5, 2]"], ["[/bold] [red]x", "2"]]
    console.print(number_table("[hifi] run", ["system", "WER % [95 % CI]"], rows))
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for part in ("[hifi] run", "CosyVoice2[zh]", "[/bold] [red]x", "1 [0.5, 2]", "[95 % CI]"):
        assert part in text, (part, text)
