"""The typed configuration tree of every command.

One tree serves all commands, so that stages run one by one on a run directory see what `run` sees.
YAML files under ``conf/`` hold values only; code receives these dataclasses.
"""

import math
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from harness.digest import digest_of
from harness.errors import UsageError

STAGES = ("gate", "train", "probe", "report")


@dataclass
class Data:
    """Where meetings and their manifest come from.

    Attributes:
        source: demo, qmsum or folder.
        root: content store (folder), or the folder of QMSum's JSON files (qmsum); made for demo.
        manifest: signed manifest directory; made by a seeded rule for demo and qmsum.
        withdrawals: folder of the withdrawals log; made for demo and qmsum.
        copies_key: file with the key of the index of excluded content, where there is one.
        state: file of the newest manifest seen (default: in ``work``); nodes may share it.
        work: where sources that make their own manifest keep it.
        seed: seed of the generator (demo) and of the consent rule (demo, qmsum).
        series: qmsum only: series to use; empty uses every series with three or more meetings.
        pairs: qmsum only: queries and answers are content too, of the kind summary_ai.
    """

    source: str = "demo"
    root: str = ""
    manifest: str = ""
    withdrawals: str = ""
    copies_key: str = ""
    state: str = ""
    work: str = ".harness"
    seed: int = 0
    series: list[str] = field(default_factory=list)
    pairs: bool = False


@dataclass
class Job:
    """What the run asks permission for; all of it must lie in the manifest's scope.

    Attributes:
        controller: who trains (URI); consent to another controller is no consent.
        purpose: DPV purpose, for example ``dpv:ResearchAndDevelopment``.
        modalities: what is trained on; each must be consented to by name.
        recipients: who else receives what is made, such as a vendor; none keeps it in the house.
        more_detectors: what looks for pieces of turns to mask beside roster and patterns:
            ``presidio``, or ``presidio:MODEL`` with an installed spaCy model.
    """

    controller: str = "https://demo.example"
    purpose: str = "dpv:ResearchAndDevelopment"
    modalities: list[str] = field(default_factory=lambda: ["transcript"])
    recipients: list[str] = field(default_factory=list)
    more_detectors: list[str] = field(default_factory=list)


@dataclass
class Gate:
    """How the gate decides; nothing here can admit more.

    Attributes:
        require_all: exit 3 when anything at all is denied.
        processes: how many decide at once, where the tables are Parquet in parts.
        previous: directory of the manifest of the epoch before, to show what changed since.
        shards: in how many shares the meetings are decided, by as many jobs.
        shard: number of the share that this job decides, from 0; -1 decides all, or merges shares.
        decided_at: the clock that all shares have in common, RFC 3339 in UTC with Z.
        key: file with the private key of the role ``gate`` that signs a share.
    """

    require_all: bool = False
    processes: int = 1
    previous: str = ""
    shards: int = 1
    shard: int = -1
    decided_at: str = ""
    key: str = ""


@dataclass
class Model:
    """The frozen base model.

    Attributes:
        source: smollm2-135m (embedded), hub, or tiny (random weights, for tests).
        name: hub only: ORG/NAME in the Hugging Face cache or hub.
        revision: hub only: branch, tag or commit.
        dtype: auto (bfloat16 where the machine computes in it, else float32), bfloat16, float32.
        quantization: none, or nf4: QLoRA's 4-bit base (Dettmers et al. 2023; needs bitsandbytes
            and a CUDA device).
        attention: auto (``documents`` where it agrees with the model's own, else sdpa), documents,
            sdpa, eager, or flash_attention_2 (needs flash-attn and a CUDA device).
        liger: whether Liger's kernels compute norms, rotary positions and SwiGLU (needs
            liger-kernel and a CUDA device).
        cache: where converted base models are kept.
    """

    source: str = "smollm2-135m"
    name: str = ""
    revision: str | None = None
    dtype: str = "auto"
    quantization: str = "none"
    attention: str = "auto"
    liger: bool = False
    cache: str = "${oc.env:HARNESS_CACHE,.harness/models}"


@dataclass
class Corpus:
    """What becomes of admitted turns before they are rows of tokens.

    Attributes:
        task: lm (what was said, all of it with loss) or sft (transcript and query to answer, the
            answer alone with loss; docs/sft.md).
        row_tokens: length of a packed row, and the longest document, in tokens.
        meeting_tokens: read at most so many tokens of each meeting (0 for all).
        goldfish: leave one token in so many without a loss (Hans et al. 2024; 0 none).
        goldfish_context: tokens before a token whose hash decides whether it is left out.
        repeated: of every stretch of so many tokens that occurs again, only the first occurrence
            has a loss (0: all have).
    """

    task: str = "lm"
    row_tokens: int = 512
    meeting_tokens: int = 0
    goldfish: int = 0
    goldfish_context: int = 13
    repeated: int = 0


