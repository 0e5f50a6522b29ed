"""A crowd begins in its order, some in each round of the event loop; nobody is forgotten."""

from __future__ import annotations

import asyncio

from interlingua.serve.turns import Turns


def test_so_many_begin_in_one_round_in_their_order() -> None:
    async def crowd() -> tuple[list[int], list[int]]:
        turns, begun, of_round = Turns(4), list[int](), [0]

        async def one(number: int) -> None:
            await turns.take()
            begun.append(number)
            of_round[-1] += 1

        tasks = [asyncio.ensure_future(one(number)) for number in range(30)]
        tasks[9].cancel()
        for _ in range(100):
            await asyncio.sleep(0)
            of_round.append(0)
        await asyncio.gather(*tasks, return_exceptions=True)
        tasks = [asyncio.ensure_future(one(number)) for number in range(30, 33)]
        await asyncio.wait_for(asyncio.gather(*tasks), 5)
        return begun, of_round

    begun, of_round = asyncio.run(crowd())
    assert begun == [number for number in range(33) if number != 9]
    assert max(of_round) <= 8  # what wakes up in one round has taken its turn in the round before
    assert sum(bool(count) for count in of_round) >= 6
