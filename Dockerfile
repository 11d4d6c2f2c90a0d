# The service in a container. No Docker engine was at hand where this was written: it has not been run.
#
#   docker build -t verydeep .
#   docker run --read-only --tmpfs /tmp --tmpfs /cache:uid=10001 --cap-drop ALL --security-opt no-new-privileges \
#     --stop-timeout 70 -e VERYDEEP_TOKEN=a-long-secret -p 127.0.0.1:8000:8000 verydeep
#
# It answers what it has accepted before it stops, which may take a minute: hence --stop-timeout.
# The file system may be read-only: packed weights go to /cache, and without it they are made anew at each start.

FROM python:3.12-slim AS build
RUN apt-get update && apt-get install --yes --no-install-recommends g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN python -m venv /opt/verydeep && /opt/verydeep/bin/pip install --no-cache-dir '.[serve]'

FROM python:3.12-slim
COPY --from=build /opt/verydeep /opt/verydeep
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin verydeep
USER 10001
ENV PATH=/opt/verydeep/bin:$PATH VERYDEEP_CACHE=/cache PYTHONDONTWRITEBYTECODE=1
EXPOSE 8000
HEALTHCHECK --start-period=30s CMD python -c \
    "import urllib.request as u; u.urlopen(u.Request('http://127.0.0.1:8000/health/ready'), timeout=3)"
STOPSIGNAL SIGTERM
ENTRYPOINT ["verydeep", "serve", "--host", "0.0.0.0"]
