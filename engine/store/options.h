/* options.h - the tunable options of a store, by name.
 *
 * One table in options.c has them all: name, field, default, range, effect. It drives the
 * defaults, the checks, the text interface of kevo.h, and what the manifest keeps.
 *
 * What is kept are the options that differ from their defaults, by name and as text
 * (engine/FORMAT.md, "Manifest"), so that better defaults of a later version reach stores that
 * never asked for anything else. None of them changes what files mean, so a version that does
 * not know a name, or a value, may do without: it ignores it, and hands names it does not know
 * on when it writes the options itself. */
#ifndef KEVO_STORE_OPTIONS_H
#define KEVO_STORE_OPTIONS_H

#include "engine/base/buf.h"

/* Whether all are in their ranges and agree with one another; KEVO_INVALID names the first
 * that is not. */
int options_check(const struct kevo_options *o, struct kevo_err *err);

/* Replace the tunable options in *o by those of `from`. */
void options_copy(struct kevo_options *o, const struct kevo_options *from);

/* The name of the first option whose value differs, NULL when there is none. */
const char *options_difference(const struct kevo_options *a, const struct kevo_options *b);

/* What a manifest keeps for *o, into `kept`, which is empty; names that this version does
 * not know are taken over from `before`. KEVO_NOMEM. */
int options_encode(const struct kevo_options *o, slice before, struct buf *kept,
                   struct kevo_err *err);

/* Set all tunable options of *o to what a manifest keeps. */
void options_decode(slice kept, struct kevo_options *o);

#endif
