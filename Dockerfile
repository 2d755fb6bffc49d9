# The images of Lookalike. Each target is one of them:
#
#   docker build --target search -t lookalike-search .
#   docker build --target pipeline -t lookalike-pipeline --build-arg TORCH_INDEX=<PyTorch's index of CPU wheels> .
#   docker build --target train -t lookalike-train .
#
# search    the search process alone: no torch, no Prefect, no Kubernetes client
# pipeline  flows, tasks and console; also Prefect's server and worker. torch for the CPU.
# train     the same with torch for CUDA, which is what the public index has: for GPU nodes
#
# Versions are those of requirements/*.txt (`make lock`), whose digests pip compares. torch alone is installed before them
# without, since each of PyTorch's indexes has wheels of its own. Name the base by its digest where you build for others:
#
#   docker buildx imagetools inspect python:3.11-slim --format '{{.Manifest.Digest}}'
#   docker build --build-arg BASE=python:3.11-slim@sha256:... --target search .
#
# The processes run as user 10001 and write to /tmp and
# /var/cache/lookalike alone, so the root file system can be read-only.

ARG BASE=python:3.11-slim

# --- what every image stands on ---------------------------------------------------------------------------------
FROM ${BASE} AS runtime
# tini passes SIGTERM on even while Python is still importing, when a first process has no handler and ignores it.
RUN command -v tini >/dev/null \
  || { apt-get update && apt-get install -y --no-install-recommends tini && rm -rf /var/lib/apt/lists/*; }
RUN useradd --uid 10001 --no-create-home --home-dir /tmp --shell /usr/sbin/nologin lookalike \
  && mkdir -p /opt/lookalike && install -d -o 10001 -g 10001 /var/cache/lookalike
# The last: memory that photos were decoded into goes back to the system (lookalike.serving.memory).
ENV PATH=/opt/venv/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    LOOKALIKE_CACHE_DIR=/var/cache/lookalike \
    NUMBA_CACHE_DIR=/var/cache/lookalike/numba \
    MALLOC_MMAP_THRESHOLD_=1048576
WORKDIR /opt/lookalike
ENTRYPOINT ["tini", "--"]

# --- our own code, installed beside its packages so that an edit rebuilds no other layer --------------------------
FROM ${BASE} AS code
WORKDIR /src
RUN python -m venv /opt/venv
COPY pyproject.toml README.md LICENSE ./
COPY src src
RUN /opt/venv/bin/pip install --no-cache-dir --no-deps --prefix /opt/code .

# --- search -----------------------------------------------------------------------------------------------------
FROM ${BASE} AS search-packages
COPY requirements/search.txt /requirements/
RUN python -m venv /opt/venv && /opt/venv/bin/pip install --no-cache-dir --no-deps --require-hashes -r /requirements/search.txt
# What a search process never opens: tests, headers, installers, other accelerators' plugins, other AWS services.
RUN cd /opt/venv/lib/python3.11/site-packages \
  && find . -type d \( -name tests -o -name include \) -prune -exec rm -rf {} + \
  && rm -rf pip pip-*.dist-info setuptools setuptools-*.dist-info ../../../bin/pip* \
  && rm -rf pyarrow/*flight* pyarrow/*s3* pyarrow/src \
  && rm -rf openvino/libs/*_gpu_* openvino/libs/*_npu_* openvino/libs/cache.json \
  && find openvino/libs -regex '.*_\(pytorch\|tensorflow\|tensorflow_lite\|paddle\|jax\|gguf\)_.*' -delete \
  && find botocore/data -mindepth 1 -maxdepth 1 -type d ! -name s3 ! -name 'sso*' ! -name sts -exec rm -rf {} +

FROM code AS search-code
RUN rm -rf /opt/code/lib/python3.11/site-packages/sample_shop

FROM runtime AS search
COPY --from=search-packages /opt/venv /opt/venv
COPY --from=search-code /opt/code /opt/venv
USER 10001:10001
# That nothing was taken away that is needed after all; the compiled kernels of this machine's CPU are not kept.
RUN NUMBA_CACHE_DIR=/tmp/numba python -c "import lookalike.serving.server, lookalike.storage.s3, openvino as ov; \
  from lookalike.index.hamming import Scanner; Scanner(1); assert 'CPU' in ov.Core().available_devices; \
  from openvino.frontend import FrontEndManager; assert 'onnx' in FrontEndManager().get_available_front_ends()" \
  && rm -rf /tmp/numba
EXPOSE 8000 8080
CMD ["lookalike", "serve", "--host", "0.0.0.0"]

# --- pipeline and train -------------------------------------------------------------------------------------------
# torch comes first: what it brings (nothing for the CPU, CUDA's libraries for a GPU) is its own wheel's choice.
FROM ${BASE} AS pipeline-packages
ARG TORCH=torch==2.13.0
ARG TORCH_INDEX=
COPY requirements/pipeline.txt /requirements/
RUN python -m venv /opt/venv \
  && grep -oE '^[^ #]+==[^ ;]+' /requirements/pipeline.txt > /tmp/versions.txt \
  && /opt/venv/bin/pip install --no-cache-dir ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} \
    --constraint /tmp/versions.txt "$TORCH" \
  && /opt/venv/bin/pip install --no-cache-dir --no-deps --require-hashes -r /requirements/pipeline.txt

FROM runtime AS flows
COPY flows flows
COPY tasks tasks
COPY prefect.yaml ./
# Flows are found from here, and Prefect reads these before our code can say them.
ENV PYTHONPATH=/opt/lookalike \
    PREFECT_HOME=/tmp/prefect \
    DO_NOT_TRACK=1 \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    MPLCONFIGDIR=/tmp/matplotlib
CMD ["lookalike", "--help"]

FROM flows AS pipeline
COPY --from=pipeline-packages /opt/venv /opt/venv
COPY --from=code /opt/code /opt/venv
USER 10001:10001

FROM ${BASE} AS train-packages
ARG TORCH=torch==2.13.0
COPY requirements/pipeline.txt /requirements/
RUN python -m venv /opt/venv \
  && grep -oE '^[^ #]+==[^ ;]+' /requirements/pipeline.txt > /tmp/versions.txt \
  && /opt/venv/bin/pip install --no-cache-dir --constraint /tmp/versions.txt "$TORCH" \
  && /opt/venv/bin/pip install --no-cache-dir --no-deps --require-hashes -r /requirements/pipeline.txt

FROM flows AS train
COPY --from=train-packages /opt/venv /opt/venv
COPY --from=code /opt/code /opt/venv
USER 10001:10001
