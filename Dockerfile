# tim-server as a container: dependencies pinned with hashes, an unprivileged user, nothing of the build left over.

FROM python:3.11-slim-bookworm AS build

WORKDIR /build
COPY requirements.txt requirements-build.txt ./
RUN python -m venv /opt/tim-server \
    && /opt/tim-server/bin/pip install --no-cache-dir --require-hashes --only-binary :all: --requirement requirements.txt \
    && python -m venv /opt/build \
    && /opt/build/bin/pip install --no-cache-dir --require-hashes --only-binary :all: --requirement requirements-build.txt
COPY pyproject.toml README.md ./
COPY migrations migrations
COPY tim_server tim_server
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /build/wheels . \
    && /opt/tim-server/bin/pip install --no-cache-dir --no-deps --no-index /build/wheels/*.whl \
    && /opt/tim-server/bin/python -m compileall -q /opt/tim-server/lib


FROM python:3.11-slim-bookworm

RUN groupadd --system --gid 10001 tim-server \
    && useradd --system --uid 10001 --gid tim-server --home-dir /var/lib/tim-server --shell /usr/sbin/nologin tim-server \
    && install --directory --owner=tim-server --group=tim-server --mode=0700 /var/lib/tim-server
COPY --from=build /opt/tim-server /opt/tim-server

ENV PATH=/opt/tim-server/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /var/lib/tim-server
VOLUME ["/var/lib/tim-server"]
EXPOSE 8008 8070
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8070/health', timeout=4)"]
ENTRYPOINT ["tim-server"]
CMD ["serve", "--config", "/etc/tim-server/tim-server.yaml"]
