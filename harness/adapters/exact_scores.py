"""Exact log-likelihoods of continuations, as lm-eval's `hf` defines them: the loop behind `ar` and `encdec`.

`hf` projects every position of a batch to the vocabulary, normalises all of them and reads a few. Here a network projects
what is asked for (token_scores.py), and reads what requests have in common once (exact_rows.py). All else is `hf`'s: cut
from the left, padded on the right, greedy where each token is the first of the most probable.
Shapes: B rows of a batch, T tokens, M scored positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from lm_eval.models.utils import Collator
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
            BackboneError: a continuation without tokens, without anything before it, or longer than the network takes.
        """
        for request in requests:
            self._require_scorable(*request)
        lm, totals, greedy = self._lm, [0.0] * len(requests), [True] * len(requests)
        rows = distinct_rows(((context, target) for _, context, target in requests), self._read, lm.logits_cache)
        with bar(total=len(requests), what="likelihoods", unit="requests", quiet=quiet or lm.rank != 0) as progress:
            for batch in self._batches(rows, requests, batch_size):
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

    def _shifted(self, target: Ids) -> tuple[int, ...]:
        """What a decoder behind an encoder reads to write `target`; never padded, since MBart puts a row's last token in front."""
        shift = getattr(self._lm.model, "prepare_decoder_input_ids_from_labels", None)
        if shift is None:
            return (self._lm.model.config.decoder_start_token_id, *target[:-1])
        return tuple(shift(labels=torch.tensor([target]))[0].tolist())

    def _batches(self, rows: list[Row], requests: Sequence[Encoded], size: int | None) -> Iterator[list[Row]]:
        """lm-eval's batches: of the size that was given, or that it detects on the rows at hand."""
        lm = self._lm
        if lm.batch_size != "auto":
            size = lm.batch_size
        if size:
            return Collator.get_chunks(rows, n=size)
        lm.batch_sizes = {}  # what was detected for other requests
        longest = [requests[row.asked[0][0]] for row in rows]
        return Collator.get_chunks(rows, fn=lambda at, _: lm._batch_scheduler(at, longest))

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
            encoder_BT, attend_BT = (
                self._padded(ids) for ids in ([r.encoder for r in rows], [[1] * len(r.encoder) for r in rows])
            )
            arguments = {"input_ids": encoder_BT, "attention_mask": attend_BT, "decoder_input_ids": decoder_BT}
        mixed = lm.mixed_precision_dtype
        with torch.no_grad(), torch.autocast(lm.device.type, dtype=mixed, enabled=mixed is not None):
            return logits_at(lm.model, self._head, arguments, positions, width=decoder_BT.shape[1])

    def _padded(self, rows: Sequence[Ids]) -> torch.Tensor:
        return pad_sequence([torch.tensor(row) for row in rows], batch_first=True).to(self._lm.device)
