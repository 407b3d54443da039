"""`lightning-losses dashboard`: what runs have logged, laid out on W&B or in a file."""

from argparse import ArgumentParser, Namespace

WHERE = {
    "publish": "lay out a project's workspace on W&B; the runs of the project compare in it",
    "report": "write one HTML file about one or more runs, for which nobody needs an account",
}


def add_arguments(parser: ArgumentParser) -> None:
    """What the verb takes."""
    where = parser.add_subparsers(dest="where", metavar="publish|report", required=True)
    publish, report = (
        where.add_parser(name, help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.", allow_abbrev=False)
        for name, purpose in WHERE.items()
    )
    publish.add_argument("project", metavar="PROJECT", help="its name; the recipes log to lightning-losses")
    publish.add_argument("--entity", metavar="NAME", help="the user or team that owns it; yourself if left out")
    publish.add_argument(
        "--group-by",
        metavar="KEY",
        action="append",
        default=[],
        help="draw runs that agree in this key, such as model.lr, as one line with its spread; may be repeated",
    )
    for one in (publish, report):
        one.add_argument("--debug", action="store_true", help="show the traceback of an error")
    report.add_argument("runs", metavar="RUN", nargs="+", help="the folder of a run")
    report.add_argument("--out", metavar="FILE", help="what to write; by default report.html in the first run's folder")


def show(given: Namespace) -> int:
    """Make the dashboard, and say where it is."""
    if given.where == "publish":
        from lightning_losses.dashboards.wandb import publish

        print(publish(given.project, given.entity, given.group_by))
    else:
        from lightning_losses.dashboards.report import write

        print(write(given.runs, given.out))
    return 0
