"""`dexgrasp-train`: from meshes to a training set, stage by stage; to a checkpoint; and to what it is worth."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dexgrasp_common.errors import DexgraspError
from dexgrasp_common.report import write_report
from rich.console import Console
from rich.table import Table

from dexgrasp_description import load_hand
from dexgrasp_training.dataset import Dataset
from dexgrasp_training.errors import SettingsError
from dexgrasp_training.pipeline import STAGES, Run, import_meshes, run_elsewhere, run_objects, sole_writer
from dexgrasp_training.settings import Settings, from_dict, load_settings
from dexgrasp_training.stages.objects import UNITS, MeshFolder
from dexgrasp_training.starter import pack, shipped_path, unpack
from dexgrasp_training.work import WORK_BACKENDS, Workers

_ABOUT = {
    "objects": "procedural objects, and the meshes of --meshes folders",
    "grasps": "candidates by every method, as many as the valid grasps still fall short",
    "filter": "test candidates: held against gravity from six sides",
    "scenes": "objects settled on a table, and the grasps that are clear there",
    "views": "depth images and object ids from many cameras",
    "labels": "graspness of every view",
    "make": "all stages; goes on where it was stopped",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of `dexgrasp-train`."""
    parser = _parser()
    options = parser.parse_args(arguments)
    console = Console()
    try:
        return int(options.run(options, console) or 0)
    except DexgraspError as error:
        Console(stderr=True).print(f"[red]error:[/] {error}", highlight=False, soft_wrap=True)
        return 1
    except KeyboardInterrupt:
        Console(stderr=True).print("Stopped. The same command goes on from here.")
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="dexgrasp-train", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for stage, about in _ABOUT.items():
        command = commands.add_parser(stage, help=about, description=f"{about[0].upper()}{about[1:]}.")
        _add_stage_arguments(command)
        if stage in ("objects", "make"):
            _add_meshes(command)
        command.set_defaults(run=_run_stage, stage=stage)
    starter = commands.add_parser(
        "starter", help="the starter set's objects with the grasps that ship here: go on with scenes"
    )
    _add_stage_arguments(starter)
    _add_meshes(starter)
    starter.set_defaults(run=_starter)
    pack = commands.add_parser("pack", help="write the grasps on procedural objects into one file, as they ship")
    pack.add_argument("--on", choices=("family", "mesh"), default="family", help="procedural objects, or meshes")
    pack.add_argument("dataset", type=Path)
    pack.add_argument("target", type=Path, help="file to write")
    pack.add_argument("--most", type=int, default=3000, help="grasps of one object at most")
    pack.set_defaults(run=_pack)
    _add_exchange(commands)
    report = commands.add_parser("report", help="a page with yields, pictures and statistics of a dataset")
    report.add_argument("dataset", type=Path)
    report.add_argument("--hand", help="whose grasps; by default the dataset's")
    report.add_argument("--folder", type=Path, help="where the page goes; by default `report` in the dataset")
    report.set_defaults(run=_report)
    measure = commands.add_parser("bench", help="how fast this machine makes grasps, scenes, views and labels")
    measure.add_argument("--meshes", type=Path, help="folder with scanned meshes, measured beside the primitives")
    measure.add_argument("--jobs", type=int, default=0, help="processes at once; by default one a core")
    measure.add_argument("--report", type=Path, help="JSON file to write")
    measure.set_defaults(run=_bench)
    _add_fit(commands)
    _add_expand(commands)
    _add_score(commands)
    _add_evaluate(commands)
    _add_evaluate_objects(commands)
    checkpoint = commands.add_parser("import-checkpoint", help="a checkpoint that DexGraspNet 2.0 released, as ours")
    checkpoint.add_argument("source", type=Path, help="ckpt_50000.pth")
    checkpoint.add_argument("target", type=Path, help="folder to write")
    checkpoint.set_defaults(run=_import_checkpoint)
    show = commands.add_parser("show", help="what a dataset holds")
    show.add_argument("dataset", type=Path)
    show.set_defaults(run=_show)
    return parser


