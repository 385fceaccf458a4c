#!/usr/bin/env bash
# Makes the pictures and the figures of docs/hashing.md. Usage: docs/hashing/pictures.sh LOG
# LOG: apache-combined-10k.log.gz, the 10,000 requests of elastic/examples (Common Data Formats/apache_logs).
set -euo pipefail
cd "$(dirname "$0")/../.."
log=$1
hash=build/splice-hash
plot=tools/splice-hash-plot
out=docs/hashing
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

fleet=()
for i in 1 2 3 4 5; do fleet+=(--bridge "b$i=192.168.33.2$i"); done

# picture NAME KIND QUESTION ARGUMENTS...: the answer is kept as $work/NAME.json.
picture() {
    local name=$1 kind=$2
    shift 2
    "$hash" "$@" "${fleet[@]}" --format json >"$work/$name.json"
    "$plot" --kind "$kind" -o "$out/$name.svg" "$work/$name.json"
}

"$hash" generate --requests 2000000 --objects 200000 --zipf 0.9 --seed 7 --rate 500 >"$work/traffic"

picture real-balance bars balance "$log"
"$plot" --kind lorenz -o "$out/real-lorenz.svg" "$work/real-balance.json"
picture real-keys bars compare --algorithms rendezvous --keys 'uri;path;uri depth 1;uri depth 2' "$log"
picture generated-algorithms bars compare "$work/traffic"
picture generated-jump bars disrupt --algorithm jump --without b2 "$work/traffic"
picture generated-sizes sizes cache --sizes 64MiB,128MiB,256MiB,512MiB,1GiB --policies lru,s3-fifo \
    --routing hash,random "$work/traffic"
picture generated-policies sizes cache --sizes 64MiB,128MiB,256MiB,512MiB,1GiB \
    --policies lru,fifo,clock,sieve,s3-fifo,w-tinylfu "$work/traffic"
picture generated-loss time cache --sizes 256MiB --lose b2@20m-40m --interval 1m "$work/traffic"
picture generated-warmup time cache --sizes 256MiB --lose b2@20m-40m --interval 1m --warmup 0.05 \
    --slow-start 5m "$work/traffic"
picture real-keep-alive sizes cache --sizes 16MiB,64MiB,256MiB --policies lru --routing hash,keep-alive,random "$log"
picture generated-bounded sizes cache --sizes 64MiB,256MiB,1GiB --bounded-load 1.05 "$work/traffic"
picture generated-spread sizes cache --sizes 64MiB,256MiB,1GiB --spread 2 "$work/traffic"

[[ -z ${2:-} ]] || cp "$work"/*.json "$2"
