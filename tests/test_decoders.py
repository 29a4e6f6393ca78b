"""Decoders: schedules, re-masking, what never changes, independence of the batch; length heads and policies."""

import math

import pytest
import torch
from conftest import masked_network, special

from harness.backbones import MaskedBackbone
from harness.canvas import Layout
from harness.decoders import DECODERS, get_decoder, lowest, masked_canvas
from harness.decoders.length import beam_scores, predicted_lengths
from harness.decoders.sampling import sampler_of
from harness.lengths import length_loss_sum, make_length_head, top_lengths
from harness.noise import LinearSchedule, masked_after

PROMPTS = [[20, 21, 22], [40, 41], [50, 51, 52, 53, 54]]
LENGTHS = [4, 9, 6]
ALL = sorted(DECODERS)


def canvas_of(backbone, prompts=PROMPTS, lengths=LENGTHS):
    pairs = [(p, [backbone.ids.mask] * n) for p, n in zip(prompts, lengths, strict=True)]
    return backbone.layout.pack(pairs, backbone.ids)


def spy(backbone, monkeypatch, token=None):
    """Record the number of hidden target tokens at every pass; optionally answer `token` always."""
    seen, plain = [], type(backbone).hidden

    def hidden(self, canvas):
        seen.append(((canvas.tokens_BT == self.ids.mask) & canvas.target_BT).sum(1).tolist())
        return plain(self, canvas)

    monkeypatch.setattr(type(backbone), "hidden", hidden)
    if token is not None:

        def constant(self, states, where):
            logits = torch.zeros(int(where.sum()), 330)
            logits[:, token] = 5.0
            return logits

        monkeypatch.setattr(type(backbone), "logits_at", constant)
    return seen


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("steps", [1, 2, 4, 10])
def test_a_network_that_always_says_k_writes_k_everywhere(backbone, monkeypatch, name, steps):
    spy(backbone, monkeypatch, token=77)
    canvas = canvas_of(backbone)
    out = get_decoder(name)(backbone, canvas, steps)
    assert (out.tokens_BT[canvas.target_BT] == 77).all()


@pytest.mark.parametrize("name", ALL)
def test_prompt_bos_and_eos_never_change_and_nothing_stays_hidden(backbone, name):
    canvas = canvas_of(backbone)
    out = get_decoder(name)(backbone, canvas, 5)
    assert (out.tokens_BT[~canvas.target_BT] == canvas.tokens_BT[~canvas.target_BT]).all()
    assert not (out.tokens_BT[canvas.target_BT] == backbone.ids.mask).any()
    assert (out.forward_passes_B >= 1).all()
    assert (out.forward_passes_B <= (torch.tensor(LENGTHS) if name == "left_to_right" else 5)).all()


@pytest.mark.parametrize("name", ALL)
def test_no_pass_at_all_is_an_error(backbone, name):
    with pytest.raises(ValueError, match="steps=0.*at least 1"):
        get_decoder(name)(backbone, canvas_of(backbone), 0)


@pytest.mark.parametrize("name", ALL)
def test_finished_items_leave_the_batch(backbone, monkeypatch, name):
    seen = spy(backbone, monkeypatch)
    out = get_decoder(name)(backbone, canvas_of(backbone, lengths=[1, 9, 2]), 6)
    assert sum(map(len, seen)) == int(out.forward_passes_B.sum()) < 3 * len(seen)
    if name != "reparameterized":  # whose passes may look for tokens to take back
        assert all(count > 0 for counts in seen for count in counts)


def test_a_reparameterized_row_ends_once_nothing_can_become_noise(backbone, monkeypatch):
    seen = spy(backbone, monkeypatch)
    get_decoder("reparameterized")(backbone, canvas_of(backbone, PROMPTS[:1], [1]), 10)
    assert seen == [[1]]  # floor(cos(π/20)) = 0: written by the first pass, nothing left to doubt


def test_mask_predict_hides_as_many_as_the_schedule_says(backbone, monkeypatch):
    seen = spy(backbone, monkeypatch)
    get_decoder("mask_predict")(backbone, canvas_of(backbone, PROMPTS[:1], [9]), 4)
    assert [counts[0] for counts in seen] == [9, 6, 4, 2]  # floor(9·(1 − s/4))


def test_reparameterized_keeps_floor_of_cosine_hidden(backbone, monkeypatch):
    seen = spy(backbone, monkeypatch)
    get_decoder("reparameterized")(backbone, canvas_of(backbone, PROMPTS[:1], [8]), 4)
    assert [counts[0] for counts in seen] == [8, 7, 5, 3]  # floor(8·cos(π·s/8)) = 7, 5, 3


def stochastic(backbone, steps, noise=1.0, rows=(0, 1, 2), seed=3):
    canvas = canvas_of(backbone, [PROMPTS[r] for r in rows], [LENGTHS[r] for r in rows])
    rng = sampler_of(0.0, 1.0, seed, [str(r) for r in rows])
    out = get_decoder("reparameterized")(backbone, canvas, steps, rng, selection="stochastic", noise=noise)
    return [row[mask].tolist() for row, mask in zip(out.tokens_BT, canvas.target_BT, strict=True)]