def _add_fit(commands: Any) -> None:
    """`fit` and `fit-objects`."""
    about = "train the generator for clutter on a dataset's views; goes on where it was stopped"
    views = commands.add_parser("fit", help=about)
    about = "train the generator for single objects on a dataset's grasps; goes on where it was stopped"
    objects = commands.add_parser("fit-objects", help=about)
    for command, work, example in (
        (views, _fit, "network.backbone=paper"),
        (objects, _fit_objects, "network.layout=object_rotated_27d"),
    ):
        command.add_argument("dataset", type=Path)
        command.add_argument(
            "folder", type=Path, metavar="run", help="folder of the run: state, log, and the checkpoint at the end"
        )
        command.add_argument("--settings", default="small", help="training preset (small, paper) or YAML file")
        command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=f"as in {example}")
        command.add_argument(
            "--from", dest="start", type=Path, metavar="DIR", help="checkpoint whose weights a new run begins with"
        )
        command.add_argument("--device", choices=("cpu", "cuda"), default="", help="by default the best there is")
        command.set_defaults(run=work)
    objects.add_argument(
        "--physics", metavar="PRESET", help="what is minimised beside the diffusion loss: none, paper, tuned, ..."
    )


def _add_expand(commands: Any) -> None:
    """`expand`."""
    command = commands.add_parser(
        "expand", help="let an object-level checkpoint propose grasps; those that hold join the dataset"
    )
    command.add_argument("dataset", type=Path)
    command.add_argument("checkpoint", type=Path, help="its folder")
    command.add_argument("--grasps", type=int, default=256, help="samples of each object")
    command.add_argument("--sampler", default="fast", help="fast or paper")
    command.add_argument("--guidance", type=float, default=0.2, help="of the sampler by physics, 0 to 1")
    command.add_argument("--polish", type=int, default=60, help="steps of descent on the physics at the end")
    command.add_argument("--seed", type=int, default=0, help="of every random choice; another one is another round")
    command.add_argument("--report", type=Path, help="JSON file to write: counts and diversity before and after")
    command.add_argument("--jobs", type=int, default=0, help="processes at once; by default one a core")
    command.set_defaults(run=_expand)


def _add_score(commands: Any) -> None:
    """`score` and `score-objects`."""
    command = commands.add_parser(
        "score", help="let a checkpoint try its grasps in training scenes and learn to tell which of them lift"
    )
    command.add_argument("dataset", type=Path)
    command.add_argument("checkpoint", type=Path, help="folder of the checkpoint, to which the model is added")
    command.add_argument("--scenes", type=int, default=150, help="training scenes at most, equal parts of each kind")
    command.add_argument("--views", type=int, default=2, help="views of each")
    command.add_argument("--jobs", type=int, default=0, help="processes at once; by default one a core")
    command.set_defaults(run=_score)
    command = commands.add_parser(
        "score-objects", help="let an object-level checkpoint try its grasps and learn to tell which of them hold"
    )
    command.add_argument("dataset", type=Path)
    command.add_argument("checkpoint", type=Path, help="folder of the checkpoint, to which the model is added")
    command.add_argument("--objects", type=int, default=1000, help="training objects at most")
    command.add_argument("--grasps", type=int, default=32, help="unguided samples of each, and as many guided")
    command.add_argument("--protocol", default="both", help="that decides: dga, dexgraspbench, both of them, or hold6")
    command.add_argument("--jobs", type=int, default=0, help="processes at once; by default one a core")
    command.set_defaults(run=_score_objects)


