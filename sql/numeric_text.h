/* numeric_text.h - which texts may be equal to a number.
 *
 * A number that is compared with a TEXT column is equal to its own text form if the
 * comparison is of text, and to every text that looks like a number of that value if
 * the comparison is of numbers: 5 to '5', and to '05', ' 5', '5.0', '.5e1', '50e-1' and
 * '4.99999999999999999999'. The spans here hold all of them, and little else for an
 * integer of up to 14 digits; for other numbers, whatever may look like a number. */
#ifndef KEVO_SQL_NUMERIC_TEXT_H
#define KEVO_SQL_NUMERIC_TEXT_H

#include "sql/value.h"

/* Texts from lower on, before upper. */
struct text_span {
    char lower[24], upper[24]; /* NUL-terminated */
};

enum { NUMERIC_TEXT_MAX_SPANS = 80 };

/* Fill in the spans of a number, in no order; their count is returned. */
unsigned numeric_text_spans(const struct value *number,
                            struct text_span spans[NUMERIC_TEXT_MAX_SPANS]);

/* Every text that SQLite may take for a number, and every text it makes of this one,
 * lies in this span. */
const struct text_span *numeric_text_all(const struct value *number);

#endif
