"""The command ``advlab``.

A subcommand's parser sets ``run``: a function of the parsed arguments that returns the exit
status. What a command needs is imported when it runs, so that ``advlab --help`` is quick.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from . import __version__
from .course.cli import add_commands
from .photo.cli import add_photo


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command. Returns the exit status: 0 done, 1 checked and found wanting, 2 error."""
    argv = sys.argv[1:] if argv is None else list(argv)
    # Under nbformat, jsonschema would compile a grammar of web addresses, which takes a second and
    # which no notebook is checked for.
    sys.modules.setdefault("rfc3987_syntax", None)
    parser = _parser()
    args = parser.parse_args(argv)
    if not hasattr(args, "run"):
        parser.print_help()
        return 0
    try:
        return args.run(args)
    except (ValueError, OSError, FloatingPointError) as error:
        print(f"advlab: error: {_one_line(error)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("advlab: interrupted", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="advlab",
        description="A course and workshop kit on adversarial examples.",
        epilog="Every command explains itself: advlab COMMAND --help.",
    )
    parser.add_argument("--version", action="version", version=f"advlab {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    _add_zoo(commands)
    _add_data(commands)
    _add_sanity(commands)
    _add_reproduce(commands)
    add_photo(commands)
    add_commands(commands)
    return parser


def _add_zoo(commands) -> None:
    zoo = commands.add_parser(
        "zoo",
        help="List, train and verify the models that come with advlab.",
        description="List, train and verify the models that come with advlab.",
    )
    zoo.set_defaults(run=lambda args: zoo.print_help() or 0)
    actions = zoo.add_subparsers(title="actions", metavar="ACTION")

    text = "List the models with their data, size and accuracy."
    actions.add_parser("list", help=text, description=text).set_defaults(run=_zoo_list)

    text = "Train a model by its recipe, and write its weights and its card into the package."
    train = actions.add_parser("train", help=text, description=text)
    train.add_argument("name", metavar="NAME", help="The model, as 'advlab zoo list' names it.")
    train.add_argument(
        "--device",
        default="cpu",
        help="Where to train: cpu (as the published weights were), cuda, mps, or auto.",
    )
    train.set_defaults(run=_zoo_train)

    text = "Check weights against the hash on the card, and measure the accuracy again."
    verify = actions.add_parser(
        "verify",
        help=text,
        description=f"{text} A model whose data are not on this machine is checked by its hash "
        "alone, and this is said. Nothing is downloaded.",
    )
    verify.add_argument("name", metavar="NAME", nargs="?", help="The model; by default all.")
    verify.set_defaults(run=_zoo_verify)


def _zoo_list(args: argparse.Namespace) -> int:
    from .models import zoo

    rows = [("name", "network", "parameters", "data", "test accuracy")]
    for name, recipe in zoo.recipes().items():
        if name in zoo.names():
            card = zoo.read_card(name)
            size, accuracy = f"{card.parameters:,}", f"{card.accuracy:.2%} of {card.tested_on:,}"
        else:
            size, accuracy = "-", "not trained yet"
        rows.append((name, recipe.build.__name__, size, recipe.data, accuracy))
    _print_table(rows)
    return 0


def _zoo_train(args: argparse.Namespace) -> int:
    from .backend import device
    from .models import zoo

    card = zoo.train(args.name, device=device(args.device))
    after = f"after {card.epochs} epochs " if card.epochs else ""
    print(
        f"{card.name}: {card.accuracy:.2%} of {card.tested_on:,} test {card.unit} of {card.data} "
        f"{after}in {card.seconds:.0f} s; written to {zoo.WEIGHTS}"
    )
    return 0


def _zoo_verify(args: argparse.Namespace) -> int:
    from .models import zoo

    failed = 0
    for name in [args.name] if args.name else zoo.names():
        try:
            print(zoo.verify(name))
        except (ValueError, OSError) as error:
            if args.name:
                raise
            print(f"{name}: FAILED: {_one_line(error)}")
            failed += 1
    return 1 if failed else 0


def _add_data(commands) -> None:
    text = "List the data sets and where they are looked for."
    data = commands.add_parser(
        "data",
        help=text,
        description=f"{text} Set ADVLAB_DATA to another folder to look there. A set that is not "
        "there is downloaded when it is first loaded.",
    )
    data.set_defaults(run=_data)


def _data(args: argparse.Namespace) -> int:
    from .data import NAMES, data_folder, is_there

    rows = [("name", "what", "where", "there?")]
    for name, (what, folder) in NAMES.items():
        where = str(data_folder() / folder) if folder else "-"
        rows.append((name, what, where, "yes" if is_there(name) else "no"))
    rows.append(("folder:PATH", "your own images, one folder a class", "PATH", ""))
    _print_table(rows)
    return 0


def _add_sanity(commands) -> None:
    text = "Ask whether a model is robust, or attacks on it are blind."
    sanity = commands.add_parser(
        "sanity",
        help=text,
        description=f"{text} The exit status is 1 where a check is suspicious.",
    )
    sanity.add_argument(
        "model", metavar="MODEL",
        help="A model of the zoo, or MODULE:NAME: a torch.nn.Module from images (N, C, H, W) in "
        "[0, 1] to logits, or a function that returns one.",
    )  # fmt: skip
    sanity.add_argument(
        "--data", default="mnist5k",
        help="A data set, as 'advlab data' lists them (default: %(default)s).",
    )  # fmt: skip
    sanity.add_argument("--eps", type=float, default=0.3, help="The budget (default: %(default)s).")
    sanity.add_argument("--norm", default="Linf", help="Linf or L2 (default: %(default)s).")
    sanity.add_argument(
        "--images", type=int, default=200,
        help="So many of the first test images (default: %(default)s).",
    )  # fmt: skip
    sanity.add_argument("--device", help="cpu, cuda, mps, or auto (default: the best there is).")
    sanity.set_defaults(run=_sanity)


def _sanity(args: argparse.Namespace) -> int:
    from .backend import device
    from .data import load
    from .evaluation import sanity
    from .models import predict_logits

    if args.images < 1:
        raise ValueError(f"images: expected at least 1, found {args.images}")
    where = device(args.device)
    model = _model(args.model).to(where)
    x, y = load(args.data, device=where).test
    try:  # a crash would end with 1, which says suspicious
        predict_logits(model, x[:1])
    except ValueError:
        raise
    except Exception as error:
        raise ValueError(
            f"model: {args.model!r} fails on images of shape {tuple(x[:1].shape)} from "
            f"{args.data}: {type(error).__name__}: {error}"
        ) from error
    report = sanity(
        model, (x[: args.images], y[: args.images]), eps=args.eps, norm=args.norm, progress=True
    )
    print(report)
    return 0 if report.passed else 1


def _model(name: str):
    """A model of the zoo, or the user's own."""
    from importlib import import_module

    from torch.nn import Module

    from .models import load_model

    module, colon, function = name.partition(":")
    if not colon:
        return load_model(name, "cpu")
    if "" not in sys.path:  # as python -m does: the user's module is in the folder they are in
        sys.path.insert(0, "")
    try:
        made = getattr(import_module(module), function)
        model = made if isinstance(made, Module) or not callable(made) else made()
    except Exception as error:  # whatever the user's own code raises
        why = f"{type(error).__name__}: {error}"
        raise ValueError(f"model: {name!r} cannot be loaded: {why}") from error
    if not isinstance(model, Module):
        raise ValueError(f"model: {name!r} is {type(model).__name__}, not a torch.nn.Module")
    return model.eval()


def _add_reproduce(commands) -> None:
    text = "Make a table of the sources again, with our numbers beside theirs."
    reproduce = commands.add_parser(
        "reproduce",
        help=text,
        description=f"{text} Without a name, list the tables. Each cell is written when it is "
        "done: a run that was stopped goes on where it was.",
    )
    reproduce.add_argument("table", metavar="TABLE", nargs="?", help="The table; by default list.")
    reproduce.add_argument(
        "--to", metavar="FOLDER", default="benchmarks/results",
        help="Where TABLE.json is kept (default: %(default)s).",
    )  # fmt: skip
    reproduce.add_argument("--device", help="cpu, cuda, mps, or auto (default: the best there is).")
    reproduce.add_argument("--fresh", action="store_true", help="Make all cells anew.")
    reproduce.set_defaults(run=_reproduce)


def _reproduce(args: argparse.Namespace) -> int:
    from pathlib import Path

    from .tables import TABLES, reproduce

    if args.table is None:
        _print_table(
            [("table", "source", "what"), *((t.name, t.source, t.what) for t in TABLES.values())]
        )
        return 0
    if args.table not in TABLES:
        raise ValueError(f"table: found {args.table!r}, expected one of {', '.join(TABLES)}")
    table, folder = TABLES[args.table], Path(args.to)
    record = reproduce(table, folder, device=args.device, fresh=args.fresh)
    print(table.show({name: cell["values"] for name, cell in record["cells"].items()}))
    print(f"\nwritten to {folder / table.name}.json")
    return 0


def _print_table(rows: Sequence[Sequence[str]]) -> None:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
