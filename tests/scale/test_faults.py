"""What clients see when a front dies, and when the database is away: each request ends once."""

import shutil
import signal
import time
import uuid
from collections import Counter

import pytest

from front_process import LEASE
from waiting import until
from webhook_receiver import Receiver

pytest.importorskip("psycopg", reason="needs requirements-scale.txt")


@pytest.fixture
def receiver():
    with Receiver() as running:
        yield running
        running.shutdown()


def drawn(front):
    """Work -> the processes that began to draw it, in order."""
    found = {}
    for line in (front.base.parent / "drawn.log").read_text().splitlines():
        work, process = line.split()
        found.setdefault(work, []).append(int(process))
    return found


def test_what_a_dead_front_was_making_is_made_by_another(pair, receiver):
    one, two = pair
    calm = one.submit(wait=20, seed=5)
    before = set(drawn(one))
    identifiers = [one.submit(prompt="sleep 3", seed=5, webhook=receiver.url, track_id=n)["id"] for n in range(6)]
    until(lambda: len(drawn(one)) >= len(before) + 4)
    one.kill()
    assert [two.fetch(each)["status"] for each in identifiers] == ["processing"] * 6, "which is true: they will be made"
    answers = [two.fetch(each, wait=25) for each in identifiers]
    assert [answer["status"] for answer in answers] == ["success"] * 6
    pictures = [two.call(answer["output"][0].replace(str(one.port), str(two.port)))[1] for answer in answers]
    assert set(pictures) == {two.call(calm["output"][0].replace(str(one.port), str(two.port)))[1]}, "the same seed and photo"
    until(lambda: len(receiver.calls) >= 6)
    time.sleep(LEASE)
    assert sorted(call["track_id"] for call in receiver.calls) == [*range(6)] and len(receiver.calls) == 6
    again = {work: by for work, by in drawn(one).items() if work not in before}
    assert len(again) == 6 and all(by[-1] == two.process.pid for by in again.values())


def test_what_a_front_that_is_stopped_was_making_is_made_by_another_at_once(pair, postgres):
    one, two = pair
    identifier = one.submit(prompt="sleep 2")["id"]
    ask = f"SELECT front FROM jobs WHERE id = {identifier}"
    ((before,),) = postgres.query(one.jobs, ask)
    one.stop()
    assert postgres.query(one.jobs, ask) != [(before,)], "no lease has to end first"
    began = time.monotonic()
    assert two.fetch(identifier, wait=20)["status"] == "success"
    assert time.monotonic() - began < 2 + 4 * LEASE


def test_a_request_that_kills_its_fronts_is_given_up(pair):
    one, two = pair
    before = set(drawn(one))
    identifier = one.submit(prompt="sleep 60")["id"]
    until(lambda: set(drawn(one)) - before)
    (work,) = set(drawn(one)) - before
    for victim, other in ((one, two), (two, one)) * 2:
        until(lambda by=victim: drawn(one)[work][-1] == by.process.pid, 40)
        other.wait_until_ready()
        victim.kill()
        victim.start()
    until(lambda: one.fetch(identifier).get("status") == "failed", 40)
    assert one.fetch(identifier)["message"] == "The request was interrupted 4 times. Send it again."
    two.wait_until_ready()


def test_the_webhooks_of_a_dead_front_are_called_by_another(pair, receiver):
    """It was about to call them again."""
    one = pair[0]
    receiver.status = 500
    identifiers = [one.submit(wait=20, webhook=receiver.url)["id"] for _ in range(3)]
    until(lambda: len(receiver.calls) == 3)
    one.kill()
    receiver.status = 200
    until(lambda: len(receiver.calls) == 6, 6 * LEASE)
    time.sleep(2 * LEASE)
    assert Counter(call["id"] for call in receiver.calls) == dict.fromkeys(identifiers, 2)


def test_a_front_that_is_held_up_finds_its_work_done(pair, receiver):
    """It is no corpse: both have made the pictures, and one is heard of it."""
    one, two = pair
    identifier = one.submit(prompt="sleep 2", webhook=receiver.url)["id"]
    one.process.send_signal(signal.SIGSTOP)
    try:
        answer = two.fetch(identifier, wait=25)
        assert answer["status"] == "success"
    finally:
        one.process.send_signal(signal.SIGCONT)
    assert one.fetch(identifier) == answer and one.submit(wait=20)["status"] == "success"
    time.sleep(2 * LEASE)
    assert [call["id"] for call in receiver.calls] == [identifier]