def _add_evaluate(commands: Any) -> None:
    """`evaluate`; what can be chosen among is listed where it is wrong, so that nothing heavy is imported here."""
    command = commands.add_parser(
        "evaluate", help="how often the best grasps lift an object of held-out scenes; goes on where it was stopped"
    )
    command.add_argument("dataset", type=Path)
    command.add_argument(
        "--checkpoint", action="append", default=[], metavar="[NAME=]DIR", help="of a network; repeatable"
    )
    command.add_argument(
        "--contestant",
        action="append",
        default=[],
        metavar="NAME",
        help="a generator (heuristic), or a ranking of the checkpoints' grasps (both, graspness, log_likelihood, "
        "random, success), with a guidance (+sampler, +refine, +both), a finish (+closed, +pressed) or both behind it; "
        "repeatable; by default all there is",
    )
    command.add_argument("--scenes", type=int, default=100, help="test scenes at most, equal parts of each kind")
    command.add_argument("--views", type=int, default=4, help="views of each")
    command.add_argument("--top", type=int, default=1, help="best grasps of each contestant that are tested")
    command.add_argument("--seed", type=int, default=0, help="of every random choice")
    command.add_argument("--noise", type=float, default=0.0, help="size of the depth sensor's errors")
    command.add_argument("--sampler", default="fast", help="fast or paper")
    command.add_argument("--compare-samplers", action="store_true", help="the samplers on the same seeds and noise")
    command.add_argument("--hand", help="by default the dataset's")
    command.add_argument("--tester", default="", help="name of the grasp tester; by default mujoco")
    command.add_argument("--friction", type=float, default=0.2, help="of everything")
    command.add_argument("--stiffness", type=float, default=800.0, help="of the finger drives [N m/rad]")
    command.add_argument("--damping", type=float, default=20.0, help="of the finger drives [N m s/rad]")
    command.add_argument("--report", type=Path, default=Path("evaluation.json"), help="JSON file to write")
    command.add_argument("--page", type=Path, help="HTML file to write")
    command.add_argument("--pictures", type=int, default=12, help="scenes whose grasps are drawn on the page")
    command.add_argument("--jobs", type=int, default=0, help="processes at once; by default one a core")
    command.set_defaults(run=_evaluate)


def _add_evaluate_objects(commands: Any) -> None:
    """`evaluate-objects`."""
    command = commands.add_parser(
        "evaluate-objects", help="how well grasps of single held-out objects hold; goes on where it was stopped"
    )
    command.add_argument("dataset", type=Path)
    command.add_argument(
        "--contestant",
        action="append",
        default=[],
        metavar="NAME[=DIR][:KEY=VALUE...]",
        help="data: the dataset's own grasps; or a name and the folder of an object-level checkpoint, with options "
        "sampler (fast, paper), guidance (0 to 1), physics, through (network, estimate), polish, scorer (on, off), of "
        "(how many are drawn to test the best), text and descriptions (folder of a text encoder and JSON file, for one "
        "trained with text); squeeze (1: on as far as from pregrasp to grasp); repeatable",
    )
    command.add_argument("--objects", type=int, default=1000, help="held-out objects at most")
    command.add_argument("--grasps", type=int, default=32, help="of each contestant on each object")
    command.add_argument(
        "--protocol", action="append", default=[], help="dga or dexgraspbench; repeatable; by default both"
    )
    command.add_argument("--seed", type=int, default=0, help="of every random choice")
    command.add_argument("--hand", help="by default the dataset's")
    command.add_argument("--tester", default="", help="name of the grasp tester; by default mujoco")
    command.add_argument("--report", type=Path, default=Path("object_evaluation.json"), help="JSON file to write")
    command.add_argument("--page", type=Path, help="HTML file to write")
    command.add_argument("--pictures", type=int, default=12, help="objects whose grasps are drawn on the page")
    command.add_argument("--jobs", type=int, default=0, help="processes at once; by default one a core")
    command.set_defaults(run=_evaluate_objects)


