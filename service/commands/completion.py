"""`completion`: a script that completes the commands and their options in a shell."""

from __future__ import annotations

import argparse

SHELLS = ("bash", "zsh", "fish")
EXAMPLES = """
examples:
  cascade completion bash > ~/.local/share/bash-completion/completions/cascade
  cascade completion zsh > ~/.zfunc/_cascade     # a folder in fpath
  cascade completion fish > ~/.config/fish/completions/cascade.fish
"""


def configure(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "Print a script that completes the commands and their options in a shell."
    parser.epilog = EXAMPLES
    parser.add_argument("shell", choices=SHELLS, help="the shell to print the script for")


def script(parser: argparse.ArgumentParser, shell: str) -> str:
    """The script for a shell. `parser` has every command with all of its options."""
    import shtab

    by_metavar = {"FILE": shtab.FILE, "DIR": shtab.DIRECTORY}
    for each in _parsers(parser):
        for action in each._actions:
            if action.metavar in by_metavar:
                action.complete = by_metavar[action.metavar]  # type: ignore[attr-defined]
    generated: str = shtab.complete(parser, shell)
    return generated


def _parsers(parser: argparse.ArgumentParser) -> list[argparse.ArgumentParser]:
    subparsers = [each for each in parser._actions if isinstance(each, argparse._SubParsersAction)]
    return [parser, *(command for each in subparsers for command in each.choices.values())]
