"""Lists the commands: `python -m khasr`."""

import ast
from pathlib import Path


def main() -> None:
    """Prints each command with the first line of its documentation."""
    commands = {
        path.stem: ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        for path in sorted(Path(__file__).parent.glob("*.py"))
        if not path.stem.startswith("_")
    }
    width = max(map(len, commands))
    print("python -m khasr.COMMAND; --help lists the options of a command.\n")
    for name, documentation in commands.items():
        print(f"  {name:{width}}  {documentation.splitlines()[0]}")


if __name__ == "__main__":
    main()
