"""`lightning-losses` as a user meets it: verbs, exit codes, and one clear line for every mistake."""

import pickle
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from lightning_losses.checks import nearest
from lightning_losses.cli import browsing, catalogue, main
from lightning_losses.config import load, sizes

TOY = str(Path(__file__).parent / "recipes" / "toy")
PLACE = "trainer.callbacks.0"


@pytest.fixture(autouse=True)
def _in_an_empty_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for name in ("WANDB_SILENT", "PL_GLOBAL_SEED", "PL_SEED_WORKERS", "LIGHTNING_LOSSES_RECIPE_FOLDERS"):
        monkeypatch.setenv(name, "")  # what a command sets is gone after the test
        monkeypatch.delenv(name)


@pytest.fixture
def call(capsys):
    """Run a command; its exit code and what it printed."""

    def _call(*words):
        code = main(words)
        out, err = capsys.readouterr()
        return code, out, err

    return _call


def is_one_line(text):
    return text.count("\n") == 1 and text.endswith("\n")


MISTAKES = {
    "model key": (["model.lrr=0.1"], "`model.lrr` does not exist. Did you mean 'lr'?"),
    "data key": (["data.row=1"], "`data.row` does not exist. Did you mean 'rows'?"),
    "trainer key": (["trainer.max_epoch=3"], "`trainer.max_epoch` does not exist. Did you mean 'max_epochs'?"),
    "top-level key": (["trainers.devices=1"], "`trainers` does not exist. Did you mean 'trainer'?"),
    "callback key": (
        [f"{PLACE}.init_args.moniter=x"],
        f"`{PLACE}.init_args.moniter` does not exist. Did you mean 'monitor'?",
    ),
    "key beside class_path": (
        [f"{PLACE}.init_arg.x=1"],
        f"`{PLACE}.init_arg` does not exist. Did you mean 'init_args'?",
    ),
    "class": (
        [f"{PLACE}.class_path=lightning.pytorch.callbacks.EarlyStoping"],
        f"`{PLACE}.class_path`: lightning.pytorch.callbacks has no 'EarlyStoping'. Did you mean 'EarlyStopping'?",
    ),
    "module": ([f"{PLACE}.class_path=lightnin.X"], f"`{PLACE}.class_path`: there is no module 'lightnin'."),
    "short class": (
        ["trainer.logger=CSVLoger"],
        "`trainer.logger`: there is no class 'CSVLoger'; give its full path, such as package.module.CSVLoger",
    ),
    "no number": (["model.lr=fast"], "`model.lr` must be a number, found 'fast'."),
    "no integer": (["trainer.max_epochs=1.5"], "`trainer.max_epochs` must be an integer or null, found 1.5."),
    "no list": (["data.noise=5"], "`data.noise` must be a list, found 5."),
    "no mapping": (["model.penalty=5"], "`model.penalty` must be a mapping or null, found 5."),
    "scalar as mapping": (["model.lr.x=1"], "`model.lr` must be a number, found {'x': 1}."),
    "type in a callback": (
        [f"{PLACE}.init_args.save_top_k=all"],
        f"`{PLACE}.init_args.save_top_k` must be an integer, found 'all'.",
    ),
    "removed": (["model.features=null"], "`model.features` must be given: add model.features=VALUE"),
    "must be given": (["data.workers=???"], "`data.workers` must be given: add data.workers=VALUE"),
    "malformed": (["model.lr"], "'model.lr' must be key=value, for example model.lr=0.1"),
    "size": (["--size", "smok"], "There is no size 'smok'. Did you mean 'smoke'?"),
    "flag": (["--chekc"], "validate-config does not take '--chekc' (see lightning-losses validate-config --help)"),
    "constructor": (["data.rows=3"], "`rows` must be at least `batch_size`=16, found 3."),
    "recipe class": (["recipe.model=model.Lin"], "`recipe.model`: model.py has no class 'Lin'. Did you mean 'Line'?"),
    "recipe file": (
        ["recipe.model=net.Line"],
        f"`recipe.model` must be FILE.CLASS with a FILE.py in {TOY}, found 'net.Line'.",
    ),
    "no LightningModule": (
        ["recipe.model=data.Points"],
        "`recipe.model` must be a LightningModule, found 'data.Points'.",
    ),
    "reference": (["reference.value=high"], "`reference.value` must be a number, found 'high'."),
    "mode": (["reference.mode=up"], "`reference.mode` must be one of 'max', 'min', found 'up'."),
}


