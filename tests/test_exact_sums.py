"""A step cut in pieces, on one process or several, has the gradient of the whole step; packed rows that of loose ones."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file

from harness.backbones import MaskedBackbone
from harness.canvas import Layout
from harness.config import ConfigError
from harness.lengths import make_length_head
from tests.conftest import masked_network, special
from tests.forked import Forked, free_port, join_processes
from tests.test_objectives import LLAMA, MT5, objective_of, rng
from trainers.assemble import check_network
from trainers.batches import BatchPlan, PackedPlan, Steps, pieces
from trainers.checkpoint import train_checkpoint
from trainers.encode import Example
from trainers.module import ObjectiveModule
from trainers.networks import build_network
from trainers.objectives import cut, divided
from trainers.packing import fill, states_at
from trainers.recipe import BackboneSpec, LayoutSpec, LoraSpec, Recipe, load_recipe
from trainers.state import TENSORS, put_back, put_weights_back, tensors_of, whole_weights

SIZES = [(3, 2), (1, 4), (6, 1), (2, 2), (5, 7), (1, 1), (4, 3), (2, 5)]
EXAMPLES = [
    Example(tuple(range(20, 20 + p)), tuple(range(60 + p, 60 + p + t)), (1,) * (p - 1) + (0,)) for p, t in SIZES
]
DECODERS = {
    "llama": LLAMA,
    "bloom": dict(hidden_size=16, n_layer=2, n_head=2, hidden_dropout=0.0, attention_dropout=0.0),
    "opt": dict(hidden_size=16, word_embed_proj_dim=16, ffn_dim=24, num_hidden_layers=1, num_attention_heads=2, dropout=0.0),
}  # fmt: skip


def gradient(network, objective, batches, weights) -> torch.Tensor:
    model = network.model if isinstance(network, MaskedBackbone) else network
    model.zero_grad()
    total = sum(divided(objective.loss_sums(network, batch), weights) for batch in batches)
    total.backward()  # type: ignore[union-attr]
    flat = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
    return torch.cat([total.detach().reshape(1), *flat])  # type: ignore[union-attr]


def decoder(tokenizer, family):
    spec = BackboneSpec(family=family, shape=DECODERS[family], initializer_std=0.3)
    return build_network(spec, "causal", tokenizer, 0).eval()


CASES = [
    ("causal", {"normalise": "token"}),
    ("causal", {"normalise": "example", "instruction_loss": True}),
    ("causal", {"template_loss": True, "kl_weight": 0.5}),
    ("seq2seq", {"normalise": "token", "z_loss": 1e-3}),
    ("masked", {"normalise": "token"}),
    ("masked", {"normalise": "example"}),
    ("diffusion", {"normalise": "token"}),
    ("diffusion", {"coupled": False, "exact_count": True, "weighting": "elbo"}),
]


@pytest.mark.parametrize("name,settings", CASES)
def test_one_batch_of_eight_is_eight_of_one(tokenizer, name, settings):
    if name in ("masked", "diffusion"):
        layout = Layout("isolated" if name == "masked" else "joint", target_position=0 if name == "masked" else None)
        head = make_length_head("pooled_embedding", 16, 20)
        network: Any = MaskedBackbone(masked_network(tokenizer), special(tokenizer), layout, 90, head)
        network.model.length_head = head
        objective: Any = objective_of(name, tokenizer, layout, **settings)
    else:
        family, shape = ("llama", LLAMA) if name == "causal" else ("mt5", MT5)
        network = build_network(
            BackboneSpec(family=family, shape=shape, initializer_std=0.3), name, tokenizer, 0
        ).eval()
        objective = objective_of(name, tokenizer, **settings)
        if name == "causal":
            objective.remember(network)
            with torch.no_grad():  # away from the reference, where KL and its gradient vanish
                for parameter in network.parameters():
                    parameter.add_(0.05 * torch.randn(parameter.shape, generator=rng(3)))
    plan = BatchPlan([len(e) for e in EXAMPLES], 8, 2, 0, 1)
    found = {}
    for processes, accumulation in [(1, 1), (1, 8), (8, 1), (2, 2)]:
        dealt = [
            Steps(EXAMPLES, plan, objective, 5, accumulation=accumulation).deal(p, processes)[1]
            for p in range(processes)
        ]
        parts = [part for step in dealt for part in step["parts"]]
        assert sum(len(next(iter(part.values()))) for part in parts) == 8
        assert len({tuple(step["weights"].tolist()) for step in dealt}) == 1
        found[processes, accumulation] = gradient(network, objective, parts, dealt[0]["weights"])
    for pieced in found.values():
        assert torch.allclose(pieced, found[1, 1], rtol=0, atol=1e-6 * float(found[1, 1].abs().max()))


PACKED = [
    *[(family, "causal", {"normalise": n, "instruction_loss": True}, None) for family in DECODERS for n in ("token", "example")],
    ("llama", "causal", {"kl_weight": 0.5}, None),
    ("mt5", "seq2seq", {"normalise": "example", "z_loss": 1e-3}, None),
    ("t5", "seq2seq", {"normalise": "token"}, None),
    ("xlm-roberta-xl", "masked", {}, Layout("isolated", target_position=0)),
    ("xlm-roberta-xl", "masked", {"normalise": "example"}, Layout()),
    ("xlm-roberta-xl", "diffusion", {}, Layout()),
    ("xlm-roberta", "diffusion", {"normalise": "token"}, Layout(target_position=40)),
    ("xlm-roberta-xl", "diffusion", {"coupled": False, "exact_count": True}, Layout("isolated")),
    ("any-order llama", "diffusion", {}, Layout()),
    ("modernbert", "diffusion", {}, Layout()),
    ("modernbert", "masked", {}, Layout("isolated", target_position=0)),
]  # fmt: skip


def packed_case(tokenizer, family, name, settings, layout):
    """(network, objective, corrupted loose batch, the same as packed rows of at most 21 tokens)."""
    objective: Any = objective_of(name, tokenizer, layout, **settings)
    if layout is None:
        shape = DECODERS[family] if family in DECODERS else {**MT5, "num_layers": 2}
        network: Any = build_network(BackboneSpec(family=family, shape=shape, initializer_std=0.3), name, tokenizer, 0)
    else:
        spec = BackboneSpec(family="llama", shape=LLAMA, initializer_std=0.3, decoder=True)
        decoder = "llama" in family
        model = build_network(spec, "masked", tokenizer, 0) if decoder else masked_network(tokenizer, family=family)
        head = make_length_head("pooled_embedding", 16, 20)
        network = MaskedBackbone(model.eval(), special(tokenizer), layout, 90, head)
        network.model.length_head = head
    if name == "causal":
        objective.remember(network)
    loose = objective.corrupt(objective.collate(EXAMPLES), rng(7))
    rows = fill(range(8), [len(e) + (layout.overhead if layout else 1) for e in EXAMPLES], 21)
    assert len(rows) < 7 and [i for row in rows for i in row] == list(range(8))
    packed = {**loose, "pack_B": torch.repeat_interleave(torch.tensor([len(row) for row in rows]))}
    (network.model if layout else network).eval()
    return network, objective, loose, packed


@pytest.mark.parametrize("case", PACKED, ids=lambda case: f"{case[0]}-{case[1]}-{case[2]}")
def test_packed_rows_have_the_gradient_of_loose_ones(tokenizer, case):
    network, objective, loose, packed = packed_case(tokenizer, *case)
    weights = objective.weights(loose)
    one, other = (gradient(network, objective, [batch], weights) for batch in (loose, packed))
    assert torch.allclose(one, other, rtol=0, atol=1e-5 * float(one.abs().max()))
    halves = [cut(packed, slice(0, 3)), cut(packed, slice(3, 8))]  # where packed rows end, or not
    assert torch.allclose(
        one, gradient(network, objective, halves, weights), rtol=0, atol=1e-5 * float(one.abs().max())
    )


def test_the_network_reads_packed_rows(tokenizer, monkeypatch):
    for case in (PACKED[0], PACKED[7], PACKED[9], PACKED[11]):
        network, objective, _, packed = packed_case(tokenizer, *case)
        model, widths = network.model if case[3] else network, []
        embed = model.get_input_embeddings()
        embed.register_forward_hook(lambda _module, given, _out, widths=widths: widths.append(given[0].shape))
        objective.loss_sums(network, packed)
        assert all(
            rows < 8 * packed.get("step_BK", packed["pack_B"][:, None]).shape[1] and width <= 21
            for rows, width in widths
        )


def test_a_packed_example_does_not_see_its_neighbours(tokenizer):
    for case in (PACKED[2], PACKED[7], PACKED[9], PACKED[11]):
        network, objective, loose, packed = packed_case(tokenizer, *case)
        for name in ("weight_BT", "hidden_BT", "hidden_BKT"):  # loss on the second example alone
            if name in packed:
                packed[name] = packed[name] * (torch.arange(8) == 1).view(-1, *[1] * (packed[name].dim() - 1))
        if case[1] == "masked":
            objective.length_weight = 0.0
        sums = [float(objective.loss_sums(network, packed)[0].detach())]
        for name in ("tokens_BT", "prompt_BS", "noised_BT"):
            if name in packed:
                packed[name] = packed[name].clone()
                packed[name][0, 1:3] = 90
        sums.append(float(objective.loss_sums(network, packed)[0].detach()))
        assert sums[0] > 0 and sums[0] == pytest.approx(sums[1], rel=1e-5), case


def test_bfloat16_packs_blooms_long_rows_as_exactly_as_loose_ones(tokenizer):
    # biases that ran on would reach 435 at the row's end, where neighbours in bfloat16 are 2 apart
    shape = {**DECODERS["bloom"], "hidden_size": 64, "n_layer": 1, "n_head": 16}
    spec = BackboneSpec(family="bloom", shape=shape, initializer_std=0.3)
    network, objective = build_network(spec, "causal", tokenizer, 0).eval(), objective_of("causal", tokenizer)
    long, asked = (Example((20, 21) * 290, (60,), (1,) * 580), Example(tuple(range(20, 50)), (60, 61, 62), (1,) * 30))
    batch = objective.collate([long, asked])
    packed = {**batch, "pack_B": torch.zeros(2, dtype=torch.long)}
    at_BT = batch["attend_BT"].bool() & (torch.arange(2) == 1).unsqueeze(1)
    with torch.no_grad():
        exact_MD = states_at(network, batch, at_BT)
        with torch.autocast("cpu", torch.bfloat16):
            loose_MD, packed_MD = states_at(network, batch, at_BT), states_at(network, packed, at_BT)
    assert (loose_MD - exact_MD).norm() < 0.02 * exact_MD.norm()
    assert (packed_MD - loose_MD).norm() < 0.002 * exact_MD.norm()
    assert torch.equal(states_at(network, batch, at_BT), exact_MD)  # loose rows again: with biases of their own


def flash_by_positions(module, query_BHTD, key_BHTD, value_BHTD, mask, *, scaling, position_ids=None, **_ignored):
    """What transformers' flash attention computes without a mask: examples are told apart in a single row only."""
    assert mask is None
    places = torch.arange(query_BHTD.shape[2])
    seen_BTT = (places.unsqueeze(1) >= places).expand(len(query_BHTD), -1, -1)
    if position_ids is not None and len(query_BHTD) == 1:
        number_1T = (position_ids == 0).cumsum(1)
        seen_BTT = seen_BTT & (number_1T.unsqueeze(2) == number_1T.unsqueeze(1))
    out = torch.nn.functional.scaled_dot_product_attention(
        query_BHTD, key_BHTD, value_BHTD, attn_mask=seen_BTT.unsqueeze(1), scale=scaling
    )
    return out.transpose(1, 2).contiguous(), None


