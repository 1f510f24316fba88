# The worker. glibc, not Alpine: Temporal's native core has no musl build.
FROM node:24-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci
COPY . .
RUN npm run build && npm prune --omit=dev

FROM node:24-slim
# Temporal's core and TLS clusters read the system's certificates; the slim image has none.
RUN apt-get update && apt-get install -y --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
WORKDIR /app
ENV NODE_ENV=production
COPY --from=build /app/package.json /app/LICENSE ./
COPY --from=build /app/node_modules ./node_modules
COPY --from=build /app/dist ./dist
COPY --from=build /app/bin ./bin
# For the health check: this container only. Prometheus needs 0.0.0.0:9464.
ENV KAFKA_CUTOVER_METRICS=127.0.0.1:9464
# User node, by number, so that Kubernetes can tell that it is not root.
USER 1000
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s CMD ["node", "bin/kafka-cutover.js", "worker", "--health"]
ENTRYPOINT ["node", "bin/kafka-cutover.js"]
CMD ["worker"]