@dataclass
class Canaries:
    """Attributes: per_level: candidates at each repetition level; repetitions: the levels;
    seed: seed of the secrets and of the planting coins."""

    per_level: int = 32
    repetitions: list[int] = field(default_factory=lambda: [1, 4, 16])
    seed: int = 0


@dataclass
class Lora:
    """LoRA (Hu et al. 2021) on the frozen base.

    Attributes:
        kind: lora; rslora, which scales by alpha / sqrt(r) (Kalajdzievski 2023); or dora, which
            learns magnitudes apart from directions (Liu et al. 2024).
        r: rank.
        alpha: scale numerator; updates of lora and dora are scaled by alpha / r.
        dropout: on the adapter's input.
        targets: module names to adapt, or ``all-linear``.
        init: default (A uniform, B zero), gaussian (A normal, B zero) or orthogonal; PiSSA and
            OLoRA change the base, which would no longer be the adapter switched off.
        dtype: of the adapter in forward passes: float32, or bfloat16 with float32 master copies
            that the optimiser changes.
    """

    kind: str = "lora"
    r: int = 16
    alpha: float = 32.0
    dropout: float = 0.0
    targets: str = "all-linear"
    init: str = "default"
    dtype: str = "float32"


@dataclass
class Train:
    """Optimisation.

    Attributes:
        epochs: passes over the packed corpus.
        lr: peak learning rate of AdamW.
        warmup: share of all steps spent warming up; cosine decay to ``lr_end`` x lr follows.
        batch_rows: packed rows in one optimiser step, over all devices.
        micro_rows: rows in one forward pass at most (0: all that a device has of a step); changes
            memory and speed, not what is learnt.
        clip: gradient norm bound.
        checkpoint_steps: save what resume needs every so many optimiser steps.
        eval_epochs: loss on the validation series every so many epochs (0 never).
        patience: stop after so many evaluations without improvement (0 never).
        threads: CPU threads of each process (0: torch's choice, shared out among ``devices`` unless
            OMP_NUM_THREADS is set); part of what bit-exact resume needs.
        accelerator: auto, cpu or cuda.
        devices: processes that share each step.
        strategy: ddp (each has the whole base) or fsdp2 (each has a share of the base's layers).
        deterministic: whether only deterministic kernels are used, and a run is continued only
            where its bits can be.
        compile: auto (CUDA devices, where the run is long enough to gain), on or off.
        activation_checkpointing: compute activations again in the backward pass: less memory,
            about a third more time.
        seed: seed of initialisation, order and dropout.
    """

    epochs: int = 7
    lr: float = 3e-3
    warmup: float = 0.05
    lr_end: float = 0.1
    weight_decay: float = 0.0
    batch_rows: int = 1
    micro_rows: int = 0
    clip: float = 1.0
    checkpoint_steps: int = 20
    eval_epochs: int = 2
    patience: int = 0
    threads: int = 0
    accelerator: str = "auto"
    devices: int = 1
    strategy: str = "ddp"
    deterministic: bool = True
    compile: str = "auto"
    activation_checkpointing: bool = False
    seed: int = 0


@dataclass
class Privacy:
    """DP-SGD on the adapter (Abadi et al. 2016); off unless ``epsilon`` or ``noise`` is set.

    Attributes:
        epsilon: bound to keep over the whole training; the noise follows from it.
        noise: noise multiplier, instead of ``epsilon``.
        delta: of the bound; must be below one over the number of documents.
        clip: L2 bound of one document's gradient.
    """

    epsilon: float = 0.0
    noise: float = 0.0
    delta: float = 1e-5
    clip: float = 1.0


@dataclass
class Probe:
    """What is measured after training.

    Attributes:
        enforce: exit 6 when a primary probe is not PASS.
        batch_tokens: padded tokens in one scoring batch.
        prefixes: prefix lengths k (tokens) of the greedy extraction windows.
        suffix: suffix length S (tokens) that must come back word for word.
        windows: extraction windows taken from each document.
        resamples: bootstrap draws, and permutations, behind each interval and p-value.
        alpha_fpr: false-positive rate at which the true-positive rate is read.
        near_tie: top-two margin (nats) below which a greedy decision is checked by generate;
            logits around 20 are 0.125 apart in bfloat16.
        seed: seed of resampling and of window choice.
    """

    enforce: bool = False
    batch_tokens: int = 4096
    prefixes: list[int] = field(default_factory=lambda: [8, 16, 32, 64])
    suffix: int = 16
    windows: int = 2
    resamples: int = 2000
    alpha_fpr: float = 0.10
    near_tie: float = 0.25
    seed: int = 0


