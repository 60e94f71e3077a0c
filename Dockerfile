# A static binary, CA certificates, and nothing else: no shell, no package manager, no root.
#
#   docker build -t mirrorpool .
#   docker run --read-only -v ./etc:/etc/mirrorpool:ro -p 53:5300/udp -p 53:5300/tcp -p 80:8080 mirrorpool

FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN CGO_ENABLED=0 go build -trimpath -ldflags="-s -w" -o /mirrorpool ./cmd/mirrorpool

FROM scratch
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/
COPY --from=build /mirrorpool /mirrorpool
USER 65534:65534
ENTRYPOINT ["/mirrorpool"]
CMD ["serve", "--config", "/etc/mirrorpool/mirrorpool.json"]
