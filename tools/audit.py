"""Known vulnerabilities of everything that is installed, and a bill of materials. `make audit`.

<audit environment>/bin/python tools/audit.py python=<interpreter to look at> out=<folder>

Writes <out>/sbom.json (CycloneDX, every installed package with version, licence and address) and
<out>/audit.json (what pip-audit says). Exits with 1 for a known vulnerability, and where the database could not
be asked, as without a network or behind a mirror of packages alone: nothing is known then, which is no "clean".
The bill of materials needs no network. Standard library only: it runs beside pip-audit, without our packages.
"""

import json
import subprocess
import sys
from pathlib import Path

TOOLS = Path(sys.executable).parent
OWN = "mamtra"  # what no database knows
SHOWN = 10


def write_sbom(python: Path, out: Path) -> int:
    """The number of components. Raises CalledProcessError where cyclonedx-py fails."""
    path, project = out / "sbom.json", Path("pyproject.toml")
    command = [str(TOOLS / "cyclonedx-py"), "environment", str(python), "--output-reproducible"]
    subprocess.run([*command, "--pyproject", str(project), "-o", str(path)], check=True)
    return len(json.loads(path.read_text())["components"])


def installed_in(python: Path) -> str:
    """The folder of its packages."""
    ask = "import sysconfig; print(sysconfig.get_paths()['purelib'])"
    return subprocess.check_output([str(python), "-c", ask], text=True).strip()


def ask_database(python: Path) -> tuple[str, str]:
    """What pip-audit printed, as JSON and as its messages."""
    options = ("--format", "json", "--progress-spinner", "off", "--path", installed_in(python))
    command = [str(TOOLS / "pip-audit"), *options]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout, done.stderr


def verdict(printed: str, said: str) -> list[str]:
    """Why the audit failed, [] when every package was asked about and none is vulnerable."""
    try:
        found = json.loads(printed)["dependencies"]
    except (ValueError, KeyError):
        reason = said.strip().splitlines()[-1:] or ["no answer"]
        return [f"the database of vulnerabilities could not be asked: {reason[0]}"]
    wrong = [
        f"{one['name']} {one['version']}: {flaw['id']}, "
        f"fixed in {', '.join(flaw['fix_versions']) or 'no version'}"
        for one in found
        for flaw in one.get("vulns", ())
    ]
    unknown = [one["name"] for one in found if "skip_reason" in one and one["name"] != OWN]
    if unknown:
        some = ", ".join(unknown[:SHOWN]) + (", ..." if len(unknown) > SHOWN else "")
        wrong.append(
            f"nothing is known of {len(unknown)} of {len(found)} packages ({some}): the database was not "
            "reached, or a mirror answered that has no vulnerabilities. Run it where pypi.org is reached"
        )
    return wrong


def main(arguments: list[str]) -> int:
    given = dict(argument.split("=", 1) for argument in arguments)
    python, out = Path(given["python"]), Path(given["out"])
    out.mkdir(parents=True, exist_ok=True)
    print(f"{write_sbom(python, out)} components -> {out / 'sbom.json'}", flush=True)
    printed, said = ask_database(python)
    (out / "audit.json").write_text(printed)
    wrong = verdict(printed, said)
    for line in wrong:
        print(f"error: {line}", file=sys.stderr)
    if not wrong:
        print(f"no known vulnerability -> {out / 'audit.json'}")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
