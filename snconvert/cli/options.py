"""The options of the commands, each with its flag, its help and its type."""

from __future__ import annotations

from typing import Annotated

import typer

from snconvert.core.settings import MODES, NORMS
from snconvert.core.targets import TARGETS
from snconvert.kinds.kernel_rule import KINDS

Models = Annotated[
    list[str],
    typer.Argument(metavar="MODEL...", help="Files, folders or globs.", show_default=False),
]
Output = Annotated[
    str | None,
    typer.Option(
        "-o", "--output", metavar="PATH", help="Default: MODEL with -sn before the suffix."
    ),
]
Conv = Annotated[bool, typer.Option("--conv", help="Convolutions too.")]
Kinds = Annotated[
    str | None,
    typer.Option(metavar="LIST|all", help=f"Of {', '.join(KINDS)}."),
]
Only = Annotated[
    list[str] | None,
    typer.Option(metavar="PATTERN", help="Only layers whose path matches (glob, or re:REGEX)."),
]
Exclude = Annotated[
    list[str] | None, typer.Option(metavar="PATTERN", help="Leave these layers as they are.")
]
Target = Annotated[str | None, typer.Option(metavar="|".join(TARGETS))]
Mode = Annotated[str | None, typer.Option(metavar="|".join(MODES))]
Bound = Annotated[float | None, typer.Option(metavar="C", help="The norm to set or allow.")]
Iterations = Annotated[
    int | None, typer.Option("--power-iterations", metavar="N", help="Rounds per training step.")
]
Norm = Annotated[str | None, typer.Option(metavar="|".join(NORMS))]
RecipeFile = Annotated[
    str | None, typer.Option("--recipe", metavar="FILE.toml", help="Options from a file.")
]
Import = Annotated[
    list[str] | None,
    typer.Option("--import", metavar="MODULE", help="Registers the file's custom classes."),
]
Config = Annotated[
    str | None,
    typer.Option(
        metavar="FILE.json",
        help="The configuration of a model whose weights only are in MODEL: model.to_json(), or"
        " config.json.",
    ),
]
Certify = Annotated[
    bool, typer.Option("--certify", help="Prove each sigma in float64; takes several times longer.")
]
Html = Annotated[
    str | None,
    typer.Option("--html", metavar="REPORT.html", help="The report as a page, too."),
]
NoSigma = Annotated[
    bool, typer.Option("--no-sigma", help="Read no kernel: classes and shapes only, at once.")
]
Spectrum = Annotated[
    bool, typer.Option("--spectrum", help="The singular values of every kernel: rank, condition.")
]
Lipschitz = Annotated[
    bool, typer.Option("--lipschitz", help="A certified Lipschitz bound of the whole network.")
]
Budget = Annotated[
    float | None,
    typer.Option(
        "--lipschitz",
        metavar="K",
        help="Choose the bounds so that the network's certified Lipschitz bound is at most K.",
    ),
]
Samples = Annotated[
    int | None,
    typer.Option(
        metavar="N",
        min=1,
        help="With --lipschitz: look for a lower bound at N points, with Keras.",
    ),
]
Jobs = Annotated[int, typer.Option("--jobs", metavar="N", min=1, help="Models worked on at once.")]
Json = Annotated[bool, typer.Option("--json", help="Machine-readable result on stdout.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print errors only.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="List every layer.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the plan, write nothing.")]
InPlace = Annotated[bool, typer.Option("--in-place", help="Replace MODEL itself.")]
Force = Annotated[bool, typer.Option("--force", help="Replace an existing OUT.")]
WayBack = Annotated[
    str | None, typer.Option("-o", "--output", metavar="PATH", help="Default: see above.")
]
