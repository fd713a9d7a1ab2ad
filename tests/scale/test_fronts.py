"""Two fronts that share a database: whichever is asked answers, and each hears at once of what the other did."""

import io
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from local_api_server import BODY, data_uri

pytest.importorskip("psycopg", reason="needs requirements-scale.txt")

ANNA, BEN = "a-token-of-anna-123", "a-token-of-ben-4567"
AT_ONCE = 4  # pictures that a front makes beside each other


def at(front, link):
    """A link as the client of another front has it: behind one address all are the same."""
    return front.url + "/api/" + link.partition("/api/")[2]


def colour(front, link):
    status, picture = front.call(at(front, link))
    assert status == 200
    return np.asarray(Image.open(io.BytesIO(picture)))[0, 0].tolist()


def test_any_front_answers_for_any_id(pair):
    one, two = pair
    answers = [front.submit(wait=20, seed=seed) for seed, front in enumerate([one, two, one, two])]
    assert len({answer["id"] for answer in answers}) == 4
    for seed, answer in enumerate(answers):
        assert answer["status"] == "success", answer
        assert one.fetch(answer["id"]) == two.fetch(answer["id"]) == answer
        assert [colour(front, answer["output"][0]) for front in pair] == [[200, seed, 0]] * 2


def test_a_held_poll_is_woken_by_the_other_front(pair):
    one, two = pair
    identifier = one.submit(prompt="sleep 1")["id"]
    began = time.monotonic()
    answer = two.fetch(identifier, wait=60)
    took = time.monotonic() - began
    assert answer["status"] == "success" and took < 30, took
    assert colour(two, one.submit(prompt="sleep 1")["future_links"][0])[0] == 200, "a link is held, too"


def test_the_other_front_tells_how_far_it_is(pair):
    one, two = pair
    identifier = one.submit(prompt="sleep 4")["id"]
    seen = set()
    while (answer := two.fetch(identifier))["status"] == "processing":
        seen.add(answer["meta"].get("progress"))
        assert answer["eta"] >= 1
        time.sleep(0.1)
    assert answer["status"] == "success" and len(seen - {None}) > 2
    assert two.call("/api/v6/processing/request_count", {})[1]["request_count"] == 0


def test_cancelled_at_the_other_front(pair):
    one, two = pair
    identifiers = [one.submit(prompt="sleep 60")["id"] for _ in range(AT_ONCE + 1)]
    assert [two.cancel(each)["message"] for each in identifiers] == ["The request was cancelled."] * (AT_ONCE + 1)
    assert [one.fetch(each)["status"] for each in identifiers] == ["failed"] * (AT_ONCE + 1)
    assert one.submit(wait=20)["status"] == "success", "what was cancelled is in nobody's way"
    deadline = time.monotonic() + 60
    while any((one.base / "photos").iterdir()):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_all_that_waits_is_cleared_at_the_other_front(pair):
    one, two = pair
    identifiers = [one.submit(prompt="sleep 60")["id"] for _ in range(AT_ONCE + 3)]
    deadline = time.monotonic() + 60
    while sum("progress" in two.fetch(each)["meta"] for each in identifiers) < AT_ONCE:  # it is known what is being made
        assert time.monotonic() < deadline
    assert two.call("/api/v1/enterprise/face_gen/clear_queue", {})[1]["cleared"] == 3
    assert [one.fetch(each)["status"] for each in identifiers] == ["processing"] * AT_ONCE + ["failed"] * 3
    for identifier in identifiers:
        one.cancel(identifier)


def test_an_upload_is_there_for_the_other_front(pair):
    one, two = pair
    (link,) = one.call("/v6/base64_to_url", {"base64_string": data_uri(90)})[1]["output"]
    answer = two.submit(wait=20, face_image=at(two, link), seed=3)
    assert answer["status"] == "success" and colour(one, answer["output"][0])[0] == 90


def test_limits_hold_for_all_fronts_together(pair):
    clients = {"anna": {"token": ANNA, "max_queued": 3, "pictures_a_day": 5}, "ben": BEN}
    for front in pair:
        front.configure(max_queued=6, tokens=clients)
    time.sleep(0.1)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: pair[n % 2].submit(key=ANNA, prompt="sleep 6"), range(8)))
        taken = [answer for answer in answers if answer["status"] == "processing"]
        refused = [answer for answer in answers if answer["status"] == "error"]
        assert (len(taken), len(refused)) == (3, 5)
        assert {answer["message"] for answer in refused} == {"Rate limit exceeded. Maximum 3 queued requests allowed."}
        assert all(answer["retry_after"] >= 1 for answer in refused)
        answers = list(pool.map(lambda n: pair[n % 2].submit(key=BEN, prompt="sleep 6"), range(8)))
        assert sorted(answer["status"] for answer in answers) == ["error"] * 5 + ["processing"] * 3, "six in all"
    for answer in taken:
        assert pair[1].fetch(answer["id"], wait=20, key=ANNA)["status"] == "success"
        assert "no request with this id" in pair[1].fetch(answer["id"], key=BEN)["message"]
    assert pair[0].submit(wait=20, key=ANNA, samples=2)["status"] == "success"
    status, answer = pair[1].call("/api/v6/image_editing/face_gen", {**BODY, "key": ANNA})
    says = "The quota of this key is 5 pictures a day, with none left until midnight UTC."
    assert status == 429 and answer["message"] == says
