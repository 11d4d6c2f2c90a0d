"""Models over HTTP: `verydeep serve`. Read `app.py` first; the extra `serve` brings its libraries.

request -> guard (who may, how much) -> app (what is asked) -> decoding (processes) -> batching (one engine) -> answer
"""