class TestMistakes:
    @pytest.mark.parametrize(("words", "message"), MISTAKES.values(), ids=MISTAKES)
    def test_in_a_configuration(self, call, words, message, tmp_path):
        code, out, err = call("validate-config", TOY, *words)
        assert (code, out, err) == (2, "", f"lightning-losses: {message}\n")
        assert not list(tmp_path.iterdir())

    def test_one_of_several_words(self, call):
        code, _, err = call("validate-config", TOY, "trainer.precision=bf17")
        assert (code, is_one_line(err)) == (2, True)
        assert err.startswith("lightning-losses: `trainer.precision` must be ")
        assert "found 'bf17'." in err

    def test_what_the_trainer_refuses(self, call):
        code, _, err = call("validate-config", TOY, "trainer.accelerator=gppu")
        assert code == 2
        assert is_one_line(err)
        assert "invalid accelerator name: `accelerator='gppu'`" in err

    @pytest.mark.parametrize("verb", ["fit", "test", "show", "validate-config"])
    def test_every_verb_refuses_them_and_writes_nothing(self, call, verb, tmp_path):
        code, _, err = call(verb, TOY, "modle.lr=1")
        assert (code, err) == (2, "lightning-losses: `modle` does not exist. Did you mean 'model'?\n")
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("words", "message"),
        [
            (["fitt", "x"], "There is no verb 'fitt'. Did you mean 'fit'?"),
            (["list", "x=1"], "list does not take 'x=1' (see lightning-losses list --help)"),
            (["fit"], "the following arguments are required: RECIPE (see lightning-losses fit --help)"),
            ([], "the following arguments are required: VERB (see lightning-losses --help)"),
            (["fit", "."], "The folder '.' holds no config.yaml."),
        ],
        ids=["verb", "argument", "no recipe", "no verb", "folder"],
    )
    def test_in_the_command(self, call, words, message):
        assert call(*words) == (2, "", f"lightning-losses: {message}\n")

    def test_in_the_name_of_a_recipe(self, call):
        names = [recipe.name for recipe in catalogue.installed()]
        message = f"There is no recipe or file 'segmentatoin'. {nearest('segmentatoin', names)}"
        assert call("fit", "segmentatoin") == (2, "", f"lightning-losses: {message}\n")

    def test_in_the_yaml(self, call):
        Path("config.yaml").write_text("recipe:\n  title: x\n model: [\n")
        code, _, err = call("fit", ".")
        assert (code, is_one_line(err)) == (2, True)
        assert err.startswith("lightning-losses: config.yaml, line 3: ")

    def test_in_the_code_of_a_copied_recipe(self, call):
        call("copy", TOY, "mine")
        Path("mine/model.py").write_text("import nothing_like_this\n")
        code, _, err = call("fit", "./mine")
        assert code == 2
        assert err == (
            "lightning-losses: ModuleNotFoundError: No module named 'nothing_like_this' (--debug shows where)\n"
        )

    def test_a_missing_extra_says_how_to_install_it(self, call):
        call("copy", TOY, "mine")
        Path("mine/model.py").write_text("raise ModuleNotFoundError('No module', name='torchvision.ops')\n")
        message = 'torchvision.ops is not installed: pip install "lightning-losses[recipes]"'
        assert call("fit", "./mine") == (2, "", f"lightning-losses: {message}\n")

    def test_debug_shows_the_traceback(self, call):
        code, _, err = call("validate-config", TOY, "data.rows=3", "--debug")
        assert code == 2
        assert "Traceback" in err
        assert "in __init__" in err
        assert err.endswith("lightning-losses: `rows` must be at least `batch_size`=16, found 3.\n")


class TestHelp:
    @pytest.mark.parametrize("verb", [None, "list", "show", "validate-config", "fit", "test", "copy"])
    def test_every_verb_has_help(self, capsys, verb):
        with pytest.raises(SystemExit) as stopped:
            main([verb, "--help"] if verb else ["--help"])
        assert stopped.value.code == 0
        assert capsys.readouterr().out.startswith(f"usage: lightning-losses {verb or '[-h]'}")


class TestList:
    def test_it_names_every_installed_recipe_and_its_sizes(self, call):
        code, out, _ = call("list")
        assert code == 0
        for recipe in catalogue.installed():
            title = load(recipe.file)["recipe"]["title"]
            _, found, rest = out.partition(f"\n{recipe.name}: {title}\n")
            assert found
            assert [line.split()[0] for line in rest.partition("\n\n")[0].splitlines()] == ["default", "smoke", "full"]

    def test_a_line_holds_the_reference_and_what_was_measured_last(self, call, monkeypatch):
        monkeypatch.setattr(browsing, "installed", lambda: [catalogue.find(TOY)])
        measured = {"toy default": {"value": 0.961, "seeds": 3, "date": "2026-11-20"}}
        monkeypatch.setattr(browsing, "_measured", lambda: measured)
        lines = call("list")[1].splitlines()
        assert lines[2] == "toy: A line through points"
        facts = [re.split(r"\s{2,}", line.strip()) for line in lines[3:]]
        assert facts[0] == ["default", "test/r2", "0.95 ± 0.02", "0.1 min", "0.961 on 2026-11-20, mean of 3 seeds"]
        assert [(size, last) for size, *_, last in facts[1:]] == [("smoke", "no"), ("full", "no")]

    def test_what_was_measured_last_is_of_recipes_that_there_are(self):
        known = {f"{recipe.name} {size}" for recipe in catalogue.installed() for size in sizes(load(recipe.file))}
        assert browsing._measured().keys() <= known


