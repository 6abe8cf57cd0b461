#!/bin/sh
# Run by nextest before the properties that nextest.toml names: their environment gets a tenth of PROPTEST_CASES.
set -eu
cases=$((${PROPTEST_CASES:-5000} / 10))
echo "PROPTEST_CASES=$((cases > 0 ? cases : 1))" >> "$NEXTEST_ENV"
