# gen-jax on a CPU; with an accelerator: docker build --build-arg EXTRA=[cuda12] .   (see docs/platforms.md)
FROM python:3.12-slim
ARG EXTRA=""
WORKDIR /gen_jax
COPY requirements.txt setup.cfg pyproject.toml README.md LICENSE ./
COPY gen_jax gen_jax
COPY experiments experiments
RUN pip install --no-cache-dir --editable ".${EXTRA}"
ENV TFDS_DATA_DIR=/data
VOLUME /data
WORKDIR /work
ENTRYPOINT ["gen-jax"]