@pytest.mark.parametrize("family", ["llama", "opt"])
def test_flash_attention_gets_all_examples_in_one_row(tokenizer, family):
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register("flash_by_positions", flash_by_positions)
    AttentionMaskInterface.register("flash_by_positions", lambda *_given, **_named: None)
    network, objective, loose, packed = packed_case(tokenizer, family, "causal", {"instruction_loss": True}, None)
    weights, shapes = objective.weights(loose), []
    one = gradient(network, objective, [loose], weights)
    network.config._attn_implementation = "flash_by_positions"
    network.get_input_embeddings().register_forward_hook(lambda _module, given, _out: shapes.append(given[0].shape))
    other = gradient(network, objective, [packed], weights)
    assert shapes == [(1, int(loose["attend_BT"].sum()))]
    assert torch.allclose(one, other, rtol=0, atol=1e-5 * float(one.abs().max()))


def test_flash_attention_is_refused_where_it_would_need_a_mask(tokenizer):
    from transformers import AutoConfig

    config = AutoConfig.for_model("modernbert")
    config._attn_implementation = "flash_attention_2"
    masked = load_recipe(Path("trainers/recipes/mini/diffusionllm.yaml"))
    seq2seq = load_recipe(Path("trainers/recipes/mini/mt0.yaml"))
    check_network(masked, config)
    for recipe in (masked, seq2seq):
        packed = recipe.model_copy(update={"training": recipe.training.model_copy(update={"packing": True})})
        with pytest.raises(ConfigError, match="takes no mask.*training.packing"):
            check_network(packed, config)
    with pytest.raises(ConfigError, match="takes no mask.*layout.name: isolated"):
        check_network(masked.model_copy(update={"layout": LayoutSpec(name="isolated")}), config)


