"""One client for every OpenAI-compatible judge: nothing is asked twice, a killed run goes on, a replay needs no network.

1. A question's key is the digest of endpoint, model and the full request; its reply is looked up in a store (SQLite).
2. What is not there is asked with a limit on calls side by side, waits and retries on 429, 5xx and time-outs, under
   a hard cap of calls and dollars; every reply is stored before the next one is looked at.
3. What cannot be had stops the run by name: it never becomes a reply.

Only the caller's thread touches the store; worker threads only talk to the network.
"""

from __future__ import annotations

import importlib.util
import random
import threading
import time
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import asdict
from pathlib import Path
from typing import Any

from harness.judges.endpoint import KEY_VARIABLE, Ask, Endpoint, JudgeError, Reply
from harness.judges.spending import Ledger, SpendingCap
from harness.progress import bar
from harness.store import Store, StoreError

PROTOCOL = 1  # raise it when the meaning of a stored reply changes
LONGEST_WAIT = 60.0


class JudgeClient:
    """Replies of one judge model, from the store where they are there.

    Args:
        model: the judge's name at the endpoint.
        endpoint: see `endpoint_of`.
        store: file of replies (may be shared by judges, suites and processes).
        ledger: caps and counts of this command.
        offline: only look up; a reply that is not there is an error.

    `asked`, `stored`: questions answered from the network and from the store; `retried`: calls that had to be made again.
    """

    def __init__(
        self, model: str, endpoint: Endpoint, store: Path, *, ledger: Ledger | None = None, offline: bool = False
    ):
        if not offline and importlib.util.find_spec("openai") is None:
            raise JudgeError("asking a judge needs the extra 'judge': pip install 'anyorder[judge]'.")
        self.model, self.endpoint, self.offline = model, endpoint, offline
        self.ledger = ledger or Ledger()
        self.store = Store(store, {"endpoint": endpoint.name, "model": model, "protocol": PROTOCOL})
        self.asked = self.stored = self.retried = 0
        self._stop, self._lock, self._random = threading.Event(), threading.Lock(), random.Random(0)
        self._openai, self._reached = None, False

    def replies(self, asks: Sequence[Ask], what: str = "judging", quiet: bool = False) -> list[Reply]:
        """A reply for each request, in order; equal requests are asked once.

        Raises:
            JudgeError: no network allowed, endpoint out of reach, key refused, model unknown, cap reached; replies that
                came before are in the store, and the same call goes on with the rest.
            StoreError: the store cannot be written.
        """
        keys = [self.store.key(asdict(ask)) for ask in asks]
        found = {key: Reply(**answer) for key, answer in self.store.get(list(dict.fromkeys(keys))).items()}
        missing = {key: ask for key, ask in zip(keys, asks, strict=True) if key not in found}
        self.stored += len(found)
        if missing and self.offline:
            raise JudgeError(
                f"offline, and {len(missing)} of {len(set(keys))} replies of {self.model} are not in {self.store.path}: "
                "run once with the network on."
            )
        if missing:
            with bar(total=len(set(keys)), what=f"{self.model} {what}", unit="replies", quiet=quiet) as progress:
                progress.update(len(found))
                found.update(self._ask_all(missing, progress.update))
        return [found[key] for key in keys]

    def _ask_all(self, missing: dict[str, Ask], done) -> dict[str, Reply]:
        """Ask side by side; store every reply as it comes. The first failure stops new calls, running ones are kept."""
        replies: dict[str, Reply] = {}
        failure: BaseException | None = None
        self._stop.clear()
        pool = ThreadPoolExecutor(max_workers=self.endpoint.concurrency, thread_name_prefix="judge")
        waiting: dict[Future[Reply], str] = {pool.submit(self._ask, ask): key for key, ask in missing.items()}
        try:
            while waiting:
                try:
                    finished, _ = wait(waiting, return_when=FIRST_COMPLETED)
                    for future in finished:
                        key = waiting.pop(future)
                        if future.cancelled():
                            continue
                        if (error := future.exception()) is not None:
                            raise error
                        replies[key] = future.result()
                        if replies[key].refused is None:  # a refusal costs nothing and may be mended
                            self.store.put([(key, asdict(replies[key]))])
                        self.asked += 1
                        done(1)
                except BaseException as error:  # also Ctrl-C: what is on its way is paid, so it is kept
                    failure = failure if failure and not isinstance(failure, _Stopped) else error
                    self._halt(waiting)
                    if isinstance(error, StoreError):
                        break
        finally:
            self._halt(waiting)
            pool.shutdown(wait=True)
        if isinstance(failure, SpendingCap):
            raise JudgeError(
                f"{failure}: {len(replies)} of {len(missing)} new replies came and are kept. Raise the cap to go on."
            ) from failure
        if failure is not None:
            raise failure
        return replies

    def _halt(self, waiting: dict[Future[Reply], str]) -> None:
        self._stop.set()
        for future in list(waiting):
            future.cancel()

    def _ask(self, ask: Ask) -> Reply:
        """One question until it is answered, in a worker thread."""
        import openai

        problem: Exception | None = None
        for number in range(self.endpoint.tries):
            if number:
                self._pause(number - 1, problem)
            if self._stop.is_set():
                raise _Stopped("another call failed")
            worst = self.ledger.worst_case(ask.bytes, len(ask.messages), ask.max_tokens)
            self.ledger.reserve(worst)
            if self._stop.is_set():  # it may have waited for its turn to spend
                self.ledger.settle(worst, 0.0)
                raise _Stopped("another call failed")
            cost = worst
            try:
                reply = self._reply(self._api().chat.completions.create(**self._request(ask)))
                cost = self._cost(reply, worst)
                self._reached = True
                return reply
            except openai.APITimeoutError as error:  # may have been billed: stays booked at its worst case
                problem = error
            except openai.APIConnectionError as error:
                problem, cost = error, 0.0
                if not self._reached and number >= 2:
                    break
            except openai.APIStatusError as error:
                problem, cost, self._reached = error, 0.0, True
                if not _worth_retrying(error):
                    return self._refusal(error)
            finally:
                self.ledger.settle(worst, cost)
        raise JudgeError(self._explained(problem)) from problem

    def _request(self, ask: Ask) -> dict[str, Any]:
        request: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": role, "content": text} for role, text in ask.messages],
            "temperature": ask.temperature,
            self.endpoint.token_field: ask.max_tokens,
        }
        if ask.seed is not None:
            request["seed"] = ask.seed
        if ask.logprobs:
            request |= {"logprobs": True, "top_logprobs": ask.logprobs}
        return request

    def _cost(self, reply: Reply, worst: float) -> float:
        price = self.ledger.price
        if price is None or not reply.prompt_tokens:  # a server that does not count tokens costs the most it can
            return worst
        return price.of(reply.prompt_tokens, reply.completion_tokens)

    def _reply(self, response: Any) -> Reply:
        """The part of a response that is kept.

        Raises:
            JudgeError: not the shape of a chat completion.
        """
        try:
            choice = response.choices[0]
            text = choice.message.content or ""
        except (AttributeError, IndexError, TypeError) as error:
            raise JudgeError(
                f"{self.endpoint.base_url} did not answer with a chat completion: is it the base URL of an "
                "OpenAI-compatible server (it often ends in /v1)?"
            ) from error
        usage = response.usage
        logprobs = getattr(choice.logprobs, "content", None)
        return Reply(
            text=text, model=response.model or self.model, finish_reason=choice.finish_reason,
            prompt_tokens=usage.prompt_tokens if usage else 0, completion_tokens=usage.completion_tokens if usage else 0,
            created=round(time.time(), 3),
            top_logprobs=[{t.token: t.logprob for t in c.top_logprobs} for c in logprobs] if logprobs else None,
        )  # fmt: skip

    def _refusal(self, error: Any) -> Reply:
        """A request that this endpoint will never answer (400, 413, 422: too long, say) is unscored, by name."""
        if error.status_code in (400, 413, 422) and not _about_model(error):
            return Reply("", self.model, None, 0, 0, round(time.time(), 3), refused=self._said(error))
        raise JudgeError(self._explained(error)) from error

    def _explained(self, error: Any) -> str:
        url, status = self.endpoint.base_url, getattr(error, "status_code", None)
        if status in (401, 403):
            return f"{url} refused the key of {KEY_VARIABLE} (HTTP {status}): set a key that may use {self.model}."
        if status == 404 or _about_model(error):
            known = self._models()
            if known:
                return f"{url} does not know the judge model '{self.model}'; it offers {', '.join(known[:20])}."
            return (
                f"{url} answers HTTP {status} to a chat completion of '{self.model}': check the URL (it often ends in /v1) "
                f"and the model's name ({self._said(error)})."
            )
        if status == 429 and "insufficient_quota" in self._said(error):
            return f"the account behind {KEY_VARIABLE} has no credit left ({self._said(error)})."
        if status is None:
            return f"cannot reach {url} ({self._said(error)}): is the server running, and is the URL right?"
        return (
            f"{url} answered HTTP {status} to all {self.endpoint.tries} calls ({self._said(error)}): try again later."
        )

    def _models(self) -> list[str]:
        import openai

        try:
            return sorted(model.id for model in self._api().models.list())
        except openai.OpenAIError:  # many servers have no such list: then the message goes without
            return []

    def _said(self, error: Any) -> str:
        """The endpoint's own words, in one line, without the key."""
        text = " ".join(str(getattr(error, "message", error) or type(error).__name__).split())[:300]
        return text.replace(self.endpoint.key, "***") if len(self.endpoint.key) > 4 else text

    def _pause(self, number: int, problem: Any) -> None:
        """Wait longer each time, at least as long as the endpoint asks for; ends early when the run stops."""
        with self._lock:
            share = self._random.uniform(0.5, 1.0)
            self.retried += 1
        seconds = min(LONGEST_WAIT, self.endpoint.first_wait * 2**number) * share
        headers = getattr(getattr(problem, "response", None), "headers", {})
        try:
            seconds = max(seconds, min(LONGEST_WAIT, float(headers.get("retry-after", 0))))
        except ValueError:  # a date instead of seconds: our own wait will do
            seconds = max(seconds, self.endpoint.first_wait)
        self._stop.wait(seconds)

    def _api(self) -> Any:
        if self._openai is None:
            with self._lock:
                if self._openai is None:
                    import openai

                    self._openai = openai.OpenAI(
                        api_key=self.endpoint.key, base_url=self.endpoint.base_url, timeout=self.endpoint.timeout, max_retries=0
                    )  # fmt: skip
        return self._openai


class _Stopped(RuntimeError):
    """This question was not asked because another one failed."""


def _worth_retrying(error: Any) -> bool:
    quota = error.status_code == 429 and "insufficient_quota" in str(getattr(error, "message", ""))
    return (error.status_code in (408, 409, 429) and not quota) or error.status_code >= 500


def _about_model(error: Any) -> bool:
    """Whether a 4xx says that the model is not known."""
    code = str(getattr(error, "code", "") or "")
    text = str(getattr(error, "message", "")).lower()
    return code in ("model_not_found", "invalid_model") or (
        "model" in text and ("not found" in text or "does not exist" in text)
    )