def _add_exchange(commands: Any) -> None:
    """`import` and `export`, each with its formats."""
    about = "read meshes, or grasps and scenes in others' formats, into a dataset"
    formats = commands.add_parser("import", help=about).add_subparsers(required=True, metavar="FORMAT")
    meshes = formats.add_parser("meshes", help="a folder of STL, OBJ, PLY and GLB files")
    objects = formats.add_parser("objects", help="the objects of another dataset, for grasps of another hand")
    nets = formats.add_parser(
        "dexgraspnet2", help="the release of DexGraspNet 2.0: its folder with scenes/ and the rest"
    )
    anything = formats.add_parser("dexgrasp_anything", help="a grasp file of DexGrasp Anything (.pt)")
    bench = formats.add_parser("dexgraspbench", help="a folder with .npy files of DexGraspBench, BODex or Dexonomy")
    for command, work in (
        (meshes, _import_meshes),
        (bench, _import_dexgraspbench),
        (objects, _import_objects),
        (nets, _import_dexgraspnet2),
        (anything, _import_anything),
    ):
        _add_stage_arguments(command)
        command.add_argument("source", type=Path, help="what to read")
        command.set_defaults(run=work)
    _add_unit(meshes)
    anything.add_argument("--meshes", type=Path, required=True, metavar="DIR", help="folder with the objects' meshes")
    anything.add_argument(
        "--scaling",
        choices=("multiply", "divide", "none"),
        help="what scales do to objects; by default as the name tells",
    )
    about = "write a dataset in others' formats, or what a run has learnt as a checkpoint that can be passed on"
    formats = commands.add_parser("export", help=about).add_subparsers(required=True, metavar="FORMAT")
    checkpoint = formats.add_parser(
        "checkpoint", help="averaged weights of a training run, finished or not, in 16 bits"
    )
    checkpoint.add_argument("folder", type=Path, metavar="run", help="folder of the run")
    checkpoint.add_argument("target", type=Path, help="folder to write")
    checkpoint.set_defaults(run=_export_checkpoint)
    nets = formats.add_parser("dexgraspnet2", help="scenes, grasps and graspness as DexGraspNet 2.0 has them")
    anything = formats.add_parser("dexgrasp_anything", help="one grasp file and one file of clouds")
    bench = formats.add_parser("dexgraspbench", help="a .npy file of each grasp, and folders of the objects")
    exports = (nets, _export_dexgraspnet2), (anything, _export_anything), (bench, _export_dexgraspbench)
    for command, work in exports:
        _add_stage_arguments(command)
        command.add_argument("target", type=Path, help="folder to write to")
        command.set_defaults(run=work)


def _add_meshes(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--meshes", type=Path, action="append", default=[], metavar="DIR", help="folder of meshes; repeatable"
    )
    _add_unit(command)


def _add_unit(command: argparse.ArgumentParser) -> None:
    command.add_argument("--unit", choices=tuple(UNITS), default="m", help="of the meshes' files")
    command.add_argument("--scale", type=float, default=1.0, help="of the meshes, after the unit")


def _add_stage_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("dataset", type=Path, help="folder of the dataset")
    command.add_argument("--settings", help="preset (starter, tiny) or YAML file; by default what the dataset has")
    command.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="as in grasps.valid=100")
    command.add_argument("--jobs", type=int, default=0, help="processes at once; by default one a core")
    command.add_argument(
        "--backend",
        choices=tuple(name for name, _ in WORK_BACKENDS),
        default=WORK_BACKENDS.default,
        help="one machine, or a Ray cluster",
    )
    command.add_argument("--address", default="", help="of the Ray cluster; `auto`: the one that runs here")


def _run_stage(options: argparse.Namespace, console: Console) -> None:
    with _at_work(options, console, _meshes(options), create=options.stage in ("objects", "make")) as run:
        STAGES[options.stage](run)
    _show(options, console)


def _meshes(options: argparse.Namespace) -> tuple[MeshFolder, ...]:
    return tuple(MeshFolder(path, options.unit, options.scale) for path in getattr(options, "meshes", []))


