# One image for all of longvideo's processes; the chart says which one a container runs. Versions are those of
# constraints.txt. What compiles and what installs stays in the first stage. Pin the base with
# --build-arg PYTHON=python:3.11-slim-bookworm@sha256:…
ARG PYTHON=python:3.11-slim-bookworm
# What is installed besides: `[cluster]` for `longvideo cluster` with the API of Kubernetes, 200 MB more.
ARG EXTRAS=

FROM ${PYTHON} AS build
# Where Python's packages are fetched from, if not from where pip does by itself.
ARG PIP_INDEX_URL
ARG EXTRAS
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/longvideo
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY longvideo longvideo
COPY caption_svc caption_svc
COPY qa_svc qa_svc
COPY orchestrator orchestrator
COPY client client
COPY offline_models offline_models
# Wheels alone: nothing is compiled, so that there is no compiler to leave behind.
RUN /opt/longvideo/bin/pip install --constraint constraints.txt hatchling \
    && /opt/longvideo/bin/pip install --constraint constraints.txt --only-binary :all: --no-build-isolation ".${EXTRAS}" \
    && /opt/longvideo/bin/pip uninstall --yes hatchling pip
COPY bin/sbom bin/sbom

FROM ${PYTHON}
LABEL org.opencontainers.image.title="longvideo" \
      org.opencontainers.image.description="Answers questions about hour-long videos" \
      org.opencontainers.image.licenses="Apache-2.0" \
      longvideo.sbom.cyclonedx="/opt/longvideo/sbom.cdx.json"
RUN groupadd --gid 10001 longvideo && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /tmp longvideo
COPY --from=build /opt/longvideo /opt/longvideo
ENV PATH=/opt/longvideo/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# What is in this image, this stage's base included.
RUN --mount=type=bind,from=build,source=/source/bin/sbom,target=/run/sbom python /run/sbom > /opt/longvideo/sbom.cdx.json
USER 10001:10001
WORKDIR /tmp
CMD ["python", "-m", "orchestrator"]
