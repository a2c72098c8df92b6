"""A small application for uvicorn started by its own command line."""

from fastapi import FastAPI, Request

app = FastAPI()


@app.get("/health")
async def health():
    return {}


@app.post("/length")
async def length(request: Request):
    return {"length": len(await request.body())}
