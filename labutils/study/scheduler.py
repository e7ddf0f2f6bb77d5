"""Is there a Dask scheduler at an address: looked at before anything waits for it, by the standard library alone."""

import re
import socket
import threading
import time

ADDRESS = re.compile(r"(?:(?P<kind>[\w+.-]+)://)?(?P<host>\[[\w:.%]+\]|[^\s:/\[\]]+):(?P<port>\d{1,5})")
SECONDS = 5.0  # for a connection, and again for what a scheduler says at once to whoever connects
HELLO = b"pickle-protocol"  # stands in it


def why_not(address: str) -> str:
    """Why no scheduler can be used at an address, in a sentence, or "" if one answers; takes 12 seconds at most."""
    if address.startswith("inproc://"):  # of this very process, a cluster for a trial
        return ""
    parts = ADDRESS.fullmatch(address)
    if not parts or not 0 < int(parts["port"]) < 65536:
        return f"{address!r} is not the address of a scheduler; expected one such as tcp://host:8786."
    if parts["kind"] not in (None, "tcp"):
        return f"{address}: this lab speaks tcp only. Start `dask scheduler` without {parts['kind']}: tcp://host:8786."
    said = []
    ask = threading.Thread(target=lambda: said.append(_ask(parts["host"].strip("[]"), int(parts["port"]))), daemon=True)
    ask.start()
    ask.join(2 * SECONDS + 2)  # a name server may take longer, and cannot be told to stop
    why = said[0] if said else "nothing comes back"
    return why and f"No Dask scheduler answers at {address} ({why}). Start one: dask scheduler."


def _ask(host: str, port: int) -> str:
    heard = None
    try:
        with socket.create_connection((host, port), SECONDS) as connection:
            heard, end = b"", time.monotonic() + SECONDS
            while HELLO not in heard and len(heard) < 2000 and (left := end - time.monotonic()) > 0:
                connection.settimeout(left)
                if not (chunk := connection.recv(2000)):
                    break
                heard += chunk
    except TimeoutError:
        pass  # after a connection or before one
    except (OSError, ValueError) as error:  # ValueError: a host that is no name
        return getattr(error, "strerror", None) or str(error)
    if heard is None:
        return "nothing comes back"
    if HELLO in heard:
        return ""
    return "something else listens there: 8787 is the dashboard's port; the scheduler's is 8786"
