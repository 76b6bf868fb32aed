"""Every shipped YAML gives settings that check() takes, and digests move with what matters."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from harness.config import STAGES, Config, check, config_digest, flatten, stage_values
from harness.errors import UsageError

CONF = Path(__file__).parents[1] / "conf"
PRIMARIES = ("gate", "train", "probe", "report", "run")
GROUPS = ("data", "model", "tracking")
OPTIONS = {name: sorted(p.stem for p in (CONF / name).glob("*.yaml")) for name in GROUPS}
EXPERIMENTS = sorted(path.stem for path in (CONF / "experiment").glob("*.yaml"))
NEEDED = [
    "data.root=store",
    "data.manifest=manifest",
    "data.withdrawals=log",
    "model.name=ORG/NAME",
]
KEYS = flatten(Config())

# The first stage that depends on a group of settings; those after it depend on it too.
FIRST = {
    "data": "gate", "job": "gate", "model": "train", "corpus": "train", "canaries": "train",
    "lora": "train", "privacy": "train", "train": "train", "probe": "probe",
}  # fmt: skip
TRANSIENT = {
    "name", "run_dir", "json", "data.root", "data.manifest", "data.withdrawals",
    "data.copies_key", "data.state", "data.work", "model.cache",
    "gate.require_all", "gate.processes", "gate.previous", "gate.shards", "gate.shard",
    "gate.decided_at", "gate.key", "probe.enforce", "tracking.mode",
    "tracking.project", "tracking.group",
}  # fmt: skip


def composed(primary: str, *overrides: str) -> Config:
    """What a command's code receives."""
    ConfigStore.instance().store(name="harness_schema", node=Config)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = OmegaConf.to_object(compose(primary, list(overrides)))
    assert isinstance(config, Config)
    return config


def changed(config: Config, key: str) -> Config:
    """The same settings with another value of one key."""
    group, _, name = key.rpartition(".")
    owner = getattr(config, group) if group else config
    value = getattr(owner, name)
    if isinstance(value, bool):
        other: Any = not value
    elif isinstance(value, list):
        other = [*value, 99]
    elif isinstance(value, int | float):
        other = value + 1
    else:
        other = f"{value}x"
    part = replace(owner, **{name: other})
    return replace(config, **{group: part}) if group else part


@pytest.mark.parametrize("primary", PRIMARIES)
def test_every_option_of_every_group_composes(primary: str) -> None:
    for options in itertools.zip_longest(*OPTIONS.values(), fillvalue=None):
        chosen = {g: o for g, o in zip(GROUPS, options, strict=True) if o}
        config = composed(primary, *(f"{g}={o}" for g, o in chosen.items()), *NEEDED)
        check(config)
        if "data" in chosen:
            assert config.data.source == chosen["data"]
        if "model" in chosen:
            assert config.model.source == chosen["model"]
        if "tracking" in chosen:
            assert config.tracking.mode == chosen["tracking"]


@pytest.mark.parametrize("primary", PRIMARIES)
@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_experiment_composes(primary: str, experiment: str) -> None:
    config = composed(primary, f"experiment={experiment}", "data.root=store")
    check(config)
    assert config.name == experiment
    assert config.run_dir == f"runs/{experiment}"


def test_every_command_sees_the_same_settings() -> None:
    trees = [flatten(composed(primary)) for primary in PRIMARIES]
    assert all(tree == trees[0] for tree in trees)


def test_the_defaults_are_those_of_the_schema() -> None:
    shipped, schema = flatten(composed("run")), KEYS
    different = {key for key in schema if shipped[key] != schema[key]}
    assert different == {"run_dir", "model.cache"}  # these two are interpolations, now resolved
    assert shipped.keys() == schema.keys()


@pytest.mark.parametrize("path", sorted(CONF.rglob("*.yaml")), ids=lambda path: path.stem)
def test_every_key_of_every_yaml_is_in_the_schema(path: Path) -> None:
    values = yaml.safe_load(path.read_text())
    for own in ("defaults", "hydra"):
        values.pop(own, None)
    group = path.parent.name
    prefix = f"{group}." if group in GROUPS else ""
    assert flatten(values, prefix).keys() <= KEYS.keys()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("data.source", "web"), ("model.source", "gpt"), ("model.dtype", "float16"),
        ("tracking.mode", "on"), ("train.accelerator", "tpu"), ("corpus.row_tokens", 0),
        ("corpus.task", "dpo"),
        ("lora.r", 0), ("train.epochs", 0), ("train.batch_rows", -1), ("train.checkpoint_steps", 0),
        ("probe.batch_tokens", 0), ("probe.suffix", 0), ("probe.resamples", 0),
        ("probe.windows", -2), ("train.lr", 0.0), ("train.lr", -1e-3), ("canaries.per_level", 0),
    ],
)  # fmt: skip
def test_check_refuses_by_the_name_of_the_key(key: str, value: Any) -> None:
    config = Config()
    group, _, name = key.partition(".")
    setattr(getattr(config, group), name, value)
    with pytest.raises(UsageError) as caught:
        check(config)
    assert caught.value.code == "CONFIG_VALUE"
    assert caught.value.where == key
    assert str(value) in str(caught.value)


