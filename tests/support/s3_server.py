"""An S3 server on the loopback address, and a way to it that drops connections."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator


@contextlib.contextmanager
def s3_server() -> Iterator[tuple[str, int]]:
    """Yields host and port of moto's server."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield host, port
    finally:
        server.stop()


class Proxy:
    """A TCP proxy that counts what it carries, and cuts connections.

    Args:
        server: Host and port of what is behind it.

    Attributes:
        port: Where it listens, on the loopback address.
        served: How many bytes the server has sent through it.
        taken: How many it was sent.
        cut_after: After how many bytes from the server a connection is cut.
        cuts: How many connections are cut still.
        refuses: Whether all connections are cut, those that come, too.
    """

    def __init__(self, server: tuple[str, int]) -> None:
        self._server = server
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.served = self.taken = self.cuts = 0
        self.cut_after = 0
        self.refuses = False
        threading.Thread(target=self._listen, daemon=True).start()

    def close(self) -> None:
        """Accepts no further connection."""
        self._listener.close()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.refuses:
                    client.close()
                    continue
                server = socket.create_connection(self._server)
                for ends in ((client, server), (server, client)):
                    come = ends[0] is server
                    threading.Thread(target=self._carry, args=(*ends, come), daemon=True).start()

    def _carry(self, source: socket.socket, sink: socket.socket, come: bool) -> None:
        carried = 0
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                if self.refuses:
                    break
                sink.sendall(data)
                carried += len(data)
                if come:
                    self.served += len(data)
                    if self.cuts and carried > self.cut_after:
                        self.cuts -= 1
                        break
                else:
                    self.taken += len(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
