# The serving process: Debian's Python, the wheels of infra/lock/serving.txt, mlops/ and serving/. infra/docker/build
# builds it; how it is run, and what it may write, is in docs/images.md.

ARG DEBIAN=docker.io/library/debian:bookworm-slim@sha256:88200866dfff7ea7f5cbcb6ec7c8a701889efe6fe859fe64d6990e4b07ea4171

FROM ${DEBIAN} AS packages
# hadolint ignore=DL3008
RUN apt-get -qq update \
 && DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends python3 python3-pip >/dev/null
WORKDIR /usr/local/lib/python3.11/dist-packages
COPY infra/lock/serving.txt /
# What serving never loads goes, a third of the whole: the library for C programs, tools that make models, tests, headers.
RUN python3 -m pip install --quiet --no-cache-dir --no-compile --no-deps --only-binary :all: --require-hashes \
        --root-user-action ignore --target . -r /serving.txt \
 && rm -r bin numpy/f2py numpy/distutils onnxruntime/capi/libonnxruntime.so.* \
        onnxruntime/transformers onnxruntime/tools onnxruntime/quantization onnxruntime/datasets \
 && find . -type d \( -name tests -o -name include \) -prune -exec rm -r {} + \
 && find . -type f \( -name '*.py[ix]' -o -name '*.pxd' -o -name '*.a' -o -name '*.h' \) -delete
COPY mlops mlops
COPY serving serving
# Bytecode that trusts its source: nothing is compiled at the start, and no file's time counts. The full path, as
# tracebacks name it.
RUN PYTHONHASHSEED=0 python3 -m compileall -qq --invalidation-mode unchecked-hash "$PWD" \
 && chmod -R u=rwX,go=rX .
COPY infra/docker/serve infra/docker/healthy /opt/bin/
RUN chmod 755 /opt/bin/*

FROM ${DEBIAN} AS serving
# Named, so that no layer is taken from a build that gave its files another time.
ARG SOURCE_DATE_EPOCH
# /state may be written by the group 0, too, as which a platform runs whom it gives a user of its own choice.
RUN --mount=type=bind,source=infra/docker/debian,target=/run/debian \
    /run/debian ca-certificates python3 \
 && echo 'mlops:x:10001:10001::/nonexistent:/usr/sbin/nologin' >>/etc/passwd \
 && echo 'mlops:x:10001:' >>/etc/group \
 && install -d -o 10001 -g 0 -m 770 /state /state/store /state/decisions /state/audit
COPY --from=packages /opt/bin /usr/local/bin
COPY --from=packages /usr/local/lib/python3.11/dist-packages /usr/local/lib/python3.11/dist-packages

ENV PYTHONSAFEPATH=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 \
    MLOPS_SERVING_HOST=0.0.0.0 \
    MLOPS_SERVING_PORT=8080 \
    MLOPS_SERVING_POINTER=/deployments/current.json \
    MLOPS_SERVING_PUBLIC_KEY=/keys/verify-key.pem \
    MLOPS_SERVING_KEYS=/keys/api-keys.json \
    MLOPS_SERVING_DECISIONS=/state/decisions \
    MLOPS_SERVING_AUDIT=/state/audit \
    MLOPS_SERVING_LOG_FORMAT=json \
    MLOPS_STORE=/state/store
USER 10001:10001
WORKDIR /
VOLUME /state
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s --retries=3 CMD ["healthy"]
CMD ["serve"]

LABEL org.opencontainers.image.title="mlops-serving" \
      org.opencontainers.image.description="Scores raw events over HTTP with a signed bundle." \
      org.opencontainers.image.licenses="Apache-2.0"
