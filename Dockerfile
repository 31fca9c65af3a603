# The image of memsvc, for the API, the workers and the one-shot commands alike.
#
#     docker build --build-arg TORCH_INDEX_URL=<see below> --tag memsvc .
#
# TORCH_INDEX_URL is the package index of torch's wheels without CUDA, which are some gigabytes smaller. PyTorch's
# install page shows it: choose Linux, Pip, Python and CPU, and take what stands after --index-url.

FROM python:3.11-slim-bookworm AS build

RUN python -m venv /opt/memsvc
ENV PATH=/opt/memsvc/bin:$PATH PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

ARG TORCH_INDEX_URL
RUN test -n "$TORCH_INDEX_URL" || { echo "TORCH_INDEX_URL is empty: give --build-arg TORCH_INDEX_URL=<index of torch's CPU wheels>; PyTorch's install page shows it (Linux, Pip, Python, CPU)." >&2; exit 1; }
RUN pip install --index-url "$TORCH_INDEX_URL" torch==2.13.0

WORKDIR /source
# What memsvc needs changes less often than memsvc itself, and so has a layer of its own.
COPY pyproject.toml ./
RUN python -c "import tomllib; project = tomllib.load(open('pyproject.toml', 'rb'))['project']; print(*project['dependencies'], *project['optional-dependencies']['postgres'], sep='\n')" > requirements.txt \
    && pip install --requirement requirements.txt
COPY README.md LICENSE ./
COPY migrations migrations
COPY memsvc memsvc
RUN pip install --no-deps ".[postgres]"


FROM python:3.11-slim-bookworm

RUN groupadd --gid 10001 memsvc \
    && useradd --uid 10001 --gid memsvc --home-dir /data --no-create-home --shell /usr/sbin/nologin memsvc \
    && install --directory --owner memsvc --group memsvc /data
COPY --from=build /opt/memsvc /opt/memsvc
ENV PATH=/opt/memsvc/bin:$PATH PYTHONUNBUFFERED=1 MEMSVC_DATA_DIR=/data MEMSVC_LOG_FORMAT=json

# By number, so that Kubernetes too can see that it is not root.
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request; urllib.request.urlopen(f\"http://127.0.0.1:{os.environ.get('MEMSVC_PORT', '8000')}/healthz\", timeout=4)"]
CMD ["memsvc", "serve", "--host", "0.0.0.0"]
