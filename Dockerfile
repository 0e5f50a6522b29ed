# The service of Interlingua, for processors:  docker build -t interlingua .
# EXTRAS: what to install (text: sentence encoders; mcp: tools for assistants). TORCH_INDEX: wheels for processors alone.
FROM python:3.11.13-slim-bookworm AS build
ARG EXTRAS=serve,store
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python3 -m venv /opt/interlingua
ENV PATH=/opt/interlingua/bin:$PATH
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
RUN pip install --extra-index-url "$TORCH_INDEX" "$(grep '^torch==' constraints.txt)"
COPY recipes ./recipes
COPY src ./src
RUN pip install -c constraints.txt ".[$EXTRAS]"

FROM python:3.11.13-slim-bookworm
RUN groupadd --gid 10001 interlingua \
    && useradd --uid 10001 --gid interlingua --home-dir /data --no-create-home --shell /usr/sbin/nologin interlingua \
    && install --directory --owner=interlingua --group=interlingua /data
COPY --from=build /opt/interlingua /opt/interlingua
ENV PATH=/opt/interlingua/bin:$PATH HOME=/data INTERLINGUA_CACHE=/data/cache PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
USER 10001:10001
WORKDIR /data
VOLUME ["/data"]
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python3", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/health/ready', timeout=4)"]
ENTRYPOINT ["interlingua"]
CMD ["serve", "--store", "/data/store.sqlite", "--keys", "/data/keys.toml", "--host", "0.0.0.0", "--port", "8000"]
