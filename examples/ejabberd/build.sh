#!/bin/sh
# A certificate of its own, once: clients want to talk over TLS.
set -eu
mkdir -p data
[ ! -e data/cert.pem ] || exit 0
umask 077
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -subj /CN=localhost \
  -addext subjectAltName=DNS:localhost -keyout data/key.pem -out data/cert.pem
