# SPDX-License-Identifier: ISC
"""For gunicorn: answers with $GENERATION."""
import os


def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [os.environ["GENERATION"].encode() + b"\n"]
