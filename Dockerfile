# One image for every node. The base must have Python 3.11 or newer and pip.
ARG PYTHON_IMAGE=python:3.11-slim
FROM ${PYTHON_IMAGE}
WORKDIR /src
COPY pyproject.toml README.md ./
COPY wire wire
COPY storage storage
COPY kraft kraft
COPY cluster cluster
COPY ottla ottla
RUN python3 -m venv /opt/ottla \
 && /opt/ottla/bin/pip install --no-cache-dir --quiet . \
 && rm -rf /src \
 && useradd --system --home-dir /var/lib/ottla --create-home ottla
ENV PATH=/opt/ottla/bin:$PATH PYTHONUNBUFFERED=1
USER ottla
WORKDIR /var/lib/ottla
VOLUME /var/lib/ottla
ENV OTTLA_LOG_DIR=/var/lib/ottla
ENTRYPOINT ["ottla"]
CMD ["server"]
