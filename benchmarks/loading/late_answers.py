"""A relay of connections that hands on a server's answers late, as a network between them would.

`python benchmarks/loading/late_answers.py HOST PORT MILLISECONDS` prints the port on which it listens on loopback. It
is a process of its own, so that it does not take turns with what is measured in one interpreter.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

PIECE = 1 << 18  # bytes that are handed on at once
MOST_WAITING = 64  # pieces of one connection, so that memory is bounded


@contextmanager
def late_answers(endpoint: str, delay_ms: float) -> Iterator[str]:
    """Yield the URL of a relay to `endpoint` (http://HOST:PORT) whose answers come `delay_ms` milliseconds late.

    Requests go on at once; several answers are on their way at the same time, so throughput stays what it is.
    """
    url = urlsplit(endpoint)
    command = [sys.executable, __file__, str(url.hostname), str(url.port), str(delay_ms)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


async def hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float) -> None:
    """Write what is read, each piece so many seconds after it came."""
    clock = asyncio.get_running_loop().time
    pieces: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(MOST_WAITING)

    async def receive() -> None:
        piece = b"first"
        while piece:
            piece = await reader.read(PIECE)
            await pieces.put((clock() + delay_s, piece))

    receiving = asyncio.create_task(receive())
    try:
        while True:
            moment, piece = await pieces.get()
            if not piece:
                break
            if (wait := moment - clock()) > 0:
                await asyncio.sleep(wait)
            writer.write(piece)
            await writer.drain()
    except ConnectionError:
        pass  # the other side has gone, which ends this side too
    finally:
        receiving.cancel()
        writer.close()


async def serve(host: str, port: int, delay_s: float) -> None:
    """Relay connections until the process is killed."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_connection(host, port, limit=PIECE)
        await asyncio.gather(hand_on(reader, to_server, 0), hand_on(from_server, writer, delay_s))

    server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=PIECE)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]) / 1000))
