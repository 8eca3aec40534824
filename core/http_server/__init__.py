"""An HTTP/1.1 server with limits, over uvicorn: for the API and for the metrics listeners."""
