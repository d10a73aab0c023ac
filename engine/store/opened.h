/* opened.h - the stores that this process has open: each directory once, counted.
 *
 * A store is known by the file that it is locked by, whatever its directory is called, and
 * by the env that it was opened through. It is entered before it is opened and removed after
 * it was closed; meanwhile others who want it wait, without keeping anybody from other stores.
 *
 * Threads: all functions from any thread. After fork() the child begins with none. */
#ifndef KEVO_STORE_OPENED_H
#define KEVO_STORE_OPENED_H

#include "engine/store/store.h"

/* Enter `s`, which is about to be opened, unless the process has that store open: then
 * *found is that one, with a reference more. Either way opened_settle() follows, until which
 * others wait, or opened_remove() when opening `s` failed. */
int opened_enter(kevo_store *s, kevo_store **found, struct kevo_err *err);
/* Learn which file `s` has locked. */
int opened_identify(kevo_store *s, struct kevo_err *err);
void opened_settle(kevo_store *s);

/* Give a reference back. True for the last one: then the store is to be closed, while others
 * who want it wait, and removed. */
bool opened_leave(kevo_store *s);
void opened_remove(kevo_store *s);

#endif
