/* thin.h - of the ranges of a query, those of texts that are equal to a number: where there are
 * none they are left out. */
#ifndef KEVO_EXT_THIN_H
#define KEVO_EXT_THIN_H

#include "sql/plan.h"

/* See plan_ranges_thin(); the keys are those that `read`, without bounds, sees of the store. An
 * error of the engine. */
int thin_ranges(struct plan_ranges *ranges, kevo_store *store, const struct kevo_read *read,
                struct kevo_err *err);

#endif
