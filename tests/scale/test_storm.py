"""Hundreds of requests through two fronts while one is killed again and again, and the database is restarted."""

import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from waiting import until
from webhook_receiver import Receiver

pytest.importorskip("psycopg", reason="needs requirements-scale.txt")

MANY, CLIENTS = 300, 6


def insist(ask, seconds=90):
    """What a client does: asks again, at whichever front, until it gets an answer that isn't about the fronts."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        status, answer = ask()
        if status == 200:
            return answer
        assert status in (0, 429, 503), (status, answer)
        time.sleep(0.1)
    raise AssertionError("no answer")


def ended(front, identifier):
    """The answer for a request once it is done."""
    answer = {"status": "processing"}
    for _ in range(20):
        if answer["status"] == "processing":
            answer = insist(lambda: front.call(f"/api/v6/image_editing/fetch/{identifier}", {}, Prefer="wait=10"))
    return answer


def test_every_request_ends_once(pair, postgres):
    one, two = pair
    calm = {seed: one.submit(wait=20, seed=seed) for seed in range(4)}
    pictures = {seed: one.call(answer["output"][0])[1] for seed, answer in calm.items()}
    over = threading.Event()

    def client(number, receiver):
        """Its requests, each as (seed, id)."""
        chance, mine = random.Random(number), []
        for count in range(MANY // CLIENTS):
            seed = chance.randrange(4)
            body = {"seed": seed, "webhook": receiver.url, "track_id": f"{number}-{count}"}
            mine.append((seed, insist(lambda body=body: chance.choice(pair).take(**body))["id"]))
        return mine

    def trouble():
        chance = random.Random(0)
        for turn in range(4):
            if over.wait(chance.uniform(1.0, 3.0)):
                return
            if turn == 2:
                postgres.stop()
                time.sleep(0.5)
                postgres.start()
            else:
                victim = pair[turn % 2]
                victim.kill()
                victim.start()
                victim.wait_until_ready()

    with Receiver() as receiver, ThreadPoolExecutor(CLIENTS + 1) as pool:
        troubling = pool.submit(trouble)
        clients = [pool.submit(client, number, receiver) for number in range(CLIENTS)]
        asked = [each for one_s in clients for each in one_s.result()]
        troubling.result()
        over.set()
        for front in pair:
            front.wait_until_ready()
        answers = {id: ended(two, id) for _, id in asked}
        assert len(answers) == len(asked) == MANY, "no id was given twice"
        assert Counter(answer["status"] for answer in answers.values()) == {"success": MANY}, answers
        for seed, id in asked:
            link = two.url + "/api/" + answers[id]["output"][0].partition("/api/")[2]
            assert insist(lambda link=link: two.call(link)) == pictures[seed], "the same as in a calm run"
        # There may be more: requests that were taken on when their call broke off.
        until(lambda: {call["id"] for call in receiver.calls} >= set(answers), 30)
        twice = sum(count > 1 for count in Counter(call["id"] for call in receiver.calls).values())
        assert twice <= 6, "only where a front was killed in the middle of the call"
        receiver.shutdown()
    states = dict(postgres.query(one.jobs, "SELECT state, count(*) FROM jobs GROUP BY state"))
    assert set(states) == {"success"}, "nor is one left that broke off before its client knew the id"