def _starter(options: argparse.Namespace, console: Console) -> None:
    with _at_work(options, console, _meshes(options), create=True) as run:
        hand = run.settings.grasps.hand
        shipped = shipped_path(hand)  # objects take a while: what is missing is said before
        run_objects(run)
        console.print(unpack(run.dataset, shipped))
        if options.meshes:
            console.print(unpack(run.dataset, shipped_path(hand, "mesh")))
    _show(options, console)


def _pack(options: argparse.Namespace, console: Console) -> None:
    dataset = Dataset.open(options.dataset)
    hand = _settings(dataset, None, ()).grasps.hand
    console.print(pack(dataset, hand, options.target, options.most, options.on))


def _import_meshes(options: argparse.Namespace, console: Console) -> None:
    folder = MeshFolder(options.source, options.unit, options.scale)
    with _at_work(options, console, (folder,), create=True) as run:
        import_meshes(run)
    _show(options, console)


def _import_objects(options: argparse.Namespace, console: Console) -> None:
    source = Dataset.open(options.source)
    taken = Dataset.open(options.dataset, create=True).take_objects(source)
    with _at_work(options, console):
        console.print(f"{taken} objects of {source.root}")
    _show(options, console)


def _import_dexgraspnet2(options: argparse.Namespace, console: Console) -> None:
    from dexgrasp_training.formats.dexgraspnet2.importing import import_dexgraspnet2

    with _at_work(options, console, create=True) as run:
        hand = load_hand(run.settings.grasps.hand)
        console.print(import_dexgraspnet2(options.source, run.dataset, hand, run_elsewhere(run, "import")))
    _show(options, console)


def _import_anything(options: argparse.Namespace, console: Console) -> None:
    from dexgrasp_training.formats.dexgrasp_anything import import_dexgrasp_anything

    with _at_work(options, console, create=True) as run:
        work = run_elsewhere(run, "import")
        console.print(import_dexgrasp_anything(options.source, run.dataset, options.meshes, work, options.scaling))
    _show(options, console)


def _import_dexgraspbench(options: argparse.Namespace, console: Console) -> None:
    from dexgrasp_training.formats.dexgraspbench import import_dexgraspbench

    with _at_work(options, console, create=True) as run:
        hand = load_hand(run.settings.grasps.hand)
        console.print(import_dexgraspbench(options.source, run.dataset, hand, run_elsewhere(run, "import")))
    _show(options, console)


def _export_dexgraspnet2(options: argparse.Namespace, console: Console) -> None:
    from dexgrasp_training.formats.dexgraspnet2.exporting import export_dexgraspnet2

    with _at_work(options, console) as run:
        hand = load_hand(run.settings.grasps.hand)
        console.print(export_dexgraspnet2(run.dataset, options.target, hand, run_elsewhere(run, "export")))


def _export_anything(options: argparse.Namespace, console: Console) -> None:
    from dexgrasp_training.formats.dexgrasp_anything import export_dexgrasp_anything

    with _at_work(options, console) as run:
        console.print(export_dexgrasp_anything(run.dataset, options.target, load_hand(run.settings.grasps.hand)))


def _export_dexgraspbench(options: argparse.Namespace, console: Console) -> None:
    from dexgrasp_training.formats.dexgraspbench import export_dexgraspbench

    with _at_work(options, console) as run:
        console.print(export_dexgraspbench(run.dataset, options.target, load_hand(run.settings.grasps.hand)))


def _report(options: argparse.Namespace, console: Console) -> None:
    from dexgrasp_training.report.page import write_report as write_page

    dataset = Dataset.open(options.dataset)
    hand = options.hand or from_dict(dataset.manifest().get("settings", {})).grasps.hand
    folder = options.folder or dataset.root / "report"
    write_page(dataset, hand, folder, console)
    console.print(f"Look at {folder / 'index.html'}")


def _fit(options: argparse.Namespace, console: Console) -> None:
    from dexgrasp_training.fit.command import fit, load_fit_settings

    settings = load_fit_settings(options.settings, options.set)
    checkpoint = fit(Dataset.open(options.dataset), options.folder, settings, options.device, options.start, console)
    console.print(f"The checkpoint is {checkpoint}")


