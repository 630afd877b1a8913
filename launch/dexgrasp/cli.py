"""The `dexgrasp` command. Each subcommand imports what it needs when it runs, so that `--help` answers at once."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from dexgrasp_common.errors import DexgraspError

from dexgrasp.nodes import Arguments


def main(argv: Sequence[str] | None = None) -> int:
    """Run a subcommand; errors are one line on stderr and exit status 1 (2 for a wrong command line)."""
    arguments = build_parser().parse_args(argv)
    try:
        return arguments.run(arguments)
    except KeyboardInterrupt:
        print("dexgrasp: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (DexgraspError, OSError, ValueError, ImportError) as error:
        print(f"dexgrasp {arguments.command}: {_one_line(error)}", file=sys.stderr)
        return 1


def build_parser() -> argparse.ArgumentParser:
    """The whole command line."""
    parser = argparse.ArgumentParser(prog="dexgrasp", description="Clear a table with a dexterous hand.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_bringup(commands)
    _add_generate(commands)
    _add_clear_table(commands)
    _add_demo(commands)
    _add_doctor(commands)
    return parser


def _add_bringup(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "bringup",
        help="start every node; Ctrl-C stops them",
        description="Start every node. Ctrl-C or SIGTERM stops them all; a node that ends by itself ends the rest.",
    )
    add_bringup_arguments(parser)
    parser.set_defaults(run=_run_bringup)


def add_bringup_arguments(parser: argparse.ArgumentParser) -> None:
    """One option per field of `Arguments`."""
    for item in fields(Arguments):
        option = "--" + item.name.replace("_", "-")
        text = f"{item.metadata['help']} (default: {str(item.default).lower() or 'none'})"
        if isinstance(item.default, bool):
            parser.add_argument(option, action=argparse.BooleanOptionalAction, default=item.default, help=text)
        else:
            parser.add_argument(option, default=item.default, metavar="X", help=text)


def bringup_arguments(parsed: argparse.Namespace) -> Arguments:
    """The fields of `Arguments` out of a parsed command line; what it does not offer stays at its default."""
    return Arguments(**{item.name: getattr(parsed, item.name, item.default) for item in fields(Arguments)})


def _run_bringup(parsed: argparse.Namespace) -> int:
    from dexgrasp.bringup import run

    return run(bringup_arguments(parsed))


def _add_generate(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "generate",
        help="propose grasps, on a running bringup or on a depth image",
        description="Without --depth: one GenerateGrasp goal on a running bringup. With --depth: offline, without ROS.",
    )
    image = parser.add_argument_group("offline")
    image.add_argument("--depth", type=Path, metavar="PNG", help="16-bit depth image; 0 is invalid")
    image.add_argument("--intrinsics", type=Path, metavar="FILE", help="3x3 matrix as text, or JSON with fx fy cx cy")
    image.add_argument("--depth-unit", type=float, default=0.001, metavar="M", help="metres per count (default: 0.001)")
    image.add_argument("--color", type=Path, metavar="PNG", help="aligned colour image, for the picture only")
    image.add_argument(
        "--heat-map", type=Path, metavar="PNG", help="write the image with predicted graspness (a learned generator's)"
    )
    image.add_argument(
        "--restoration", default="classical", metavar="NAME", help="depth restoration (default: classical)"
    )
    image.add_argument("--hand", default="leap_right", metavar="NAME", help="hand description (default: leap_right)")
    parser.add_argument(
        "--generator", default="", metavar="NAME", help="grasp generator (default: the registry's or node's)"
    )
    parser.add_argument(
        "--max-grasps", type=int, default=0, metavar="N", help="at most this many (default: the generator's)"
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    parser.add_argument("--timeout", type=float, default=60.0, metavar="S", help="of the action call [s] (default: 60)")
    _add_outputs(parser)
    parser.set_defaults(run=_run_generate)


def _run_generate(parsed: argparse.Namespace) -> int:
    if parsed.depth is not None:
        if parsed.intrinsics is None:
            raise ValueError("--depth needs --intrinsics.")
        from dexgrasp.offline import run
    else:
        if parsed.heat_map is not None:
            raise ValueError("--heat-map needs --depth.")
        from dexgrasp.live import run_generate as run
    return run(parsed)


def _add_clear_table(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("clear-table", help="clear the table of a running bringup; Ctrl-C cancels")
    _add_clear_options(parser)
    _add_outputs(parser, picture=False)
    parser.set_defaults(run=_run_clear_table)


def _add_clear_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=int, default=0, help="random seed (default: 0)")
    parser.add_argument("--max-attempts", type=int, default=0, metavar="N", help="0: no limit (default)")
    parser.add_argument("--max-consecutive-failures", type=int, default=0, metavar="N", help="0: two, the papers' rule")
    parser.add_argument(
        "--timeout", type=float, default=600.0, metavar="S", help="of the whole clearing [s] (default: 600)"
    )


def _run_clear_table(parsed: argparse.Namespace) -> int:
    from dexgrasp.live import run_clear_table

    return run_clear_table(parsed)


def _add_demo(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser(
        "demo",
        help="the simulated robot clears a table, from start to shutdown",
        description="Bringup in simulation, a new scene, clear-table, shutdown.",
    )
    parser.add_argument("--objects", type=int, default=5, metavar="N", help="objects on the table (default: 5)")
    _add_clear_options(parser)
    for name in ("generator", "restoration", "cell", "robot_ip", "hand_port", "params_file", "log_level"):
        item = next(item for item in fields(Arguments) if item.name == name)
        parser.add_argument(
            "--" + name.replace("_", "-"), default=item.default, metavar="X", help=item.metadata["help"]
        )
    parser.add_argument(
        "--log", type=Path, metavar="FILE", help="where the nodes' logs go (default: beside the report)"
    )
    _add_outputs(parser)
    parser.set_defaults(run=_run_demo)


def _run_demo(parsed: argparse.Namespace) -> int:
    from dexgrasp.demo import run

    return run(parsed, bringup_arguments(parsed))


def _add_doctor(commands: argparse._SubParsersAction) -> None:
    parser = commands.add_parser("doctor", help="what is available here, and how to get what is not")
    _add_outputs(parser, picture=False)
    parser.set_defaults(run=_run_doctor)


def _run_doctor(parsed: argparse.Namespace) -> int:
    from dexgrasp.doctor import run

    return run(parsed)


def _add_outputs(parser: argparse.ArgumentParser, picture: bool = True) -> None:
    parser.add_argument("--report", type=Path, metavar="JSON", help="write the figures to this file")
    if picture:
        parser.add_argument("--picture", type=Path, metavar="PNG", help="write a picture to this file")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
