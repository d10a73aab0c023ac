#!/bin/sh
# The module exports its entry point and nothing else.
set -eu
exported=$(nm -D --defined-only "$1" | awk '{ print $3 }')
[ "$exported" = sqlite3_kevo_init ] && exit
echo "$1 exports: $exported"
exit 1
