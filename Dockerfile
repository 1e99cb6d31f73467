# Lowlands with pinned versions: docker build -t lowlands . && docker run --rm -v lowlands:/work lowlands run
FROM python:3.11.13-slim-bookworm

# PyPI's torch brings some gigabytes of CUDA's libraries: here are torch's own wheels for processors.
COPY constraints.txt /constraints.txt
RUN pip install --no-cache-dir --constraint /constraints.txt \
    --index-url https://download.pytorch.org/whl/cpu --extra-index-url https://pypi.org/simple \
    "torch==2.14.1+cpu" "torchvision==0.29.1+cpu"

COPY . /source
RUN pip install --no-cache-dir --constraint /constraints.txt /source

# Results and caches stand in /work, which belongs to the user that runs.
RUN useradd --create-home --uid 1000 lowlands && install --directory --owner lowlands /work
USER 1000
WORKDIR /work
ENV OMP_NUM_THREADS=1 LOWLANDS_DATA=/work/data XDG_CACHE_HOME=/work/.cache
ENTRYPOINT ["lowlands"]
CMD ["--help"]
