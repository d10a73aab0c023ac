/* lender.h - memory in which values are handed to SQLite, and which comes back.
 *
 * A value that SQLite is told to copy gets memory of SQLite's allocator, which is taken and given
 * back under a mutex once in each statement, since a statement's registers keep nothing when it
 * is reset. A query of one row spends more on that than on the copy. So a connection has a few
 * buffers of its own, lent until SQLite calls their destructor: it treats such a value like one
 * that it has copied, and copies it itself wherever it keeps it longer than the register.
 *
 * Threads: those of the connection, with its mutex held, as SQLite has it in xColumn and
 * whenever it releases a register. */
#ifndef KEVO_EXT_LENDER_H
#define KEVO_EXT_LENDER_H

#include <stddef.h>

enum { LENDER_BUFFERS = 4, LENDER_BYTES = 1000 };

struct lender; /* NULL: nothing was lent yet */

/* A buffer for so many bytes, to be returned by lender_return(). NULL: that is too long, all are
 * lent, or there is no memory. */
char *lender_take(struct lender **lender, size_t bytes);
/* The destructor for SQLite: the buffer comes back. */
void lender_return(void *buffer);
/* The connection ends; what is still lent may be returned later. */
void lender_free(struct lender *lender);

#endif
