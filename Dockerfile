FROM python:3.12-slim AS build
WORKDIR /src
COPY setup.cfg pyproject.toml README.md ./
COPY exporter exporter
COPY alerts alerts
COPY klaxon klaxon
COPY demo demo
RUN python -m venv /opt/klaxon && /opt/klaxon/bin/pip install --no-cache-dir .

FROM python:3.12-slim
LABEL org.opencontainers.image.title="Klaxon" org.opencontainers.image.description="Kafka monitoring exporter and alerting daemon"
RUN useradd --system --uid 10308 --home-dir /var/lib/klaxon --create-home klaxon
COPY --from=build /opt/klaxon /opt/klaxon
ENV PATH=/opt/klaxon/bin:$PATH PYTHONUNBUFFERED=1
USER 10308
WORKDIR /var/lib/klaxon
VOLUME /var/lib/klaxon
EXPOSE 9308
HEALTHCHECK --interval=15s --timeout=3s --start-period=20s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:9308/-/healthy', timeout=2)"]
ENTRYPOINT ["klaxon"]
CMD ["run", "--config", "/etc/klaxon/config.yaml"]
