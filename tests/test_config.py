"""Every shipped configuration composes; digests follow what decides a result."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from harness.config import Config, check, config_digest, flatten, stage_values
from harness.errors import UsageError

CONF = Path(__file__).parents[1] / "conf"
PRIMARY = sorted(path.stem for path in CONF.glob("*.yaml") if path.stem != "shared")
OPTIONS = sorted(
    f"{path.parent.name}={path.stem}" for path in CONF.glob("*/*.yaml")
    if path.parent.name != "hydra"
)  # fmt: skip
PLACES = {"data=folder": ["data.root=a", "data.manifest=b"], "data=qmsum": ["data.root=a"],
          "experiment=qmsum": ["data.root=a"], "model=hub": ["model.name=a/b"]}  # fmt: skip
TRANSIENT = {"name", "run_dir", "json", "gate.require_all", "data.root", "data.manifest",
             "data.work", "model.cache", "probe.enforce", "tracking.mode", "tracking.project",
             "tracking.group"}  # fmt: skip


def composed(name: str, words: list[str]) -> Config:
    ConfigStore.instance().store(name="harness_schema", node=Config)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        tree = compose(name, overrides=words)
    config = OmegaConf.to_object(tree)
    assert isinstance(config, Config)
    return config


def test_the_five_commands_have_a_primary_file() -> None:
    assert PRIMARY == ["gate", "probe", "report", "run", "train"]


@pytest.mark.parametrize("name", PRIMARY)
def test_defaults_are_the_schemas(name: str) -> None:
    assert composed(name, []) == replace(composed("run", []))
    check(composed(name, []))


@pytest.mark.parametrize("option", OPTIONS)
def test_each_option_composes_and_is_valid(option: str) -> None:
    config = composed("run", [option, *PLACES.get(option, [])])
    check(config)
    group, _, choice = option.partition("=")
    if group in ("data", "model"):
        assert getattr(config, group).source == choice


@pytest.mark.parametrize(
    ("key", "value"),
    [("data.source", "x"), ("model.source", "x"), ("model.dtype", "int8"), ("tracking.mode", "x"),
     ("train.epochs", 0), ("train.lr", -1.0), ("corpus.row_tokens", 0), ("probe.suffix", 0)],
)  # fmt: skip
def test_values_that_cannot_work_are_refused_by_key(key: str, value: Any) -> None:
    config, (section, name) = Config(), key.split(".")
    setattr(getattr(config, section), name, value)
    with pytest.raises(UsageError, match=rf"CONFIG_VALUE.*{key}"):
        check(config)


def changed(key: str) -> Config:
    config = Config()
    section, _, name = key.rpartition(".")
    holder = getattr(config, section) if section else config
    old = getattr(holder, name)
    new = {bool: lambda: not old, int: lambda: old + 1, float: lambda: old + 0.5,
           list: lambda: [*old, old[0] if old else "x"]}  # fmt: skip
    setattr(holder, name, new.get(type(old), lambda: f"{old}x")())
    return config


@pytest.mark.parametrize("key", sorted(flatten(Config())))
def test_a_digest_changes_with_what_decides_the_result_and_with_nothing_else(key: str) -> None:
    same = config_digest(changed(key)) == config_digest(Config())
    assert same == (key in TRANSIENT)


def test_a_stage_depends_on_itself_and_on_earlier_stages_only() -> None:
    keys = {stage: set(stage_values(Config(), stage)) for stage in ("gate", "train", "probe")}
    assert keys["gate"] < keys["train"] < keys["probe"]
    assert not any(key.startswith("probe.") for key in keys["train"])
