"""NEFTune's noise: uniform, of the paper's size, wherever the token embeddings are read, and only while training."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForMaskedLM, AutoModelForSeq2SeqLM

from trainers.neftune import neftune, readers

SMALL = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2)
T5 = dict(d_model=16, d_kv=8, d_ff=24, num_layers=1, num_heads=2, decoder_start_token_id=0)
NETWORKS = {
    "llama": (AutoModelForCausalLM, SMALL, {"model.embed_tokens"}),
    "xlm-roberta": (AutoModelForMaskedLM, SMALL, {"roberta.embeddings.word_embeddings"}),
    "mt5": (AutoModelForSeq2SeqLM, T5, {"encoder.embed_tokens", "decoder.embed_tokens"}),
}


@pytest.mark.parametrize("family", NETWORKS)
def test_noise_has_the_papers_size_wherever_tokens_are_read(family):
    auto, shape, read_by = NETWORKS[family]
    torch.manual_seed(0)
    network = auto.from_config(AutoConfig.for_model(family, vocab_size=40, pad_token_id=0, **shape))
    tokens_BT = torch.randint(3, 40, (64, 25))
    arguments = {"input_ids": tokens_BT} | ({"decoder_input_ids": tokens_BT} if family == "mt5" else {})
    names = {id(module): name for name, module in network.named_modules()}
    seen: dict[str, torch.Tensor] = {}

    def read(module, _arguments, states_BTD):
        seen[names[id(module)]] = (states_BTD - module.weight[tokens_BT]).detach()

    def noise(training: bool) -> dict[str, torch.Tensor]:
        seen.clear()
        kept = [module.register_forward_hook(read) for module in readers(network)]
        network.train(training)
        network(**arguments)
        for hook in kept:
            hook.remove()
        return dict(seen)

    with neftune(network, 5.0):
        found = noise(training=True)
        assert found.keys() == read_by
        size = 5.0 / (25 * 16) ** 0.5
        for noise_BTD in found.values():
            assert float(noise_BTD.abs().max()) <= size + 1e-6
            assert float(noise_BTD.std()) == pytest.approx(size / 3**0.5, rel=0.02) and abs(float(noise_BTD.mean())) < 0.01  # fmt: skip
        assert all(not noise_BTD.any() for noise_BTD in noise(training=False).values())
    assert all(not noise_BTD.any() for noise_BTD in noise(training=True).values())
    with neftune(network, None):
        assert all(not noise_BTD.any() for noise_BTD in noise(training=True).values())
