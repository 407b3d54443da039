"""Composition: file, size, overrides, run directory, interpolations, in this order."""

import socket
import stat
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from lightning_losses import resolvers
from lightning_losses.config import ConfigError, compose, merge, resolve, without_secrets
from lightning_losses.resolvers import precision, wandb_offline

TOY = Path(__file__).parent / "recipes" / "toy" / "config.yaml"


def composed(*overrides, file=TOY, size="default"):
    return compose(file, "toy", size, overrides)


@pytest.fixture
def write(tmp_path):
    def _write(text, name="config.yaml"):
        file = tmp_path / name
        file.write_text(text)
        return file

    return _write


class TestOrder:
    def test_a_size_goes_over_the_file_and_an_override_over_the_size(self):
        assert composed().data.rows == 64
        assert composed(size="smoke").data.rows == 32
        assert composed("data.rows=48", size="smoke").data.rows == 48

    def test_an_override_feeds_interpolations(self):
        assert resolve(composed("data.features=7"))["model"]["features"] == 7

    def test_the_run_directory_feeds_interpolations(self):
        values = resolve(composed("run_dir=here"))
        assert values["trainer"]["default_root_dir"] == "here"

    def test_what_a_file_extends_lies_below_it_and_below_its_sizes(self):
        config = composed(file=TOY.with_name("noisy.yaml"), size="smoke")
        own, inherited, own_size, inherited_size = (
            config.data.noise,
            config.model.lr,
            config.data.batch_size,
            config.data.rows,
        )
        assert (own, inherited, own_size, inherited_size) == ([0.0, 1.0], 0.2, 8, 32)

    def test_the_sizes_are_gone_once_one_is_chosen(self):
        assert not {"sizes", "extends"} & set(composed(size="smoke"))


class TestOverrides:
    @pytest.mark.parametrize(
        ("text", "value"),
        [
            ("1e-3", 0.001),
            ("3", 3),
            ("[64,64]", [64, 64]),
            ("null", None),
            ("true", True),
            ("a=b", "a=b"),
            ("'3'", "3"),
        ],
    )
    def test_a_value_is_yaml(self, text, value):
        assert resolve(composed(f"data.noise={text}"))["data"]["noise"] == value

    def test_a_mapping_is_merged(self):
        assert resolve(composed("model.penalty={l1: 2}"))["model"]["penalty"] == {"l1": 2, "l2": 0.0}

    def test_a_place_in_a_list_is_its_index(self):
        config = resolve(composed("trainer.callbacks.0.init_args.mode=min"))
        assert config["trainer"]["callbacks"][0]["init_args"]["mode"] == "min"

    def test_another_class_does_not_inherit_arguments(self):
        logger = resolve(composed("trainer.logger={class_path: a.B, init_args: {x: 1}}"))["trainer"]["logger"]
        assert logger == {"class_path": "a.B", "init_args": {"x": 1}}

    def test_a_size_with_another_class_does_not_inherit_arguments(self):
        below = {"logger": {"class_path": "a.B", "init_args": {"x": 1}}}
        assert merge(below, {"logger": {"class_path": "c.D"}}) == {"logger": {"class_path": "c.D"}}

    def test_the_same_class_keeps_its_other_arguments(self):
        below = {"class_path": "a.B", "init_args": {"x": 1, "y": 2}}
        assert merge(below, {"class_path": "a.B", "init_args": {"x": 3}})["init_args"] == {"x": 3, "y": 2}


