"""Hundreds of requests through two fronts while one is killed again and again, and the database is restarted."""

import time

import pytest

from storm import Storm

pytest.importorskip("psycopg", reason="needs requirements-scale.txt")


def test_every_request_ends_once(pair, postgres):
    one, two = pair

    def killed(front):
        front.kill()
        front.start()
        front.wait_until_ready()

    def first():
        killed(one)

    def second():
        killed(two)

    def database():
        postgres.stop()
        time.sleep(0.5)
        postgres.start()

    _, twice = Storm(pair, 300, 6).run([first, second, database, second])
    assert twice <= 6, "only where a front was killed in the middle of the call"
    states = dict(postgres.query(one.jobs, "SELECT state, count(*) FROM jobs GROUP BY state"))
    assert set(states) == {"success"}, "nor is one left that broke off before its client knew the id"