def test_packed_steps_are_cut_between_packed_rows(tokenizer):
    objective: Any = objective_of("causal", tokenizer)
    plan = PackedPlan([len(e) + 1 for e in EXAMPLES], 4, 2, seed=1, room=14)
    whole = Steps(EXAMPLES, plan, objective, 5)[0]
    for processes, accumulation, budget in [(2, 1, None), (1, 4, None), (1, 1, 14)]:
        steps = Steps(EXAMPLES, plan, objective, 5, accumulation=accumulation, micro_tokens=budget)
        parts = [part for p in range(processes) for part in steps.deal(p, processes)[0]["parts"]]
        assert len(parts) == (2 if processes == 2 else 4)
        packs = [set(part["pack_B"].tolist()) for part in parts]
        assert sum(map(len, packs)) == 4 == len(set.union(*packs))
        assert sum(len(part["pack_B"]) for part in parts) == len(whole["parts"][0]["pack_B"])


def test_rows_are_filled_in_order_and_never_cut():
    assert fill([0, 1, 2, 3, 4], [4, 5, 20, 3, 8], 10) == [[0, 1], [3], [4]]
    plan = PackedPlan([4, 5, 3, 8, 2, 6], 2, 5, seed=1, room=10)
    for step in range(5):
        assert len(plan[step]) == 2 and all(sum(plan.lengths[i] for i in row) <= 10 for row in plan[step])  # type: ignore[union-attr]
    with pytest.raises(ConfigError, match="packed rows"):
        PackedPlan([4, 5], 2, 5, seed=1, room=10)


