"""Objectives: log V on uniform logits, which tokens carry loss, the law of each corruption."""

import math
from typing import Any

import pytest
import torch

from harness.backbones import MaskedBackbone
from harness.canvas import Canvas, Layout
from harness.config import ConfigError
from harness.lengths import make_length_head
from tests.conftest import masked_network, special
from trainers.encode import Example, blocks, encode
from trainers.networks import build_network
from trainers.objectives import divided, make_objective, smoothed_nll
from trainers.recipe import BackboneSpec

EXAMPLES = [Example((20, 21, 22), (30, 31), (True,) * 3), Example((40,), (50, 51, 52, 53), (True,))]
LLAMA = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=2)
MT5 = dict(d_model=16, d_kv=8, d_ff=24, num_layers=1, num_decoder_layers=1, num_heads=2, dropout_rate=0.0)


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def zeroed(network):
    """A network whose logits are all equal, whatever its input."""
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
    return network


def objective_of(name, tokenizer, layout=None, **settings):
    context = (
        {"ids": special(tokenizer), "layout": layout}
        if layout
        else {"pad": tokenizer.pad_token_id, "eos": tokenizer.eos_token_id}
    )
    return make_objective(name, settings, **context)


def loss_of(objective: Any, network, batch, seed=0) -> float:
    """The loss of a batch that nobody cuts."""
    batch = objective.corrupt(batch, rng(seed))
    return float(divided(objective.loss_sums(network, batch), objective.weights(batch)).detach())


@pytest.mark.parametrize("settings", [{}, {"instruction_loss": True}, {"normalise": "example"}])
@pytest.mark.parametrize("family,shape", [("llama", LLAMA), ("bloom", dict(hidden_size=16, n_layer=1, n_head=2))])
def test_uniform_causal_loss_is_log_vocabulary(tokenizer, family, shape, settings):
    network = zeroed(build_network(BackboneSpec(family=family, shape=shape), "causal", tokenizer, 0))
    objective: Any = objective_of("causal", tokenizer, **settings)
    assert loss_of(objective, network, objective.collate(EXAMPLES)) == pytest.approx(math.log(len(tokenizer)), rel=1e-5)


def test_the_reference_of_kl_follows_the_network_to_its_device(tokenizer):
    """The reference is copied before anything is moved, and no wrapper knows of it."""
    network = build_network(BackboneSpec(family="llama", shape=LLAMA), "causal", tokenizer, 0).eval()
    objective: Any = objective_of("causal", tokenizer, kl_weight=1.0)
    objective.remember(network)
    expected, moves = loss_of(objective, network, objective.collate(EXAMPLES)), []

    class Elsewhere(type(network)):
        @property
        def device(self):
            return moves[-1] if moves else torch.device("meta")

        def to(self, device):
            moves.append(device)
            return super().to(device)

    objective._reference.__class__ = Elsewhere
    for _ in range(2):
        assert loss_of(objective, network, objective.collate(EXAMPLES)) == expected
    assert moves == [torch.device("cpu")]


def test_uniform_seq2seq_loss_is_log_vocabulary(tokenizer):
    network = zeroed(build_network(BackboneSpec(family="mt5", shape=MT5), "seq2seq", tokenizer, 0))
    objective: Any = objective_of("seq2seq", tokenizer)
    assert loss_of(objective, network, objective.collate(EXAMPLES)) == pytest.approx(math.log(len(tokenizer)), rel=1e-5)


@pytest.mark.parametrize("name", ["joint", "isolated"])
def test_uniform_masked_loss_is_log_vocabulary(tokenizer, name):
    layout = Layout(name, target_position=0)
    backbone = MaskedBackbone(zeroed(masked_network(tokenizer)), special(tokenizer), layout, 90)
    objective: Any = objective_of("masked", tokenizer, layout)
    assert loss_of(objective, backbone, objective.collate(EXAMPLES)) == pytest.approx(
        math.log(len(tokenizer)), rel=1e-5
    )


@pytest.mark.parametrize(
    "weighting,expected", [("elbo", 1.0), ("linear", sum((51 - t) * t / 50 for t in range(1, 51)) / 50)]
)
def test_uniform_diffusion_loss_is_log_vocabulary_in_expectation(tokenizer, weighting, expected):
    # E[Σ_masked w(t)/n] = E[w(t)·t/T]: T/t·t/T = 1 for the ELBO weight, the mean of (T − t + 1)·t/T for the linear one
    layout = Layout()
    backbone = MaskedBackbone(zeroed(masked_network(tokenizer)), special(tokenizer), layout, 90)
    objective: Any = objective_of("diffusion", tokenizer, layout, weighting=weighting)
    batch = objective.collate([EXAMPLES[1]] * 64)
    losses = [loss_of(objective, backbone, batch, seed) for seed in range(60)]
    mean, spread = sum(losses) / 60, torch.tensor(losses).std().item() / 60**0.5
    assert abs(mean - expected * math.log(len(tokenizer))) < 4 * spread


