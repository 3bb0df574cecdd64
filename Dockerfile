# One image for the agent and the price poller: `docker run IMAGE agent` or `docker run IMAGE prices`.
FROM python:3.12.13-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml hatch_build.py README.md LICENSE ./
COPY exporter exporter
# What the package brings beside its code.
COPY prometheus/prometheus.yml prometheus/alertmanager.yml prometheus/
COPY prometheus/rules prometheus/rules
COPY grafana/dashboards grafana/dashboards
COPY deploy/systemd deploy/systemd
COPY deploy/slurm deploy/slurm
COPY deploy/helm/epochcost/values.yaml deploy/helm/epochcost/
# docker build --build-arg EPOCHCOST_COMMIT=$(git rev-parse --short=12 HEAD): what `epochcost --version` names.
ARG EPOCHCOST_COMMIT=
# The environment has no pip of its own, so nothing that installs software reaches the final image.
RUN python -m venv --without-pip /opt/epochcost \
 && python -m pip --python /opt/epochcost/bin/python install --no-cache-dir ".[all]"

FROM python:3.12.13-slim-bookworm
RUN python -m pip uninstall --yes --root-user-action=ignore pip \
 && groupadd --system --gid 65532 epochcost \
 && useradd --system --uid 65532 --gid 65532 --home-dir /var/lib/epochcost --shell /usr/sbin/nologin epochcost \
 && install -d -o 65532 -g 65532 -m 0750 /var/lib/epochcost \
 && install -d -o 65532 -g 65532 -m 1777 /var/run/epochcost
COPY --from=build /opt/epochcost /opt/epochcost
# Inside a container 127.0.0.1 reaches nobody: which interface is published is the business of whoever runs it.
ENV PATH=/opt/epochcost/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    EPOCHCOST_WEB_LISTEN_ADDRESS=:10835 \
    EPOCHCOST_STATE_DIR=/var/lib/epochcost
USER 65532:65532
WORKDIR /var/lib/epochcost
EXPOSE 10835 10836
# The port follows the listen address, so one check serves both programs.
HEALTHCHECK --interval=15s --timeout=5s --start-period=20s --retries=4 \
  CMD ["python", "-c", "import os, urllib.request as u; u.urlopen('http://127.0.0.1:' + os.environ['EPOCHCOST_WEB_LISTEN_ADDRESS'].rpartition(':')[2] + '/-/healthy', timeout=4).close()"]
ENTRYPOINT ["epochcost"]
CMD ["agent"]
