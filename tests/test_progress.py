"""The protocol of long work."""

from __future__ import annotations

from collections.abc import Generator

import pytest

from udh_core.progress import Job, Progress, job

SAVED: list[int] = []


@job
def counting(until: int) -> Generator[Progress, None, list[int]]:
    """Counts; what was reached is saved however it ends."""
    reached = 0
    try:
        for reached in range(1, until + 1):
            yield Progress("count", reached, until, f"{reached}!")
    finally:
        SAVED.append(reached)
    return list(range(until))


def test_run_gives_the_result() -> None:
    work = counting(3)
    assert work.run() == [0, 1, 2] == work.result


def test_iterating_yields_progress_and_then_there_is_a_result() -> None:
    work = counting(2)
    assert [(p.stage, p.done, p.total, p.detail, p.fraction) for p in work] == [
        ("count", 1, 2, "1!", 0.5),
        ("count", 2, 2, "2!", 1.0),
    ]
    assert work.result == [0, 1]
    assert list(work) == []
    assert work.result == [0, 1]


def test_nothing_happens_before_the_first_pull() -> None:
    SAVED.clear()
    counting(3).close()
    assert SAVED == []


def test_there_is_no_result_before_the_end() -> None:
    work = counting(2)
    next(work)
    with pytest.raises(RuntimeError, match="not been pulled"):
        _ = work.result


def test_closing_ends_the_work_where_it_saves() -> None:
    SAVED.clear()
    work = counting(5)
    next(work)
    next(work)
    work.close()
    assert SAVED == [2]
    with pytest.raises(RuntimeError):
        work.run()


def test_an_error_comes_out_of_the_pull_and_leaves_no_result() -> None:
    @job
    def failing() -> Generator[Progress, None, None]:
        yield Progress("one", 0)
        raise ValueError("broken")

    work = failing()
    with pytest.raises(ValueError, match="broken"):
        work.run()
    with pytest.raises(RuntimeError):
        _ = work.result


def test_a_job_may_be_part_of_another_and_is_closed_with_it() -> None:
    @job
    def both() -> Generator[Progress, None, int]:
        first = yield from counting(2).steps()
        second = yield from counting(3).steps()
        return len(first) + len(second)

    assert both().run() == 5
    SAVED.clear()
    work = both()
    for _ in range(3):
        next(work)
    work.close()
    assert SAVED == [2, 1]


def test_a_result_may_be_none() -> None:
    def steps() -> Generator[Progress, None, None]:
        yield Progress("one", 1)

    work: Job[None] = Job(steps())
    assert work.run() is None
    assert work.result is None


def test_an_empty_stage_is_done() -> None:
    assert Progress("nothing", 0, 0).fraction == 1.0