def _fit_objects(options: argparse.Namespace, console: Console) -> None:
    from dexgrasp_training.fit.object_command import fit_objects, load_object_fit_settings

    changes = [*options.set, *([f"physics.preset={options.physics}"] if options.physics else [])]
    settings = load_object_fit_settings(options.settings, changes)
    dataset = Dataset.open(options.dataset)
    checkpoint = fit_objects(dataset, options.folder, settings, options.device, options.start, console)
    console.print(f"The checkpoint is {checkpoint}")


def _expand(options: argparse.Namespace, console: Console) -> None:
    from dexgrasp_training.stages.expand import ExpandConfig, run_expand

    config = ExpandConfig(
        attempts=options.grasps,
        sampler=options.sampler,
        guidance=options.guidance,
        polish=options.polish,
        seed=options.seed,
    )
    dataset = Dataset.open(options.dataset)
    with sole_writer(dataset):
        run = Run(dataset, _settings(dataset, None, ()), (), Workers(jobs=options.jobs), console)
        done = run_expand(run, options.checkpoint, config)
    table = Table(title="grasps before and after", title_justify="left")
    figures = {"grasps": "grasps", "objects": "objects", "effective_directions": "directions"}
    figures |= {"joint_spread_on_one_object_rad": "joint spread on one object [rad]"}
    for column in ("", *figures.values()):
        table.add_column(column, justify="right" if column else "left")
    for name in done["after"]:
        cells = [[_figure(done[when].get(name, {}).get(key)) for when in ("before", "after")] for key in figures]
        table.add_row(name, *(" -> ".join(pair) for pair in cells))
    console.print(table)
    if options.report:
        write_report(options.report, done)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if isinstance(value, float) else str(value)


def _score(options: argparse.Namespace, console: Console) -> None:
    from dexgrasp_planner.checkpoints import Checkpoint

    from dexgrasp_training.scoring.command import score
    from dexgrasp_training.scoring.verdicts import VerdictConfig

    config = VerdictConfig(hand=Checkpoint.load(options.checkpoint).hand, views=options.views)
    dataset, workers = Dataset.open(options.dataset), Workers(jobs=options.jobs)
    score(dataset, options.checkpoint, options.scenes, config, workers, console)
    console.print(f"{options.checkpoint} can tell the chance of a lift now")


def _score_objects(options: argparse.Namespace, console: Console) -> None:
    from dexgrasp_planner.object_level.object_checkpoint import ObjectCheckpoint

    from dexgrasp_training.scoring.object_scoring import ObjectVerdictConfig, score_objects

    hand = ObjectCheckpoint.load(options.checkpoint).hand
    config = ObjectVerdictConfig(hand=hand, grasps=options.grasps, protocol=options.protocol)
    dataset, workers = Dataset.open(options.dataset), Workers(jobs=options.jobs)
    score_objects(dataset, options.checkpoint, options.objects, config, workers, console)
    console.print(f"{options.checkpoint} can tell the chance that a grasp holds now")


def _evaluate(options: argparse.Namespace, console: Console) -> None:
    from dexgrasp_sim.tester import GRASP_TESTERS, LiftConfig

    from dexgrasp_training.evaluation.command import Evaluation, evaluate
    from dexgrasp_training.evaluation.contestants import contestants
    from dexgrasp_training.evaluation.trial import EvaluationConfig

    dataset = Dataset.open(options.dataset)
    hand = options.hand or from_dict(dataset.manifest().get("settings", {})).grasps.hand
    competing = contestants(
        options.contestant,
        options.checkpoint,
        load_hand(hand).name,
        options.sampler,
        compare_samplers=options.compare_samplers,
    )
    config = EvaluationConfig(
        hand=hand,
        views=options.views,
        top=options.top,
        seed=options.seed,
        noise=options.noise,
        tester=options.tester or GRASP_TESTERS.default,
        lift=LiftConfig(friction=options.friction, stiffness=options.stiffness, damping=options.damping),
    )
    workers = Workers(jobs=options.jobs)
    wanted = Evaluation(competing, options.report, options.scenes, options.page, options.pictures, config, workers)
    evaluate(dataset, wanted, console)
    console.print(f"The report is {options.report}" + (f"; look at {options.page}" if options.page else ""))