class TestRunDirectory:
    def test_it_depends_on_the_configuration_alone(self, monkeypatch, tmp_path):
        here = composed("model.lr=0.1").run_dir
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("lightning_losses.resolvers._cpu_has_bf16", lambda: False)
        assert composed("model.lr=0.1").run_dir == here

    def test_hardware_and_environment_do_not_enter(self, monkeypatch):
        overrides = ("trainer.precision=${precision:bf16-mixed}", "data.rows=${oc.env:ROWS}")
        seen = set()
        for has_bf16, rows in ((True, "1"), (False, "2")):
            monkeypatch.setattr("lightning_losses.resolvers._cpu_has_bf16", lambda has_bf16=has_bf16: has_bf16)
            monkeypatch.setenv("ROWS", rows)
            config = composed(*overrides)
            seen.add((config.run_dir, resolve(config)["data"]["rows"]))
        assert len(seen) == 2
        assert len({directory for directory, _ in seen}) == 1

    @pytest.mark.parametrize("change", ["model.lr=0.1", "data.rows=65", "trainer.max_epochs=9", "seed_everything=2"])
    def test_it_changes_with_what_is_trained(self, change):
        assert composed(change).run_dir != composed().run_dir

    @pytest.mark.parametrize("change", ["model.lr=0.2", "reference.value=1", "recipe.title=x"])
    def test_it_does_not_change_with_what_is_not(self, change):
        assert composed(change).run_dir == composed().run_dir

    def test_it_names_recipe_and_size(self):
        assert composed(size="smoke").run_dir.startswith("runs/toy/smoke-")

    def test_a_given_one_is_kept(self):
        assert composed("run_dir=a/b").run_dir == "a/b"


class TestSecrets:
    def test_what_comes_from_the_environment_is_not_saved(self, monkeypatch):
        monkeypatch.setenv("TOKEN", "hush")
        config = composed("data.root=https://x/${oc.env:TOKEN}", "model.keys=[1,'${oc.env:TOKEN}']")
        assert "hush" in str(resolve(config))
        assert "hush" not in str(without_secrets(config))
        assert without_secrets(config)["model"]["features"] == 4


class TestErrors:
    def check(self, expected, call):
        with pytest.raises(ConfigError) as caught:
            call()
        assert str(caught.value) == expected

    @pytest.mark.parametrize(
        ("override", "message"),
        [
            ("model.lr", "'model.lr' must be key=value, for example model.lr=0.1"),
            ("=1", "'=1' must be key=value, for example model.lr=0.1"),
            ("data.noise=[1,", "`data.noise` must be a value in YAML, found '[1,'."),
            ("modle.lr=1", "`modle` does not exist. Did you mean 'model'?"),
            ("recipe.titel=1", "`recipe.titel` does not exist. Did you mean 'title'?"),
            ("reference.vale=1", "`reference.vale` does not exist. Did you mean 'value'?"),
            ("model=5", "`model` must be a mapping, found 5."),
            ("trainer.callbacks.3.x=1", "'trainer.callbacks.3.x=1' cannot be applied: list index out of range."),
        ],
    )
    def test_an_override(self, override, message):
        self.check(message, lambda: composed(override))

    def test_a_size(self):
        self.check("There is no size 'smok'. Did you mean 'smoke'?", lambda: composed(size="smok"))

    @pytest.mark.parametrize(
        ("override", "message"),
        [
            ("data.root=???", "`data.root` must be given: add data.root=PATH"),
            ("data.rows=???", "`data.rows` must be given: add data.rows=VALUE"),
            ("data.rows=${model.rows}", "`data.rows`: Interpolation key 'model.rows' not found."),
        ],
    )
    def test_a_value_that_is_not_there(self, override, message):
        self.check(message, lambda: resolve(composed(override)))

    def test_a_missing_value_is_named_where_it_is_missing_not_where_it_is_used(self):
        overrides = ("data.root=???", "model.root=${data.root}")
        self.check("`data.root` must be given: add data.root=PATH", lambda: resolve(composed(*overrides)))

    def test_a_missing_file(self, tmp_path):
        file = tmp_path / "x.yaml"
        self.check(f"The file '{file}' does not exist.", lambda: composed(file=file))

    def test_a_syntax_error(self, write):
        file = write("model:\n  lr: 1\n data: [\n")
        with pytest.raises(ConfigError, match=f"^{file}, line 3: [^\n]+$"):
            composed(file=file)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("model: {a: 1, a: 2}\n", "{}, line 1: found duplicate key a."),
            ("sizes: 3\n", "`sizes` must be a mapping, found 3."),
            ("- 1\n", "{} must hold a mapping, found a list."),
            ("extends: config.yaml\n", "{}: `extends` must not lead back to the file itself."),
            ("extends: other.yaml\n", "The file '{}' does not exist."),
        ],
        ids=["duplicate", "sizes", "list", "circle", "base"],
    )
    def test_a_malformed_file(self, write, text, message):
        file = write(text)
        named = file.with_name("other.yaml") if "other" in text else file
        self.check(message.format(named), lambda: composed(file=file))