def test_pieces_cover_every_row_once_and_keep_within_the_budget():
    for rows, processes, accumulation, budget in [(8, 1, 8, None), (10, 3, 1, None), (32, 2, 1, 64), (7, 2, 1, 10_000)]:
        parts = pieces(np.full((rows, 1), 16), processes, accumulation, budget)
        assert sorted(i for part in parts for i in range(rows)[part]) == list(range(rows))
        assert len(parts) % processes == 0
        assert budget is None or all((part.stop - part.start) * 16 <= max(budget, 16) for part in parts)
    with pytest.raises(ConfigError, match="shared by 4 processes"):
        pieces(np.full((2, 1), 16), 4, 1, None)


def test_rows_of_like_width_go_together():
    widths = np.array([2, 2, 3, 3, 4, 9, 10, 10])[:, None]
    assert pieces(widths, 1, 1, 20) == [slice(6, 8), slice(4, 6), slice(0, 4)]  # 20, 18 and 12 padded tokens
    dealt = [slice(6, 7), slice(7, 8), slice(4, 5), slice(5, 6), slice(0, 2), slice(2, 4)]
    assert pieces(widths, 2, 1, 10) == dealt  # to either process in turn, as much for both
    two_axes = np.array([[1, 9], [9, 1]])  # together they are padded to 9 and 9
    assert pieces(two_axes, 1, 1, 35) == [slice(1, 2), slice(0, 1)] and pieces(two_axes, 1, 1, 36) == [slice(0, 2)]


def test_every_process_gets_as_many_pieces_whatever_the_widths():
    for seed in range(200):
        draw = np.random.default_rng(seed)
        rows, processes = int(draw.integers(4, 20)), int(draw.integers(1, 5))
        widths, budget = np.sort(draw.integers(1, 30, rows))[:, None], int(draw.integers(1, 120))
        parts = pieces(widths, processes, 1, budget)
        assert sorted(i for part in parts for i in range(rows)[part]) == list(range(rows))
        assert len(parts) % processes == 0 and all(part.stop > part.start for part in parts)
        for part in parts:  # over the budget: a row that is too wide, or one more where too few are left to share
            size = part.stop - part.start
            assert size * widths[part].max() <= budget or size == 1 or (size == 2 and processes > 1)


