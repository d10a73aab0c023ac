#!/bin/sh
# What the compilers do not refuse: includes against the layering, system calls past
# the env and the allocator, files the build forgets, what was left unfinished.
# Prints each offence as file:line and exits non-zero if there is any.
set -eu
cd "$(dirname "$0")/.."

# This file spells the words it refuses.
all_files() {
    find .ci engine sql ext tests examples meson.build meson_options.txt -type f \
        ! -name lint.sh ! -path '*/data/*' ! -path '*/__pycache__/*' | sort
}

c_files() { # directories...
    find "$@" -type f -name '*.[ch]' | sort
}

# The files' text with comments and strings blanked, each line as file:line:text.
code() { # files...
    # shellcheck disable=SC2016 # perl's variables, not the shell's
    perl -0777 -ne '
        s{("(?:\\.|[^"\\\n])*"|\x27(?:\\.|[^\x27\\\n])*\x27|/\*.*?\*/|//[^\n]*)}
         {(my $blank = $1) =~ s/[^\n]/ /g; $blank}gsex;
        my $n = 0;
        print map { $n++; "$ARGV:$n:$_\n" } split /\n/;
    ' "$@"
}

offences=$(mktemp)
trap 'rm -f "$offences"' EXIT
offence() { # what the lines on standard input are
    sed "s|\$|    <- $1|" >>"$offences"
}

# ---- includes ----

refuse_includes() { # directory, pattern of what it must not include
    c_files "$1" | xargs grep -nE "#include ($2)" /dev/null |
        offence "not to be included in $1/" || true
}

# base < table < tree < log, mem < store; the iterator interface is everybody's.
check_rooms() {
    for rule in 'base:table|tree|log|mem|store' 'table:tree|log|mem|store' 'tree:log|mem|store' \
        'log:mem|store' 'mem:log|store'; do
        c_files "engine/${rule%%:*}" | xargs grep -nE "#include \"engine/(${rule#*:})/" /dev/null |
            grep -v '"engine/tree/iter.h"' |
            offence "engine/${rule%%:*}/ lies below that" || true
    done
}

check_includes() {
    refuse_includes engine '<sqlite3|"sqlite3|"sql/|"ext/|"tests/'
    refuse_includes sql '<sqlite3|"sqlite3|"ext/|"tests/'
    refuse_includes ext '"tests/'
    for dir in engine sql ext tests; do
        refuse_includes "$dir" '"[^"/]*"|"\.'
    done
    check_rooms
    c_files engine sql ext tests | grep '\.c$' | while read -r c; do
        h=${c%.c}.h
        [ ! -f "$h" ] || [ "$(grep -m1 '^#include' "$c")" = "#include \"$h\"" ] ||
            echo "$c:1:" | offence "include your own header first"
    done
}

# ---- calls ----

refuse_calls() { # pattern of names, what to use instead, files...
    names=$1 instead=$2
    shift 2
    code "$@" | grep -E ":([^:]*[^A-Za-z0-9_>.])?($names)\(" | offence "$instead" || true
}

check_calls() {
    # shellcheck disable=SC2046 # no spaces in our names
    set -- $(c_files engine sql ext | grep -v -e engine/base/alloc.c -e engine/base/env_posix.c)
    refuse_calls 'malloc|calloc|realloc|reallocarray|free|strn?dup|v?asprintf|aligned_alloc|alloca' \
        'heap is alloc.h' "$@"
    refuse_calls 'open|openat|creat|fopen|fdopen|opendir|close|pread|pwrite|read|write' \
        'files are env.h' "$@"
    refuse_calls 'mkdir|rmdir|rename|unlink|remove|mmap|munmap|f(data)?sync|ftruncate' \
        'files are env.h' "$@"
    refuse_calls 'time|gettimeofday|clock|clock_gettime|sleep|usleep|nanosleep' \
        'the clock is env.h' "$@"
    refuse_calls 's?rand|s?random|getrandom' 'random numbers are env.h' "$@"
    refuse_calls 'pthread_create|thrd_create|fork' 'threads are env.h' "$@"
    refuse_calls 'printf|fprintf|vprintf|puts|fputs|putchar|perror|exit|_exit' \
        'a library is silent and goes on' "$@"
    refuse_calls 'strcpy|strcat|sprintf|vsprintf|gets|strtok|atoi|atol|atof' \
        'there is a bounded one' "$@"
}

# ---- what was forgotten ----

check_build_lists() {
    for dir in engine sql ext; do
        c_files "$dir" | grep '\.c$' | while read -r c; do
            grep -q "'${c#"$dir"/}'" "$dir/meson.build" ||
                echo "$c:1:" | offence "not in $dir/meson.build"
        done
    done
    find tests -name 'test_*.c' | sort | while read -r test; do
        name=$(basename "$test" .c)
        grep -rq --include=meson.build "'${name#test_}'" tests ||
            echo "$test:1:" | offence 'in no meson.build of tests/'
    done
}

check_text() {
    # shellcheck disable=SC2046
    set -- $(all_files)
    grep -nE 'TODO|FIXME|\bXXX\b' "$@" | offence 'finish it' || true
    grep -nE '[[:space:]]+$' "$@" | offence 'white space at the end' || true
    c_files engine sql ext tests | xargs grep -nP '\t' /dev/null | offence 'a tab' || true
    c_files engine sql ext | xargs wc -l | awk '$2 != "total" && $1 > 800 { print $2 ":" $1 ":" }' |
        offence 'longer than 800 lines: two nouns?' || true
    c_files engine sql ext tests | grep '\.h$' | while read -r h; do
        grep -qE '^#ifndef KEVO_[A-Z0-9_]*H$' "$h" || echo "$h:1:" | offence 'no include guard KEVO_..._H'
    done
}

check_includes
check_calls
check_build_lists
check_text
if [ -s "$offences" ]; then
    cat "$offences"
    exit 1
fi
