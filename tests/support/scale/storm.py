"""What a storm's clients do, and what they find when it is over.

FACEGEN_STORM in the environment is how many requests go to Ray, 1,000 for instance.
"""

import os
import random
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from waiting import until
from webhook_receiver import Receiver

SEEDS = 4
MANY = int(os.environ.get("FACEGEN_STORM", "100"))


def insist(ask, seconds=120):
    """What a client does: asks again, at whichever front, until it gets an answer that isn't about the fronts."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        status, answer = ask()
        if status == 200:
            return answer
        assert status in (0, 429, 503), (status, answer)
        time.sleep(0.1)
    raise AssertionError("no answer")


def fetched(fronts, identifier, wait=10):
    """The answer for a request as it stands after `wait` seconds, by any front that answers."""
    path = f"/api/v6/image_editing/fetch/{identifier}"
    return insist(lambda: random.choice(fronts).call(path, {}, Prefer=f"wait={wait}"))


def ended(fronts, identifier, seconds=200):
    """The answer for a request once it is done."""
    deadline, answer = time.monotonic() + seconds, {"status": "processing"}
    while answer["status"] == "processing" and time.monotonic() < deadline:
        answer = fetched(fronts, identifier)
    return answer


def linked(fronts, answer):
    """The first picture of an answer, by any front that answers."""
    path = "/api/" + answer["output"][0].partition("/api/")[2]
    return insist(lambda: random.choice(fronts).call(path))


class Storm:
    """`many` requests of `clients` at these fronts, while troubles come. A client that `waits` begins a request when the one
    before has ended, else all of them at once. `body` has fields of every request."""

    def __init__(self, fronts, many, clients, waits=False, **body):
        self.fronts, self.many, self.clients, self.waits, self.body = fronts, many, clients, waits, body
        self.asked = []  # (seed, id)
        self._may = many  # be asked, before the next trouble is over

    def run(self, troubles):
        """The answers by id, after all that must be true of them. `troubles` run one after the other, spread over the
        requests, so that each has some before, beside and after it. What is held up longest by them has three minutes."""
        calm = {seed: ended(self.fronts, self._take(seed)) for seed in range(SEEDS)}
        pictures = {seed: linked(self.fronts, answer) for seed, answer in calm.items()}
        assert len(set(pictures.values())) == SEEDS, "nothing could be told of them otherwise"
        self._may = 2 * self.many // (len(troubles) + 2)
        with Receiver() as receiver, ThreadPoolExecutor(self.clients) as pool:
            clients = [pool.submit(self._client, number, receiver.url) for number in range(self.clients)]
            try:
                self._trouble(troubles)
            finally:
                self._may = self.many
            for client in clients:
                client.result()
            for front in self.fronts:
                front.wait_until_ready()
            answers = {id: ended(self.fronts, id) for _, id in self.asked}
            assert len(answers) == len(self.asked) == self.many, "no id was given twice"
            assert Counter(answer["status"] for answer in answers.values()) == {"success": self.many}, [
                answer for answer in answers.values() if answer["status"] != "success"
            ][:5]
            for seed, id in self.asked:
                assert linked(self.fronts, answers[id]) == pictures[seed], "the same as in a calm run"
            # There may be more: requests that were taken on when their call broke off.
            until(lambda: {call["id"] for call in receiver.calls} >= set(answers), 30)
            twice = sum(count > 1 for count in Counter(call["id"] for call in receiver.calls).values())
            receiver.shutdown()
        return answers, twice

    def _take(self, seed, **body):
        return insist(lambda: random.choice(self.fronts).take(seed=seed, **self.body, **body))["id"]

    def _client(self, number, webhook):
        chance = random.Random(number)
        for count in range(number, self.many, self.clients):
            until(lambda at=count: at < self._may, 300)
            seed = chance.randrange(SEEDS)
            id = self._take(seed, webhook=webhook, track_id=str(count))
            self.asked.append((seed, id))
            if self.waits:
                ended(self.fronts, id)

    def _trouble(self, troubles):
        for number, trouble in enumerate(troubles, 1):
            share = self.many / (len(troubles) + 2)
            until(lambda at=number * share: len(self.asked) >= int(at) - self.clients, 300)
            trouble()
            print(f"{trouble.__name__}: {len(self.asked)} of {self.many} were asked when it was over", flush=True)
            self._may = int((number + 2) * share)