@torch.inference_mode()
def test_stochastic_selection_ranks_by_score_plus_scaled_gumbel(backbone, monkeypatch):
    states = []
    plain = type(backbone).hidden

    def hidden(self, canvas):
        states.append(canvas)
        return plain(self, canvas)

    monkeypatch.setattr(type(backbone), "hidden", hidden)
    stochastic(backbone, 4, noise=2.0, rows=[1])
    first, second = states[0], states[1]
    logits_MV = backbone.logits_at(plain(backbone, first), first.target_BT)
    logits_MV[:, backbone.ids.mask] = -torch.inf
    score_M = logits_MV.log_softmax(-1).amax(-1)
    places = torch.arange(9).unsqueeze(0)
    uniform_M = sampler_of(0.0, 1.0, 3, ["1"]).uniform_BT(places, stream=4 + 1)[0]
    noisy_M = score_M + 2.0 * math.cos(math.pi / 8) * -torch.log(-torch.log(uniform_M))
    wanted = set(noisy_M.argsort()[: math.floor(9 * math.cos(math.pi / 8))].tolist())
    still = (second.tokens_BT[second.target_BT] == backbone.ids.mask).nonzero().flatten().tolist()
    assert set(still) == wanted and wanted != set(score_M.argsort()[: len(wanted)].tolist())


def test_stochastic_selection_is_an_items_own_and_without_noise_the_deterministic_one(backbone):
    together = stochastic(backbone, 5)
    assert together == [stochastic(backbone, 5, rows=[row])[0] for row in range(3)]
    assert any(stochastic(backbone, 5, noise=5.0, seed=seed) != together for seed in range(4))
    canvas = canvas_of(backbone)
    plain = get_decoder("reparameterized")(backbone, canvas, 5)
    assert stochastic(backbone, 5, noise=0.0) == [
        row[mask].tolist() for row, mask in zip(plain.tokens_BT, canvas.target_BT, strict=True)
    ]


@pytest.mark.parametrize("name", ["mask_predict", "reparameterized"])
def test_refinement_really_hides_filled_positions_again(backbone, monkeypatch, name):
    hidden_before, again = [], []
    plain = type(backbone).hidden

    def hidden(self, canvas):
        now = (canvas.tokens_BT == self.ids.mask) & canvas.target_BT
        if hidden_before:
            again.append(bool((now & ~hidden_before[-1]).any()))
        hidden_before.append(now)
        return plain(self, canvas)

    monkeypatch.setattr(type(backbone), "hidden", hidden)
    for seed in range(6):
        hidden_before.clear()
        prompt = [30 + seed, 31 + 2 * seed, 60]
        get_decoder(name)(backbone, canvas_of(backbone, [prompt], [9]), 6)
    assert any(again)


def mean_logprob(decoded, canvas):
    target_BT = canvas.target_BT
    return (decoded.logprob_BT * target_BT).sum(1) / target_BT.sum(1)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("name", ALL)
def test_an_item_does_not_depend_on_its_batch(backbone, name, temperature):
    rng = [sampler_of(temperature, 0.9, 7, names) for names in (["a", "b", "c"], ["a"], ["b"], ["c"])]
    together = get_decoder(name)(backbone, canvas_of(backbone), 6, rng[0])
    mean = mean_logprob(together, canvas_of(backbone))
    for row in range(3):
        canvas = canvas_of(backbone, PROMPTS[row : row + 1], LENGTHS[row : row + 1])
        alone = get_decoder(name)(backbone, canvas, 6, rng[1 + row])
        wide = together.tokens_BT[row][canvas_of(backbone).target_BT[row]]
        assert wide.tolist() == alone.tokens_BT[0][canvas.target_BT[0]].tolist()
        assert float(mean[row]) == pytest.approx(float(mean_logprob(alone, canvas)[0]), abs=1e-4)


def test_lowest_breaks_ties_leftmost_and_counts_exactly():
    score = torch.tensor([[1.0, 1.0, 1.0, 0.5]])
    pool = torch.tensor([[True, True, True, True]])
    assert lowest(score, pool, torch.tensor([2])).tolist() == [[True, False, False, True]]
    assert lowest(score, pool & torch.tensor([[True, True, True, False]]), torch.tensor([2])).tolist() == [
        [True, True, False, False]
    ]


def test_masked_after_ends_at_zero_and_never_rises():
    lengths = torch.arange(1, 40)
    for curve in ("linear", "cosine"):
        counts = [masked_after(step, 10, lengths, curve) for step in range(1, 11)]
        assert (counts[-1] == 0).all()
        assert all((later <= sooner).all() for sooner, later in zip(counts, counts[1:], strict=False))


def test_schedule_weights():
    steps = torch.arange(1, 51)
    assert LinearSchedule(50, "linear").weight(steps).tolist() == [50.0 - t + 1 for t in range(1, 51)]
    assert LinearSchedule(50, "elbo").weight(torch.tensor([25])).item() == 2.0


