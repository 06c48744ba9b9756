FROM apify/actor-python:3.13

# The packages are a layer of their own, made anew only when requirements.txt changes. They belong to root, so that
# the service cannot change its own code.
COPY requirements.txt ./
RUN pip install --no-cache-dir -r requirements.txt

COPY async_endpoint ./async_endpoint
RUN python -m compileall -q async_endpoint \
 && mkdir storage \
 && chown myuser:myuser storage

# A container has its own network, so it listens on every address of it; a container that is started again keeps its
# jobs. Mount a volume at /usr/src/app/storage to keep them across containers.
ENV ASYNC_ENDPOINT_IN_IMAGE=1 \
    APIFY_PURGE_ON_START=0

USER myuser
EXPOSE 4321
CMD ["python", "-m", "async_endpoint"]