def test_a_photo_that_is_lost(pair):
    one, two = pair
    identifier = one.submit(prompt="sleep 30")["id"]
    one.kill()
    (face,) = (one.base.parent / "results").glob("*-face.png")
    face.unlink()
    answer = two.fetch(identifier, wait=20)
    assert answer["message"] == "The request was interrupted, and its photo is lost. Send it again."


def test_a_request_whose_client_was_told_that_it_is_not_taken_is_forgotten(pair, postgres):
    """The database took it, and the answer was lost on its way to the front."""
    one = pair[0]
    done = one.submit(wait=20)
    columns = "prompt_id, created, samples, as_base64, tip, meta, track_id, origin, owner"
    front = f"(SELECT front FROM jobs WHERE id = {done['id']})"
    postgres.query(
        one.jobs,
        f"INSERT INTO jobs (secret, state, front, {columns}) SELECT 'lost', 'waiting', {front}, {columns} FROM jobs LIMIT 1",
    )
    until(lambda: not postgres.query(one.jobs, "SELECT id FROM jobs WHERE secret = 'lost'"), 3 * LEASE)


def test_what_is_this_front_s_though_it_has_not_heard_so(pair, receiver, postgres):
    """A taking over, and an outcome with a webhook: stored, and the database's answer lost on its way to the front."""
    one, results = pair[0], pair[0].base.parent / "results"
    done = one.submit(wait=20, seed=11)
    columns = "created, samples, as_base64, tip, meta, track_id, origin, owner"

    def insert(**own):
        """A row like that of `done`."""
        row = {"secret": f"'{uuid.uuid4().hex}'", "prompt_id": f"'{uuid.uuid4()}'", "front": "front", **own}
        values = f"SELECT {', '.join(row.values())}, {columns} FROM jobs WHERE id = {done['id']}"
        postgres.query(one.jobs, f"INSERT INTO jobs ({', '.join(row)}, {columns}) {values}")

    secret = uuid.uuid4().hex
    shutil.copy(results / done["output"][0].rpartition("/")[2], results / f"{secret}-face.png")
    insert(secret=f"'{secret}'", state="'waiting'", takeovers="1")
    insert(state="'failed'", finished=f"{time.time()}", webhook=f"'{receiver.url}'", caller="front")
    until(lambda: len(receiver.calls) == 1 and (results / f"{secret}-0.png").exists(), 4 * LEASE)
    assert receiver.calls[0]["status"] == "failed"


def test_notifications_that_are_lost(pair, postgres):
    """All connections break, and a request is done before anybody listens again."""
    one, two = pair
    identifier = one.submit(prompt="sleep 1")["id"]
    postgres.query(one.jobs, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
    began = time.monotonic()
    assert two.fetch(identifier, wait=15)["status"] == "success" and time.monotonic() - began < 10


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["restart", "crash"])
def test_the_database_is_away_for_a_while(pair, receiver, postgres, how):
    one, two = pair
    done = one.submit(wait=20)
    identifiers = [front.submit(prompt="sleep 1", webhook=receiver.url)["id"] for front in (one, two, one)]
    postgres.stop(how)
    try:
        until(lambda: [front.ready()[0] for front in pair] == [503, 503], 20)
        assert one.ready()[1]["reason"].startswith("The database of the requests can't be reached now.")
        for status, answer in (
            one.call("/api/v6/image_editing/face_gen", {"prompt": "x", "face_image": "x"}),
            two.call(f"/api/v6/image_editing/fetch/{identifiers[0]}", {}),
            two.call(f"/api/v6/image_editing/cancel/{identifiers[0]}", {}),
        ):
            assert status == 503 or "face_image" in str(answer["message"]), answer
            if status == 503:
                says = "The database of the requests can't be reached now. Send this again in some seconds."
                assert answer == {"status": "error", "message": says, "retry_after": 5}
        assert one.fetch(done["id"]) == done, "what a front remembers it tells"
        time.sleep(2 * LEASE)
    finally:
        postgres.start()
    for front in pair:
        front.wait_until_ready()
        assert front.process.poll() is None
    assert [two.fetch(each, wait=20)["status"] for each in identifiers] == ["success"] * 3
    until(lambda: len(receiver.calls) >= 3)
    time.sleep(LEASE)
    assert sorted(call["id"] for call in receiver.calls) == sorted(identifiers)
    assert [len(by) for by in drawn(one).values()][-3:] == [1, 1, 1], "nobody was thought dead"
    identifier = two.submit(prompt="sleep 1")["id"]
    began = time.monotonic()
    assert one.fetch(identifier, wait=15)["status"] == "success" and time.monotonic() - began < 8, "it hears of changes again"
