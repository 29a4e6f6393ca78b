"""Exact log-likelihoods of continuations, as lm-eval's `hf` defines them: the loop behind `ar` and `encdec`.

`hf` projects every position of a batch to the vocabulary, normalises all of them and reads a few. Here a network projects
what is asked for (token_scores.py), and reads what requests have in common once (exact_rows.py). All else is `hf`'s: cut
from the left, padded on the right, greedy where each token is the first of the most probable. Where one request's prompt
holds another's answer, these are the scores of `hf` with `logits_cache=False`: with it, `hf` reads the shorter answer off
the wrong end.
Shapes: B rows of a batch, T tokens, M scored positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence

from harness.adapters.exact_rows import Ids, Read, Row, distinct_rows, places
from harness.adapters.token_scores import logits_at, output_head, token_scores
from harness.backbones import BackboneError
from harness.progress import bar

Encoded = tuple[Any, list[int], list[int]]  # (the request's texts, context ids, continuation ids)


class ExactScores:
    """Scores of encoded requests under the network of `lm`, an lm-eval HFLM."""

    def __init__(self, lm: Any):
        self._lm, self._head = lm, output_head(lm.model)

    @property
    def projects_all(self) -> bool:
        """Whether the network offers no way to project chosen positions only."""
        return self._head is None

    def of(self, requests: Sequence[Encoded], quiet: bool, batch_size: int | None) -> list[tuple[float, bool]]:
        """(log-probability in nats, whether greedy decoding writes it) of each; told to the hook batch by batch.

        Args:
            batch_size: rows of a batch where the user leaves it open; None: as lm-eval detects it.

        Raises:
            BackboneError: a continuation without tokens, without anything before it, or longer than the network takes; a
                network whose decoder begins with the answer's own last token.
        """
        if requests and self._reads_its_answer():
            raise BackboneError(
                f"{type(self._lm.model).__name__} puts an answer's last token, meant to be a language code, in front of what its "
                "decoder reads: its scores are no probabilities of answers without one. Score another encoder-decoder."
            )
        for request in requests:
            self._require_scorable(*request)
        lm, totals, greedy = self._lm, [0.0] * len(requests), [True] * len(requests)
        share = lm.logits_cache and not self._sharded
        rows = distinct_rows(((context, target) for _, context, target in requests), self._read, share)
        lm.tally.rows += len(rows)
        with bar(total=len(requests), what="likelihoods", unit="requests", quiet=quiet or lm.rank != 0) as progress:
            for batch in self._batches(rows, batch_size):
                for index, score, best in self._batch_scores(batch):
                    totals[index] += score
                    greedy[index] = greedy[index] and best
                done = [index for row in batch for index, _ in row.asked]
                for index in done:
                    lm.cache_hook.add_partial("loglikelihood", requests[index][0], (totals[index], greedy[index]))
                progress.update(len(done))
        return list(zip(totals, greedy, strict=True))

    def _require_scorable(self, texts: Any, context: Ids, target: Ids) -> None:
        longest = self._lm.max_length
        if not target:
            raise BackboneError(f"the continuation in {texts} is empty; give every choice a text.")
        if not context:
            raise BackboneError(f"the context in {texts} has no tokens, so that nothing predicts the continuation.")
        if len(target) > longest:
            raise BackboneError(
                f"the continuation in {texts} has {len(target)} tokens, the model holds {longest}: shorten it."
            )

    def _read(self, context: Ids, target: Ids) -> Read:
        """What the network reads of a request, cut from the left."""
        longest = self._lm.max_length
        if self._lm.backend == "seq2seq":
            return tuple(context[-longest:]), self._shifted(target)
        return (), (*context, *target)[-(longest + 1) :][:-1]

    @property
    def _sharded(self) -> bool:
        """Whether the processes compute each forward pass together, so that all must make equally many."""
        kind = getattr(getattr(self._lm, "accelerator", None), "distributed_type", "")
        return str(kind).endswith("FSDP")

    def _shifted(self, target: Ids) -> tuple[int, ...]:
        """What a decoder behind an encoder reads to write `target`."""
        model = self._lm.model
        shift = getattr(model, "prepare_decoder_input_ids_from_labels", None)
        if shift is None:
            return (model.config.decoder_start_token_id, *target[:-1])
        return tuple(shift(labels=torch.tensor([target]))[0].tolist())

    def _reads_its_answer(self) -> bool:
        """Whether a decoder's input begins with the last token that it should write (MBart, PLBart)."""
        if self._lm.backend != "seq2seq":
            return False
        one, other = [token for token in range(3) if token != self._lm.model.config.pad_token_id][:2]
        return self._shifted([one, other])[0] != self._shifted([other, one])[0]

    def _batches(self, rows: list[Row], size: int | None) -> Iterator[list[Row]]:
        """Batches of the size that was given, or of one that is detected for each of `auto:N`'s N parts of the rows.

        Processes agree on a size by talking to each other, so each of them asks N times, however many rows it has.
        """
        lm = self._lm
        if lm.batch_size != "auto":
            size = lm.batch_size
        parts = 1 if size else max(1, int(lm.batch_schedule))
        of_a_part = -(-len(rows) // parts)
        for number in range(parts):
            part = rows[number * of_a_part : (number + 1) * of_a_part]
            at_once = size or (lm._detect_batch_size([_largest(part)]) if part or lm.world_size > 1 else 1)
            yield from (part[first : first + at_once] for first in range(0, len(part), at_once))

    def _batch_scores(self, rows: list[Row]) -> list[tuple[int, float, bool]]:
        """(index of the request, log-probability of one of its tokens, whether it is the most probable one) in a batch."""
        scored = places(rows)
        logits_MV = self.logits(rows, [(place.row, place.position) for place in scored])
        found = token_scores(
            logits_MV, [[token for _, token in place.asked] for place in scored], self._lm.softmax_dtype
        )
        asked = [index for place in scored for index, _ in place.asked]
        return [(index, *score) for index, score in zip(asked, found, strict=True)]

    def logits(self, rows: Sequence[Row], positions: Sequence[tuple[int, int]]) -> torch.Tensor:
        """Logits [M, V] of a batch at (row, position) pairs; one forward pass."""
        lm, decoder_BT = self._lm, self._padded([row.decoder for row in rows])
        arguments = {"input_ids": decoder_BT}
        if lm.backend == "seq2seq":
            encoder_BT = self._padded([row.encoder for row in rows])
            attend_BT = self._padded([[1] * len(row.encoder) for row in rows])
            arguments = {"input_ids": encoder_BT, "attention_mask": attend_BT, "decoder_input_ids": decoder_BT}
        mixed = lm.mixed_precision_dtype
        with torch.no_grad(), torch.autocast(lm.device.type, dtype=mixed, enabled=mixed is not None):
            return logits_at(lm.model, self._head, arguments, positions, width=decoder_BT.shape[1])

    def _padded(self, rows: Sequence[Ids]) -> torch.Tensor:
        return pad_sequence([torch.tensor(row) for row in rows], batch_first=True).to(self._lm.device)


def _largest(rows: Sequence[Row]) -> Encoded:
    """A request as large as the largest of the rows in each respect: tokens that are read, and tokens that are scored."""
    target = max((len(row.asked[0][1]) for row in rows), default=1)
    encoder = max((len(row.encoder) for row in rows), default=0)
    decoder = max((len(row.decoder) for row in rows), default=1)
    return None, [0] * max(1, encoder or decoder + 1 - target), [0] * target