def _evaluate_objects(options: argparse.Namespace, console: Console) -> None:
    from dexgrasp_sim.tester import GRASP_TESTERS

    from dexgrasp_training.evaluation_objects.command import ObjectEvaluation, evaluate_objects
    from dexgrasp_training.evaluation_objects.contestants import object_contestants
    from dexgrasp_training.evaluation_objects.trial import PROTOCOLS, ObjectEvaluationConfig

    dataset = Dataset.open(options.dataset)
    hand = options.hand or from_dict(dataset.manifest().get("settings", {})).grasps.hand
    config = ObjectEvaluationConfig(
        hand=hand,
        grasps=options.grasps,
        seed=options.seed,
        tester=options.tester or GRASP_TESTERS.default,
        protocols=tuple(dict.fromkeys(options.protocol)) or PROTOCOLS,
    )
    competing = object_contestants(options.contestant, load_hand(hand).name)
    wanted = ObjectEvaluation(
        competing, options.report, options.objects, options.page, options.pictures, config, Workers(jobs=options.jobs)
    )
    evaluate_objects(dataset, wanted, console)
    console.print(f"The report is {options.report}" + (f"; look at {options.page}" if options.page else ""))


def _export_checkpoint(options: argparse.Namespace, console: Console) -> None:
    from dexgrasp_training.fit.exporting import export_run

    export_run(options.folder, options.target)
    console.print(f"The checkpoint is {options.target}")


def _import_checkpoint(options: argparse.Namespace, console: Console) -> None:
    from dexgrasp_training.formats.dexgraspnet2.checkpoint import import_checkpoint

    import_checkpoint(options.source).save(options.target)
    console.print(f"The checkpoint is {options.target}")


def _bench(options: argparse.Namespace, console: Console) -> None:
    from dexgrasp_training import bench

    figures = bench.run(options.meshes, options.jobs, console)
    bench.show(figures, console)
    if options.report:
        write_report(options.report, figures)


@contextmanager
def _at_work(
    options: argparse.Namespace, console: Console, meshes: tuple[MeshFolder, ...] = (), *, create: bool = False
) -> Iterator[Run]:
    """The dataset for this command alone, with its settings; it does not remember settings that are refused."""
    dataset = Dataset.open(options.dataset, create=create)
    with sole_writer(dataset):
        recorded = dataset.manifest().get("settings")
        settings = _settings(dataset, options.settings, options.set)
        try:
            yield Run(dataset, settings, meshes, Workers(options.backend, options.jobs, options.address), console)
        except SettingsError:
            if recorded:
                dataset.keep_settings(recorded)
            raise


def _settings(dataset: Dataset, name: str | None, changes: Sequence[str]) -> Settings:
    """Those that are asked for, or those that the dataset was begun with; written into its manifest."""
    recorded = dataset.manifest().get("settings")
    settings = load_settings(name or "starter", changes) if name or not recorded else from_dict(recorded, changes)
    dataset.keep_settings(settings.as_dict())
    return settings


def _show(options: argparse.Namespace, console: Console) -> None:
    dataset = Dataset.open(options.dataset)
    manifest = dataset.manifest()
    table = Table(title=str(dataset.root))
    for column in ("stage", "tasks", "failed", "time [s]", "what there is"):
        table.add_column(column, justify="right" if column in ("tasks", "failed", "time [s]") else "left")
    holds = dataset.counts()
    for stage, entry in manifest["stages"].items():
        failures = entry.get("failures", {})
        table.add_row(stage, str(entry["tasks"]), str(len(failures)), f"{entry['seconds']:.0f}", holds.get(stage, ""))
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