@pytest.mark.parametrize("name", ["causal", "seq2seq"])
def test_steps_cut_by_tokens_are_the_whole_step_with_less_padding(tokenizer, name):
    family, shape = ("llama", LLAMA) if name == "causal" else ("mt5", MT5)
    network = build_network(BackboneSpec(family=family, shape=shape, initializer_std=0.3), name, tokenizer, 0).eval()
    objective: Any = objective_of(name, tokenizer)
    plan = BatchPlan([len(e) for e in EXAMPLES], 8, 1, 0, 1)
    whole = Steps(EXAMPLES, plan, objective, 5)[0]
    cut_up = Steps(EXAMPLES, plan, objective, 5, micro_tokens=16)[0]
    assert len(cut_up["parts"]) > 2
    sizes = [sum(t.numel() for n, t in part.items() if n.startswith("attend_")) for part in cut_up["parts"]]
    rows = [len(part["attend_BT"]) for part in cut_up["parts"]]
    assert sum(rows) == 8 and max(size for size, count in zip(sizes, rows, strict=True) if count > 1) <= 16
    assert sum(sizes) < 0.8 * sum(t.numel() for n, t in whole["parts"][0].items() if n.startswith("attend_"))
    one, other = (gradient(network, objective, item["parts"], whole["weights"]) for item in (whole, cut_up))
    assert torch.allclose(one, other, rtol=0, atol=1e-6 * float(one.abs().max()))


def test_two_processes_train_the_weights_of_one(checkpoints, tmp_path):
    names = ["decoder_it", "mt0", "instruct_xmlr", "diffusionllm"]
    root = checkpoints["mt0"].parent

    def train(rank: int) -> None:
        join_processes(rank, 2, port)
        for name in names:
            recipe = load_recipe(Path(f"trainers/recipes/mini/{name}.yaml"), steps=3)
            where = {"corpus": root / "corpus", "tokenizer_path": str(root / "tokenizer")}
            train_checkpoint(recipe, **where, out=tmp_path / name)

    port = free_port()
    assert [child.wait() for child in [Forked(train, rank) for rank in range(2)]] == [0, 0]
    for name in names:
        one, two = checkpoints[name], tmp_path / name
        curves = [
            [float(row.split(",")[2]) for row in (f / "training.csv").read_text().split()[1:]] for f in (one, two)
        ]
        assert curves[0] == pytest.approx(curves[1], rel=1e-4)
        for file in one.glob("*.safetensors"):
            first, second = load_file(file), load_file(two / file.name)
            apart = torch.cat([(first[key] - second[key]).abs().flatten() for key in first])
            # Adam divides a gradient by its own size: where that is rounding error, so is the step
            assert float((apart > 1e-5).float().mean()) < 0.01, name
        ids = [json.loads((folder / "checkpoint.json").read_text())["recipe_id"] for folder in (one, two)]
        assert ids[0] == ids[1]


def test_a_sharded_network_has_the_gradient_the_state_and_the_weights_of_a_whole_one(tokenizer, tmp_path):
    from torch import distributed as dist
    from torch.distributed.fsdp import fully_shard

    objective: Any = objective_of("causal", tokenizer, normalise="token")
    plan = BatchPlan([len(e) for e in EXAMPLES], 8, 4, 0, 1)

    def fresh() -> tuple[ObjectiveModule, Any]:
        network = decoder(tokenizer, "llama")
        return ObjectiveModule(network, objective, network), network

    def optimiser_of(module) -> torch.optim.Optimizer:
        return torch.optim.SGD(module.parameters(), lr=0.05, momentum=0.9)  # Adam would blow rounding errors up

    def train(module, process: int, processes: int, optimiser, steps) -> None:
        data = Steps(EXAMPLES, plan, objective, 5).deal(process, processes)
        for step in steps:
            for part in data[step]["parts"]:
                (module(part, data[step]["weights"]) * processes).backward()
            optimiser.step()
            optimiser.zero_grad()

    module, whole = fresh()
    train(module, 0, 1, optimiser_of(module), range(4))

    def sharded(rank: int, port: int) -> None:
        join_processes(rank, 2, port)
        dist.init_process_group("gloo", rank=rank, world_size=2)
        mesh = dist.device_mesh.init_device_mesh("cpu", (2,))
        pairs = [fresh() for _ in range(2)]
        for module, network in pairs:
            fully_shard(network.model.layers[0], mesh=mesh)
            fully_shard(module, mesh=mesh)
        (one, _), (other, network) = pairs
        first, second = optimiser_of(one), optimiser_of(other)
        train(one, rank, 2, first, range(2))
        given: list = list(tensors_of(one, first))  # whole on rank 0 alone, which writes them; all ranks read
        dist.broadcast_object_list(given, 0)
        if rank == 0:
            save_file(given[0], tmp_path / TENSORS)
        dist.barrier()
        put_weights_back(tmp_path, other)
        put_back(*given, other, second)  # type: ignore[arg-type]
        train(other, rank, 2, second, range(2, 4))
        found = whole_weights(network)
        if rank == 0:
            save_file(found or {}, tmp_path / "weights.safetensors")
        dist.barrier()

    port = free_port()
    assert [child.wait() for child in [Forked(sharded, rank, port) for rank in range(2)]] == [0, 0]
    found = load_file(tmp_path / "weights.safetensors")
    assert found.keys() == whole.state_dict().keys() and whole_weights(whole) is None
    for name, tensor in whole.state_dict().items():
        assert torch.allclose(found[name], tensor, rtol=0, atol=1e-5), name


