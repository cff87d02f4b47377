#!/bin/sh
# Instructions per delta of the hot paths, counted by callgrind: `benches/instructions.sh`. Needs valgrind.
# Workloads that start with `varied` count per piece of an answer whose events vary, `request` per 200 bytes of a
# conversation of 200 kB. Two runs of different length are subtracted, so that start-up does not count.
set -eu
cd "$(dirname "$0")/.."
binary=$(cargo bench -p flow-router-codecs --bench instructions --no-run 2>&1 | sed -n 's/.*(\(.*\)).*/\1/p' | tail -n 1)
count() {
    valgrind --tool=callgrind --callgrind-out-file=/dev/null "$binary" "$1" "$2" 2>&1 | sed -n 's/.*Collected : *//p'
}
for workload in parse chat-to-anthropic chat-to-responses anthropic-to-chat anthropic-to-kiro varied-chat-to-anthropic \
    varied-padded-to-anthropic varied-anthropic-to-chat varied-sse request-read request-chat-to-anthropic \
    request-anthropic-to-chat request-kiro; do
    few=$(count "$workload" 1000)
    many=$(count "$workload" 11000)
    echo "$workload: $(((many - few) / 10000)) instructions per delta"
done
