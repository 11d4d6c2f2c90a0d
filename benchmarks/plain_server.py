"""What most people would write: FastAPI, Pillow and torch, one photo a request. The rival of benchmarks/service.py."""

import io
import socket
import sys

import numpy as np
import torch
import uvicorn
from fastapi import FastAPI, Request
from PIL import Image

from verydeep.image.preprocess import preprocess
from verydeep.network import build
from verydeep.weights import read_model

info, weights = read_model(sys.argv[1])
network = build(info.architecture, weights).eval()
app = FastAPI()


@app.post("/predict")
async def predict(request: Request) -> dict[str, object]:
    picture = np.asarray(Image.open(io.BytesIO(await request.body())).convert("RGB"))
    image = torch.from_numpy(preprocess(picture, info.preprocessing))[None]
    with torch.inference_mode():
        probabilities = network(image).softmax(1)[0]
    best = probabilities.topk(min(5, len(info.classes)))
    return {"predictions": [[info.classes[i], float(p)] for p, i in zip(best.values, best.indices, strict=True)]}


if __name__ == "__main__":
    listener = socket.socket(proto=socket.IPPROTO_TCP)  # with which asyncio sets TCP_NODELAY, as on uvicorn's own
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    print(f"http://127.0.0.1:{listener.getsockname()[1]}", file=sys.stderr, flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="error", access_log=False)).run(sockets=[listener])