def test_a_model_of_the_hub_needs_a_name() -> None:
    config = Config()
    config.model.source = "hub"
    with pytest.raises(UsageError) as caught:
        check(config)
    assert caught.value.where == "model.name"
    config.model.name = "ORG/NAME"
    check(config)


@pytest.mark.parametrize("key", KEYS)
def test_a_stage_digest_moves_exactly_with_the_settings_that_matter(key: str) -> None:
    before, after = Config(), changed(Config(), key)
    assert flatten(after)[key] != KEYS[key]
    group = key.partition(".")[0]
    for place, stage in enumerate(STAGES):
        matters = key not in TRANSIENT and STAGES.index(FIRST[group]) <= place
        assert (key in stage_values(before, stage)) == matters
        assert (config_digest(before, stage) != config_digest(after, stage)) == matters


def test_the_digest_of_a_run_is_that_of_its_last_stage() -> None:
    assert config_digest(Config()) == config_digest(Config(), "report")
    assert config_digest(Config()) == config_digest(Config())


def test_flatten_names_every_leaf_once() -> None:
    assert KEYS["train.lr"] == Config().train.lr
    assert flatten({"a": {"b": {"c": 1}}, "d": [2]}, "x.") == {"x.a.b.c": 1, "x.d": [2]}
    assert KEYS.keys() >= TRANSIENT
    assert {key.partition(".")[0] for key in KEYS.keys() - TRANSIENT} == FIRST.keys()


@pytest.mark.parametrize(
    ("key", "value"),
    [("lora.alpha", 0.5), ("lora.alpha", 24.5), ("train.seed", -1), ("probe.seed", -1),
     ("train.threads", -1), ("corpus.row_tokens", 1), ("canaries.per_level", 577),
     ("probe.prefixes", [0, 8]), ("canaries.repetitions", [-1])],
)  # fmt: skip
def test_settings_that_would_hang_do_nothing_or_fail_late_are_refused(
    key: str, value: object
) -> None:
    config, (section, name) = Config(), key.split(".")
    setattr(getattr(config, section), name, value)
    with pytest.raises(UsageError, match=rf"CONFIG_VALUE.*{key}"):
        check(config)


@pytest.mark.parametrize(
    ("change", "key"),
    [("job.modalities=[transcript]", "job.modalities"),
     ("job.modalities=[summary_ai]", "job.modalities"),
     ("job.modalities=[transcript,summary_ai,chat_public]", "job.modalities"),
     ("data.pairs=false", "data.pairs"), ("data.source=demo", "data")],
)  # fmt: skip
def test_a_task_on_pairs_asks_for_all_that_it_needs(change: str, key: str) -> None:
    needed = ["experiment=qmsum-sft", "data.root=store"]
    check(composed("run", *needed))
    with pytest.raises(UsageError, match="CONFIG_VALUE") as caught:
        check(composed("run", *needed, change))
    assert caught.value.where == key


@pytest.mark.parametrize(
    ("values", "key"),
    [({"privacy.epsilon": 2.0, "corpus.repeated": 20}, "corpus.repeated"),
     ({"privacy.noise": 1.0, "corpus.repeated": 20}, "corpus.repeated"),
     ({"privacy.epsilon": 2.0, "privacy.noise": 1.0}, "privacy.noise"),
     ({"model.quantization": "nf4", "train.strategy": "fsdp2"}, "train.strategy")],
)  # fmt: skip
def test_what_does_not_go_together_is_refused(values: dict[str, Any], key: str) -> None:
    """Masks of one document that depend on another would be more than its clipped gradient."""
    config = Config()
    for name, value in values.items():
        group, _, last = name.rpartition(".")
        setattr(getattr(config, group), last, value)
        if name != key:
            check(config)
    with pytest.raises(UsageError, match=rf"CONFIG_VALUE.*{key}"):
        check(config)