def test_causal_loss_equals_the_networks_own(tokenizer):
    network = build_network(
        BackboneSpec(family="llama", shape=LLAMA, initializer_std=0.3), "causal", tokenizer, 0
    ).eval()
    objective: Any = objective_of("causal", tokenizer)
    batch = objective.collate(EXAMPLES)
    labels = batch["tokens_BT"].masked_fill(batch["weight_BT"] == 0, -100)
    own = network(input_ids=batch["tokens_BT"], attention_mask=batch["attend_BT"], labels=labels).loss
    assert loss_of(objective, network, batch) == pytest.approx(own.item(), rel=1e-5)


@pytest.mark.parametrize("family", ["mt5", "t5"])
def test_seq2seq_loss_equals_the_networks_own(tokenizer, family):
    network = build_network(BackboneSpec(family=family, shape=MT5), "seq2seq", tokenizer, 0).eval()
    objective: Any = objective_of("seq2seq", tokenizer, normalise="token")
    batch = objective.collate(EXAMPLES)
    labels = batch["target_BT"].masked_fill(batch["weight_BT"] == 0, -100)
    own = network(input_ids=batch["prompt_BS"], attention_mask=batch["attend_BS"], labels=labels).loss
    assert loss_of(objective, network, batch) == pytest.approx(own.item(), rel=1e-5)


def test_it_and_im_differ_in_exactly_the_instruction_tokens(tokenizer):
    tulu = encode([{"inputs": "red cat", "targets": "blue dog"}], tokenizer, "tulu", 90).examples
    it, im = (
        objective_of("causal", tokenizer, instruction_loss=flag).collate(tulu)["weight_BT"][0] for flag in (False, True)
    )
    prompt = len(tulu[0].prompt)
    different = (it != im).nonzero().squeeze(1).tolist()
    text = tokenizer.decode([tulu[0].prompt[i] for i in different])
    assert text.strip() == "red cat" and all(i < prompt for i in different)
    assert it[prompt:].tolist() == im[prompt:].tolist() == [1.0] * (len(tulu[0].target) + 1)


def test_example_normalisation_weighs_every_example_the_same(tokenizer):
    weight = objective_of("causal", tokenizer, normalise="example").collate(EXAMPLES)["weight_BT"]
    assert weight.sum(1).tolist() == pytest.approx([1.0, 1.0])


def test_masked_counts_are_uniform_and_only_in_the_target(tokenizer):
    layout = Layout("isolated", target_position=0)
    objective: Any = objective_of("masked", tokenizer, layout, prompt_noise=0.5)
    clean = Canvas(**objective.collate([EXAMPLES[1]] * 4000))
    noised, hidden = objective.hide(clean, rng())
    counts = hidden.sum(1).bincount(minlength=5)[1:].float() / 4000
    assert (counts - 0.25).abs().max() < 0.04
    assert not (hidden & ~clean.target_BT).any()
    changed = noised.tokens_BT != clean.tokens_BT
    specials = (clean.tokens_BT == special(tokenizer).bos) | (clean.tokens_BT == special(tokenizer).eos)
    assert not (changed & specials).any()
    assert abs(float((changed & clean.prompt_BT & ~specials).sum()) / 4000 - 0.5) < 0.05


def test_coupled_draws_are_nested_and_have_the_right_rate(tokenizer):
    layout = Layout()
    objective: Any = objective_of("diffusion", tokenizer, layout)
    clean = Canvas(**objective.collate([EXAMPLES[1]] * 5000))
    maskable = clean.target_BT | clean.eos_BT
    steps, hidden = objective.draw(maskable, rng())
    high, low = hidden[:5000], hidden[5000:]
    differ = steps[:5000] > steps[5000:]
    assert not (low & ~high)[differ].any() and not (hidden & ~maskable.repeat(2, 1)).any()
    rate = hidden.sum(1).float() / 5
    for chosen in (steps <= 10, steps > 40):
        assert abs(float(rate[chosen].mean()) - float(steps[chosen].float().mean() / 50)) < 0.02


def test_exact_counts_are_uniform_and_give_the_same_bound_as_coins(tokenizer):
    layout = Layout()
    exact: Any = objective_of("diffusion", tokenizer, layout, coupled=False, exact_count=True, weighting="elbo")
    clean = Canvas(**exact.collate([EXAMPLES[1]] * 5000))
    maskable = clean.target_BT | clean.eos_BT
    steps, hidden = exact.draw(maskable, rng())
    counts = hidden.sum(1)
    assert not (hidden & ~maskable).any() and (counts.bincount(minlength=6)[1:] / 5000 - 0.2).abs().max() < 0.02
    assert torch.allclose(steps, counts / 5 * 50)
    # weight n/k · share k/n of tokens hidden = 1 for every draw: the loss of equal logits is log V without noise
    backbone = MaskedBackbone(zeroed(masked_network(tokenizer)), special(tokenizer), layout, 90)
    for normalise in ("example", "token"):
        objective: Any = objective_of(
            "diffusion", tokenizer, layout, coupled=False, exact_count=True, weighting="elbo", normalise=normalise
        )
        loss = loss_of(objective, backbone, objective.collate(EXAMPLES))
        assert loss == pytest.approx(math.log(len(tokenizer)), rel=1e-5)


