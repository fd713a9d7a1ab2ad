"""What whoever runs the machine asks of the local API: how much is in work, what it runs on, and to forget what waits."""

from aiohttp import web

from ...response import SUCCESS
from ..backend import Backend, Phase
from .call import Call


async def request_count(call: Call) -> web.Response:
    """How many requests are in work, waiting ones included."""
    count = len(await call.runner.in_work(call.sees))
    words = "1 request is" if count == 1 else f"{count} requests are"
    return web.json_response({"status": SUCCESS, "message": f"{words} in work.", "request_count": count})


async def system_details(backend: Backend, call: Call) -> web.Response:
    """What makes the pictures, and how long its queue is. Raises BackendError."""
    jobs = await call.runner.in_work(call.sees)
    running = sum(call.runner.state(job).phase is Phase.RUNNING for job in jobs)
    queue = {"running": running, "waiting": len(jobs) - running, "most": call.config.max_queued}
    details = {"queue": queue, "flavours": list(call.config.flavours), **await backend.details()}
    return web.json_response({"status": SUCCESS, "message": "System details", "output": details})


async def clear_queue(call: Call) -> web.Response:
    """Cancel what waits; what is being made goes on. Raises BackendError."""
    count = await call.runner.clear(call.sees)
    words = "1 request was" if count == 1 else f"{count} requests were"
    return web.json_response({"status": SUCCESS, "message": f"{words} cancelled.", "cleared": count})
