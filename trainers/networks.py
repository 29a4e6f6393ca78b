"""Networks of a recipe: from scratch in a shape of a transformers family, or from pretrained weights."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch

from harness.backbones import make_any_order
from harness.config import ConfigError
from trainers.recipe import BackboneSpec

SPECIAL_TOKENS = {
    "bos_token": "<s>",
    "eos_token": "</s>",
    "pad_token": "<pad>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
}
MODEL_MAX_LENGTH = 256
POSITION_PARAMETERS = ("position_embeddings", "relative_attention_bias")


def train_tokenizer(texts, vocabulary: int, out: Path, han_words: Sequence[str] = ()) -> int:
    """A byte-level BPE tokenizer of at most `vocabulary` tokens: any text is encodable; digits, the words `han_words`
    and all other Han characters stand alone. Tokens that `texts` never use, most of them steps on the way to a whole
    word, are left out: a small network spends much of its time on projecting to the vocabulary. Returns the size.

    Text gets a leading space as in XLM-R's tokenizer, so that a word is the same token at the start of an answer and
    inside a prompt; a space before a Han character is dropped for the same reason.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Prepend(" "),
            normalizers.Replace(Regex(r"^  "), " "),
            normalizers.Replace(Regex(r" (?=[\u4e00-\u9fff])"), ""),
        ]
    )
    han = "|".join(sorted(han_words, key=len, reverse=True) + [r"[\u4e00-\u9fff]"])
    alone = Regex(han + r"|[\u3000-\u303f\uff00-\uffef]| ?[0-9]")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(alone, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)]
    )
    tokenizer.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Strip(" ", 1, 0)])
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(SPECIAL_TOKENS.values()),
        initial_alphabet=sorted(alphabet),
        show_progress=False,
    )
    texts = list(texts)
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.model = _pruned(tokenizer, texts, {*SPECIAL_TOKENS.values(), *alphabet})
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=MODEL_MAX_LENGTH, **SPECIAL_TOKENS)
    fast.save_pretrained(out)
    return len(fast)


def _pruned(tokenizer, texts: Sequence[str], kept: set[str]):
    """The BPE model with `kept`, the tokens that texts use, and what words of several tokens are merged from.

    With `ignore_merges` a word that is a token is found whole, so its merges are not needed.
    """
    from tokenizers import models

    trained = json.loads(tokenizer.to_str())["model"]
    merges = [tuple(pair) for pair in trained["merges"]]
    origin = {left + right: (left, right) for left, right in reversed(merges)}
    words = {word for text in texts for word, _ in _words(tokenizer, text)}
    encoded = {word: [t.value for t in tokenizer.model.tokenize(word)] for word in words}
    kept |= {tokens[0] for tokens in encoded.values() if len(tokens) == 1}
    open_ = [token for tokens in encoded.values() if len(tokens) > 1 for token in tokens]
    needed: set[str] = set()
    while open_:
        token = open_.pop()
        if token not in needed:
            needed.add(token)
            open_ += origin.get(token, ())
    vocabulary = sorted(kept | needed, key=trained["vocab"].__getitem__)
    pairs = [pair for pair in merges if pair[0] in needed and pair[1] in needed and "".join(pair) in needed]
    return models.BPE({token: i for i, token in enumerate(vocabulary)}, pairs, ignore_merges=True)


def _words(tokenizer, text: str):
    return tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text))


def load_tokenizer(path: str, revision: str = "main"):
    """A fast tokenizer from a folder or the hub; ConfigError when there is none."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(path, revision=revision)
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot load a tokenizer from '{path}': {str(error).splitlines()[0]}") from error
    if not tokenizer.is_fast:
        raise ConfigError(
            f"'{path}' has no tokenizer.json: training needs a fast tokenizer; convert it and save it there."
        )
    if tokenizer.pad_token is None and tokenizer.eos_token is not None:
        tokenizer.pad_token = tokenizer.eos_token  # padding is never attended to and carries no loss
    return tokenizer


def tokenizer_of(spec: BackboneSpec, path: str | None = None):
    """The tokenizer of a recipe's backbone (or, instead, of a folder or hub id), with the special tokens it asks for.

    Raises:
        ConfigError: there is none, or it has no such token.
    """
    source = path or spec.pretrained
    if not source:
        raise ConfigError("a network from scratch needs --tokenizer DIR (python -m trainers tokenizer makes one).")
    tokenizer = load_tokenizer(source, spec.revision)
    known = tokenizer.get_vocab()
    for name, token in spec.special_tokens.items():
        if token not in known:
            raise ConfigError(f"backbone.special_tokens.{name}: the tokenizer has no token '{token}'.")
        setattr(tokenizer, f"{name}_token", token)
    return with_mask_token(tokenizer) if spec.decoder else tokenizer


def with_mask_token(tokenizer):
    """The tokenizer with a mask token, added where it has none (a decoder's that becomes a masked LM)."""
    if tokenizer.mask_token is None:
        tokenizer.add_special_tokens({"mask_token": SPECIAL_TOKENS["mask_token"]})
    if tokenizer.bos_token is None:
        tokenizer.add_special_tokens({"bos_token": SPECIAL_TOKENS["bos_token"]})
    return tokenizer


def build_network(spec: BackboneSpec, kind: str, tokenizer, seed: int):
    """The network of a recipe, seeded; `kind` is causal, seq2seq or masked.

    Raises:
        ConfigError: unknown family, a family without that kind of network, or unloadable weights.
    """
    from transformers import set_seed

    set_seed(seed)
    network = _pretrained(spec, kind) if spec.pretrained is not None else _from_scratch(spec, kind, tokenizer)
    if spec.decoder:
        if len(tokenizer) > network.config.vocab_size:
            network.resize_token_embeddings(len(tokenizer))
        make_any_order(network)
    return network


def _auto(spec: BackboneSpec, kind: str):
    import transformers

    return {
        "causal": transformers.AutoModelForCausalLM,
        "seq2seq": transformers.AutoModelForSeq2SeqLM,
        "masked": transformers.AutoModelForCausalLM if spec.decoder else transformers.AutoModelForMaskedLM,
    }[kind]


def _pretrained(spec: BackboneSpec, kind: str):
    try:
        with _attention(spec) as attention:
            network = _auto(spec, kind).from_pretrained(
                spec.pretrained, revision=spec.revision, dtype=torch.float32, use_safetensors=True, **attention
            )
    except ConfigError:
        raise
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"backbone.pretrained: cannot load '{spec.pretrained}': {str(error).splitlines()[0]}"
        ) from error
    for key, value in spec.shape.items():
        if (found := getattr(network.config, key, value)) != value and key != "vocab_size":
            raise ConfigError(f"backbone: '{spec.pretrained}' has {key} {found}, and the recipe says {value}.")
    return network