def test_token_normalised_diffusion_weighs_every_token_the_same(tokenizer):
    layout = Layout()
    backbone = MaskedBackbone(masked_network(tokenizer), special(tokenizer), layout, 90)
    sums = {}
    for normalise in ("example", "token"):
        objective: Any = objective_of("diffusion", tokenizer, layout, mask_eos=False, normalise=normalise)
        batch = objective.corrupt(objective.collate([EXAMPLES[1]] * 3), rng())
        sums[normalise] = objective.loss_sums(backbone, batch).detach(), objective.weights(batch)
    assert sums["example"][1].tolist() == [6] and sums["token"][1].tolist() == [24]  # 2 draws × 3 × 4 tokens
    assert float(divided(*sums["token"])) == pytest.approx(float(divided(*sums["example"])))  # equal lengths


def test_smoothing_adds_the_mean_over_the_vocabulary():
    logits = torch.tensor([[1.0, 2.0, 3.0]])
    nll = -logits.log_softmax(-1)[0]
    assert float(smoothed_nll(logits, torch.tensor([0]), 0.1)[0]) == pytest.approx(
        float(0.9 * nll[0] + 0.1 * nll.mean())
    )


@pytest.mark.parametrize("z_loss", [0.0, 0.3])
def test_the_saving_gradient_is_autograds_to_the_bit(z_loss):
    logits = torch.randn(7, 50, generator=rng(1), requires_grad=True)
    target, weight = torch.randint(0, 50, (7,), generator=rng(2)), torch.rand(7, generator=rng(3))
    ours = smoothed_nll(logits, target, 0.0, z_loss)
    (gradient,) = torch.autograd.grad((ours * weight).sum(), logits)
    plain = logits.logsumexp(-1) - logits.gather(1, target.unsqueeze(1)).squeeze(1)
    if z_loss:
        plain = plain + z_loss * logits.logsumexp(-1).square()
    (expected,) = torch.autograd.grad((plain * weight).sum(), logits)
    assert torch.equal(ours, plain) and torch.equal(gradient, expected)


def test_a_joint_layouts_length_head_cannot_see_the_answer(tokenizer):
    layout = Layout("joint", target_position=0)
    backbone = MaskedBackbone(
        masked_network(tokenizer), special(tokenizer), layout, 90, make_length_head("pooled_embedding", 16, 20)
    )
    objective: Any = objective_of("masked", tokenizer, layout, prompt_noise=0.0)
    same_prompt = [Example((20, 21), (30,) * n, (True, True)) for n in (1, 7)]
    seen = []
    plain = backbone.length_logits
    backbone.length_logits = lambda h, c: seen.append(plain(h, c)) or seen[-1]  # type: ignore[method-assign]
    loss_of(objective, backbone, objective.collate(same_prompt))
    assert torch.allclose(seen[0][0], seen[0][1], atol=1e-5)


def test_unknown_settings_are_refused(tokenizer):
    with pytest.raises(ValueError, match="normalise"):
        objective_of("causal", tokenizer, normalise="sentence")
    with pytest.raises(ValueError, match="weighting"):
        objective_of("diffusion", tokenizer, Layout(), weighting="cubic")
    with pytest.raises(ValueError, match="coupled: false"):
        objective_of("diffusion", tokenizer, Layout(), exact_count=True)
    with pytest.raises(ValueError, match="normalise"):
        objective_of("diffusion", tokenizer, Layout(), normalise="sentence")


def test_relative_biases_are_scaled_and_absolute_positions_too(tokenizer):
    def spread(scale: float) -> float:
        spec = BackboneSpec(family="mt5", shape=MT5, position_scale=scale)
        network = build_network(spec, "seq2seq", tokenizer, 0)
        return float(
            next(p.detach().std() for name, p in network.named_parameters() if "relative_attention_bias" in name)
        )

    assert spread(60.0) == pytest.approx(60 * spread(1.0), rel=1e-5)
    with pytest.raises(ConfigError, match="no learned positions"):
        build_network(BackboneSpec(family="llama", shape=LLAMA, position_scale=2.0), "causal", tokenizer, 0)


def test_blocks_are_all_texts_end_to_end():
    texts = [Example((1, 2, 3), (4,), (1, 1, 1)), Example((5,), tuple(range(6, 20)), (1,)), Example((), (20, 21), ())]
    flat = [*range(1, 5), 0, *range(5, 20), 0, 20, 21, 0]
    for size in (1, 3, 4, 8, 30):
        made = blocks(iter(texts), size, 0)  # one text in memory at a time
        assert [e.target for e in made] == [tuple(flat[at : at + size]) for at in range(0, len(flat) - size + 1, size)]
        assert not any(e.closed or e.prompt for e in made)