def test_length_classes_at_both_ends_and_barred_zero():
    logits = torch.full((2, 6), -9.0)
    logits[0, 0], logits[0, 1], logits[1, 5] = 5.0, 4.0, 5.0
    lengths, logprob = top_lengths(logits, 2, 3)
    assert lengths[0, 0] == 1 and lengths[1, 0] <= 3 and (logprob[:, 0] <= 0).all()
    assert top_lengths(logits, 9, 5)[0].shape == (2, 5) and top_lengths(logits, 1, 5)[0][:, 0].tolist() == [1, 5]
    assert float(length_loss_sum(torch.zeros(3, 6), torch.tensor([0, 5, 99]))) == pytest.approx(
        3 * torch.tensor(6.0).log().item()
    )


def test_predicted_lengths_do_not_depend_on_the_batch(backbone):
    def lengths(prompts):
        canvas = backbone.length_canvas(prompts)
        return predicted_lengths(backbone.length_logits(backbone.hidden(canvas), canvas), 3, 9)

    together = lengths(PROMPTS)
    for options, prompt in zip(together, PROMPTS, strict=True):
        (alone,) = lengths([prompt])
        assert list(options) == list(alone) and list(options.values()) == pytest.approx(list(alone.values()), abs=1e-5)
    assert all(len(options) == 3 and max(options) <= 9 and min(options) >= 1 for options in together)


def test_the_ways_to_rank_a_length_beam():
    total, length, prior = torch.tensor([-6.0, -7.0]), torch.tensor([3, 4]), torch.tensor([-0.5, -2.0])
    assert beam_scores("content_mean", total, length, prior).tolist() == [-2.0, -1.75]
    assert beam_scores("row_mean", total, length, prior).tolist() == pytest.approx([-6 / 5, -7 / 6])
    assert beam_scores("with_length", total, length, prior).tolist() == [-6.5, -9.0]


def test_predicted_lengths_come_with_their_log_probabilities():
    logits = torch.log(torch.tensor([[0.1, 0.2, 0.3, 0.4]]))
    (lengths,) = predicted_lengths(logits, 2, 9)
    assert list(lengths) == [3, 2] and list(lengths.values()) == pytest.approx([math.log(0.4), math.log(0.3)])
    assert predicted_lengths(logits, 2, 1)[0] == {1: pytest.approx(math.log(0.2))}


def test_a_probe_shows_the_head_hidden_tokens_behind_the_prompt(tokenizer):
    """What the head reads depends on what the network makes of hidden answers, and never on the room for them."""
    head = make_length_head("transformer", 16, 20, heads=2, inner=8, probe=4)
    backbone = MaskedBackbone(masked_network(tokenizer), special(tokenizer), Layout(), 24, head)
    canvas = backbone.length_canvas([(20, 21, 22), tuple(range(20, 60))])
    ids = backbone.ids
    assert canvas.tokens_BT[0, :9].tolist() == [ids.bos, 20, 21, 22, *[ids.mask] * 4, ids.eos]
    assert canvas.prompt_BT.equal(canvas.attend_BT) and not canvas.target_BT.any() and not canvas.eos_BT.any()
    assert canvas.tokens_BT.shape[1] == 24 and canvas.tokens_BT[1, 1:19].tolist() == list(range(42, 60))
    logits_BC = backbone.length_logits(backbone.hidden(canvas), canvas)
    backbone.length_head = make_length_head("transformer", 16, 20, heads=2, inner=8)
    backbone.length_head.load_state_dict(head.state_dict())
    plain = backbone.length_canvas([(20, 21, 22)])
    assert plain.tokens_BT.tolist() == [[ids.bos, 20, 21, 22]]
    assert not torch.allclose(backbone.length_logits(backbone.hidden(plain), plain)[0], logits_BC[0], atol=1e-4)


def test_unknown_names_are_explained():
    with pytest.raises(ValueError, match="Did you mean 'mask_predict'"):
        get_decoder("maskpredict")
    with pytest.raises(ValueError, match="pooled_embedding"):
        make_length_head("pooled", 8, 4)


def test_masked_canvas_hides_the_target_only(backbone):
    canvas = backbone.layout.pack([([20, 21], [30, 31, 32])], backbone.ids)
    hidden = masked_canvas(canvas, backbone.ids.mask)
    assert (hidden.tokens_BT == backbone.ids.mask).equal(canvas.target_BT)


def test_slices_of_the_vocabulary_projection_change_nothing(backbone, monkeypatch):
    rng = sampler_of(1.0, 0.9, 0, ["a", "b", "c"])
    whole = get_decoder("confidence")(backbone, canvas_of(backbone), 3, rng)
    monkeypatch.setattr("harness.rows.LOGITS_AT_ONCE", {"cpu": 1})
    monkeypatch.setattr("harness.rows.POSITIONS_AT_ONCE", 4)
    sliced = get_decoder("confidence")(backbone, canvas_of(backbone), 3, rng)
    assert whole.tokens_BT.equal(sliced.tokens_BT) and torch.allclose(whole.logprob_BT, sliced.logprob_BT, atol=1e-5)