def hub_commit(spec: BackboneSpec) -> str | None:
    """The commit that `revision` was when the weights were loaded from the hub; None for a folder's, or from scratch."""
    if spec.pretrained is None or Path(spec.pretrained).exists():
        return None
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(spec.pretrained, "config.json", revision=spec.revision)
    return Path(found).parent.name if isinstance(found, str) else None


def network_config(spec: BackboneSpec, kind: str, **special):
    """The transformers configuration of a recipe's family and shape; ConfigError for an unknown one."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.for_model(str(spec.family), **{**special, **spec.shape})
    except (ValueError, TypeError) as error:
        raise ConfigError(f"backbone: no family '{spec.family}': {str(error).splitlines()[0]}") from error
    if kind == "seq2seq":
        config.decoder_start_token_id = config.pad_token_id
    if spec.initializer_std is not None:
        config.initializer_range = spec.initializer_std
    return config


def of_tokenizer(tokenizer) -> dict[str, int | None]:
    """What a configuration has of its tokenizer: the size of the vocabulary and the special ids."""
    ids = {f"{name}_id": getattr(tokenizer, f"{name}_id") for name in ("bos_token", "eos_token", "pad_token")}
    return {"vocab_size": len(tokenizer), **ids}


def _from_scratch(spec: BackboneSpec, kind: str, tokenizer):
    config = network_config(spec, kind, **of_tokenizer(tokenizer))
    try:
        network = network_of(config, spec, kind)
    except ConfigError:
        raise
    except (ValueError, TypeError) as error:
        raise ConfigError(
            f"backbone: cannot build a {kind} network of family '{spec.family}': {str(error).splitlines()[0]}"
        ) from error
    if spec.embedding_std is not None:
        torch.nn.init.normal_(network.get_input_embeddings().weight, std=spec.embedding_std)
    if spec.position_scale != 1.0 or spec.position_init == "sinusoidal":
        _initialise_positions(network, spec)
    return network


def network_of(config, spec: BackboneSpec, kind: str):
    """A network with random weights in the shape of a configuration."""
    with _attention(spec) as attention:
        return _auto(spec, kind).from_config(config, **attention)


@contextmanager
def _attention(spec: BackboneSpec) -> Iterator[dict[str, str]]:
    """The `attention` of a recipe for transformers; ConfigError where a package that a network needs is not installed."""
    try:
        yield {} if spec.attention == "auto" else {"attn_implementation": spec.attention}
    except ImportError as error:
        reason = str(error).splitlines()[0]
        if spec.attention == "auto":
            raise ConfigError(
                f"backbone: the network of '{spec.pretrained or spec.family}' needs a package: {reason}"
            ) from error
        raise ConfigError(
            f"backbone.attention: {spec.attention} cannot be had ({reason}); install it, or leave the key out."
        ) from error


def _initialise_positions(network, spec: BackboneSpec) -> None:
    """Scale learned positions (absolute, or T5's relative biases), or start them as sinusoids (Vaswani et al. 2017)."""
    names = ("position_embeddings",) if spec.position_init == "sinusoidal" else POSITION_PARAMETERS
    tables = [p for name, p in network.named_parameters() if any(part in name for part in names)]
    if not tables:
        raise ConfigError(f"backbone: {type(network).__name__} has no learned positions to initialise.")
    for table in tables:
        with torch.no_grad():
            if spec.position_init == "sinusoidal":
                std = float(network.get_input_embeddings().weight.std())
                table.copy_(sinusoids(table.shape[0], table.shape[1], spec.position_base) * std * 2**0.5)
            table.mul_(spec.position_scale)


def sinusoids(positions: int, width: int, base: float) -> torch.Tensor:
    """sin and cos of position / base^(2i/width), [positions, width], of variance 1/2."""
    rate = base ** (-torch.arange(0, width, 2) / width)
    angle = torch.arange(positions).unsqueeze(1) * rate
    return torch.stack([angle.sin(), angle.cos()], -1).flatten(1)[:, :width]


def count_parameters(network) -> tuple[int, int]:
    """(all parameters, those outside token and position embeddings and a tied output projection).

    Without low-rank adapters, which are folded into the weights before these are written.
    """
    seen = {id(p): p for name, p in network.named_parameters() if "lora_" not in name}
    total = sum(p.numel() for p in seen.values())
    embeddings = {id(network.get_input_embeddings().weight)}
    output = network.get_output_embeddings()
    if output is not None:
        embeddings.add(id(output.weight))
    embeddings |= {id(p) for name, p in network.named_parameters() if "position_embeddings" in name}
    return total, total - sum(seen[key].numel() for key in embeddings if key in seen)