@dataclass
class Tracking:
    """Attributes: mode: off, offline or online; project and group: of wandb."""

    mode: str = "offline"
    project: str = "meeting-harness"
    group: str | None = None


@dataclass
class Config:
    """Root of the tree.

    Attributes:
        name: of the run; the default run directory is ``runs/NAME``.
        run_dir: where everything is written.
        json: print the stage's summary as one JSON object, last line.
    """

    name: str = "demo"
    run_dir: str = "runs/${name}"
    json: bool = False
    data: Data = field(default_factory=Data)
    job: Job = field(default_factory=Job)
    gate: Gate = field(default_factory=Gate)
    model: Model = field(default_factory=Model)
    corpus: Corpus = field(default_factory=Corpus)
    canaries: Canaries = field(default_factory=Canaries)
    lora: Lora = field(default_factory=Lora)
    train: Train = field(default_factory=Train)
    privacy: Privacy = field(default_factory=Privacy)
    probe: Probe = field(default_factory=Probe)
    tracking: Tracking = field(default_factory=Tracking)


_STAGE_KEYS = {
    "gate": ("data", "job"),
    "train": ("data", "job", "model", "corpus", "canaries", "lora", "train", "privacy"),
    "probe": ("data", "job", "model", "corpus", "canaries", "lora", "train", "privacy", "probe"),
    "report": ("data", "job", "model", "corpus", "canaries", "lora", "train", "privacy", "probe"),
}
_TRANSIENT = {
    "data.root", "data.manifest", "data.withdrawals", "data.copies_key", "data.state",
    "data.work", "model.cache", "probe.enforce",
}  # fmt: skip