def test_fsdp2_trains_the_weights_of_one_process(checkpoints, tmp_path):
    # accelerate shards on accelerators only: here it is told that its two processes on one processor have some
    from accelerate.state import DistributedType, PartialState

    from trainers.trainer import ObjectiveTrainer

    names = ["decoder_neftune", "decoder_it", "mt0", "instruct_xmlr", "diffusionllm"]
    noisy = ["mt0+neftune", "instruct_xmlr+neftune"]  # their embeddings are sharded with the rest
    adapted = ["decoder_it+lora", "diffusionllm+lora"]  # the second with a length stage behind it
    root, found = checkpoints["mt0"].parent, tmp_path / "sharded.json"
    where = {"corpus": root / "corpus", "tokenizer_path": str(root / "tokenizer")}

    def recipe_of(name: str) -> Recipe:
        plain, _, more = name.partition("+")
        recipe = load_recipe(Path(f"trainers/recipes/mini/{plain}.yaml"), steps=3)
        lora = {"lora": LoraSpec(rank=4), "warmup_steps": 0}
        changes = {"neftune": {"neftune_alpha": 5.0}, "lora": lora}.get(more, {})
        return recipe.model_copy(update={"training": recipe.training.model_copy(update=changes)})

    def train(rank: int) -> None:
        join_processes(rank, 2, port)
        fsdp = yaml.safe_load(Path("trainers/launch/fsdp2.yaml").read_text())["fsdp_config"]
        os.environ.update({name.upper(): str(value) for name, value in fsdp.items()}, ACCELERATE_USE_FSDP="true")
        plain, step, sharded = PartialState.__init__, ObjectiveTrainer.training_step, {}

        def believe(self, *arguments, **settings) -> None:
            plain(self, *arguments, **settings)
            PartialState._shared_state["distributed_type"] = DistributedType.MULTI_GPU

        def seen(self, model, *arguments, **settings):
            units = [part for part, module in model.named_modules() if type(module).__name__.startswith("FSDP")]
            sharded.setdefault(name, units)
            return step(self, model, *arguments, **settings)

        PartialState.__init__, ObjectiveTrainer.training_step = believe, seen  # type: ignore[method-assign]
        for name in names + noisy + adapted:
            train_checkpoint(recipe_of(name), **where, out=tmp_path / name, state_seconds=0)
        if rank == 0:
            found.write_text(json.dumps(sharded))

    port = free_port()
    assert [child.wait() for child in [Forked(train, rank) for rank in range(2)]] == [0, 0]
    units = json.loads(found.read_text())
    assert {"", "trained.model.layers.0", "trained.model.layers.1", "trained.lm_head"} <= set(units["decoder_it"])
    assert {"", "trained.encoder.block.0", "trained.decoder.block.1"} <= set(units["mt0"])
    assert {"", "trained.roberta.encoder.layer.1"} <= set(units["instruct_xmlr"])
    for name in adapted:
        train_checkpoint(recipe_of(name), **where, out=tmp_path / "one" / name)
    for name in names + noisy + adapted:
        plain = checkpoints[name.partition("+")[0]]
        one, two = tmp_path / "one" / name if name in adapted else plain, tmp_path / name
        curves = [
            [float(row.split(",")[2]) for row in (f / "training.csv").read_text().split()[1:]] for f in (one, two)
        ]
        assert curves[0] == pytest.approx(curves[1], rel=0.1 if "neftune" in name else 1e-4), name
        if name in adapted:
            merged, alone, base = (load_file(f / "model.safetensors") for f in (two, one, plain))
            assert merged.keys() == base.keys()
            assert all(torch.allclose(merged[key], alone[key], rtol=0, atol=1e-4) for key in alone), name
        keys = [{key: value.shape for key, value in load_file(f / "model.safetensors").items()} for f in (one, two)]
        assert keys[0] == keys[1]
