# SPDX-License-Identifier: ISC
"""For gunicorn, and as asgi for uvicorn: answers with $GENERATION, after $DELAY seconds if that is set."""
import os
import time


def app(environ, start_response):
    time.sleep(float(os.environ.get("DELAY", 0)))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [os.environ["GENERATION"].encode() + b"\n"]


async def asgi(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": os.environ["GENERATION"].encode() + b"\n"})