class TestPrecision:
    def resolved(self, wanted, accelerator="auto"):
        return precision(wanted, _root_=OmegaConf.create({"trainer": {"accelerator": accelerator}}))

    @pytest.mark.parametrize(("has_it", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
    def test_bf16_on_a_cpu_depends_on_its_instructions(self, monkeypatch, has_it, expected):
        monkeypatch.setattr("lightning_losses.resolvers._cpu_has_bf16", lambda: has_it)
        assert self.resolved("bf16-mixed", "cpu") == expected

    @pytest.mark.parametrize(("has_it", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
    def test_bf16_on_a_gpu_depends_on_the_gpu(self, monkeypatch, has_it, expected):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: has_it)
        assert self.resolved("bf16-mixed") == expected

    def test_fp16_needs_a_gpu(self, monkeypatch):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        assert self.resolved("16-mixed") == "16-mixed"
        assert self.resolved("16-mixed", "cpu") == "32-true"

    def test_full_precision_is_everywhere(self):
        assert self.resolved("64-true", "cpu") == "64-true"

    def test_it_is_a_resolver(self, monkeypatch):
        monkeypatch.setattr("lightning_losses.resolvers._cpu_has_bf16", lambda: False)
        assert resolve(composed("trainer.precision=${precision:bf16-mixed}"))["trainer"]["precision"] == "32-true"


class TestWandb:
    @pytest.fixture(autouse=True)
    def _logged_out(self, monkeypatch, tmp_path):
        for name in ("WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_MODE"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setattr("lightning_losses.resolvers._is_reachable", lambda url: "unreachable" not in url)
        self.netrc = tmp_path / "netrc"
        monkeypatch.setenv("NETRC", str(self.netrc))

    def log_in(self, host):
        self.netrc.write_text(f"machine {host}\nlogin user\npassword secret\n")
        self.netrc.chmod(stat.S_IRUSR | stat.S_IWUSR)

    def test_offline_without_a_login(self):
        assert wandb_offline()

    def test_online_with_a_key(self, monkeypatch):
        monkeypatch.setenv("WANDB_API_KEY", "x")
        assert not wandb_offline()

    @pytest.mark.parametrize("host", ["api.wandb.ai", "api.forge.coreweave.com"])
    def test_online_with_a_netrc_entry_of_wandb_under_either_name(self, host):
        self.log_in(host)
        assert not wandb_offline()

    @pytest.mark.parametrize("host", ["localhost", "localhost:8080"])
    def test_online_with_a_netrc_entry_of_a_server_of_ones_own(self, monkeypatch, host):
        self.log_in(host)
        assert wandb_offline()
        monkeypatch.setenv("WANDB_BASE_URL", "http://localhost:8080")
        assert not wandb_offline()

    def test_online_with_a_netrc_entry_of_the_host_in_use(self, monkeypatch):
        self.log_in("wandb.example.org")
        assert wandb_offline()
        monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
        assert not wandb_offline()

    def test_offline_where_the_server_cannot_be_reached(self, monkeypatch):
        monkeypatch.setenv("WANDB_API_KEY", "x")
        monkeypatch.setenv("WANDB_BASE_URL", "https://unreachable.example.org")
        with pytest.warns(UserWarning, match=r"https://unreachable\.example\.org cannot be reached: W&B stays offline"):
            assert wandb_offline()

    def test_offline_where_the_user_says_so(self, monkeypatch):
        monkeypatch.setenv("WANDB_API_KEY", "x")
        monkeypatch.setenv("WANDB_MODE", "offline")
        assert wandb_offline()

    def test_it_is_a_resolver(self):
        assert resolve(composed("data.rows=${wandb_offline:}"))["data"]["rows"] is True


def test_a_server_is_reachable_if_it_takes_connections(monkeypatch):
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert resolvers._is_reachable(f"http://127.0.0.1:{port}")
    resolvers._is_reachable.cache_clear()
    assert not resolvers._is_reachable(f"http://127.0.0.1:{port}")