class TestShow:
    def test_it_is_the_composed_configuration_as_yaml(self, call):
        code, out, err = call("show", TOY, "--size", "smoke", "model.lr=3")
        values = yaml.safe_load(out)
        assert (code, err) == (0, "")
        assert (values["model"]["lr"], values["data"]["rows"]) == (3, 32)
        assert values["model"]["features"] == "${data.features}"
        assert values["run_dir"].startswith("runs/toy/smoke-")

    def test_it_keeps_the_comments(self, call):
        _, out, _ = call("show", TOY, "model.lr=3")
        lines = out.splitlines()
        assert lines[0] == "# A line through random points: it trains in a second, so that tests can train it."
        assert "  lr: 3 # plain gradient descent" in lines
        assert "      monitor: val/r2 # the share of the variance explained" in lines

    def test_its_comments_are_first_those_of_the_file_that_extends(self, call):
        lines = call("show", f"{TOY}/noisy.yaml")[1].splitlines()
        assert lines[0] == "# The same line, far noisier points."
        assert "  lr: 0.2 # plain gradient descent" in lines

    @pytest.mark.parametrize("recipe", [recipe.name for recipe in catalogue.installed()])
    def test_every_size_of_an_installed_recipe_can_be_composed(self, call, recipe):
        for size in ("default", *load(catalogue.find(recipe).file)["sizes"]):
            assert call("show", recipe, "--size", size)[0] == 0

    def test_a_value_that_must_be_given_is_shown(self, call):
        assert yaml.safe_load(call("show", TOY, "data.root=???")[1])["data"]["root"] == "???"


class TestValidate:
    @pytest.mark.parametrize(
        "words",
        [
            ["--size", "smoke", "model.lr=0.1"],
            ["model.lr=0.1", "--size", "smoke"],
            ["--size", "smoke", "model.lr=0.1", "--debug", "data.rows=32"],
        ],
        ids=["after", "before", "between"],
    )
    def test_overrides_may_stand_anywhere(self, call, words, tmp_path):
        code, out, _ = call("validate-config", TOY, *words)
        directory = yaml.safe_load(call("show", TOY, *words)[1])["run_dir"]
        assert code == 0
        assert out == f"OK: toy (smoke) is valid; fit would write to {directory}\n"
        assert not list(tmp_path.iterdir())

    def test_a_recipe_runs_without_its_progress_bar(self, call):
        bar = "trainer.callbacks=[{class_path: lightning.pytorch.callbacks.RichProgressBar}]"
        code, _, err = call("validate-config", TOY, bar, "trainer.enable_progress_bar=false")
        assert (code, err) == (0, "")

    def test_a_recipe_runs_without_loggers(self, call):
        rates = "trainer.callbacks=[{class_path: lightning.pytorch.callbacks.LearningRateMonitor}]"
        assert call("fit", TOY, "--size", "smoke", rates, "trainer.logger=false")[0] == 0


class TestCopy:
    def test_a_copy_runs_on_its_own_code(self, call):
        code, out, _ = call("copy", TOY, "mine")
        assert (code, out) == (0, "Copied to mine. To train it: lightning-losses fit ./mine\n")
        model = Path("mine/model.py")
        model.write_text(model.read_text().replace("must be above 0", "must be positive"))
        assert "`lr` must be positive" in call("validate-config", "./mine", "model.lr=-1")[2]
        assert "`lr` must be above 0" in call("validate-config", TOY, "model.lr=-1")[2]

    def test_its_init_is_executed(self, call):
        call("copy", TOY, "mine")
        Path("mine/__init__.py").write_text("raise ValueError('the init of mine')\n")
        assert call("validate-config", "./mine") == (2, "", "lightning-losses: the init of mine\n")

    def test_it_overwrites_nothing(self, call):
        Path("mine").mkdir()
        code, _, err = call("copy", TOY, "mine")
        assert (code, is_one_line(err)) == (2, True)
        assert not list(Path("mine").iterdir())

    def test_a_variant_is_run_by_its_file(self, call):
        out = call("copy", f"{TOY}/noisy.yaml", "mine")[1]
        assert out.endswith("lightning-losses fit ./mine/noisy.yaml\n")

    def test_a_fresh_process_unpickles_what_a_copied_recipe_defines(self, call):
        call("copy", TOY, "my.recipe")
        recipe = catalogue.find("my.recipe")
        score = import_module(f"{recipe.find('recipe.model', 'model.Line', object).__module__[: -len('model')]}score")
        code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).__name__)"
        worker = subprocess.run(
            [sys.executable, "-c", code], input=pickle.dumps(score.r2), capture_output=True, check=True
        )
        assert worker.stdout == b"r2\n"