def flatten(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return ``{"train.lr": 0.002, ...}`` of a configuration dataclass or nested mapping."""
    items = (
        [(f.name, getattr(value, f.name)) for f in fields(value)]
        if is_dataclass(value)
        else list(value.items())
    )
    flat: dict[str, Any] = {}
    for key, item in items:
        if is_dataclass(item) or isinstance(item, dict):
            flat |= flatten(item, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = item
    return flat


def stage_values(config: Config, stage: str) -> dict[str, Any]:
    """The settings that decide what ``stage`` produces, flattened; places are left out."""
    return {
        key: value
        for key, value in flatten(config).items()
        if key.split(".")[0] in _STAGE_KEYS[stage] and key not in _TRANSIENT
    }


def config_digest(config: Config, stage: str = "report") -> str:
    """SHA-256 of :func:`stage_values`; two runs with the same digest ask for the same thing."""
    return digest_of(stage_values(config, stage))


def check(config: Config) -> None:
    """Refuse values that no stage could work with.

    Raises:
        UsageError: naming the key and what it may be.
    """
    _one_of("data.source", config.data.source, ("demo", "qmsum", "folder"))
    _one_of("model.source", config.model.source, ("smollm2-135m", "hub", "tiny"))
    _one_of("model.dtype", config.model.dtype, ("auto", "bfloat16", "float32"))
    _one_of("corpus.task", config.corpus.task, ("lm", "sft"))
    _one_of("tracking.mode", config.tracking.mode, ("off", "offline", "online"))
    _one_of("train.accelerator", config.train.accelerator, ("auto", "cpu", "cuda"))
    _one_of("train.strategy", config.train.strategy, ("ddp", "fsdp2"))
    _one_of("train.compile", config.train.compile, ("auto", "on", "off"))
    _one_of("model.quantization", config.model.quantization, ("none", "nf4"))
    _one_of("model.attention", config.model.attention,
            ("auto", "documents", "sdpa", "eager", "flash_attention_2"))  # fmt: skip
    _one_of("lora.kind", config.lora.kind, ("lora", "rslora", "dora"))
    _one_of("lora.init", config.lora.init, ("default", "gaussian", "orthogonal"))
    _one_of("lora.dtype", config.lora.dtype, ("float32", "bfloat16"))
    flat = flatten(config)
    for choice in (f"data={config.data.source}", f"model={config.model.source}"):
        for key in _NEEDED.get(choice, ()):
            if not flat[key]:
                raise UsageError("CONFIG_VALUE", f"{choice} needs it", key, f"set {key}=...")
    positive = ("corpus.row_tokens", "corpus.goldfish_context", "train.devices", "privacy.delta",
                "privacy.clip", "lora.r", "train.epochs", "train.batch_rows",
                "train.checkpoint_steps", "probe.batch_tokens", "probe.suffix", "probe.resamples",
                "probe.windows", "train.lr", "canaries.per_level")  # fmt: skip
    for key in positive:
        if not 0 < flat[key] < math.inf:
            raise UsageError("CONFIG_VALUE", f"{flat[key]} is not above 0", key, "correct it")
    for key in ("lora.dropout", "train.warmup", "train.lr_end", "probe.alpha_fpr"):
        if not 0 <= flat[key] <= 1:
            raise UsageError("CONFIG_VALUE", f"{flat[key]} is not from 0 to 1", key, "correct it")
    for key in ("canaries.repetitions", "probe.prefixes", "job.modalities"):
        if not flat[key]:
            raise UsageError("CONFIG_VALUE", "the list is empty", key, "name at least one")
    _check_whole_numbers(flat)
    if config.corpus.task == "sft":
        _check_pairs(config)


def _check_pairs(config: Config) -> None:
    """Training on pairs reads transcripts and pairs; where there can be none, say so at once."""
    if {*config.job.modalities} != {"transcript", "summary_ai"}:
        raise UsageError("CONFIG_VALUE", "corpus.task=sft trains on both transcript and summary_ai,"
                         " and nothing else", "job.modalities",
                         "set job.modalities=[transcript,summary_ai]")  # fmt: skip
    if config.data.source == "demo":
        raise UsageError("CONFIG_VALUE", "the demo has no pairs for corpus.task=sft", "data",
                         "take data=qmsum or data=folder")  # fmt: skip
    if config.data.source == "qmsum" and not config.data.pairs:
        raise UsageError("CONFIG_VALUE", "corpus.task=sft needs it with data=qmsum", "data.pairs",
                         "set data.pairs=true")  # fmt: skip


def _check_whole_numbers(flat: dict[str, Any]) -> None:
    for key in ("data.seed", "canaries.seed", "train.seed", "probe.seed", "train.threads",
                "train.eval_epochs", "train.patience", "corpus.meeting_tokens", "train.micro_rows",
                "corpus.goldfish", "corpus.repeated", "privacy.epsilon",
                "privacy.noise"):  # fmt: skip
        if flat[key] < 0:
            raise UsageError("CONFIG_VALUE", f"{flat[key]} is below 0", key, "correct it")
    for key in ("canaries.repetitions", "probe.prefixes"):
        if min(flat[key]) < 1:
            raise UsageError("CONFIG_VALUE", f"{min(flat[key])} is below 1", key, "correct it")
    if flat["corpus.row_tokens"] < 2:
        raise UsageError("CONFIG_VALUE", "a row holds no text", "corpus.row_tokens", "raise it")
    if flat["lora.alpha"] < 1 or flat["lora.alpha"] % 1:  # peft takes whole numbers
        raise UsageError("CONFIG_VALUE", "no whole number above 0", "lora.alpha", "correct it")
    if flat["corpus.goldfish"] == 1:
        raise UsageError("CONFIG_VALUE", "no token would have a loss", "corpus.goldfish",
                         "4 leaves out a quarter")  # fmt: skip
    if flat["model.quantization"] != "none" and flat["train.strategy"] == "fsdp2":
        raise UsageError("CONFIG_VALUE", "a 4-bit base cannot be shared out", "train.strategy",
                         "take ddp")  # fmt: skip
    if (flat["privacy.epsilon"] or flat["privacy.noise"]) and flat["corpus.repeated"]:
        raise UsageError("CONFIG_VALUE", "what one document says would decide what others teach, "
                         "which privacy.* does not bound", "corpus.repeated",
                         "set it to 0")  # fmt: skip
    if flat["privacy.epsilon"] and flat["privacy.noise"]:
        raise UsageError("CONFIG_VALUE", "the noise follows from privacy.epsilon",
                         "privacy.noise", "set one of the two")  # fmt: skip
    if flat["canaries.per_level"] * len(flat["canaries.repetitions"]) > MOST_CANARIES:
        raise UsageError("CONFIG_VALUE", f"more than {MOST_CANARIES} canaries",
                         "canaries.per_level", "lower it")  # fmt: skip


MOST_CANARIES = 1000  # their names are drawn without repetition from 1,728
_NEEDED = {
    "data=folder": ("data.root", "data.manifest", "data.withdrawals"),
    "data=qmsum": ("data.root",),
    "model=hub": ("model.name",),
}


def _one_of(key: str, value: str, options: tuple[str, ...]) -> None:
    if value not in options:
        raise UsageError("CONFIG_VALUE", f"'{value}' is none of {', '.join(options)}", key)
